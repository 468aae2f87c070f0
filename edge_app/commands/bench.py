"""`familiar bench`: every stage and every kind of frame, timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import first_calibration, index_factory, load_models, make_rules
from edge_app.commands.console import AsJson, bars, count, out, print_json, write_json
from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.evaluation.bench import (
    BenchReport,
    Change,
    Progress,
    ReplayFigure,
    changes,
    machine,
    read_report,
    reference_ms,
    resident_mb,
    run_stages,
)
from edge_app.evaluation.bench_page import write_bench_page
from edge_app.evaluation.bench_replay import Studio, portraits
from edge_app.pipeline import Models, Pipeline


def bench(
    context: typer.Context,
    calls: Annotated[int, typer.Option(min=5, help="Timed calls of each stage.")] = 50,
    faces: Annotated[
        Path | None,
        typer.Option(
            help="A folder of portraits: also replay scenes with 0, 1, 4 and 16 of them.",
            metavar="DIR",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=5, help="Timed frames of each replay.")] = 90,
    templates: Annotated[
        int, typer.Option(min=100, help="The largest gallery to search; 200,000 take 0.5 GB.")
    ] = 200_000,
    save: Annotated[
        Path | None, typer.Option(help="Store all figures here.", metavar="FILE.json")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Name what became 20 % slower or faster than in this report, and fail if any did.",
            metavar="FILE.json",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time every stage on this machine. Needs no camera, and faces for replays only."""
    config: Config = context.obj.config
    reference = None if against is None else read_report(against)
    models, load_ms, rss_mb = _loaded(config)
    with bars(quiet=as_json) as progress:
        replays = () if faces is None else _replays(config, models, faces, frames, progress)
        stages = run_stages(
            Pipeline(make_rules(config), models, NullStopwatch()),
            config.scan,
            index_factory(config),
            calls=calls,
            largest_gallery=templates,
            progress=progress,
        )
    measured = BenchReport(
        machine(), config.model_threads, round(reference_ms(), 3), load_ms, rss_mb, stages, replays
    )
    if as_json:
        print_json(asdict(measured))
    else:
        _print_bench(measured)
    if save is not None:
        write_json(save, asdict(measured))
    if report is not None:
        write_bench_page(measured, report)
    if reference is not None:
        changed = changes(asdict(measured), reference)
        if not as_json:
            _print_changes(changed)
        if changed:
            raise typer.Exit(1)


def _loaded(config: Config) -> tuple[Models, float, float]:
    """The networks, the milliseconds that took, and the megabytes resident after it."""
    begun_s = time.perf_counter()
    models = load_models(config)
    return models, round(1e3 * (time.perf_counter() - begun_s), 1), resident_mb()


def _replays(
    config: Config, models: Models, faces: Path, frames: int, progress: Progress
) -> tuple[ReplayFigure, ...]:
    rules, sha256 = make_rules(config), models.embedder.sha256
    nobody = Gallery.empty(
        purpose=config.purpose,
        model_sha256=sha256,
        calibration=first_calibration(config, sha256),
    )
    studio = Studio(rules, models, nobody, portraits(faces, rules, models, progress))
    return studio.run(frames, progress)


def _print_bench(report: BenchReport) -> None:
    table = _table("stage", "p50 ms", "p95 ms", "CPU ms", "ratio")
    for figure in report.stages:
        table.add_row(
            figure.stage,
            *(f"{ms:.2f}" for ms in (figure.p50_ms, figure.p95_ms, figure.cpu_ms)),
            f"{figure.ratio:.2f}",
        )
    out.print(table)
    if report.replays:
        table = _table("ms a frame", "first", "its CPU", "p50", "p95", "CPU", "dropped")
        for replay in report.replays:
            first = (replay.cold_ms, replay.cold_cpu_ms)
            later = (replay.p50_ms, replay.p95_ms, replay.cpu_ms)
            figures = (f"{ms:.2f}" for ms in (*first, *later))
            table.add_row(replay.name, *figures, f"{replay.dropped}")
        out.print(table)
    out.print(
        f"networks loaded in {report.load_ms:.0f} ms; {report.rss_mb:.0f} MB resident without a "
        f"gallery; reference {report.reference_ms:.2f} ms; "
        f"{count(report.model_threads, 'model thread')}",
        soft_wrap=True,
    )
    here = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    out.print(
        f"{here.cores} x {here.cpu}, {here.architecture}, governor {here.governor}, "
        f"Python {here.python}, {packages}",
        soft_wrap=True,
    )


def _print_changes(changed: Sequence[Change]) -> None:
    for change in changed:
        word = "slower" if change.factor > 1 else "faster"
        out.print(f"{word}: {change.what}, {change.factor:.2f} times the reference", soft_wrap=True)
    if not changed:
        out.print("no ratio differs by more than 20 % from the reference")


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
