"""How long every stage takes on this machine: `familiar bench`.

The networks take the same time whatever is in the picture, so the stages are timed on
generated input and need no face. Figures are percentiles over single calls in one process.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from edge_app.core import quality
from edge_app.core.gallery import IndexFactory
from edge_app.core.scan import Region, Scanner, ScanPlan
from edge_app.pipeline import Pipeline
from edge_app.records import Box, Detection, Float32Array, Landmarks

GALLERY_SIZES = (100, 1_000, 10_000, 50_000)
_WIDTH_PX, _HEIGHT_PX = 1920, 1080
_WHOLE_FRAME, _ALIGNMENT = "detect, whole frame", "mesh and alignment"
_QUALITY, _EMBEDDING = "quality", "embed"
_RUNTIME_PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class StageFigure:
    """Milliseconds per call."""

    stage: str
    p50_ms: float
    p95_ms: float
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
class BenchReport:
    """peak_rss_mb: the largest resident set of this process, everything loaded."""

    machine: Machine
    model_threads: int
    stages: tuple[StageFigure, ...]
    first_frame_ms: float
    peak_rss_mb: float


def run_bench(
    pipeline: Pipeline,
    plan: ScanPlan,
    index_factory: IndexFactory,
    *,
    model_threads: int,
    calls: int,
    on_stage: Callable[[str], None],
) -> BenchReport:
    """Times each stage `calls` times after a warm-up. `on_stage` hears each name beforehand."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (_HEIGHT_PX, _WIDTH_PX, 3), dtype=np.uint8)
    regions = Scanner(plan).regions(image, ())
    tile, follow = regions[0], Region(Box(800, 400, 1000, 600), plan.follow_detector)
    face_box = Detection(Box(850, 450, 950, 550), _keypoints(), 0.9)
    face, mesh = pipeline.aligned(image, face_box)
    tracked = [Box(900, 500, 1000, 600)]
    scanner = Scanner(plan)
    stages: list[tuple[str, Callable[[], object]]] = [
        ("plan the scan", lambda: scanner.regions(image, tracked)),
        (f"detect, one tile ({tile.detector})", lambda: pipeline.detect_in(image, tile)),
        (
            f"detect, around a known face ({plan.follow_detector})",
            lambda: pipeline.detect_in(image, follow),
        ),
        (_WHOLE_FRAME, lambda: pipeline.detect_whole(image)),
        (_ALIGNMENT, lambda: pipeline.aligned(image, face_box)),
        (_QUALITY, lambda: quality.assess(face, mesh)),
        (_EMBEDDING, lambda: pipeline.embed(face)),
    ]
    figures = [_time(name, call, calls, on_stage) for name, call in stages]
    dim = len(pipeline.embed(face))
    for size in GALLERY_SIZES:
        index = index_factory(_templates(rng, size, dim))
        probe = _templates(rng, 1, dim)[0]
        search = partial(index.search, probe, 20)
        figures.append(_time(_matching(size), search, calls, on_stage))
    p50 = {figure.stage: figure.p50_ms for figure in figures}
    steps = (_WHOLE_FRAME, _ALIGNMENT, _QUALITY, _EMBEDDING, _matching(GALLERY_SIZES[-1]))
    first = sum(p50[step] for step in steps)
    return BenchReport(
        machine(), model_threads, tuple(figures), round(first, 2), round(_peak_rss_mb(), 1)
    )


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _matching(templates: int) -> str:
    return f"match among {templates:,} templates"


def _keypoints() -> Landmarks:
    points = [(880, 485), (920, 485), (900, 505), (900, 525), (860, 490), (940, 490)]
    return Landmarks(np.array(points, np.float32))


def _templates(rng: np.random.Generator, count: int, dim: int) -> Float32Array:
    rows = rng.standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _time(
    name: str, call: Callable[[], object], calls: int, on_stage: Callable[[str], None]
) -> StageFigure:
    on_stage(name)
    for _ in range(max(2, calls // 10)):
        call()
    times_ms = []
    for _ in range(calls):
        start_ns = time.perf_counter_ns()
        call()
        times_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    return StageFigure(name, _percentile(times_ms, 50), _percentile(times_ms, 95), calls)


def _percentile(times_ms: Sequence[float], percent: float) -> float:
    return round(float(np.percentile(times_ms, percent)), 3)


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _peak_rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
