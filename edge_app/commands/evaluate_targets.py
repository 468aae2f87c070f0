"""`familiar evaluate targets`: what was measured, against what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_app.commands.console import err, out
from edge_app.evaluation.files import write_json
from edge_app.evaluation.targets import (
    Verdict,
    as_json,
    fallen_behind,
    judge,
    read_results,
)
from edge_app.evaluation.targets import record as write_record

_TABLE_COLUMNS = 104
"""Width in characters from which the table fits."""


def targets_command(
    results: Annotated[
        Path, typer.Option(help="Folder of the other evaluations' JSON.", metavar="DIR")
    ],
    record: Annotated[
        Path | None,
        typer.Option(help="Write the figures down here, for --against.", metavar="JSON"),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Fail only where a figure is worse than recorded here, not where a target is "
            "missed.",
            metavar="JSON",
        ),
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write the result here.", metavar="FILE")
    ] = None,
) -> None:
    """Every measure with its target. Exit status 1 where one is missed or was not measured."""
    verdicts = judge(read_results(results))
    # A short run is held against the record, and leaves most of the targets to the full one.
    _print([v for v in verdicts if against is None or v.measured is not None])
    if json_out is not None:
        write_json(json_out, {"targets": [as_json(verdict) for verdict in verdicts]})
    if record is not None:
        write_record(verdicts, record)
    if against is not None:
        worse = fallen_behind(verdicts, against)
        for verdict, was in worse:
            err.print(f"{verdict.target.name}: {_figure(verdict)}, was {was:.4f}", markup=False)
        raise typer.Exit(1 if worse else 0)
    if not all(verdict.met for verdict in verdicts):
        raise typer.Exit(1)


def _print(verdicts: Sequence[Verdict]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("measure", "target", "measured", "95 % interval", ""):
        table.add_column(heading, no_wrap=True)
    for verdict in verdicts:
        met = {True: "met", False: "missed", None: "not measured"}[verdict.met]
        style = {True: "green", False: "bold red", None: "yellow"}[verdict.met]
        table.add_row(
            Text(verdict.target.name),
            (">= " if verdict.target.at_least else "<= ") + _shown(verdict.target.limit),
            _figure(verdict),
            "" if verdict.ci95 is None else " to ".join(_shown(end) for end in verdict.ci95),
            Text(met, style),
        )
    # In a log, too, every figure is to be read in full.
    wide = Console(width=max(out.width, _TABLE_COLUMNS), no_color=not out.is_terminal)
    wide.print(table, crop=False)


def _figure(verdict: Verdict) -> str:
    return "" if verdict.measured is None else _shown(verdict.measured)


def _shown(share: float) -> str:
    return f"{share:.2%}" if share else "0"
