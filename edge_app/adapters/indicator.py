"""The light that tells bystanders the camera is open, and the camera that obeys it (P7)."""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.adapters.outer_camera import OuterCamera
from edge_app.errors import IndicatorError
from edge_app.ports import FrameSource, Indicator
from edge_app.records import Frame


class LedIndicator:
    """A light of the Linux LED class; an `Indicator`.

    led_path: its folder, /sys/class/leds/NAME.
    Source: kernel Documentation/ABI/testing/sysfs-class-led.
    """

    def __init__(self, led_path: Path) -> None:
        self._led_path = led_path

    def is_on(self) -> bool:
        """Whether it is lit now, by whomever. Raises IndicatorError."""
        return self._read("brightness") > 0

    def turn_on(self) -> None:
        """Raises IndicatorError unless the light then says that it is on."""
        self._drive(self._full_brightness())

    def turn_off(self) -> None:
        """Raises IndicatorError unless the light then says that it is off."""
        self._drive(0)

    def _full_brightness(self) -> int:
        brightness = self._read("max_brightness")
        if brightness < 1:
            raise self._error(f"max_brightness is {brightness}")
        return brightness

    def _drive(self, brightness: int) -> None:
        self._write("trigger", "none")  # else a heartbeat or disk trigger goes on driving it
        self._write("brightness", str(brightness))
        shown = self._read("brightness")
        if shown != brightness:
            raise self._error(f"brightness stays {shown} after {brightness} was written")

    def _read(self, name: str) -> int:
        try:
            return int((self._led_path / name).read_text("ascii"))
        except (OSError, ValueError) as error:
            raise self._error(f"{name} cannot be read") from error

    def _write(self, name: str, value: str) -> None:
        try:
            # Without O_CREAT: a file made here would read back as written, and light nothing.
            descriptor = os.open(self._led_path / name, os.O_WRONLY | os.O_TRUNC)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise self._error(f"{name} cannot be written: {reason}") from error

    def _error(self, fault: str) -> IndicatorError:
        return IndicatorError(
            f"the indicator {self._led_path} cannot be driven ({fault}); check its name under "
            "/sys/class/leds and that this user may write its brightness and trigger"
        )


class NoIndicator:
    """An `Indicator` for a device that has none."""

    def turn_on(self) -> None:
        """Does nothing."""

    def turn_off(self) -> None:
        """Does nothing."""


class IndicatedCamera(OuterCamera):
    """A `FrameSource` that is never open without its light.

    The light goes on before the camera opens and off after it closed. Every read drives the
    light again, so one that failed or was switched off meanwhile closes the camera.

    Put this inside a `ReopeningCamera`, not around it: then every reopening goes through
    the light, and the light is off while the camera is lost.
    """

    def __init__(self, *, inner: FrameSource, indicator: Indicator) -> None:
        super().__init__(inner)
        self._indicator = indicator

    def open(self) -> None:
        """Raises IndicatorError with the camera closed, or what the camera's `open` raises."""
        self._indicator.turn_on()
        try:
            super().open()
        except BaseException:
            self._indicator.turn_off()
            raise

    def read(self) -> Frame | None:
        """Raises IndicatorError with the camera closed, or what the camera's `read` raises."""
        try:
            self._indicator.turn_on()
        except IndicatorError:
            super().close()
            raise
        return super().read()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._indicator.turn_off()
