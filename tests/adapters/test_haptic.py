"""The motor: its patterns, its rest, and that it never makes anybody wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from gpiozero.pins.mock import MockFactory

from edge_app.adapters.clock import ManualClock
from edge_app.adapters.haptic import NullHaptic, PinMotor
from edge_app.errors import PinError
from edge_app.records import Touch
from tests.test_device import until

PIN = "GPIO18"


@pytest.fixture
def pins() -> MockFactory:
    return MockFactory()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def motor(pins: MockFactory, clock: ManualClock) -> Iterator[PinMotor]:
    motor = PinMotor(PIN, pins=pins, rest_s=2.0, clock=clock)
    yield motor
    motor.close()


def pulses(pins: MockFactory) -> int:
    return sum(bool(state.state) for state in pins.pin(PIN).states)


def test_it_rests_until_it_is_asked(pins: MockFactory, motor: PinMotor) -> None:
    assert (pins.pin(PIN).function, pulses(pins)) == ("output", 0)


@pytest.mark.parametrize(("touch", "count"), [(Touch.RECOGNISED, 2), (Touch.UNSURE, 1)])
def test_each_touch_has_a_pattern_of_its_own(
    pins: MockFactory, motor: PinMotor, touch: Touch, count: int
) -> None:
    motor.play(touch)
    until(lambda: pulses(pins) == count and not pins.pin(PIN).state, "it was played")
    threading.Event().wait(0.2)
    assert pulses(pins) == count


def test_it_plays_no_other_pattern_until_it_rested(
    pins: MockFactory, motor: PinMotor, clock: ManualClock
) -> None:
    motor.play(Touch.UNSURE)
    motor.play(Touch.UNSURE)
    clock.advance(1.9)
    motor.play(Touch.UNSURE)
    until(lambda: pulses(pins) == 1 and not pins.pin(PIN).state, "one is played")
    clock.advance(0.2)
    motor.play(Touch.UNSURE)
    until(lambda: pulses(pins) == 2, "and one after the rest")


def test_closing_stops_it_within_a_pattern(pins: MockFactory, motor: PinMotor) -> None:
    motor.play(Touch.UNSURE)
    until(lambda: bool(pins.pin(PIN).state), "it moves")
    motor.close()
    assert not pins.pin(PIN).state
    motor.play(Touch.UNSURE)
    assert pulses(pins) == 1


def test_a_motor_that_fails_is_logged_once_and_tried_again(
    pins: MockFactory, motor: PinMotor, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pin = pins.pin(PIN)
    drive, tried = pin._set_state, threading.Semaphore(0)

    def fail(_value: object) -> None:
        tried.release()
        raise OSError(5, "Input/output error")

    pin._set_state = fail
    for _ in range(3):
        motor.play(Touch.UNSURE)
        assert tried.acquire(timeout=20)
        assert tried.acquire(timeout=20)  # and switched off
        clock.advance(2.1)
    pin._set_state = drive
    motor.play(Touch.UNSURE)
    until(lambda: pulses(pins) == 1, "it moves again")
    assert caplog.text.count("the motor on GPIO18 cannot be reached") == 1


def test_a_pin_that_is_taken_is_an_error(pins: MockFactory, motor: PinMotor) -> None:
    with pytest.raises(PinError, match="the motor on GPIO18"):
        PinMotor(PIN, pins=pins, rest_s=2.0, clock=motor._clock)


def test_no_motor_is_none() -> None:
    NullHaptic().play(Touch.RECOGNISED)
    NullHaptic().close()
