"""The wearer asks a whole device who is there: one answer each, and nothing of strangers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

import edge_app.app
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.cameras.scene import Actor, SceneCamera
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home, listening_button
from edge_app.config import Config, make_config
from edge_app.device import Device, Outputs
from edge_app.errors import CameraError, PinError
from edge_app.ports import FrameSource
from edge_app.records import Float32Array, Frame, HudView, Touch
from tests.enrolling import enrol_portraits
from tests.people import MODEL_SHA256, enrolment, gallery_of
from tests.scenes import FPS, Cast, scene_camera
from tests.test_device import Camera, Ear, Screen, until

ENROLLED, STRANGER = "enrolled-3.jpg", "stranger-1.jpg"
LONG_S = 600.0
BUTTON = "GPIO27"


@dataclass
class Motor:
    played: list[Touch] = field(default_factory=list)

    def play(self, touch: Touch) -> None:
        self.played.append(touch)

    def close(self) -> None:
        pass


class SceneClock(SystemClock):
    """Goes on with a scene's frames, however long the work on them takes."""

    def __init__(self, scene: SceneCamera) -> None:
        self._frames = 0
        self._read = scene.read
        scene.read = self._count  # type: ignore[method-assign]

    def _count(self) -> Frame | None:
        self._frames += 1
        return self._read()

    def monotonic_s(self) -> float:
        return self._frames / FPS


class Wearer:
    """Who sees, hears and feels what a device tells, and asks it."""

    def __init__(
        self, home: Home, source: FrameSource, *, language: str = "en", notice_s: float = 30.0
    ) -> None:
        self.screen, self.ear, self.motor = Screen(), Ear(), Motor()
        self.stop = threading.Event()
        self.device = Device(
            make_config({"hud": {"language": language, "notice_s": notice_s}}), home,
            source=source, lossless=True,
            outputs=Outputs(self.screen, self.ear, (), "", self.motor),
            clock=SceneClock(source) if isinstance(source, SceneCamera) else SystemClock(),
            stop=self.stop,
        )  # fmt: skip

    @contextmanager
    def wearing(self) -> Iterator[None]:
        runner = threading.Thread(target=self.device.run)
        runner.start()
        try:
            yield
        finally:
            self.stop.set()
            runner.join(30)
            assert not runner.is_alive()

    def asks(self) -> list[str]:
        """What is said from the question until a while after its answer."""
        before = len(self.ear.said)
        self.device.ask()
        until(lambda: len(self.ear.said) > before, "the answer")
        threading.Event().wait(0.2)
        return self.ear.said[before:]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


@pytest.fixture
def known(home: Home, media: Path) -> Home:
    """A home where one person is enrolled."""
    enrol_portraits(Config(), home, media)
    return home


def street(*actors: Actor) -> FrameSource:
    return scene_camera(LONG_S, *actors)


def test_who_was_told_of_before_is_told_of_again_when_asked(known: Home, cast: Cast) -> None:
    wearer = Wearer(known, street(cast.stand(ENROLLED, 400, 500, 130, LONG_S)))
    name = "Zebedee Quux, friend, on your left."
    with wearer.wearing():
        until(lambda: wearer.ear.said == [name], "the encounter is told of")
        assert wearer.asks() == [name]
        assert wearer.asks() == [name]
    assert wearer.motor.played == [Touch.RECOGNISED] * 3
    assert len(wearer.device._alert_times_s) == 1


def test_who_is_recognised_while_the_answer_is_due_is_told_of_once(known: Home, cast: Cast) -> None:
    wearer = Wearer(known, street(cast.stand(ENROLLED, 960, 500, 130, LONG_S)))
    wearer.device.ask()
    with wearer.wearing():
        until(lambda: bool(wearer.ear.said), "the answer")
        until(lambda: wearer.device._reporter.frames > 25, "and a while after it")
    assert wearer.ear.said == ["Zebedee Quux, friend, ahead."]
    assert len(wearer.device._alert_times_s) == 1


def test_a_stranger_gets_the_answer_of_an_empty_street(known: Home, cast: Cast) -> None:
    """P1: on the display, in the ear, and on the skin."""
    told = []
    for actors in ([], [cast.stand(STRANGER, 960, 500, 140, LONG_S)]):
        wearer = Wearer(known, street(*actors))
        with wearer.wearing():
            assert wearer.asks() == ["nobody enrolled here"]
        told.append((wearer.screen.views, wearer.ear.said, wearer.motor.played))
        assert (wearer.device._state.faces_embedded > 0) == bool(actors)
    assert told[0] == told[1]
    assert told[0][0] == [HudView((), "nobody enrolled here")]


def test_the_answer_is_in_the_wearers_language(home: Home) -> None:
    wearer = Wearer(home, street(), language="de")
    with wearer.wearing():
        assert wearer.asks() == ["hier niemand erfasst"]


def test_an_answer_without_a_name_leaves_the_display_after_a_while(home: Home) -> None:
    wearer = Wearer(home, street(), notice_s=1.0)
    with wearer.wearing():
        wearer.asks()
        until(lambda: len(wearer.screen.views) == 2, "it is shown, and then not")
    assert wearer.screen.views == [HudView((), "nobody enrolled here"), HudView((), "")]


