"""`familiar bench`: every stage timed on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import index_factory, load_models, make_rules
from edge_app.commands.console import AsJson, count, out, print_json, progress
from edge_app.config import Config
from edge_app.evaluation.bench import BenchReport, run_bench
from edge_app.pipeline import Pipeline


def bench(
    context: typer.Context,
    calls: Annotated[int, typer.Option(min=5, help="Timed calls of each stage.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Time every stage on this machine. Needs no camera and no faces."""
    config: Config = context.obj.config
    with progress(quiet=as_json) as bar:
        task = bar.add_task("", total=None)
        report = run_bench(
            Pipeline(make_rules(config), load_models(config), NullStopwatch()),
            config.scan,
            index_factory(config),
            model_threads=config.model_threads,
            calls=calls,
            on_stage=lambda stage: bar.update(task, description=stage),
        )
    if as_json:
        print_json(asdict(report))
    else:
        _print_bench(report)


def _print_bench(report: BenchReport) -> None:
    here = report.machine
    table = Table("stage", "p50 ms", "p95 ms", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in report.stages:
        table.add_row(figure.stage, f"{figure.p50_ms:.2f}", f"{figure.p95_ms:.2f}")
    out.print(table)
    out.print(
        f"first frame with one face, 50,000 templates: {report.first_frame_ms:.1f} ms; largest "
        f"memory {report.peak_rss_mb:.0f} MB; {count(report.model_threads, 'model thread')}",
        soft_wrap=True,
    )
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    out.print(
        f"{here.cores} x {here.cpu}, {here.architecture}, governor {here.governor}, "
        f"Python {here.python}, {packages}",
        soft_wrap=True,
    )
