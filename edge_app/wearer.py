"""What the wearer sees and hears, built from the configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.displays.beside import BesideDisplay
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.framebuffer import FramebufferDisplay
from edge_app.adapters.displays.oled import OledDisplay, OledWiring, open_oled
from edge_app.adapters.displays.terminal import TerminalDisplay
from edge_app.adapters.keys import page_token
from edge_app.adapters.speech import NullSpeaker, ProgramSpeaker
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.present import phrases, spoken_fault, utterances
from edge_app.core.quiet import quiet_hours
from edge_app.core.steady import Shown
from edge_app.errors import ConfigError
from edge_app.ports import Clock, Display, Speaker
from edge_app.records import FrameOrigin

if TYPE_CHECKING:
    from edge_app.adapters.displays.web import PageAddress

_USUAL_FONT: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
_FAULT_REST_S: Final = 10.0


def make_display(
    config: Config, home: Home, origin: FrameOrigin, *, terminal_is_free: bool
) -> Display:
    """The configured display. "auto" is the terminal, if there is one and it is free.

    Raises ConfigError, saying what to do, if it is not there.
    """
    wanted = config.hud.display
    if wanted == "auto":
        wanted = "terminal" if terminal_is_free and sys.stderr.isatty() else "none"
    return _DISPLAYS[wanted](config, home, origin)


def listen_to_taps(config: Config, display: Display, ask: Callable[[], None]) -> None:
    """A tap on the glasses asks "who is this?", where they are the display."""
    if config.hud.display == "frame":
        from edge_app.adapters.displays.frame import FrameDisplay  # noqa: PLC0415 - as in _frame

        if isinstance(display, FrameDisplay):
            display.listen(ask)


def page_address(config: Config, home: Home) -> PageAddress:
    """Where the wearer's page is served. Raises KeyFileError or StorageError."""
    from edge_app.adapters.displays.web import PageAddress  # noqa: PLC0415 - it brings asyncio

    web = config.hud.web
    return PageAddress(
        host=web.host,
        name=web.name,
        port=web.port,
        token=page_token(home.keys),
        certificate_file=Path(web.certificate_file) if web.certificate_file else None,
        key_file=Path(web.key_file) if web.key_file else None,
    )


def make_fonts(config: Config) -> FontSet:
    """The configured typefaces; DejaVu Sans if none is, where it is installed. Raises
    ConfigError."""
    usual = [_USUAL_FONT] if _USUAL_FONT.exists() else []
    return FontSet(*(map(Path, config.hud.fonts) if config.hud.fonts else usual))


def make_speaker(config: Config) -> ProgramSpeaker | NullSpeaker:
    """The configured speaker, which is heard or says so through `silent`."""
    if not config.hud.speech:
        return NullSpeaker()
    voice = config.hud.voice
    name, rate = voice.voice or config.hud.language, str(voice.rate_wpm)
    espeak = ("espeak-ng", "-v", name, "-s", rate, "--stdin", "--stdout")
    device = ("-D", voice.device) if voice.device else ()
    return ProgramSpeaker(
        synthesiser=voice.synthesiser or espeak,
        player=("aplay", "-q", *device, "-"),
        timeout_s=voice.timeout_s,
        retry_s=voice.retry_s,
    )


class Announcer:
    """Decides what is said unasked: a name once in a while, a fault when it begins, and nothing
    in quiet hours. What is not said is shown all the same."""

    def __init__(self, config: Config, speaker: Speaker, clock: Clock) -> None:
        """Raises ConfigError if the hours or the time zone are none."""
        voice = config.hud.voice
        self._speaker = speaker
        self._clock = clock
        self._language = config.hud.language
        self._words = phrases(config.hud.language)
        self._latin = not (voice.voice or voice.synthesiser)
        self._width = voice.stereo_width
        self._again_s = voice.again_s
        self._quiet = quiet_hours(voice.quiet)
        self._zone = _zone(voice.time_zone)
        self._named_s: dict[str, float] = {}
        self._told = ""
        self._told_s = float("-inf")

    def name(self, people: Sequence[Shown]) -> None:
        """Say who has come, but for those who were named lately."""
        now_s = self._clock.monotonic_s()
        self._named_s = {p: s for p, s in self._named_s.items() if now_s - s < self._again_s}
        due = [person for person in people if person.person_id not in self._named_s]
        if due and not self._is_quiet():
            self._named_s |= dict.fromkeys((person.person_id for person in due), now_s)
            self.answer(due)

    def answer(self, people: Sequence[Shown]) -> None:
        """Say who is there, to a wearer who asked: at any hour, and however lately named."""
        self._speaker.say(
            utterances(people, self._language, stereo_width=self._width, latin=self._latin)
        )

    def fault(self, status: str) -> None:
        """Say that nobody can be recognised any more, or that the camera is back.

        status: the display's words; empty if all is well. Call it as often as you like.
        """
        now_s = self._clock.monotonic_s()
        if status == self._told or now_s - self._told_s < _FAULT_REST_S or self._is_quiet():
            return
        back = self._words.said_camera_back if self._told == self._words.camera_lost else ""
        self._told, self._told_s = status, now_s
        text = spoken_fault(status, self._language) if status else back
        if text:
            self._speaker.say(text)

    def answer_fault(self, status: str) -> None:
        """Say that nobody can be recognised, to a wearer who asked."""
        self._told, self._told_s = status, self._clock.monotonic_s()
        self._speaker.say(spoken_fault(status, self._language))

    def _is_quiet(self) -> bool:
        return self._quiet is not None and self._quiet.hold(
            self._clock.now().astimezone(self._zone)
        )


def _zone(name: str) -> ZoneInfo | None:
    """The named time zone; None is the device's own."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ConfigError(
            f'hud.voice.time_zone: {name!r} is none; write e.g. "Europe/Berlin"'
        ) from error


def _terminal(config: Config, _home: Home, origin: FrameOrigin) -> Display:
    return TerminalDisplay(sys.stderr, origin=origin, language=config.hud.language)


def _oled(config: Config, _home: Home, _origin: FrameOrigin) -> Display:
    fonts = make_fonts(config)
    device = open_oled(OledWiring(**config.hud.oled.model_dump()))
    return BesideDisplay(OledDisplay(device, fonts=fonts, language=config.hud.language))


def _framebuffer(config: Config, _home: Home, _origin: FrameOrigin) -> Display:
    path, language = Path(config.hud.framebuffer), config.hud.language
    return BesideDisplay(FramebufferDisplay(path, fonts=make_fonts(config), language=language))


def _web(config: Config, home: Home, _origin: FrameOrigin) -> Display:
    from edge_app.adapters.displays.web import WebDisplay  # noqa: PLC0415 - it brings asyncio

    return WebDisplay(page_address(config, home), language=config.hud.language)


def _frame(config: Config, _home: Home, _origin: FrameOrigin) -> Display:
    from edge_app.adapters.displays.frame import FrameDisplay  # noqa: PLC0415 - it brings asyncio

    return FrameDisplay(config.hud.frame.address, language=config.hud.language)


_DISPLAYS: Mapping[str, Callable[[Config, Home, FrameOrigin], Display]] = {
    "terminal": _terminal,
    "oled": _oled,
    "framebuffer": _framebuffer,
    "web": _web,
    "frame": _frame,
    "none": lambda _config, _home, _origin: NullDisplay(),
}
