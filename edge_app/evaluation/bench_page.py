"""What `familiar bench` measured, as a page with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_app.evaluation.bench import BenchReport
from edge_app.evaluation.page import Figure, Page, Table, plot, write_page


def write_bench_page(report: BenchReport, path: Path) -> None:
    """Raises ConfigError (matplotlib is not installed) or StorageError."""
    here = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    replays = [
        (
            replay.name,
            f"{replay.cold_ms:.1f}",
            f"{1 - replay.cold_invokes_ms / replay.cold_cpu_ms:.0%}",
            f"{replay.p50_ms:.2f}",
            f"{replay.p95_ms:.2f}",
            f"{replay.cpu_ms:.2f}",
            f"{replay.dropped}",
        )
        for replay in report.replays
    ]
    stages = [
        (
            figure.stage,
            f"{figure.p50_ms:.3f}",
            f"{figure.p95_ms:.3f}",
            f"{figure.cpu_ms:.3f}",
            f"{figure.ratio:.3f}",
        )
        for figure in report.stages
    ]
    draws = [plot(lambda axes: _stages(axes, report), "Stages", "Median and 95th percentile.")]
    if report.replays:
        draws.append(
            plot(lambda axes: _replays(axes, report), "Replays", "Processor time of one frame.")
        )
    write_page(
        Page(
            title="Speed",
            about=f"{here.cores} x {here.cpu}, {here.architecture}, governor {here.governor}, "
            f"Python {here.python}, {packages}; model threads: {report.model_threads}.",
            figures=(
                Figure("Networks loaded", f"{report.load_ms:.0f} ms", "from files to ready"),
                Figure("Resident memory", f"{report.rss_mb:.0f} MB", "without a gallery"),
                Figure("Reference", f"{report.reference_ms:.2f} ms", "one product of two matrices"),
            ),
            plots=tuple(draws),
            tables=(
                Table(
                    "Replays of 1920 x 1080 at 30 frames a second, ms a frame",
                    ("scene", "first", "not networks", "p50", "p95", "CPU", "dropped"),
                    replays,
                ),
                Table(
                    "Stages", ("stage", "p50 ms", "p95 ms", "CPU ms", "over the reference"), stages
                ),
            ),
            limits="Milliseconds hold for this machine, and on a shared one for this moment; "
            "ratios to the reference calculation travel better. The people are pasted portraits "
            "that stand still, and the replays' gallery is empty.",
        ),
        path,
    )


def _stages(axes: Any, report: BenchReport) -> None:
    places = np.arange(len(report.stages))
    axes.barh(places, [figure.p50_ms for figure in report.stages])
    axes.scatter([figure.p95_ms for figure in report.stages], places, marker="|", color="#20272e")
    axes.set_yticks(places, [figure.stage for figure in report.stages])
    axes.set(xlabel="ms a call", xscale="log")
    axes.invert_yaxis()


def _replays(axes: Any, report: BenchReport) -> None:
    places = np.arange(len(report.replays))
    axes.barh(places, [replay.cpu_ms for replay in report.replays])
    axes.set_yticks(places, [replay.name for replay in report.replays])
    axes.set(xlabel="CPU ms a frame, once settled")
    axes.invert_yaxis()
