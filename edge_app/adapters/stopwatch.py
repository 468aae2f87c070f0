"""Measures where a frame's time goes."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

_REMEMBERED_FRAMES = 10_000
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds over the frames in which the stage ran."""

    p50_ms: float
    p95_ms: float
    frames: int


class LapStopwatch:
    """A `Stopwatch` that sums each stage over a frame; remembers the last 10,000 frames."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = defaultdict(float)
        self._frames: dict[str, deque[float]] = {}
        self._last_s = self._start_s = time.perf_counter()

    def start_frame(self) -> None:
        self._laps.clear()
        self._last_s = self._start_s = time.perf_counter()

    def lap(self, stage: str) -> None:
        now_s = time.perf_counter()
        self._laps[stage] += now_s - self._last_s
        self._last_s = now_s

    def end_frame(self) -> None:
        self._laps[TOTAL] = time.perf_counter() - self._start_s
        for stage, seconds in self._laps.items():
            times = self._frames.setdefault(stage, deque(maxlen=_REMEMBERED_FRAMES))
            times.append(seconds * 1e3)

    def report(self) -> Mapping[str, StageTime]:
        """Per stage, in the order the stages first ran."""
        return {stage: _stage_time(times) for stage, times in self._frames.items()}


class NullStopwatch:
    """A `Stopwatch` for whoever does not want to know."""

    def lap(self, stage: str) -> None:
        """Does nothing."""


def _stage_time(times_ms: Iterable[float]) -> StageTime:
    values = np.fromiter(times_ms, dtype=np.float64)
    p50, p95 = np.percentile(values, [50, 95])
    return StageTime(round(float(p50), 3), round(float(p95), 3), len(values))
