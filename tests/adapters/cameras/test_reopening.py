"""A live camera that vanishes comes back; what must not be waited out is not."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.cameras.mjpeg_http import MjpegHttpCamera
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.clock import ManualClock, SystemClock
from edge_app.adapters.indicator import IndicatedCamera
from edge_app.errors import CameraError, IndicatorError
from edge_app.records import Frame, FrameOrigin
from tests.adapters.cameras.conftest import HEAD, Server, jpeg, part, say

BACKOFF = Backoff(first_s=1.0, factor=2.0, longest_s=30.0, jitter=0.0)


class Flaky:
    """A camera that does what its script says: f a frame, x a lost camera, e its end.

    A camera that is closed takes from the script to open, too: any but x opens it.
    """

    origin = FrameOrigin.LIVE
    description = "flaky"
    undecodable = 3

    def __init__(self, script: str) -> None:
        self.script = list(script)
        self.is_open = False
        self.sequence = 0
        self.log: list[str] = []

    def open(self) -> None:
        self.log.append("open")
        if self._next() == "x":
            raise CameraError("it cannot be opened")
        self.is_open = True
        self.sequence = 0

    def read(self) -> Frame | None:
        assert self.is_open
        step = self._next()
        if step == "x":
            raise CameraError("it gives no more pictures")
        if step == "e":
            return None
        frame = Frame(np.zeros((1, 1, 3), np.uint8), 0.0, self.sequence, FrameOrigin.LIVE)
        self.sequence += 1
        return frame

    def close(self) -> None:
        self.log.append("close")
        self.is_open = False

    def _next(self) -> str:
        return self.script.pop(0) if self.script else "e"


class WatchedClock(ManualClock):
    """Calls back whenever somebody sleeps."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 1, 1, tzinfo=UTC))
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.on_sleep()


def reopening(
    inner: Flaky, *, backoff: Backoff = BACKOFF, clock: ManualClock | None = None
) -> tuple[ReopeningCamera, ManualClock, threading.Event]:
    clock = clock or WatchedClock()
    stop_event = threading.Event()
    camera = ReopeningCamera(inner=inner, backoff=backoff, clock=clock, stop_event=stop_event)
    return camera, clock, stop_event


def read_all(camera: ReopeningCamera) -> list[int]:
    sequences = []
    while (frame := camera.read()) is not None:
        sequences.append(frame.sequence)
    return sequences


def test_a_camera_that_stays_is_passed_through() -> None:
    camera, clock, _ = reopening(Flaky("offf"))
    camera.open()
    assert read_all(camera) == [0, 1, 2]
    assert (camera.lost, camera.reopenings, clock.monotonic_s()) == (False, 0, 0)
    assert (camera.origin, camera.description, camera.undecodable) == (
        FrameOrigin.LIVE,
        "flaky",
        3,
    )


def test_a_camera_that_never_was_there_is_an_error_at_once() -> None:
    camera, clock, _ = reopening(Flaky("x"))
    with pytest.raises(CameraError, match="it cannot be opened"):
        camera.open()
    assert clock.monotonic_s() == 0


def test_a_lost_camera_is_closed_and_reopened_and_its_numbers_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = Flaky("off" + "x" + "off" + "x" + "of")
    camera, clock, _ = reopening(inner)
    camera.open()
    with caplog.at_level(logging.WARNING):
        assert read_all(camera) == [0, 1, 2, 3, 4]
    assert inner.log == ["open", "close", "open", "close", "open"]
    assert camera.reopenings == 2
    assert clock.monotonic_s() == pytest.approx(2.0)
    assert caplog.text.count("camera lost") == 2
    assert caplog.text.count("camera found again") == 2


def test_it_says_that_it_is_lost_while_it_is() -> None:
    clock = WatchedClock()
    camera, _, _ = reopening(Flaky("of" + "xx" + "of"), clock=clock)
    camera.open()
    camera.read()
    seen: list[bool] = []
    clock.on_sleep = lambda: seen.append(camera.lost)
    camera.read()
    assert set(seen) == {True}
    assert not camera.lost


def test_the_waits_grow_to_the_longest() -> None:
    clock = WatchedClock()
    inner = Flaky("o" + "x" * 9 + "of")
    camera, _, _ = reopening(inner, clock=clock)
    camera.open()
    tries: list[tuple[int, float]] = []
    clock.on_sleep = lambda: tries.append((len(inner.log), clock.monotonic_s()))
    camera.read()
    ends_s = list(dict(tries).values())  # of each wait: nothing is logged during one
    waits = [later - earlier for earlier, later in pairwise([0.0, *ends_s])]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30])


