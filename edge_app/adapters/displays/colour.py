"""The picture for a colour display: large, bright on black, legible at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from edge_app.adapters.displays.fonts import FontSet
from edge_app.core.present import Phrases, phrases
from edge_app.records import Direction, HudLine, HudView

_MAX_ROWS: Final = 3
_BLACK: Final = (0, 0, 0)
_WHITE: Final = (255, 255, 255)
_GREY: Final = (200, 200, 200)
_AMBER: Final = (255, 200, 60)
_RED: Final = (176, 0, 32)

# Shares of the smaller of height and 5/8 of the width, so that a tall display is no caricature.
_STATUS: Final = 0.14
_STATUS_ALONE: Final = 0.32
_ARROW: Final = 0.16
_MARGIN: Final = 0.04
_NAME: Final = (0.36, 0.1)
_DETAIL: Final = (0.13, 0.08)


def draw_colour(
    view: HudView, size_px: tuple[int, int], fonts: FontSet, language: str
) -> Image.Image:
    """Return the view as a picture of `size_px` (width, height), RGB.

    At most three people are drawn; nobody and no status is black. Who is certain is white, who
    is "probably" there is amber and marked in words.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    image = Image.new("RGB", size_px, _BLACK)
    canvas = _Canvas(ImageDraw.Draw(image), size_px, fonts)
    bottom = size_px[1]
    if view.status:
        bottom -= canvas.px(_STATUS if view.lines else _STATUS_ALONE)
        canvas.status(view, bottom)
    lines = view.lines[:_MAX_ROWS]
    height = bottom // max(len(lines), 1)
    for row, line in enumerate(lines):
        canvas.person(line, words, row * height, height)
    return image


class _Canvas:
    def __init__(self, draw: ImageDraw.ImageDraw, size_px: tuple[int, int], fonts: FontSet) -> None:
        self._draw = draw
        self._width, self._height = size_px
        self._unit = min(self._height, self._width * 5 / 8)
        self._fonts = fonts

    def px(self, share: float) -> int:
        return max(1, round(share * self._unit))

    def status(self, view: HudView, top: int) -> None:
        """A red bar for a fault, a grey line for what is only worth knowing; large if alone."""
        box = (0, top, self._width - 1, self._height - 1)
        self._draw.rectangle(box, fill=_RED if view.fault else _BLACK)
        room = self._height - top
        sizes = [size for size in self._sizes(0.2, 0.05) if size < 0.68 * room]
        width = self._width - 2 * self.px(_MARGIN)
        text, font = self._fonts.fit(view.status, sizes, width)
        middle = (self._width / 2, (top + self._height) / 2)
        self._draw.text(middle, text, _WHITE if view.fault else _GREY, font, anchor="mm")

    def person(self, line: HudLine, words: Phrases, top: int, height: int) -> None:
        """The name, below it what else there is to say, beside them the arrow."""
        colour = _AMBER if line.unsure else _WHITE
        arrow = min(self.px(_ARROW), round(height * 0.6))
        self._arrow(line.direction, top + height / 2, arrow, colour)
        name, relation = self._fonts.who(line, words)
        mark = words.probably_mark if line.unsure else ""
        details = [part for part in (mark, relation) if part]
        room = height * (0.42 if details else 0.8)
        sizes = [size for size in self._sizes(*_NAME) if size <= room] or [int(room)]
        middle = top + height * (0.38 if details else 0.5)
        self._text(line.direction, name, sizes, middle=middle, arrow=arrow, colour=colour)
        if details:
            room = height * 0.24
            sizes = [size for size in self._sizes(*_DETAIL) if size <= room] or [int(room)]
            text = " · ".join(details)
            shade = _AMBER if line.unsure else _GREY
            middle = top + height * 0.76
            self._text(line.direction, text, sizes, middle=middle, arrow=arrow, colour=shade)

    def _sizes(self, largest: float, smallest: float) -> list[int]:
        step = max(1, self.px(0.01))
        return list(range(self.px(largest), self.px(smallest) - 1, -step))

    def _text(
        self,
        direction: Direction,
        text: str,
        sizes_px: Sequence[int],
        *,
        middle: float,
        arrow: int,
        colour: tuple[int, int, int],
    ) -> None:
        margin = self.px(_MARGIN)
        beside = arrow + 2 * margin
        fitted, font = self._fonts.fit(text, sizes_px, self._width - beside - margin)
        x, anchor = {
            Direction.LEFT: (beside, "lm"),
            Direction.AHEAD: (self._width / 2, "mm"),
            Direction.RIGHT: (self._width - beside, "rm"),
        }[direction]
        if direction is Direction.AHEAD and font.getlength(fitted) > self._width - 2 * beside:
            x, anchor = beside, "lm"
        self._draw.text((x, middle), fitted, colour, font, anchor=anchor)

    def _arrow(
        self, direction: Direction, middle: float, side: int, colour: tuple[int, int, int]
    ) -> None:
        margin, half = self.px(_MARGIN), side / 2
        left, right = margin, self._width - 1 - margin
        top, bottom = middle - half, middle + half
        corners: dict[Direction, list[tuple[float, float]]] = {
            Direction.LEFT: [(left, middle), (left + side, top), (left + side, bottom)],
            Direction.RIGHT: [(right, middle), (right - side, top), (right - side, bottom)],
            Direction.AHEAD: [(left + half, top), (left, bottom), (left + side, bottom)],
        }
        self._draw.polygon(corners[direction], fill=colour)
