"""Text that somebody typed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.text import clean_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("", ""),
        ("  Anna \n\t Maria  ", "Anna Maria"),
        ("A\x1b[31mred\x07", "A[31mred"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("A\u030asa", "Åsa"),
        ("李小龙", "李小龙"),
        ("\x00\x9b", ""),
    ],
)
def test_clean_text(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text())
def test_clean_text_leaves_one_line_without_controls(raw: str) -> None:
    clean = clean_text(raw)
    assert not any(unicodedata.category(char).startswith("C") for char in clean)
    assert len(clean.splitlines()) <= 1
