"""What of a name a display can show: never a box."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.adapters.displays import fonts
from edge_app.adapters.displays.fonts import FontSet
from edge_app.core.present import phrases
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine

FONTS = FontSet()
WIDE = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.mark.parametrize(
    ("name", "legible"),
    [
        ("", ""),
        ("Anna", "Anna"),
        ("  Anna\nMaria ", "Anna Maria"),
        ("Åsa Ødegård", "Asa Odegard"),
        ("Éloïse Çelik", "Eloise Celik"),
        ("Łukasz Żółć", "Lukasz Zolc"),
        ("Nguyễn Thị Hồng", "Nguyen Thi Hong"),
        ("Jürgen Groß", "Jurgen Gross"),
        ("Þórr Æsir", "Thorr AEsir"),
        ("O\u2019Neill", "O\u2019Neill"),
        ("Ann 李", "Ann"),
        ("Anna \U0001f600", "Anna"),
        ("李小龙", ""),
        ("Al 李小龙", ""),
        ("Жанна", ""),
        ("שרה", ""),
        ("\U0001f600", ""),
    ],
)
def test_what_pillows_own_face_shows_of_a_name(name: str, legible: str) -> None:
    assert FONTS.legible(name) == legible


@pytest.mark.parametrize(
    ("name", "relation", "shown"),
    [
        ("Anna", "colleague", ("Anna", "colleague")),
        ("Anna", "", ("Anna", "")),
        ("Anna", "老师", ("Anna", "")),
        ("李小龙", "teacher", ("teacher", "")),
        ("李小龙", "老师", ("someone you know", "")),
        ("李小龙", "", ("someone you know", "")),
        ("", "", ("someone you know", "")),
    ],
)
def test_a_name_that_cannot_be_read_gives_its_place_to_the_relation(
    name: str, relation: str, shown: tuple[str, str]
) -> None:
    assert FONTS.who(HudLine(name, relation, Direction.LEFT, False), phrases("en")) == shown


@pytest.mark.parametrize("name", ["محمد علي", "שרה", "Ali محمد", "मोदी"])
def test_letters_are_not_drawn_the_wrong_way_round(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Pillow that finds no fribidi writes Arabic from left to right, unjoined."""
    monkeypatch.setattr(fonts, "_SHAPES", False)
    line = HudLine(name, "friend", Direction.LEFT, False)
    assert FontSet().who(line, phrases("en")) == ("friend", "")
    assert "libfribidi0" in caplog.text
    assert FontSet().legible("Zoë Ødegård") == "Zoe Odegard"


def test_the_remedy_is_logged_once_and_without_the_name(caplog: pytest.LogCaptureFixture) -> None:
    made = FontSet()
    with caplog.at_level(logging.DEBUG):
        for name in ("Anna", "李小龙", "Жанна"):
            made.legible(name)
    (record,) = caplog.records
    assert "hud.fonts" in record.getMessage()
    assert "李" not in caplog.text


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=12))
def test_no_text_is_ever_drawn_as_boxes(text: str) -> None:
    shown, font = FONTS.fit(text, (16,), 1000)
    box = font.getmask("\uffff", mode="1")
    for char in shown:
        if not char.isspace():
            mask = font.getmask(char, mode="1")
            assert (mask.size, bytes(mask)) != (box.size, bytes(box)), hex(ord(char))


@pytest.mark.parametrize(
    "text", ["Maximilian-Alexander", "Y\u0301\u0323o\u0301\u0323" * 9, "W" * 200]
)
def test_a_text_too_long_is_cut_between_letters(text: str) -> None:
    shown, font = FONTS.fit(text, (20, 12), 60)
    assert font.getlength(shown) <= 60
    assert shown.endswith("…")
    assert font.size == 12


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("no", ["no"]),
        ("no sound", ["no sound"]),
        ("gallery old, go online", ["gallery old,", "go online"]),
        ("W" * 60, ["WWWWWWWW…"]),
    ],
)
def test_a_text_is_broken_where_it_gets_larger_by_it(text: str, lines: list[str]) -> None:
    shown, font = FONTS.fit_two(text, (22, 16, 11), 124)
    assert all(font.getlength(line) <= 124 for line in shown)
    assert shown == lines or text.startswith("W")


def test_a_file_that_is_no_font(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fonts-noto-cjk"):
        FontSet(tmp_path / "missing.ttf")
    garbage = tmp_path / "garbage.ttf"
    garbage.write_bytes(b"no font")
    with pytest.raises(ConfigError):
        FontSet(garbage)