def test_a_camera_that_opens_but_gives_no_picture_is_not_hammered() -> None:
    camera, clock, _ = reopening(Flaky("o" + "x" + "ox" * 4 + "of"))
    camera.open()
    assert camera.read() is not None
    assert clock.monotonic_s() == pytest.approx(1 + 2 + 4 + 8 + 16)
    assert camera.reopenings == 1


def test_a_camera_that_came_back_is_waited_for_from_the_first_again() -> None:
    camera, clock, _ = reopening(Flaky("o" + "xxx" + "of" + "x" + "of"))
    camera.open()
    camera.read()
    before_s = clock.monotonic_s()
    camera.read()
    assert clock.monotonic_s() - before_s == pytest.approx(1.0)


@given(
    st.floats(0.01, 10),
    st.floats(1, 10),
    st.floats(0.01, 600),
    st.floats(0, 1),
    st.integers(1, 2000),
)
def test_no_wait_is_longer_than_the_longest(
    first_s: float, factor: float, longest_s: float, jitter: float, failures: int
) -> None:
    backoff = Backoff(first_s, factor, longest_s, jitter)
    camera, _, _ = reopening(Flaky(""), backoff=backoff)
    camera._failures = failures
    assert min(first_s, longest_s) * (1 - jitter) <= camera._delay_s() * (1 + 1e-9)
    assert camera._delay_s() <= longest_s


def test_two_cameras_do_not_come_back_together() -> None:
    camera, _, _ = reopening(Flaky(""), backoff=Backoff(10.0, 2.0, 30.0, 0.5))
    camera._failures = 1
    assert len({camera._delay_s() for _ in range(20)}) > 1


def test_stopping_ends_the_wait_within_a_tenth_of_a_second() -> None:
    clock = WatchedClock()
    camera, _, stop_event = reopening(Flaky("o" + "x" * 1000), clock=clock)
    camera.open()

    def stop_at_five() -> None:
        if clock.monotonic_s() >= 5:
            stop_event.set()

    clock.on_sleep = stop_at_five
    assert camera.read() is None
    assert clock.monotonic_s() < 5.1
    assert camera.read() is None


def test_an_error_of_the_light_is_not_waited_out() -> None:
    """P7: nested as it must be, every reopening goes through the light."""

    class Light:
        calls: list[str] = []  # noqa: RUF012 - one light
        broken = False

        def turn_on(self) -> None:
            self.calls.append("on")
            if self.broken:
                raise IndicatorError("dark")

        def turn_off(self) -> None:
            self.calls.append("off")

    light, inner, clock = Light(), Flaky("of" + "xx" + "of" + "x" + "of"), WatchedClock()
    camera = ReopeningCamera(
        inner=IndicatedCamera(inner=inner, indicator=light),
        backoff=BACKOFF,
        clock=clock,
        stop_event=threading.Event(),
    )
    camera.open()
    camera.read()
    clock.on_sleep = lambda: light.calls.append("waits") if light.calls[-1] != "waits" else None
    camera.read()
    assert light.calls == [
        *("on", "on", "on", "off", "waits"),  # opened, read, vanished
        *("on", "off", "off", "waits"),  # not there: the camera's failure, then its closing
        *("on", "on"),  # there again
    ]
    light.broken = True
    opens = inner.log.count("open")
    with pytest.raises(IndicatorError, match="dark"):
        camera.read()
    assert not inner.is_open
    assert inner.log.count("open") == opens


class Switch:
    """A privacy switch."""

    covered = False


def shuttered(script: str) -> tuple[ReopeningCamera, Flaky, Switch, WatchedClock]:
    inner, switch, clock = Flaky(script), Switch(), WatchedClock()
    camera = ReopeningCamera(
        inner=inner,
        backoff=BACKOFF,
        clock=clock,
        stop_event=threading.Event(),
        shutter=switch,
    )
    return camera, inner, switch, clock


def uncover_at(switch: Switch, clock: WatchedClock, at_s: float) -> None:
    def look() -> None:
        switch.covered = clock.monotonic_s() < at_s

    clock.on_sleep = look


