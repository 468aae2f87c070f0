"""Displays for the wearer: a small OLED, a terminal, pictures for the demo, none.

Names are resolved on displays only (P9), so the displays that could leave them in a file
refuse to with a live camera.
"""

from __future__ import annotations

import logging
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TextIO

from luma.core.device import dummy  # type: ignore[import-untyped]
from luma.core.error import Error as LumaError  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from edge_app.core.present import Phrases, phrases, spoken_text
from edge_app.errors import ConfigError, StorageError
from edge_app.records import Direction, FrameOrigin, HudLine, HudView

_log = logging.getLogger(__name__)

WIDTH_PX: Final = 128
HEIGHT_PX: Final = 64

_MAX_ROWS: Final = 3
_STATUS_PX: Final = 13
_ARROW_PX: Final = 13
_GAP_PX: Final = 4
_NAME_SIZES_PX: Final = (30, 26, 22, 19, 16, 14, 13)
_DETAIL_SIZES_PX: Final = (14, 12, 11)
_STATUS_SIZES_PX: Final = (12, 11)
_PNG_SCALE: Final = 4

# Latin letters that Unicode does not decompose into a base letter and a mark.
_FOLDED: Final = str.maketrans(
    {
        "ß": "ss", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o",
        "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Ð": "D", "ð": "d", "Þ": "Th", "þ": "th",
        "\u0131": "i", "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-",
    }
)  # fmt: skip


class FontSet:
    """One typeface in any size, and what of a name it can show."""

    def __init__(self, path: Path | None) -> None:
        """path: a TrueType or OpenType file; None: Pillow's own, which holds plain Latin only.

        Raises:
            ConfigError: the file is no font.
        """
        self._path = path
        self._sizes = lru_cache(maxsize=16)(self._load)
        self._probe = self.at(16)
        self._missing = self._glyph("\uffff")
        self._shows = lru_cache(maxsize=4096)(lambda char: self._glyph(char) != self._missing)

    def at(self, size_px: int) -> ImageFont.FreeTypeFont:
        """Return the face in one size."""
        return self._sizes(size_px)

    def legible(self, text: str) -> str:
        """Return what this face can show of a text.

        A letter without a glyph becomes its base letter (é: e, ø: o); if there is none, it
        stays, and is drawn as the face's box for missing letters.
        """
        return "".join(self._legible_char(char) for char in text)

    def covers(self, text: str) -> bool:
        """Tell whether any letter of the text can be read."""
        return any(char.isalnum() and self._shows(char) for char in self.legible(text))

    def _legible_char(self, char: str) -> str:
        if char.isspace() or self._shows(char):
            return char
        decomposed = unicodedata.normalize("NFKD", char.translate(_FOLDED))
        base = "".join(part for part in decomposed if not unicodedata.combining(part))
        return base if base and all(map(self._shows, base)) else char

    def _glyph(self, char: str) -> tuple[tuple[int, int], bytes]:
        mask = self._probe.getmask(char, mode="1")
        return mask.size, bytes(mask)

    def _load(self, size_px: int) -> ImageFont.FreeTypeFont:
        if self._path is None:
            font = ImageFont.load_default(size_px)
            if not isinstance(font, ImageFont.FreeTypeFont):
                raise ConfigError("Pillow has no FreeType; install Pillow's wheel from PyPI")
            return font
        try:
            return ImageFont.truetype(self._path, size_px)
        except OSError as error:
            raise ConfigError(
                f"{self._path} is not a font that can be read; install one, e.g."
                " `sudo apt install fonts-noto-cjk`, and name its file"
            ) from error


