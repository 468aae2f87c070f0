"""How much a device does in a frame: less, in a stated order, when it cannot keep up.

What is shed is looking: how much of the scene is searched in a frame, how many faces are looked
at closely in it, and at last every second frame. So people are found and named later. Nothing
else changes: no threshold, no gate and no number of agreeing frames, at any effort.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

_SMOOTHING = 0.1
"""Weight of the newest frame in the mean of the load."""

_TOO_MUCH, _PLENTY = 0.9, 0.5
"""Shares of the time between two frames: work that takes more is too much; if it takes less,
there is room for more. The gap is wider than what one step sheds or takes up again."""

_PATIENCE_FRAMES, _RECOVERY_FRAMES = 15, 90
"""For how long that must be so: one slow frame is no reason, and trying again costs frames."""


class Effort(IntEnum):
    """How hard the device looks. Each step sheds what it says, and all before it."""

    FULL = 0
    FEWER_REGIONS = 1
    FEWER_LOOKS = 2
    EVERY_SECOND_FRAME = 3

    @property
    def words(self) -> str:
        """For people and for the health state."""
        return _WORDS[self]


_WORDS = {
    Effort.FULL: "full",
    Effort.FEWER_REGIONS: "searching less of each frame",
    Effort.FEWER_LOOKS: "looking at fewer faces in a frame",
    Effort.EVERY_SECOND_FRAME: "leaving out every second frame",
}


@dataclass(frozen=True, slots=True)
class Pressure:
    """What the board says. throttled: it slowed its processor. battery_low: it will soon stop."""

    throttled: bool = False
    battery_low: bool = False

    @property
    def least_effort_shed(self) -> Effort:
        """How much is shed for it, even if the frames keep up."""
        if self.battery_low:
            return Effort.EVERY_SECOND_FRAME
        return Effort.FEWER_REGIONS if self.throttled else Effort.FULL


class Governor:
    """Decides the effort from how long frames took. For one camera, one thread."""

    def __init__(self) -> None:
        self._shed = Effort.FULL
        self._pressure = Pressure()
        self._load = 0.0
        self._frames = 0

    @property
    def effort(self) -> Effort:
        return max(self._shed, self._pressure.least_effort_shed)

    def feel(self, pressure: Pressure) -> None:
        """Takes note of what the board says; as often as it is asked."""
        self._pressure = pressure

    def skips(self, sequence: int) -> bool:
        """Whether to leave this frame out."""
        return self.effort is Effort.EVERY_SECOND_FRAME and sequence % 2 == 1

    def worked(self, took_s: float, interval_s: float) -> None:
        """Takes note of a frame: how long its work took, of the time between two frames."""
        if interval_s <= 0:
            return
        # Half of the frames left out, each has the time of two.
        frames = 2 if self.effort is Effort.EVERY_SECOND_FRAME else 1
        load = took_s / (interval_s * frames)
        self._load += _SMOOTHING * (load - self._load)
        self._frames += 1
        if self._load > _TOO_MUCH and self._frames >= _PATIENCE_FRAMES:
            self._change(min(self._shed + 1, Effort.EVERY_SECOND_FRAME))
        elif self._load < _PLENTY and self._frames >= _RECOVERY_FRAMES:
            self._change(max(self._shed - 1, Effort.FULL))

    def _change(self, shed: int) -> None:
        self._shed = Effort(shed)
        self._frames = 0
        self._load = (_TOO_MUCH + _PLENTY) / 2
