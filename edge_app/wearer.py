"""What the wearer sees and hears, built from the configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.displays.beside import BesideDisplay
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.framebuffer import FramebufferDisplay
from edge_app.adapters.displays.oled import OledDisplay, OledWiring, open_oled
from edge_app.adapters.displays.terminal import TerminalDisplay
from edge_app.config import Config
from edge_app.ports import Display
from edge_app.records import FrameOrigin

_USUAL_FONT: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


def make_display(config: Config, origin: FrameOrigin, *, terminal_is_free: bool) -> Display:
    """The configured display. "auto" is the terminal, if there is one and it is free.

    Raises ConfigError, saying what to do, if it is not there.
    """
    wanted = config.hud.display
    if wanted == "auto":
        wanted = "terminal" if terminal_is_free and sys.stderr.isatty() else "none"
    return _DISPLAYS[wanted](config, origin)


def make_fonts(config: Config) -> FontSet:
    """The configured typefaces; DejaVu Sans if none is, where it is installed. Raises
    ConfigError."""
    usual = [_USUAL_FONT] if _USUAL_FONT.exists() else []
    return FontSet(*(map(Path, config.hud.fonts) if config.hud.fonts else usual))


def _terminal(config: Config, origin: FrameOrigin) -> Display:
    return TerminalDisplay(sys.stderr, origin=origin, language=config.hud.language)


def _oled(config: Config, _origin: FrameOrigin) -> Display:
    fonts = make_fonts(config)
    device = open_oled(OledWiring(**config.hud.oled.model_dump()))
    return BesideDisplay(OledDisplay(device, fonts=fonts, language=config.hud.language))


def _framebuffer(config: Config, _origin: FrameOrigin) -> Display:
    path, language = Path(config.hud.framebuffer), config.hud.language
    return BesideDisplay(FramebufferDisplay(path, fonts=make_fonts(config), language=language))


_DISPLAYS: Mapping[str, Callable[[Config, FrameOrigin], Display]] = {
    "terminal": _terminal,
    "oled": _oled,
    "framebuffer": _framebuffer,
    "none": lambda _config, _origin: NullDisplay(),
}