def draw_view(view: HudView, fonts: FontSet, language: str) -> Image.Image:
    """Return the view as a 128 x 64 picture in mode "1", white on black.

    At most three people are drawn; nobody and no status is black.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    image = Image.new("1", (WIDTH_PX, HEIGHT_PX))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    bottom = HEIGHT_PX
    if view.status:
        bottom -= _STATUS_PX
        _draw_status(draw, view, fonts)
    lines = view.lines[:_MAX_ROWS]
    height = bottom // max(len(lines), 1)
    for row, line in enumerate(lines):
        _draw_person(draw, line, fonts, words, (row * height, (row + 1) * height))
    return image


class OledDisplay:
    """Draws on any luma device of 128 x 64 pixels.

    A display that does not answer is logged once and tried again at the next change: a loose
    cable must not stop the alerts.
    """

    def __init__(self, device: Any, *, fonts: FontSet, language: str) -> None:
        """device: from luma.oled or luma.core; `close` switches it off.

        Raises:
            ConfigError: another size, or no such language.
        """
        if (device.width, device.height) != (WIDTH_PX, HEIGHT_PX):
            raise ConfigError(
                f"the display has {device.width} x {device.height} pixels;"
                f" connect one of {WIDTH_PX} x {HEIGHT_PX}"
            )
        phrases(language)
        self._device = device
        self._fonts = fonts
        self._language = language
        self._failed = False

    def show(self, view: HudView) -> None:
        """Draw the view."""
        image = draw_view(view, self._fonts, self._language).convert(self._device.mode)
        try:
            self._device.display(image)
        except (OSError, LumaError) as error:
            if not self._failed:
                _log.warning("display does not answer (%s); check its cable", error)
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        """Clear the display and switch it off, so that no name stays on it."""
        try:
            self._device.cleanup()
        except (OSError, LumaError) as error:
            _log.warning("display cannot be switched off (%s); check its cable", error)


class DemoPngDisplay:
    """Saves each changed view as hud-0001.png and so on, four times as large.

    It writes names into files in the clear, so it exists for replays only.
    """

    def __init__(self, folder: Path, *, origin: FrameOrigin, fonts: FontSet, language: str) -> None:
        """folder: made if it is missing; pictures of the same number are overwritten.

        Raises:
            ConfigError: the frames are live, or there is no such language.
            StorageError: the folder cannot be made.
        """
        if origin is not FrameOrigin.REPLAY:
            raise ConfigError(
                "the PNG display writes names to disk and works with replays only;"
                " choose another display for a camera"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(_cannot_write(folder, error)) from error
        self._folder = folder
        self._device = dummy(width=WIDTH_PX, height=HEIGHT_PX, mode="1")
        self._oled = OledDisplay(self._device, fonts=fonts, language=language)
        self._last = b""
        self._count = 0

    def show(self, view: HudView) -> None:
        """Save the view unless it looks like the one before.

        Raises:
            StorageError: the picture cannot be written.
        """
        self._oled.show(view)
        image = self._device.image
        pixels = image.tobytes()
        if pixels == self._last:
            return
        self._last = pixels
        self._count += 1
        path = self._folder / f"hud-{self._count:04d}.png"
        size = (WIDTH_PX * _PNG_SCALE, HEIGHT_PX * _PNG_SCALE)
        try:
            image.resize(size, Image.Resampling.NEAREST).save(path)
        except OSError as error:
            raise StorageError(_cannot_write(path, error)) from error

    def close(self) -> None:
        """Switch the imitated device off."""
        self._oled.close()


class TerminalDisplay:
    """One line that is written over on a terminal; a line per change elsewhere."""

    def __init__(self, stream: TextIO, *, origin: FrameOrigin, language: str) -> None:
        """stream: usually `sys.stderr`; it stays open.

        Raises:
            ConfigError: the stream is no terminal and the frames are live: the names would
                stay in a file or in the journal; or there is no such language.
        """
        if origin is FrameOrigin.LIVE and not stream.isatty():
            raise ConfigError(
                "the terminal display would write names to a file; run it in a terminal,"
                " or choose another display"
            )
        self._stream = stream
        self._language = language
        self._words = phrases(language)
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._last: HudView | None = None
        self._failed = False

    def show(self, view: HudView) -> None:
        """Show the view if it has changed."""
        if view == self._last:
            return
        self._last = view
        try:
            if self._console.is_terminal:
                self._overwrite(self._styled(view))
            else:
                self._stream.write(self._encodable(self._plain(view)) + "\n")
                self._stream.flush()
        except (OSError, ValueError) as error:
            if not self._failed:
                _log.warning("terminal cannot be written (%s); run again in another", error)
            self._failed = True

    def close(self) -> None:
        """Wipe the line from a terminal, so that no name stays on it."""
        if self._console.is_terminal and not self._failed:
            self._overwrite(Text())

    def _overwrite(self, text: Text) -> None:
        self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        text.truncate(self._console.width - 1, overflow="ellipsis")
        self._console.print(text, end="", soft_wrap=True)
        self._stream.flush()

    def _styled(self, view: HudView) -> Text:
        text = Text()
        for line in view.lines:
            style = "bold yellow" if line.unsure else "bold green"
            text.append(self._encodable(spoken_text([line], self._language)) + "  ", style=style)
        if not view.lines:
            text.append(self._words.nobody + "  ", style="dim")
        text.append(self._encodable(view.status), style="bold red")
        return text

    def _plain(self, view: HudView) -> str:
        people = spoken_text(view.lines, self._language) or self._words.nobody
        return f"{people} ({view.status})" if view.status else people

    def _encodable(self, text: str) -> str:
        """Put "?" for letters that a terminal in another encoding cannot take."""
        encoding = self._console.encoding
        return text.encode(encoding, errors="replace").decode(encoding)


class NullDisplay:
    """Shows nothing."""

    def show(self, view: HudView) -> None:
        """Ignore the view."""

    def close(self) -> None:
        """Do nothing."""


def _draw_status(draw: ImageDraw.ImageDraw, view: HudView, fonts: FontSet) -> None:
    top = HEIGHT_PX - _STATUS_PX
    draw.rectangle((0, top, WIDTH_PX - 1, HEIGHT_PX - 1), fill=1)
    text, font = _fit(view.status, fonts, _STATUS_SIZES_PX, WIDTH_PX - _GAP_PX)
    draw.text((WIDTH_PX / 2, (top + HEIGHT_PX) / 2), text, fill=0, font=font, anchor="mm")


def _draw_person(
    draw: ImageDraw.ImageDraw, line: HudLine, fonts: FontSet, words: Phrases, rows: tuple[int, int]
) -> None:
    top, bottom = rows
    height = bottom - top
    _draw_arrow(draw, line.direction, (top + bottom) / 2)
    name, relation = line.name, line.relation
    if relation and not fonts.covers(name):  # what can be read goes where it is read first
        name, relation = relation, name
    if height > 40:  # one person: a line for each thing there is to say
        above = words.probably_mark if line.unsure else ""
    else:
        above = ""
        name = f"{name}?" if line.unsure else name
        relation = relation if height > 25 else ""
    middle = {  # where the name's middle is, as a share of the height
        (False, False): 0.5,
        (False, True): 0.35,
        (True, False): 0.62,
        (True, True): 0.5,
    }[bool(above), bool(relation)]
    share = 0.95 - (0.37 if relation else 0) - (0.13 if above else 0)
    name_sizes = tuple(size for size in _NAME_SIZES_PX if size <= height * share)
    detail_sizes = _DETAIL_SIZES_PX if height > 40 else _DETAIL_SIZES_PX[1:]
    for text, sizes, y in (
        (above, _DETAIL_SIZES_PX[1:], 0.13),
        (name, name_sizes, middle),
        (relation, detail_sizes, 0.8 if not above else 0.86),
    ):
        if text:
            fitted, font = _fit(text, fonts, sizes, WIDTH_PX - _ARROW_PX - _GAP_PX)
            _draw_text(draw, line.direction, top + height * y, fitted, font)


def _draw_text(
    draw: ImageDraw.ImageDraw,
    direction: Direction,
    middle: float,
    text: str,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Write beside the arrow's column: people on the left to the left, and so on."""
    if direction is Direction.LEFT:
        draw.text((_ARROW_PX + _GAP_PX, middle), text, fill=1, font=font, anchor="lm")
    elif direction is Direction.RIGHT:
        draw.text((WIDTH_PX - _ARROW_PX - _GAP_PX, middle), text, fill=1, font=font, anchor="rm")
    else:
        centre = (WIDTH_PX + _ARROW_PX + _GAP_PX) / 2
        draw.text((centre, middle), text, fill=1, font=font, anchor="mm")


def _draw_arrow(draw: ImageDraw.ImageDraw, direction: Direction, middle: float) -> None:
    half = _ARROW_PX // 2
    y = round(middle)
    right = WIDTH_PX - 1
    corners = {
        Direction.LEFT: [(0, y), (2 * half, y - half), (2 * half, y + half)],
        Direction.RIGHT: [(right, y), (right - 2 * half, y - half), (right - 2 * half, y + half)],
        Direction.AHEAD: [(half, y - half), (0, y + half), (2 * half, y + half)],
    }[direction]
    draw.polygon(corners, fill=1)


def _fit(
    text: str, fonts: FontSet, sizes_px: tuple[int, ...], width_px: int
) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text in the largest size that fits; cut with an ellipsis at the smallest."""
    text = fonts.legible(text)
    for size in sizes_px:
        font = fonts.at(size)
        if font.getlength(text, mode="1") <= width_px:
            return text, font
    font = fonts.at(sizes_px[-1])
    while text and font.getlength(text + "…", mode="1") > width_px:
        text = text[:-1]
    return text.rstrip() + "…", font


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}; free some space or choose a folder"
