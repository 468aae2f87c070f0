"""What Brilliant Labs' Frame shows of a view: lines of text in the one font that it has.

Frame draws 640 x 400 pixels. Its font is 48 pixels high and holds Latin letters only; what it lacks
is left out in silence, and what does not fit is cut off, so both are dealt with here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from edge_app.core.present import Phrases, phrases
from edge_app.records import Direction, HudLine, HudView

_WIDTH_PX: Final = 640
_HEIGHT_PX: Final = 400
_GLYPH_PX: Final = 48
_SPACING_PX: Final = 4
_PERSON_PX: Final = 112
_DETAIL_PX: Final = 52
_STATUS_TOP_PX: Final = 350
_MAX_PEOPLE: Final = 3

# Letters by their width in pixels (the firmware's system_font.h).
_LETTERS: Final = {
    5: "!'i|\u0131",
    6: ".:¡·",
    8: ",;l",
    9: "[",
    10: "(]ł",
    11: ")`jrÍìí",
    12: "I{}Ì",
    13: ' "c',
    14: "?Jt¢¿ç",
    15: "357\\fs°Ïïš",
    16: "12CLezÇÉÎéîñûƒ",
    17: "$-69EFSZu~«µ»ÈÊËèêëõùúüŠž",
    18: "048BGPbdhknopq£\u00d7ÞðòóôöøþŽ€",
    19: "#+<=>DHKNUavÑÙÚÛÜßàáâãäå÷Ł",
    20: "&ORT^gxy±ÒÓÔÕÖØýÿ",
    21: "*VX",
    22: "AQ¥ÀÐÝŸ",
    23: "MWYÁÂÃÄÅ",
    25: "_",
    28: "m©",
    29: "®æ",
    30: "wŒœ",
    31: "@",
    32: "Æ",
    34: "%",
}
_WIDTHS_PX: Final = {letter: px for px, letters in _LETTERS.items() for letter in letters}

# What Unicode does not take apart into letters that the font has.
_FOLDED: Final = str.maketrans(
    {"Đ": "D", "đ": "d", "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-", "/": "-"}
)

_ARROWS: Final = {Direction.LEFT: "< {}", Direction.AHEAD: "^ {}", Direction.RIGHT: "{} >"}
_ELLIPSIS: Final = "..."


class Colour(IntEnum):
    """By its number in frame.lua."""

    WHITE = 1
    YELLOW = 2
    RED = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of text. x_px, y_px: its upper left corner, from 1."""

    text: str = field(repr=False)
    x_px: int
    y_px: int
    colour: Colour


def rows(view: HudView, language: str) -> tuple[Row, ...]:
    """Return the view as lines of text; at most three people, as on the other displays.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    lines = view.lines[:_MAX_PEOPLE]
    height_px = _STATUS_TOP_PX if view.status else _HEIGHT_PX
    top_px = max(1, (height_px - len(lines) * _PERSON_PX) // 2)
    placed = [
        row
        for number, line in enumerate(lines)
        for row in _person(line, words, top_px + number * _PERSON_PX)
    ]
    if view.status:
        y_px = _STATUS_TOP_PX if lines else (_HEIGHT_PX - _GLYPH_PX) // 2
        colour = Colour.RED if view.fault else Colour.WHITE
        placed.append(_row(view.status, y_px, colour))
    return tuple(row for row in placed if row.text)


def lost_row(language: str) -> Row:
    """What the glasses say when they no longer hear from the device. Raises ConfigError."""
    return _row(phrases(language).display_lost, (_HEIGHT_PX - _GLYPH_PX) // 2, Colour.RED)


def legible(text: str) -> str:
    """Return what Frame can draw of a text, on one line; empty if less than half of its letters.

    A letter that the font lacks becomes its base letter (č: c), or is left out. Half a name is
    another's.
    """
    shown = " ".join("".join(map(_legible_char, text)).split())
    return shown if 2 * _letters(shown) >= _letters(text) else ""


def width_px(text: str) -> int:
    """How wide Frame draws a text that is legible."""
    return sum(_WIDTHS_PX[char] for char in text) + _SPACING_PX * max(len(text) - 1, 0)


def _person(line: HudLine, words: Phrases, top_px: int) -> Sequence[Row]:
    """The name with an arrow, below it what else there is to say, on the side where they are."""
    colour = Colour.YELLOW if line.unsure else Colour.WHITE
    name, relation = legible(line.name), legible(line.relation)
    if not name:
        name, relation = relation or legible(words.known), ""
    mark = words.probably_mark if line.unsure else ""
    details = " · ".join(part for part in (mark, relation) if part)
    arrow = _ARROWS[line.direction]
    name = arrow.format(_cut(name, _WIDTH_PX - width_px(arrow.format(" "))))
    return (
        _row(name, top_px, colour, line.direction),
        _row(details, top_px + _DETAIL_PX, colour, line.direction),
    )


def _row(text: str, y_px: int, colour: Colour, direction: Direction = Direction.AHEAD) -> Row:
    fitted = _cut(legible(text), _WIDTH_PX - 2)
    free_px = _WIDTH_PX - width_px(fitted)
    x_px = {
        Direction.LEFT: 1,
        Direction.AHEAD: max(1, free_px // 2),
        Direction.RIGHT: max(1, free_px - 1),
    }[direction]
    return Row(fitted, x_px, y_px, colour)


def _cut(text: str, room_px: int) -> str:
    """The text, or its beginning and an ellipsis."""
    if width_px(text) <= room_px:
        return text
    while text and width_px(text + _ELLIPSIS) > room_px:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def _legible_char(char: str) -> str:
    if char in _WIDTHS_PX:
        return char
    if char.isspace():
        return " "
    parts = unicodedata.normalize("NFKD", char.translate(_FOLDED))
    base = "".join(part for part in parts if not unicodedata.combining(part))
    return base if all(part in _WIDTHS_PX for part in base) else ""


def _letters(text: str) -> int:
    return sum(char.isalnum() for char in text)
