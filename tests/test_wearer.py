"""What the wearer sees and hears, as configured."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.displays.terminal import TerminalDisplay
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import Config, make_config
from edge_app.core.present import phrases
from edge_app.core.steady import Shown
from edge_app.errors import ConfigError
from edge_app.records import ClockState, Direction, FrameOrigin, HudLine, Utterance
from edge_app.wearer import Announcer, make_display, make_speaker
from tests.support import ROOT

WORDS = phrases("en")


@dataclass
class Ear:
    said: list[Utterance] = field(default_factory=list)
    silent: bool = False

    def say(self, speech: str | Sequence[Utterance]) -> None:
        self.said += [Utterance(speech)] if isinstance(speech, str) else speech

    def close(self) -> None: ...

    def texts(self) -> list[str]:
        texts = [part.text for part in self.said]
        self.said.clear()
        return texts


@dataclass
class SetClock:
    """A clock that is set by hand."""

    time: datetime = datetime(2026, 7, 1, 12, tzinfo=UTC)
    monotonic: float = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.monotonic

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def sleep(self, seconds: float) -> None:
        self.monotonic += seconds
        self.time += timedelta(seconds=seconds)


def person(
    name: str = "Anna", relation: str = "", x: float = 0.1, *, unsure: bool = False
) -> Shown:
    return Shown(name, HudLine(name, relation, Direction.LEFT, unsure), x, 0.8, 0.0, True)


def config(**voice: object) -> Config:
    return make_config({"hud": {"speech": True, "voice": voice}})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A device that stands in Berlin: 14:00 when it is 12:00 UTC, in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- names --------------------------------------------------------------------------------


def test_a_name_comes_from_where_the_person_is(ear: Ear, clock: SetClock) -> None:
    announcer = Announcer(config(stereo_width=0.8), ear, clock)
    announcer.name([person(x=0.0), person("Bo", x=0.5, unsure=True), person("Cy", x=1.2)])
    assert [part.pan for part in ear.said] == [-0.8, 0.0, 0.8]
    assert [part.chime for part in ear.said] == [False, True, False]
    assert ear.said[1].text == "Probably Bo, on your left."


def test_for_one_ear_all_is_in_the_middle(ear: Ear, clock: SetClock) -> None:
    Announcer(config(stereo_width=0), ear, clock).name([person(x=0.0)])
    assert ear.said[0].pan == 0


def test_nobody_is_named_again_too_soon(ear: Ear, clock: SetClock) -> None:
    announcer = Announcer(config(again_s=100), ear, clock)
    announcer.name([person()])
    clock.sleep(99)
    announcer.name([person(), person("Bo")])
    assert ear.texts() == ["Anna, on your left.", "Bo, on your left."]
    clock.sleep(1)
    announcer.name([person(), person("Bo")])
    assert ear.texts() == ["Anna, on your left."]


def test_nobody_to_name_says_nothing(ear: Ear, clock: SetClock) -> None:
    Announcer(config(), ear, clock).name([])
    assert ear.said == []


@pytest.mark.parametrize(
    ("name", "relation", "said"),
    [
        ("Zoë Müller", "friend", "Zoë Müller, friend, on your left."),
        ("李小龙", "teacher", "teacher, on your left."),
        ("李小龙", "老师", "someone you know, on your left."),
        ("Жанна", "", "someone you know, on your left."),
        ("\U0001f33b", "", "someone you know, on your left."),
        ("Anna", "老师", "Anna, on your left."),
    ],
)
def test_a_voice_for_latin_letters_does_not_spell_others(
    ear: Ear, clock: SetClock, name: str, relation: str, said: str
) -> None:
    Announcer(config(), ear, clock).name([person(name, relation)])
    assert ear.texts() == [said]


def test_a_voice_of_ones_own_reads_what_it_is_given(ear: Ear, clock: SetClock) -> None:
    Announcer(config(voice="cmn"), ear, clock).name([person("李小龙")])
    assert ear.texts() == ["李小龙, on your left."]


# --- quiet hours --------------------------------------------------------------------------


def test_quiet_hours_are_the_devices_own(ear: Ear, clock: SetClock, berlin: None) -> None:
    announcer = Announcer(config(quiet="14:00-15:00"), ear, clock)
    announcer.name([person()])
    announcer.fault(WORDS.camera_lost)
    assert ear.said == []
    clock.sleep(3600)
    announcer.name([person()])
    assert ear.texts() == ["Anna, on your left."]


def test_quiet_hours_of_a_named_place(ear: Ear, clock: SetClock) -> None:
    announcer = Announcer(config(quiet="21:00-22:00", time_zone="Asia/Tokyo"), ear, clock)
    announcer.name([person()])
    assert ear.said == []


def test_a_fault_that_lasts_is_told_once_quiet_hours_end(ear: Ear, clock: SetClock) -> None:
    announcer = Announcer(config(quiet="11:00-12:30", time_zone="UTC"), ear, clock)
    announcer.fault(WORDS.camera_lost)
    clock.sleep(1800)
    announcer.fault(WORDS.camera_lost)
    announcer.fault(WORDS.camera_lost)
    assert ear.texts() == [WORDS.said_camera_lost]


@pytest.mark.parametrize("zone", ["Nowhere/Atlantis", "../etc/passwd", "/etc/passwd", "Europe"])
def test_a_time_zone_that_is_none(zone: str, ear: Ear, clock: SetClock) -> None:
    with pytest.raises(ConfigError, match="time_zone"):
        Announcer(config(time_zone=zone), ear, clock)


def test_hours_that_are_none(ear: Ear, clock: SetClock) -> None:
    with pytest.raises(ConfigError, match="22:00-07:00"):
        Announcer(config(quiet="at night"), ear, clock)


# --- faults -------------------------------------------------------------------------------


def test_a_fault_is_said_when_it_begins_and_a_camera_when_it_is_back(
    ear: Ear, clock: SetClock
) -> None:
    announcer = Announcer(config(), ear, clock)
    for status in ("", WORDS.camera_lost, WORDS.camera_lost, "", "", WORDS.gallery_too_old, ""):
        announcer.fault(status)
        clock.sleep(11)
    assert ear.texts() == [
        WORDS.said_camera_lost,
        WORDS.said_camera_back,
        WORDS.said_gallery_too_old,
    ]


def test_a_camera_that_comes_and_goes_does_not_chatter(ear: Ear, clock: SetClock) -> None:
    announcer = Announcer(config(), ear, clock)
    for _ in range(50):
        announcer.fault(WORDS.camera_lost)
        announcer.fault("")
        clock.sleep(0.1)
    assert ear.texts() == [WORDS.said_camera_lost]


# --- what is built ------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["-h", "--dump-hw-params", "-"])
def test_an_option_is_no_sound_device(device: str) -> None:
    with pytest.raises(ConfigError, match=r"hud\.voice\.device"):
        config(device=device)


def test_what_the_documentation_configures_can_be_configured() -> None:
    page = (ROOT / "docs/wearer.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        stated = tomllib.loads(block)["hud"]
        Announcer(make_config({"hud": stated}), Ear(), SetClock())


def test_no_speech_is_no_speaker() -> None:
    assert isinstance(make_speaker(make_config({})), NullSpeaker)


def test_the_automatic_display_needs_a_terminal(home: Home) -> None:
    assert isinstance(
        make_display(make_config({}), home, FrameOrigin.LIVE, terminal_is_free=False), NullDisplay
    )


@pytest.mark.parametrize(
    ("hud", "kind"),
    [({"display": "none"}, NullDisplay), ({"display": "terminal"}, TerminalDisplay)],
)
def test_the_chosen_display_is_built(home: Home, hud: dict[str, object], kind: type) -> None:
    shown = make_display(make_config({"hud": hud}), home, FrameOrigin.REPLAY, terminal_is_free=True)
    assert isinstance(shown, kind)


@pytest.mark.parametrize(
    ("hud", "message"),
    [
        ({"display": "oled", "oled": {"i2c_bus": 63}}, "/dev/i2c-63"),
        ({"display": "framebuffer", "framebuffer": "/dev/fb99"}, "/dev/fb99"),
        ({"display": "oled", "fonts": ["/nowhere.ttf"]}, "nowhere.ttf"),
        ({"display": "frame"}, "hud.frame.address"),
    ],
)
def test_hardware_and_files_that_are_not_there(
    home: Home, hud: dict[str, object], message: str
) -> None:
    chosen = make_config({"hud": hud})
    with pytest.raises(ConfigError, match=message):
        make_display(chosen, home, FrameOrigin.LIVE, terminal_is_free=True)
