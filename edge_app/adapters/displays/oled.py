"""The small display: 128 x 64 pixels, white on black."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final, Literal

from luma.core.error import (  # type: ignore[import-untyped]
    DevicePermissionError,
    UnsupportedPlatform,
)
from luma.core.error import Error as LumaError
from PIL import Image, ImageDraw, ImageFont

from edge_app.adapters.displays.fonts import FontSet
from edge_app.core.present import Phrases, phrases
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

_log = logging.getLogger(__name__)

WIDTH_PX: Final = 128
HEIGHT_PX: Final = 64

_MAX_ROWS: Final = 3
_STATUS_PX: Final = 13
_ARROW_PX: Final = 13
_GAP_PX: Final = 4
_NAME_SIZES_PX: Final = (30, 26, 22, 19, 16, 14, 13, 12, 11)
_DETAIL_SIZES_PX: Final = (14, 12, 11)
_STATUS_SIZES_PX: Final = (12, 11)
_ALONE_SIZES_PX: Final = (22, 19, 16, 14, 13, 12, 11)


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
    if view.status and not view.lines:
        _draw_alone(draw, view, fonts)
    elif view.status:
        bottom -= _STATUS_PX
        _draw_status(draw, view, fonts)
    lines = view.lines[:_MAX_ROWS]
    height = bottom // max(len(lines), 1)
    for row, line in enumerate(lines):
        _draw_person(draw, line, fonts, words, (row * height, (row + 1) * height))
    return image


@dataclass(frozen=True, slots=True)
class OledWiring:
    """How a display is connected.

    i2c_bus, i2c_address: /dev/i2c-N, and the address on it (0x3c or 0x3d).
    spi_bus, spi_device:  /dev/spidevN.M.
    spi_data_pin, spi_reset_pin: the pins of D/C and RES, by their GPIO number.
    upside_down: it is mounted the wrong way up.
    """

    controller: Literal["ssd1306", "ssd1309"]
    bus: Literal["i2c", "spi"]
    i2c_bus: int
    i2c_address: int
    spi_bus: int
    spi_device: int
    spi_data_pin: int
    spi_reset_pin: int
    upside_down: bool


def open_oled(wiring: OledWiring) -> Any:
    """Return the luma device of a display that answers, switched on and black.

    Raises:
        ConfigError: the library is not installed, there is no such bus, or nothing answers.
    """
    extra = "oled" if wiring.bus == "i2c" else "oled-spi"
    place = (
        f"/dev/i2c-{wiring.i2c_bus}, address 0x{wiring.i2c_address:02x}"
        if wiring.bus == "i2c"
        else f"/dev/spidev{wiring.spi_bus}.{wiring.spi_device}"
    )
    try:
        from luma.oled import device  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

        controller = {"ssd1306": device.ssd1306, "ssd1309": device.ssd1309}[wiring.controller]
        return controller(_bus(wiring), rotate=2 if wiring.upside_down else 0)
    except (ImportError, UnsupportedPlatform) as error:
        raise ConfigError(
            f"the display needs a library ({error}); run `pip install 'familiar-edge[{extra}]'`"
        ) from error
    except DevicePermissionError as error:
        raise ConfigError(
            f"{place} may not be used by this user; add it to the group {wiring.bus}"
        ) from error
    except (OSError, LumaError) as error:
        raise ConfigError(
            f"no display answers at {place} ({error}); enable {wiring.bus.upper()}, check the "
            "wires and [hud.oled], or choose another hud.display"
        ) from error


def _bus(wiring: OledWiring) -> Any:
    from luma.core.interface import serial  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

    if wiring.bus == "i2c":
        return serial.i2c(port=wiring.i2c_bus, address=wiring.i2c_address)
    return serial.spi(
        port=wiring.spi_bus,
        device=wiring.spi_device,
        gpio_DC=wiring.spi_data_pin,
        gpio_RST=wiring.spi_reset_pin,
    )


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


def _draw_status(draw: ImageDraw.ImageDraw, view: HudView, fonts: FontSet) -> None:
    """Black on a white bar for a fault; white on black for what is only worth knowing."""
    top = HEIGHT_PX - _STATUS_PX
    if view.fault:
        draw.rectangle((0, top, WIDTH_PX - 1, HEIGHT_PX - 1), fill=1)
    text, font = fonts.fit(view.status, _STATUS_SIZES_PX, WIDTH_PX - _GAP_PX, mode="1")
    middle = (WIDTH_PX / 2, (top + HEIGHT_PX) / 2)
    draw.text(middle, text, fill=int(not view.fault), font=font, anchor="mm")


def _draw_alone(draw: ImageDraw.ImageDraw, view: HudView, fonts: FontSet) -> None:
    """The status, large, in the middle."""
    lines, font = fonts.fit_two(view.status, _ALONE_SIZES_PX, WIDTH_PX - _GAP_PX, mode="1")
    step = font.size + _GAP_PX
    top = (HEIGHT_PX - len(lines) * step) / 2
    if view.fault:
        box = (0, top - _GAP_PX, WIDTH_PX - 1, HEIGHT_PX - top + _GAP_PX)
        draw.rectangle(box, fill=1)
    for row, line in enumerate(lines):
        middle = (WIDTH_PX / 2, top + (row + 0.5) * step)
        draw.text(middle, line, fill=int(not view.fault), font=font, anchor="mm")


def _draw_person(
    draw: ImageDraw.ImageDraw, line: HudLine, fonts: FontSet, words: Phrases, rows: tuple[int, int]
) -> None:
    top, bottom = rows
    height = bottom - top
    _draw_arrow(draw, line.direction, (top + bottom) / 2)
    name, relation = fonts.who(line, words)
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
            width_px = WIDTH_PX - _ARROW_PX - _GAP_PX
            fitted, font = fonts.fit(text, sizes, width_px, mode="1")
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