def test_two_who_are_alike_are_somebody_known(
    home: Home, cast: Cast, enrolled_embeddings: tuple[Float32Array, ...]
) -> None:

    wearer = Wearer(home, street(cast.stand(ENROLLED, 960, 500, 130, LONG_S)))
    calibration = replace(wearer.device._gallery.current.calibration, model_sha256=MODEL_SHA256)
    now = datetime.now(UTC).replace(microsecond=0)
    twins = [
        enrolment(number, enrolled_embeddings, demo=True, event_time=now - timedelta(days=1))
        for number in (1, 2)
    ]
    wearer.device._gallery.current = gallery_of(twins, now=now, calibration=calibration)
    with wearer.wearing():
        assert wearer.asks() == ["Someone you know, not sure who."]
    assert wearer.screen.views == [HudView((), "someone you know")]
    assert wearer.motor.played == [Touch.UNSURE]
    assert wearer.device._alert_times_s == []


def test_who_left_before_the_answer_is_not_in_it(
    known: Home, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: revoked between the look and the answer."""
    wearer = Wearer(known, street(cast.stand(ENROLLED, 960, 500, 130, LONG_S)))
    device = wearer.device
    with wearer.wearing():
        until(lambda: bool(wearer.ear.said), "the encounter is told of")
        looked = device._presenter._question.looked

        def leave_after(people: dict[str, object], *, unsure: bool, dark: bool) -> None:
            looked(people, unsure=unsure, dark=dark)  # type: ignore[arg-type]
            device._gallery.current = device._gallery._nobody

        monkeypatch.setattr(device._presenter._question, "looked", leave_after)
        assert wearer.asks() == ["nobody enrolled here"]


def test_where_it_is_too_dark_that_is_the_answer(home: Home) -> None:
    class Night(Camera):
        def read(self) -> Frame | None:
            threading.Event().wait(0.02)
            return super().read()

    wearer = Wearer(home, Night(1000))
    with wearer.wearing():
        assert wearer.asks() == ["too dark to see"]


def test_a_camera_that_hangs_is_the_answer(home: Home) -> None:
    wearer: Wearer

    class Hung(Camera):
        def read(self) -> Frame | None:
            wearer.stop.wait()
            return None

    wearer = Wearer(home, Hung(0))
    with wearer.wearing():
        assert wearer.asks() == ["The camera is lost. I cannot see anybody."]
    assert wearer.device._state.asked_until_s == float("-inf")


def test_a_lost_camera_is_the_answer_and_the_gate_stays_as_it_was(home: Home) -> None:
    """P11: the question is over when the camera comes back."""
    stop = threading.Event()
    camera = ReopeningCamera(
        inner=Camera(3, CameraError("unplugged")),
        backoff=Backoff(first_s=5.0, factor=1.0, longest_s=5.0, jitter=0.0),
        clock=SystemClock(),
        stop_event=stop,
    )
    wearer = Wearer(home, camera)
    wearer.device._stop = wearer.stop = stop
    with wearer.wearing():
        until(lambda: camera.lost, "it is lost")
        until(lambda: bool(wearer.ear.said), "it is said unasked, once")
        assert wearer.asks() == ["The camera is lost. I cannot see anybody."]
    assert wearer.device._state.asked_until_s == float("-inf")
    assert not wearer.device._presenter._widen_gate


def test_a_clock_that_went_back_is_the_answer_at_once(home: Home) -> None:
    wearer = Wearer(home, street())
    wearer.device._gallery._latest = datetime.now(UTC) + timedelta(days=1)
    with wearer.wearing():
        until(lambda: bool(wearer.ear.said), "it is told unasked")
        assert wearer.asks() == ["The clock is wrong. I recognise nobody until it is right."]


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> MockFactory:
    pins = MockFactory()
    monkeypatch.setattr(edge_app.app, "header", lambda: pins)
    return pins


def heard(wearer: Wearer, count: int) -> bool:
    return len(wearer.ear.said) == count


def test_each_press_of_the_button_is_answered_once(home: Home, pins: MockFactory) -> None:
    wearer = Wearer(home, street())
    config = make_config({"pins": {"button": BUTTON}})
    button = pins.pin(BUTTON)
    with (
        wearer.wearing(),
        listening_button(config, SystemClock(), wearer.device.ask),
    ):
        threading.Event().wait(0.1)
        for count in (1, 2):
            for _ in range(5):  # it bounces, and is then held
                button.drive_low()
                button.drive_high()
            button.drive_low()
            until(partial(heard, wearer, count), "the answer")
            threading.Event().wait(0.2)
            button.drive_high()
            threading.Event().wait(0.1)
    assert wearer.ear.said == ["nobody enrolled here"] * 2


def test_a_button_that_cannot_be_read_asks_nothing_and_is_heard_again(
    pins: MockFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.adapters.gpio._RETRY_S", 0.01)
    config = make_config({"pins": {"button": BUTTON}})
    asked = threading.Event()
    pin = pins.pin(BUTTON)
    read, failed = pin._get_state, threading.Event()

    def fail() -> bool:
        failed.set()
        raise OSError(5, "Input/output error")

    with listening_button(config, SystemClock(), asked.set):
        pin._get_state = fail
        assert failed.wait(20)
        threading.Event().wait(0.1)
        assert not asked.is_set()
        pin._get_state = read
        threading.Event().wait(0.1)
        pin.drive_low()
        assert asked.wait(20)
    assert caplog.text.count("the button is not heard") == 1


def test_a_button_whose_pin_is_taken_is_an_error(pins: MockFactory) -> None:
    config = make_config({"pins": {"button": BUTTON}})
    with (
        listening_button(config, SystemClock(), lambda: None),
        pytest.raises(PinError, match="the contact on GPIO27"),
        listening_button(config, SystemClock(), lambda: None),
    ):
        pytest.fail("entered")


def test_without_a_button_nothing_listens() -> None:
    before = threading.active_count()
    with listening_button(Config(), SystemClock(), lambda: None):
        assert threading.active_count() == before
