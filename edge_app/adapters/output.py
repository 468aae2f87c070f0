"""Standard output that must not fail in silence, and messages that may."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from edge_app.errors import DeliveryError


class Output(io.TextIOWrapper):
    """Text that somebody waits for: a write that fails is a `DeliveryError`."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._undelivered(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._undelivered(error) from error

    def _undelivered(self, error: OSError) -> DeliveryError:
        discard_rest(self)
        return DeliveryError(
            f"the output could not be written ({error.strerror}); keep its reader running, or "
            "write to a file on a disk with space"
        )


class Messages(io.TextIOWrapper):
    """Text for whoever watches: when nobody can see it any more, the work goes on."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            discard_rest(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            discard_rest(self)


def take_over_standard_streams() -> None:
    """Makes `sys.stdout` an `Output` and `sys.stderr` `Messages`.

    What the terminal's encoding does not have is shown as "?". Raises DeliveryError if one of
    them is closed: the next file opened, such as the gallery, would get its number.
    """
    if sys.stdout is None or sys.stderr is None:
        raise DeliveryError("standard output or error is closed; redirect it to /dev/null instead")
    sys.stdout = _over(sys.stdout, Output)
    sys.stderr = _over(sys.stderr, Messages)


def _over(stream: TextIO, kind: type[Output | Messages]) -> TextIO:
    return kind(
        stream.buffer,
        encoding=stream.encoding,
        errors="replace",
        line_buffering=True,
        write_through=kind is Messages,
    )


def discard_rest(stream: TextIO) -> None:
    """Makes the stream's descriptor /dev/null: what its buffer holds cannot be delivered.

    Else the interpreter tries once more at its end, and complains.
    """
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def is_watched(stream: TextIO) -> bool:
    """Whether it is a terminal that can redraw a line. No wish for colours makes a file one."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}


def visible(text: str) -> str:
    """The text with control characters escaped: what others typed or sent may hold some."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
