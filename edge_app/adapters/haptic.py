"""Taps the wearer with a vibration motor on a pin of the header."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from edge_app.adapters.gpio import reached
from edge_app.errors import PinError
from edge_app.ports import Clock
from edge_app.records import Touch

_log: Final = logging.getLogger(__name__)

_PULSES_S: Final = {Touch.RECOGNISED: (0.12, 0.10, 0.12), Touch.UNSURE: (0.5,)}
"""On, off, on, and so on. Two short ones and a long one are told apart on the temple, and a small
motor needs a tenth of a second to be felt."""


class PinMotor:
    """A `Haptic`. It moves in a thread of its own; `play` never waits."""

    def __init__(self, pin: str, *, pins: Any, rest_s: float, clock: Clock) -> None:
        """Takes the pin, with the motor off, and starts the thread.

        pins:   a gpiozero pin factory, see `edge_app.adapters.gpio.header`.
        rest_s: after a pattern was begun, others are dropped for so long.

        Raises PinError.
        """
        self._name = f"the motor on {pin}"
        with reached(self._name, PinError):
            from gpiozero import OutputDevice  # noqa: PLC0415 - an optional extra

            self._motor = OutputDevice(pin, pin_factory=pins)
        self._rest_s = rest_s
        self._clock = clock
        self._rests_until_s = float("-inf")
        self._next: Touch | None = None
        self._failed = False
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="haptic", daemon=True)
        self._thread.start()

    def play(self, touch: Touch) -> None:
        """Begin the pattern now, unless one was begun lately."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._rests_until_s and not self._closing.is_set():
            self._rests_until_s = now_s + self._rest_s
            self._next = touch
            self._wanted.set()

    def close(self) -> None:
        """Stop the motor, also within a pattern, and give the pin back."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()
        self._motor.close()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closing.is_set():
            self._wanted.clear()
            touch, self._next = self._next, None
            if touch is not None:
                self._move(touch)

    def _move(self, touch: Touch) -> None:
        try:
            self._pulse(_PULSES_S[touch])
        except PinError as error:
            if not self._failed:
                _log.warning("%s", error)
            self._failed = True
        else:
            self._failed = False

    def _pulse(self, lengths_s: tuple[float, ...]) -> None:
        with reached(self._name, PinError):
            try:
                for n, length_s in enumerate(lengths_s):
                    self._motor.value = n % 2 == 0
                    if self._closing.wait(length_s):
                        break
            finally:
                self._motor.off()


class NullHaptic:
    """Moves nothing."""

    def play(self, touch: Touch) -> None:
        """Ignore the pattern."""

    def close(self) -> None:
        """Do nothing."""
