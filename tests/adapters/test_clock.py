"""Both clocks, and when the wall clock may be believed."""

import ctypes
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters import clock as clock_module
from edge_app.adapters.clock import ManualClock, SystemClock
from edge_app.records import ClockState

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_the_system_clock_tells_utc_and_never_runs_backwards() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    before_s = clock.monotonic_s()
    clock.sleep(-1)
    clock.sleep(0)
    assert clock.monotonic_s() >= before_s


@pytest.mark.parametrize(
    ("stamp", "kernel", "state"),
    [
        (False, False, ClockState.UNSYNCHRONISED),
        (True, False, ClockState.SYNCHRONISED),
        (False, True, ClockState.SYNCHRONISED),
        (True, True, ClockState.SYNCHRONISED),
    ],
)
def test_either_witness_of_synchronisation_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stamp: bool, kernel: bool, state: ClockState
) -> None:
    path = tmp_path / "synchronized"
    if stamp:
        path.touch()
    monkeypatch.setattr(clock_module, "TIMESYNCD_STAMP", path)
    monkeypatch.setattr(clock_module, "_kernel_is_synchronised", lambda: kernel)
    assert SystemClock().state() is state


@pytest.mark.parametrize(
    ("status", "synchronised"), [(0, True), (1, True), (4, True), (5, False), (-1, False)]
)
def test_the_kernel_is_believed_unless_it_says_error_or_refuses(
    monkeypatch: pytest.MonkeyPatch, status: int, synchronised: bool
) -> None:
    class Library:
        def __init__(self, _name: None) -> None:
            pass

        def adjtimex(self, buffer: object) -> int:
            return status

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert clock_module._kernel_is_synchronised() is synchronised


def test_the_real_kernel_can_be_asked() -> None:
    assert SystemClock().state() in ClockState


def test_the_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(START)
    assert (clock.now(), clock.monotonic_s()) == (START, 0.0)
    clock.sleep(2.5)
    clock.sleep(-7)
    clock.advance(0.5)
    assert (clock.now(), clock.monotonic_s()) == (START + timedelta(seconds=3), 3.0)


def test_the_manual_clock_says_the_state_it_was_given() -> None:
    clock = ManualClock(START, ClockState.UNSYNCHRONISED)
    assert clock.state() is ClockState.UNSYNCHRONISED
    clock.state_now = ClockState.SYNCHRONISED
    assert clock.state() is ClockState.SYNCHRONISED


def test_the_manual_clock_loses_no_move_between_threads() -> None:
    clock = ManualClock(START)

    def advance() -> None:
        for _ in range(1000):
            clock.advance(1)

    threads = [threading.Thread(target=advance) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic_s() == 4000
