"""Measures where a frame's time goes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

_REMEMBERED_FRAMES = 10_000
TOTAL = "total"

BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016),
    *(0.033, 0.066, 0.13, 0.25, 0.5, 1.0),
)
"""Upper bounds of a histogram's buckets. A frame at 30 a second has 0.033 s."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds over the frames in which the stage ran."""

    p50_ms: float
    p95_ms: float
    frames: int


class StageHistogram:
    """How long each stage took, in the frames in which it ran. One thread adds, others read."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        counts = self._counts.setdefault(stage, [0] * (len(BUCKETS_S) + 1))
        counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sums_s[stage] = self._sums_s.get(stage, 0.0) + seconds

    def read(self) -> Mapping[str, tuple[tuple[int, ...], float]]:
        """Per stage, the frames in each bucket and the seconds of all; the last is above all."""
        sums_s = self._sums_s.copy()
        return {stage: (tuple(self._counts[stage]), sum_s) for stage, sum_s in sums_s.items()}


class LapStopwatch:
    """A `Stopwatch` that sums each stage over a frame; remembers the last 10,000 frames."""

    def __init__(self, stages: StageHistogram | None = None) -> None:
        """stages: is given each stage's time too, at the end of a frame."""
        self._stages = stages
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
            if self._stages is not None:
                self._stages.add(stage, seconds)

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