def test_a_camera_that_is_covered_at_the_start_is_not_opened_until_it_is_uncovered() -> None:
    camera, inner, switch, clock = shuttered("of")
    switch.covered = True
    camera.open()
    assert camera.covered
    assert inner.log == []
    uncover_at(switch, clock, 5.0)
    frame = camera.read()
    assert frame is not None
    assert inner.log == ["open"]
    assert 5.0 <= clock.monotonic_s() < 5.1
    assert (camera.lost, camera.reopenings) == (False, 0)


def test_covering_closes_the_camera_and_its_numbers_go_on() -> None:
    camera, inner, switch, clock = shuttered("off" + "of")
    camera.open()
    assert [frame.sequence for _ in range(2) if (frame := camera.read())] == [0, 1]
    switch.covered = True
    closed: list[bool] = []
    uncover_at(switch, clock, 2.0)
    uncover = clock.on_sleep

    def look() -> None:
        closed.append(not inner.is_open)
        uncover()

    clock.on_sleep = look
    frame = camera.read()
    assert frame is not None
    assert frame.sequence == 2
    assert all(closed)
    assert inner.log == ["open", "close", "open"]


def test_a_picture_that_was_being_taken_when_it_was_covered_is_thrown_away() -> None:
    camera, inner, switch, clock = shuttered("of" + "of")
    camera.open()
    taken = inner.read

    def cover_meanwhile() -> Frame | None:
        switch.covered = True
        return taken()

    inner.read = cover_meanwhile  # type: ignore[method-assign]
    clock.on_sleep = camera._stop_event.set
    assert camera.read() is None
    assert not inner.is_open


def test_a_lost_camera_that_is_covered_is_not_tried_until_it_is_uncovered() -> None:
    camera, inner, switch, clock = shuttered("o" + "x" + "of")
    camera.open()

    def look() -> None:
        switch.covered = 0.5 < clock.monotonic_s() < 100

    clock.on_sleep = look
    assert camera.read() is not None
    assert clock.monotonic_s() >= 100
    assert inner.log == ["open", "close", "open"]
    assert not camera.lost


def test_stopping_ends_the_wait_for_a_covered_camera() -> None:
    camera, inner, switch, clock = shuttered("")
    switch.covered = True
    camera.open()
    clock.on_sleep = lambda: camera._stop_event.set() if clock.monotonic_s() > 3 else None
    assert camera.read() is None
    assert inner.log == []


@given(st.lists(st.tuples(st.sampled_from("fx"), st.booleans()), max_size=40))
def test_whatever_happens_no_frame_comes_from_a_covered_camera(
    steps: list[tuple[str, bool]],
) -> None:
    """The camera fails, and the switch moves, whenever they like."""
    camera, inner, switch, _ = shuttered("")
    looks = [covered for _, covered in steps]

    class Moving:
        @property
        def covered(self) -> bool:
            switch.covered = looks.pop(0) if looks else False
            return switch.covered

    inner.script = [step for step, _ in steps]
    camera._shutter = Moving()
    try:
        camera.open()
    except CameraError:
        return
    while (frame := camera.read()) is not None:
        assert not switch.covered
        assert inner.is_open
        assert frame is not None


def test_a_network_camera_that_dies_comes_back(server: Server) -> None:
    server.start(say(HEAD + part(jpeg(50)) + part(jpeg(50))))
    stop_event = threading.Event()
    camera = ReopeningCamera(
        inner=MjpegHttpCamera(
            url=server.url,
            timeout_s=20.0,
            max_frame_bytes=20_000,
            max_pixels=1_000_000,
            clock=SystemClock(),
        ),
        backoff=Backoff(first_s=0.02, factor=1.5, longest_s=0.1, jitter=0.3),
        clock=SystemClock(),
        stop_event=stop_event,
    )
    camera.open()
    assert [frame.sequence for _ in range(2) if (frame := camera.read())] == [0, 1]
    server.stop()
    frames: list[Frame | None] = []
    reader = threading.Thread(target=lambda: frames.append(camera.read()))
    reader.start()
    while not camera.lost:
        assert reader.is_alive()
    server.start(say(HEAD + part(jpeg(150))))
    reader.join(20)
    (frame,) = frames
    assert frame is not None
    assert frame.sequence == 2
    assert frame.image_bgr.mean() == pytest.approx(150, abs=1)
    assert camera.reopenings == 1
    server.stop()
    reader = threading.Thread(target=lambda: frames.append(camera.read()))
    reader.start()
    stop_event.set()
    reader.join(20)
    camera.close()
    assert frames[1] is None
