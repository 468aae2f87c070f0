"""The pins of a Raspberry Pi's header, through gpiozero and lgpio (an optional extra).

Contacts (a button, a switch) connect their pin to ground; the Pi pulls it up. What is lit or
moved is driven high. docs/wiring.md draws all of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any, Final

from edge_app.core.contact import Cover, Press
from edge_app.errors import ConfigError, EdgeAppError, IndicatorError, PinError
from edge_app.ports import Clock

_log: Final = logging.getLogger(__name__)

_LOOK_S: Final = 0.01
_RETRY_S: Final = 1.0
"""Between two looks at a button, and between two at one that cannot be read."""

_REMEDY: Final = "check its wire, that this user is in the group gpio, and that no program uses it"


@cache
def header() -> Any:
    """This Raspberry Pi's pins: a gpiozero pin factory, opened once in a process.

    Raises ConfigError if the extra is not installed, PinError if this is no Raspberry Pi or its
    pins cannot be reached.
    """
    try:
        # lgpio makes a pipe in the working folder when it is imported, and needs it only then.
        with TemporaryDirectory() as folder, chdir(folder):
            from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            "pins are configured, and gpiozero or lgpio is not installed; run "
            "`pip install 'familiar-edge[gpio]'`"
        ) from error
    # Named, not found by gpiozero: its variable GPIOZERO_PIN_FACTORY could put a sham in (P7).
    try:
        return LGPIOFactory()
    except Exception as error:
        raise PinError(
            f"pins are configured, and cannot be reached ({error}); they need a Raspberry Pi, and "
            "a user in the group gpio"
        ) from error


class PinLight:
    """A light between a pin and ground; an `Indicator`.

    The pin is taken while the light is on, and read back after each change, so a short circuit that
    holds it is noticed. A pin that is not taken is an input, and its light dark.
    """

    def __init__(self, pin: str, *, pins: Any) -> None:
        """pin: e.g. "GPIO17". pins: a gpiozero pin factory, see `header`."""
        self._pin = pin
        self._pins = pins
        self._name = f"the indicator on {pin}"
        self._light: Any = None

    def turn_on(self) -> None:
        """Raises IndicatorError unless the pin is then high."""
        with reached(self._name, IndicatorError):
            if self._light is None:
                from gpiozero import OutputDevice  # noqa: PLC0415 - an optional extra

                self._light = OutputDevice(self._pin, pin_factory=self._pins)
            self._drive(True)

    def turn_off(self) -> None:
        """Raises IndicatorError unless the pin is then low."""
        if self._light is None:
            return
        with reached(self._name, IndicatorError):
            self._drive(False)
            self._light.close()
            self._light = None

    def _drive(self, lit: bool) -> None:
        self._light.value = lit
        if bool(self._light.value) is not lit:
            raise IndicatorError(
                f"{self._name} stays {'dark' if lit else 'lit'}; check it for a short circuit"
            )


class PinContact:
    """A contact between a pin and ground, of a button or a switch."""

    def __init__(self, pin: str, *, pins: Any) -> None:
        """Takes the pin and pulls it up. Raises PinError."""
        self._name = f"the contact on {pin}"
        with reached(self._name, PinError):
            from gpiozero import InputDevice  # noqa: PLC0415 - an optional extra

            self._input = InputDevice(pin, pull_up=True, pin_factory=pins)
        self.is_closed()

    def is_closed(self) -> bool:
        """Whether it is closed now. Raises PinError."""
        with reached(self._name, PinError):
            return bool(self._input.value)

    def close(self) -> None:
        """Gives the pin back."""
        self._input.close()


class PinShutter:
    """The privacy switch; a `Shutter`. Its contact is closed while the camera may be open.

    So a wire that breaks covers the camera, and so does a pin that can no longer be read.
    """

    def __init__(self, contact: PinContact, *, settle_s: float, clock: Clock) -> None:
        """settle_s: how long the contact must be closed without a break to uncover the camera."""
        self._contact = contact
        self._clock = clock
        self._cover = Cover(settle_s)
        self._lock = threading.Lock()
        self._failed = False

    @property
    def covered(self) -> bool:
        with self._lock:
            return self._cover.feel(self._may_see(), self._clock.monotonic_s())

    def _may_see(self) -> bool:
        try:
            closed = self._contact.is_closed()
        except PinError as error:
            if not self._failed:
                _log.warning("the camera counts as covered: %s", error)
            self._failed = True
            return False
        self._failed = False
        return closed


class PinButton:
    """Calls back at each press of a button, from a thread of its own, until it is closed."""

    def __init__(
        self,
        contact: PinContact,
        *,
        settle_s: float,
        clock: Clock,
        on_press: Callable[[], None],
    ) -> None:
        """settle_s: how long the contact must be steady to be a press."""
        self._contact = contact
        self._clock = clock
        self._on_press = on_press
        self._press = Press(settle_s)
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="button", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and gives the pin back."""
        self._closing.set()
        self._thread.join()
        self._contact.close()

    def _run(self) -> None:
        while not self._closing.wait(_RETRY_S if self._failed else _LOOK_S):
            try:
                closed = self._contact.is_closed()
            except PinError as error:
                if not self._failed:
                    _log.warning("the button is not heard: %s", error)
                self._failed = True
                continue
            self._failed = False
            if self._press.feel(closed, self._clock.monotonic_s()):
                self._on_press()


@contextmanager
def reached(name: str, error_type: Callable[[str], EdgeAppError]) -> Iterator[None]:
    """Whatever goes wrong with a pin is an error of ours with a remedy."""
    try:
        yield
    except EdgeAppError:
        raise
    # lgpio's error derives from Exception alone, and no fault may pass for a working pin.
    except Exception as error:
        raise error_type(f"{name} cannot be reached ({error}); {_REMEDY}") from error
