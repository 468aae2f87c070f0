"""How a device is, for whoever looks after it. Nothing of anybody (P1, P3).

Neither the size of the gallery nor the device's own generation is in it: they would show when
somebody leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import numpy as np

from edge_app.core.governor import Effort
from edge_app.records import ClockState, Rejection

_REMEMBERED_FRAMES: Final = 10_000


class Condition(StrEnum):
    """The one word on a device: the first that holds, from below RUNNING downwards."""

    RUNNING = "running"
    CAMERA_COVERED = "camera covered"
    CAMERA_LOST = "camera lost"
    CLOCK_WRONG = "clock went back"
    GALLERY_TOO_OLD = "gallery too old"


@dataclass(frozen=True, slots=True)
class FramePace:
    """Of the frames that were worked through in a period.

    per_s:  None if the period has no length yet.
    p95_ms: work on a frame, 95th percentile; None without a frame.
    """

    per_s: float | None
    p95_ms: float | None


NO_PACE: Final = FramePace(None, None)


@dataclass(frozen=True, slots=True)
class Health:
    """What the health state tells.

    dropped_frames:     since the start.
    expired_alerts, forced_out_alerts: since the outbox was made.
    temperature_c, throttled, memory_mb: None where the kernel does not tell.
    """

    condition: Condition
    pace: FramePace
    dropped_frames: int
    effort: Effort
    pending_alerts: int
    expired_alerts: int
    forced_out_alerts: int
    clock_state: ClockState
    temperature_c: float | None
    throttled: bool | None
    memory_mb: float | None
    version: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the metrics tell: the health at the moment, which has no pace, and counts of a run.

    rejections:  looks at a face that was not searched; they are allowed to leave (P1).
    lease_until: aware, UTC; None without a fleet.
    """

    health: Health
    frames: int
    undecodable_frames: int
    rejections: Mapping[Rejection, int]
    lease_until: datetime | None


class HealthPeriod:
    """The frames since the health was last told, and when it is to be told again."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._told: Condition | None = None
        self._begun_s = 0.0
        self._frames = 0
        self._times_ms: deque[float] = deque(maxlen=_REMEMBERED_FRAMES)

    def worked(self, took_s: float) -> None:
        """Takes note of a frame that was worked through."""
        self._frames += 1
        self._times_ms.append(took_s * 1e3)

    def due(self, condition: Condition, now_s: float) -> bool:
        """Whether to tell now: first, on another condition, and once in the interval."""
        return condition is not self._told or now_s - self._begun_s >= self._interval_s

    def close(self, condition: Condition, now_s: float) -> FramePace:
        """Ends the period, whose pace is told with the condition, and begins the next."""
        length_s = now_s - self._begun_s
        is_first = self._told is None
        pace = FramePace(
            None if is_first or length_s <= 0 else round(self._frames / length_s, 1),
            round(float(np.percentile(self._times_ms, 95)), 1) if self._times_ms else None,
        )
        self._told, self._begun_s, self._frames = condition, now_s, 0
        self._times_ms.clear()
        return pace
