"""The running device: its threads, its signals, and what others change under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.service_manager import ServiceManager
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import Config, make_config
from edge_app.core.gallery import Gallery
from edge_app.core.health import Condition
from edge_app.device import Device, Outputs, stop_on_signals
from edge_app.errors import CameraError, IndicatorError
from edge_app.pipeline import FrameResult
from edge_app.ports import FrameSource
from edge_app.records import Frame, FrameOrigin, HudView, Utterance
from tests.brokers import PASSWORD, Mosquitto
from tests.enrolling import enrol_portraits
from tests.scenes import Cast, scene_camera
from tests.support import ROOT, catches

BLACK = np.zeros((360, 640, 3), np.uint8)


@dataclass
class Camera:
    """A source that does as the test says: `frames` black pictures, then `fault` or the end."""

    frames: int
    fault: Exception | None = None
    at_open: Exception | None = None
    origin: FrameOrigin = FrameOrigin.LIVE
    description: str = "camera"
    undecodable: int = 0
    closed: int = 0
    _read: int = 0

    def open(self) -> None:
        if self.at_open is not None:
            raise self.at_open

    def read(self) -> Frame | None:
        if self._read >= self.frames:
            if self.fault is not None:
                raise self.fault
            return None
        self._read += 1
        return Frame(BLACK, self._read / 30, self._read, self.origin)

    def close(self) -> None:
        self.closed += 1


@dataclass
class Screen:
    views: list[HudView] = field(default_factory=list)
    closed: bool = False

    def show(self, view: HudView) -> None:
        self.views.append(view)

    def close(self) -> None:
        self.closed = True


@dataclass
class Ear:
    said: list[str] = field(default_factory=list)
    silent: bool = False

    def say(self, speech: str | Sequence[Utterance]) -> None:
        self.said += [speech] if isinstance(speech, str) else [part.text for part in speech]

    def close(self) -> None:
        pass


Make = Callable[..., Device]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


@pytest.fixture
def make(home: Home) -> Make:
    def device(
        source: FrameSource,
        *,
        config: Config | None = None,
        outputs: Outputs | None = None,
        stop: threading.Event | None = None,
        manager: ServiceManager | None = None,
    ) -> Device:
        return Device(
            config or Config(),
            home,
            source=source,
            lossless=True,
            outputs=outputs or Outputs(NullDisplay(), NullSpeaker(), (), ""),
            clock=SystemClock(),
            stop=stop or threading.Event(),
            manager=manager,
        )

    return device


class Told(ServiceManager):
    """A service manager that remembers."""

    def __init__(self) -> None:
        super().__init__(None)
        self.heard: list[str] = []

    def ready(self) -> None:
        self.heard.append("ready")

    def alive(self, status: str) -> None:
        self.heard.append(status)

    def stopping(self) -> None:
        self.heard.append("stopping")


def test_the_service_manager_hears_of_every_frame_that_was_worked_through(make: Make) -> None:
    told = Told()
    make(Camera(3), manager=told).run()
    assert told.heard == ["ready", *["running"] * 3, "stopping"]


def test_a_hung_camera_feeds_no_watchdog(make: Make) -> None:
    class Hung(Camera):
        def read(self) -> Frame | None:
            if self._read == 2:
                reached.set()
                stop.wait()
            return super().read()

    told, reached, stop = Told(), threading.Event(), threading.Event()
    device = make(Hung(5), manager=told, stop=stop)
    running = threading.Thread(target=device.run)
    running.start()
    reached.wait()
    until(lambda: told.heard.count("running") == 2, "both frames are worked through")
    threading.Event().wait(0.6)  # three rounds of the loop
    assert told.heard == ["ready", "running", "running"]
    stop.set()
    running.join()


def test_a_source_without_a_frame(make: Make) -> None:
    summary = make(Camera(0)).run()
    assert (summary.frames, summary.alerts, summary.p50_ms) == (0, 0, 0.0)


@pytest.mark.parametrize("fault", [IndicatorError("dark"), CameraError("gone")])
@pytest.mark.parametrize("frames", [0, 1, 5])
def test_an_error_of_the_camera_thread_ends_the_run_as_an_error(
    make: Make, fault: Exception, frames: int
) -> None:
    """P7: a light that fails must not end as a normal run, at whatever moment it fails."""
    camera = Camera(frames, fault)
    with pytest.raises(type(fault)):
        make(camera).run()
    assert camera.closed == 1


def test_a_camera_that_cannot_open_leaves_no_publisher_behind(make: Make, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        url = f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"
        outputs = Outputs(Screen(), NullSpeaker(), (), url)
        with pytest.raises(CameraError, match="no such"):
            make(Camera(0, at_open=CameraError("no such camera")), outputs=outputs).run()
    assert "mqtt-publisher" not in {thread.name for thread in threading.enumerate()}


def test_a_broker_that_was_reached_is_told_from_one_that_was_not(
    make: Make, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        quick = make_config({"mqtt": {"drain_s": 1.0}})
        good = f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"
        wrong = f"mqtt://user:wrong@127.0.0.1:{broker.port}"
        seen = []
        for url in (good, wrong):
            outputs = Outputs(NullDisplay(), NullSpeaker(), (), url)
            source = scene_camera(1.0)
            seen.append(make(source, config=quick, outputs=outputs).run().broker)
    assert seen[0] == "connected"
    assert "refuse" in seen[1]


def test_the_wearer_hears_and_sees_a_name_once(
    make: Make, home: Home, media: Path, cast: Cast
) -> None:
    enrol_portraits(Config(), home, media)
    screen, ear = Screen(), Ear()
    scene = scene_camera(2.0, cast.stand("enrolled-3.jpg", 400, 500, 130, 2.0))
    make(scene, outputs=Outputs(screen, ear, (), "")).run()
    assert ear.said == ["Zebedee Quux, friend, on your left."]
    assert [len(view.lines) for view in screen.views] == [1]
    assert screen.closed


def test_who_leaves_while_the_device_runs_is_masked_at_once(
    make: Make, home: Home, media: Path, cast: Cast
) -> None:
    """P3: the code is presented to the store while the person stands before the camera."""
    code = enrol_portraits(Config(), home, media).receipt.code
    screen = Screen()
    stop = threading.Event()
    scene = scene_camera(600.0, cast.stand("enrolled-3.jpg", 960, 500, 130, 600.0))
    device = make(scene, outputs=Outputs(screen, NullSpeaker(), (), ""), stop=stop)
    runner = threading.Thread(target=device.run)
    runner.start()
    try:
        until(lambda: bool(screen.views and screen.views[-1].lines), "the name is shown")
        assert home.store().revoke(code)
        until(lambda: not screen.views[-1].lines, "the name is gone")
    finally:
        stop.set()
        runner.join()


def test_who_may_not_be_used_any_more_is_not_held_on_the_display(
    make: Make, home: Home, media: Path, cast: Cast
) -> None:
    """P2, P3: the short hold of a line that was lost is for those who may be shown."""
    enrol_portraits(Config(), home, media)
    screen = Screen()
    scene = scene_camera(1.5, cast.stand("enrolled-3.jpg", 960, 500, 130, 1.5))
    device = make(scene, outputs=Outputs(screen, NullSpeaker(), (), ""))
    device.run()
    presenter, current = device._presenter, device._gallery.current
    (shown,) = held = presenter._people
    frame = Frame(BLACK, shown.seen_s + 0.1, 1000, FrameOrigin.REPLAY)
    gone, now = FrameResult((), (), unsure=False), SystemClock().now()

    def show(gallery: Gallery) -> bool:
        presenter._people = held
        presenter.show_frame(gone, frame, gallery, condition=Condition.RUNNING, now=now, lease=None)
        return bool(presenter._people)

    assert show(current)
    assert not show(current.without([shown.person_id]))
    assert not show(device._gallery._nobody)


def test_a_lost_camera_takes_the_name_away(make: Make) -> None:
    stop = threading.Event()
    screen = Screen()
    camera = ReopeningCamera(
        inner=Camera(3, CameraError("unplugged")),
        backoff=Backoff(first_s=5.0, factor=1.0, longest_s=5.0, jitter=0.0),
        clock=SystemClock(),
        stop_event=stop,
    )
    device = make(camera, outputs=Outputs(screen, NullSpeaker(), (), ""), stop=stop)
    runner = threading.Thread(target=device.run)
    runner.start()
    try:
        until(lambda: HudView((), "camera lost", fault=True) in screen.views, "the loss is shown")
    finally:
        stop.set()
        runner.join()


def test_a_question_that_waited_too_long_is_not_asked(make: Make, home: Home) -> None:
    """P11: "who is this?" lifts the gate for seconds, not whenever the camera comes back."""
    device = make(Camera(3))
    device.ask()
    device._presenter._asked_s = (
        time.monotonic() - 60
    )  # asked a minute ago, while there was no picture
    device.run()
    assert device._state.asked_until_s == float("-inf")
    device = make(Camera(3))
    device.ask()
    device.run()
    assert device._state.asked_until_s > 0


def test_signals_end_and_ask() -> None:
    stop, asked = threading.Event(), threading.Event()
    with stop_on_signals(stop, asked.set):
        os.kill(os.getpid(), signal.SIGUSR1)
        until(asked.is_set, "asked")
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        until(stop.is_set, "stopped")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_ends_a_run_in_order(media: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_app", "--home", str(tmp_path / "home"), "run", "--demo",
         "--pace", "realtime", "--source", str(media)],
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    until(lambda: catches(running.pid, signal.SIGUSR1), "it runs")
    running.send_signal(signal.SIGUSR1)
    running.terminate()
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 0, errors
    assert "frames in" in errors


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)
