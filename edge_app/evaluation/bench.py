"""How long every stage takes on this machine: `familiar bench`.

The networks take the same time whatever is in the picture, so the stages are timed on
generated input and need no face. What a frame costs as a whole is in `bench_replay.py`.

A shared machine is fast at one moment and slow at the next. So each processor time is also
given as a ratio to that of one fixed calculation, run just before and after: ratios can be
compared.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.core import quality
from edge_app.core.gallery import IndexFactory
from edge_app.core.scan import Region, Scanner, ScanPlan, frame_regions
from edge_app.errors import ConfigError
from edge_app.pipeline import Pipeline
from edge_app.records import Box, Detection, Float32Array, Landmarks

Progress = Callable[[str, int, int], None]
"""What is done, how many of them are done, and of how many."""

GALLERY_SIZES = (100, 1_000, 10_000, 50_000, 200_000)
WIDTH_PX, HEIGHT_PX = 1920, 1080

LARGEST_CHANGE: Final = 1.2
"""A ratio that grew or shrank by more than this factor has changed."""

_RUNTIME_PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless")
_AXES: Final = 64
"""Dimensions that embeddings span, of 192 (docs/matching.md)."""

_TIMING: Final = "Timing stages"
_REFERENCE_SIDE: Final = 512
_REFERENCE_CALLS: Final = 7


@dataclass(frozen=True, slots=True)
class StageFigure:
    """Milliseconds per call.

    cpu_ms: processor time, the median. ratio: over the reference calculation's.
    """

    stage: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    ratio: float
    calls: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures hold. governor: the CPU frequency policy; "unknown" if not stated."""

    cpu: str
    cores: int
    architecture: str
    governor: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class ReplayFigure:
    """What the frames of one replay cost.

    name:            in words; how many faces, and whether the camera swayed.
    cold_ms:         the very first frame; median over several beginnings.
    cold_cpu_ms:     its processor time; cold_ratio: over the reference's.
    cold_invokes_ms: of that processor time, the networks.
    p50_ms, p95_ms:  one frame, once everybody in view is settled.
    cpu_ms:          processor time of one frame, the mean; cpu_ratio: over the reference's.
    dropped:         frames of which a newer one arrived before their turn came.
    embedded:        faces that were embedded in all, the cold ones included.
    stages:          p50 of each of the pipeline's own stages, in the frames it ran in.
    """

    name: str
    faces: int
    frames: int
    cold_ms: float
    cold_cpu_ms: float
    cold_invokes_ms: float
    cold_ratio: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    cpu_ratio: float
    dropped: int
    embedded: int
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """load_ms: to load and check the networks. rss_mb: resident once they had run, without
    any gallery."""

    machine: Machine
    model_threads: int
    reference_ms: float
    load_ms: float
    rss_mb: float
    stages: tuple[StageFigure, ...]
    replays: tuple[ReplayFigure, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A ratio that differs from the reference's. factor: above 1 is slower."""

    what: str
    factor: float


def run_stages(
    pipeline: Pipeline,
    plan: ScanPlan,
    index_factory: IndexFactory,
    *,
    calls: int,
    largest_gallery: int,
    progress: Progress,
) -> tuple[StageFigure, ...]:
    """Times each stage `calls` times after a warm-up.

    largest_gallery: templates; searches of larger ones are left out.
    """
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    whole, tile, *_ = frame_regions(WIDTH_PX, HEIGHT_PX, plan)
    follow = Region(Box(800, 400, 1000, 600), plan.follow_detector)
    face_box = Detection(Box(850, 450, 950, 550), _keypoints(), 0.9)
    face, mesh = pipeline.aligned(image, face_box)
    scanner = Scanner(plan)
    stages: list[tuple[str, Callable[[], object]]] = [
        ("plan the scan", lambda: scanner.regions(image, [face_box.box_px])),
        ("detect, whole frame", lambda: pipeline.detect_in(image, whole)),
        ("detect, one tile", lambda: pipeline.detect_in(image, tile)),
        ("detect, around a known face", lambda: pipeline.detect_in(image, follow)),
        ("detect, a still", lambda: pipeline.detect_whole(image)),
        ("mesh and alignment", lambda: pipeline.aligned(image, face_box)),
        ("quality", lambda: quality.assess(face, mesh)),
        ("embed", lambda: pipeline.embed(face)),
    ]
    sizes = [size for size in GALLERY_SIZES if size <= largest_gallery]
    figures: list[StageFigure] = []

    def time_it(name: str, call: Callable[[], object]) -> None:
        progress(_TIMING, len(figures), len(stages) + len(sizes))
        figures.append(_time(name, call, calls))

    for name, call in stages:
        time_it(name, call)
    axes = np.linalg.qr(rng.standard_normal((len(pipeline.embed(face)), _AXES)))[0]
    for size in sizes:
        index = index_factory(_templates(rng, size, axes))
        probe = _templates(rng, 1, axes)[0]
        time_it(f"match among {size:,} templates", partial(index.search, probe, 20))
    progress(_TIMING, len(figures), len(figures))
    return tuple(figures)


def reference_ms() -> float:
    """Processor time, in milliseconds, of the fixed calculation now: a product of two matrices."""
    matrix = np.full((_REFERENCE_SIDE, _REFERENCE_SIDE), 0.5, np.float32)
    return float(np.median([_timed(lambda: matrix @ matrix)[1] for _ in range(_REFERENCE_CALLS)]))


def changes(report: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[Change, ...]:
    """The ratios of a report that are not those of another, both as `bench` stores them.

    Raises ConfigError if either is not such a report.
    """
    try:
        now, before = dict(_ratios(report)), dict(_ratios(reference))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError("no report of `familiar bench --save`: name one that is") from error
    factors = {what: now[what] / before[what] for what in now if before.get(what, 0) > 0}
    return tuple(
        Change(what, round(factor, 3))
        for what, factor in factors.items()
        if not 1 / LARGEST_CHANGE <= factor <= LARGEST_CHANGE
    )


def read_report(path: Path) -> Mapping[str, Any]:
    """A report that was stored. Raises ConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no report of `familiar bench --save`: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no report of `familiar bench --save`")
    return content


def _ratios(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for stage in report["stages"]:
        yield stage["stage"], float(stage["ratio"])
    for replay in report["replays"]:
        yield f"{replay['name']}: cold frame", float(replay["cold_ratio"])
        yield f"{replay['name']}: CPU per frame", float(replay["cpu_ratio"])


def machine() -> Machine:
    """This machine, as its kernel names it."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        architecture=platform.machine(),
        governor=governor.read_text().strip() if governor.is_file() else "unknown",
        python=platform.python_version(),
        packages={name: _version(name) for name in _RUNTIME_PACKAGES},
    )


def resident_mb() -> float:
    """This process's resident set now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def percentile(times_ms: Sequence[float], percent: float) -> float:
    return round(float(np.percentile(times_ms, percent)), 3)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _keypoints() -> Landmarks:
    points = [(880, 485), (920, 485), (900, 505), (900, 525), (860, 490), (940, 490)]
    return Landmarks(np.array(points, np.float32))


def _templates(rng: np.random.Generator, count: int, axes: NDArray[np.float64]) -> Float32Array:
    """Random ones that span no more dimensions than the network's do."""
    rows = rng.standard_normal((count, _AXES), dtype=np.float32) @ axes.T.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _time(name: str, call: Callable[[], object], calls: int) -> StageFigure:
    for _ in range(max(2, calls // 10)):
        call()
    before_ms = reference_ms()
    times_ms, cpu_times_ms = zip(*(_timed(call) for _ in range(calls)), strict=True)
    beside_ms = (before_ms + reference_ms()) / 2
    cpu_ms = percentile(cpu_times_ms, 50)
    return StageFigure(
        name,
        percentile(times_ms, 50),
        percentile(times_ms, 95),
        cpu_ms,
        round(cpu_ms / beside_ms, 4),
        calls,
    )


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """(time passed, processor time) of a call, in milliseconds."""
    start_ns, cpu_start_ns = time.perf_counter_ns(), time.process_time_ns()
    call()
    cpu_ns = time.process_time_ns() - cpu_start_ns
    return (time.perf_counter_ns() - start_ns) / 1e6, cpu_ns / 1e6


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
