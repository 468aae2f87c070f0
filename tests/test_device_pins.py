"""A whole device with its pins: a network camera, and gpiozero's mock of the header."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory

import edge_app.app
from edge_app.adapters.cameras import parse_source
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home, make_camera
from edge_app.config import make_config
from edge_app.core.health import Condition
from edge_app.device import Device, Outputs
from edge_app.errors import CameraError, IndicatorError, PinError
from edge_app.records import HudView
from tests.adapters.cameras.conftest import HEAD, Server, jpeg, part
from tests.support import ROOT
from tests.test_device import Ear, Screen, Told, until

LIGHT, SHUTTER = "GPIO17", "GPIO22"
COVERED = HudView((), "camera covered", fault=True)


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> MockFactory:
    """A header whose privacy switch is closed: the camera may see."""
    pins = MockFactory()
    monkeypatch.setattr(edge_app.app, "header", lambda: pins)
    return pins


class NetworkCamera(Server):
    """30 grey pictures a second, for as long as somebody looks, and none while it is quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet = threading.Event()


@pytest.fixture
def server() -> Iterator[NetworkCamera]:
    server = NetworkCamera()
    picture = part(jpeg(90, (640, 360)))

    def film(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while not server.stopping.wait(1 / 30):
            if not server.quiet.is_set():
                connection.sendall(picture)

    server.start(film)
    yield server
    server.stop()


class Running:
    """A device that runs in a thread of its own."""

    def __init__(self, home: Home, server: NetworkCamera, **pins: Any) -> None:
        self.screen, self.ear, self.stop = Screen(), Ear(), threading.Event()
        config = make_config({"pins": pins})
        camera = make_camera(
            config, [parse_source(server.url)], still_s=1.0, realtime=True,
            clock=SystemClock(), stop=self.stop, waits_covered=True,
        )  # fmt: skip
        self.device = Device(
            config, home, source=camera, lossless=False,
            outputs=Outputs(self.screen, self.ear, (), ""), clock=SystemClock(), stop=self.stop,
        )  # fmt: skip
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.device.run()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def sees(self) -> bool:
        """Whether frames are worked through now."""
        before = self.device._reporter.frames
        threading.Event().wait(0.3)
        return self.device._reporter.frames > before


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


def close_contact(pins: MockFactory, pin: str) -> None:
    pins.pin(pin).drive_low()


def open_contact(pins: MockFactory, pin: str) -> None:
    pins.pin(pin).drive_high()


def test_the_light_is_on_while_the_device_sees(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    device = Running(home, server, indicator=LIGHT)
    light = pins.pin(LIGHT)
    assert not light.state
    with device.running():
        until(lambda: device.device._reporter.frames > 2, "it sees")
        assert light.state
    assert device.error is None
    assert not light.state


def test_a_light_that_fails_ends_the_run_as_an_error_with_the_camera_closed(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    """P7."""
    device = Running(home, server, indicator=LIGHT)
    with device.running():
        until(lambda: device.device._reporter.frames > 2, "it sees")
        pins.pin(LIGHT)._state = False
        pins.pin(LIGHT)._set_state = lambda _value: None
        until(lambda: device.error is not None, "it ends")
    assert isinstance(device.error, IndicatorError)
    assert len(server.requests) == 1


def test_covering_the_camera_puts_all_out_and_uncovering_brings_it_back(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    light, switch = pins.pin(LIGHT), pins.pin(SHUTTER)
    device = Running(home, server, indicator=LIGHT, shutter=SHUTTER)
    switch.drive_low()
    with device.running():
        until(device.sees, "it sees")
        switch.drive_high()
        until(lambda: not light.state, "the camera is closed")
        until(lambda: device.screen.views[-1:] == [COVERED], "it is shown")
        assert device.ear.said == ["camera covered"]
        assert device.device._condition() is Condition.CAMERA_COVERED
        assert device.device._state.tracklets == {}
        assert not device.sees()
        switch.drive_low()
        until(lambda: light.state and device.sees(), "it sees again")
        assert device.screen.views[-1] == HudView((), "")
        assert device.ear.said == ["camera covered", "camera on"]
        assert device.device._condition() is Condition.RUNNING
    assert device.error is None
    assert len(server.requests) == 2  # let go in between


def test_a_device_that_starts_covered_opens_no_camera(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    device = Running(home, server, indicator=LIGHT, shutter=SHUTTER)
    with device.running():
        until(lambda: device.screen.views == [COVERED], "it is shown")
        assert not device.sees()
    assert device.error is None
    assert server.requests == []
    assert [state.state for state in pins.pin(LIGHT).states] == [False]


def test_a_camera_that_hangs_when_it_is_covered_is_left_to_the_watchdog(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    """It cannot be closed from here; the service manager ends the device, and so the camera."""
    told = Told()
    device = Running(home, server, indicator=LIGHT, shutter=SHUTTER)
    device.device._manager = told
    close_contact(pins, SHUTTER)
    with device.running():
        until(device.sees, "it sees")
        server.quiet.set()
        threading.Event().wait(0.1)
        open_contact(pins, SHUTTER)
        until(lambda: device.screen.views[-1:] == [COVERED], "it is covered")
        heard = len(told.heard)
        threading.Event().wait(0.6)
        assert len(told.heard) == heard
        assert pins.pin(LIGHT).state  # for the camera is still open
        server.quiet.clear()
        until(lambda: "the camera is covered by its switch" in told.heard, "it is closed")
        assert not pins.pin(LIGHT).state


def test_a_switch_that_can_no_longer_be_read_covers_the_camera(
    home: Home, server: NetworkCamera, pins: MockFactory, caplog: pytest.LogCaptureFixture
) -> None:
    device = Running(home, server, indicator=LIGHT, shutter=SHUTTER)
    close_contact(pins, SHUTTER)

    def fail() -> bool:
        raise OSError(5, "Input/output error")

    with device.running():
        until(device.sees, "it sees")
        pins.pin(SHUTTER)._get_state = fail
        until(lambda: device.screen.views[-1:] == [COVERED], "it is shown")
        until(lambda: not pins.pin(LIGHT).state, "the camera is closed")
    assert caplog.text.count("the camera counts as covered") == 1


def test_a_switch_that_cannot_be_read_at_the_start_is_an_error(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    def fail() -> bool:
        raise OSError(5, "Input/output error")

    pins.pin(SHUTTER)._get_state = fail
    with pytest.raises(PinError, match="the contact on GPIO22"):
        Running(home, server, shutter=SHUTTER)


def test_a_frame_that_waits_in_the_mailbox_when_it_is_covered_is_not_worked_through(
    home: Home, server: NetworkCamera, pins: MockFactory
) -> None:
    device = Running(home, server, indicator=LIGHT, shutter=SHUTTER)
    open_contact(pins, SHUTTER)
    with device.running():
        until(lambda: device.screen.views == [COVERED], "it is covered")
        close_contact(pins, SHUTTER)
        until(device.sees, "it sees")
        taken = device.device._mailbox.get

        worked: list[int] = []

        def cover_after(timeout_s: float) -> Any:
            frame = taken(timeout_s)
            if frame is not None:
                worked.append(device.device._reporter.frames)
                open_contact(pins, SHUTTER)
            return frame

        device.device._mailbox.get = cover_after  # type: ignore[method-assign]
        until(lambda: not pins.pin(LIGHT).state, "the camera is closed")
        assert not device.sees()
        assert device.device._reporter.frames == worked[0]


def test_a_process_may_make_one_camera_after_another(
    server: NetworkCamera, pins: MockFactory
) -> None:
    """As a station does, for each visit."""
    config = make_config({"pins": {"indicator": LIGHT, "shutter": SHUTTER}})
    kept = []
    for _ in range(3):
        camera = make_camera(
            config, [parse_source(server.url)], still_s=1.0, realtime=True,
            clock=SystemClock(), stop=threading.Event(),
        )  # fmt: skip
        kept.append(camera)
        close_contact(pins, SHUTTER)
        until(lambda camera=camera: not camera.covered, "it is uncovered")  # type: ignore[misc]
        camera.open()
        assert camera.read() is not None
        assert pins.pin(LIGHT).state
        camera.close()
        assert not pins.pin(LIGHT).state


def test_who_would_wait_for_nothing_is_told_that_the_camera_is_covered(
    server: NetworkCamera, pins: MockFactory
) -> None:
    config = make_config({"pins": {"indicator": LIGHT, "shutter": SHUTTER}})
    camera = make_camera(
        config, [parse_source(server.url)], still_s=1.0, realtime=True,
        clock=SystemClock(), stop=threading.Event(),
    )  # fmt: skip
    with pytest.raises(CameraError, match="covered by its privacy switch; uncover it"):
        camera.open()
    assert not pins.pin(LIGHT).state


ALL = '[pins]\nindicator = "GPIO17"\nshutter = "GPIO22"\nbutton = "GPIO27"\nmotor = "GPIO18"\n'


def familiar(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "pins.toml"
    config.write_text(ALL)
    return subprocess.run(
        [sys.executable, "-m", "edge_app", "--home", str(tmp_path / "home"),
         "--config", str(config), *arguments],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip


def test_a_machine_without_pins_says_so_in_one_line_and_opens_no_camera(tmp_path: Path) -> None:
    done = familiar(tmp_path, "run", "--source", "http://127.0.0.1:1/")
    assert done.returncode == PinError.exit_status
    assert len(done.stderr.strip().splitlines()) == 1
    assert "they need a Raspberry Pi" in done.stderr


def test_a_replay_needs_no_pins(tmp_path: Path, media: Path) -> None:
    done = familiar(tmp_path, "run", "--demo", "--source", str(media / "stranger-1.jpg"))
    assert done.returncode == 0, done.stderr
