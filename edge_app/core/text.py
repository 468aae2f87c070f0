"""Text that somebody typed, made fit for any display."""

from __future__ import annotations

import unicodedata


def clean_text(text: str) -> str:
    """Return the text in NFC on one line, without control, format and unassigned characters.

    A name is typed in by somebody: terminal escapes and direction overrides must not reach a
    display.
    """
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(char for char in spaced if unicodedata.category(char)[0] != "C")
