"""`familiar calibrate`: from a rate of false alarms and a size of gallery to a threshold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_app.calibrate import CalibrationResult
from edge_app.calibrate import calibrate as calibrate_home
from edge_app.commands.console import AsJson, Session, err, out, print_json
from edge_app.core.calibrate import CONFIDENCE
from edge_app.evaluation.calibration_report import (
    ABOUT_THE_TABLE,
    LIMITS,
    cells,
    columns,
    in_words,
    percent,
    write_calibration_report,
)


def calibrate(
    context: typer.Context,
    gallery: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many templates it shall hold for; default: those enrolled, and head-room.",
            metavar="N",
        ),
    ] = None,
    headroom: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            help="Growth to leave room for, as a share of those enrolled; default as configured.",
            metavar="SHARE",
        ),
    ] = None,
    target_fpir: Annotated[
        float | None,
        typer.Option(
            help="Share of strangers' searches that may return anyone; default as configured.",
            metavar="SHARE",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell, and change nothing.", metavar="")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give this gallery the threshold that keeps strangers strangers.

    It goes into the gallery; a running device takes it over within a second. No pictures are
    needed: how strangers score was measured before, and ships with the models.
    """
    session: Session = context.obj
    result = calibrate_home(
        session.config,
        session.home,
        gallery=gallery,
        headroom=headroom,
        target_fpir=target_fpir,
        clock=session.clock,
    )
    if report is not None:
        write_calibration_report(report, result.tail, result.calibration, result.outlooks)
    if not dry_run:
        session.home.store().calibrate(result.calibration)
    if as_json:
        print_json(_as_json(result, stored=not dry_run))
        return
    _print(result, stored=not dry_run)
    if report is not None:
        err.print(f"Look at {report}.", markup=False, soft_wrap=True)


def _as_json(result: CalibrationResult, *, stored: bool) -> dict[str, Any]:
    return {
        "calibration": asdict(result.calibration),
        "before": asdict(result.before) if result.before else None,
        "stored": stored,
        "templates": result.templates,
        "measured": {
            "people": result.tail.people,
            "comparisons": result.tail.comparisons,
            "data": result.tail.data,
        },
        "confidence": CONFIDENCE,
        "sizes": [asdict(row) for row in result.outlooks],
    }


def _print(result: CalibrationResult, *, stored: bool) -> None:
    calibration, here = result.calibration, result.outlooks[0]
    was = f" (it was {result.before.threshold:.3f})" if result.before else ""
    out.print(
        f"Threshold {calibration.threshold:.3f}{was}, for an FPIR of "
        f"{percent(calibration.target_fpir)} among up to {calibration.max_templates:,} "
        f"templates; {result.templates:,} are compared with now.",
        soft_wrap=True,
    )
    out.print(in_words(calibration.target_fpir), soft_wrap=True)
    if here.needed is not None:
        out.print(
            f"95 % interval of the threshold: {here.needed.low:.3f} to {here.needed.high:.3f}. "
            f"The one used is what {percent(CONFIDENCE)} of the resamples of people ask for at "
            f"most. Expect an FPIR of {percent(here.fpir.best)}, or of {percent(here.fpir.high)} "
            "if the truth lies at the upper end.",
            soft_wrap=True,
        )
    _print_sizes(result)
    out.print(
        f"Measured on {result.tail.people:,} people ({result.tail.data}). {LIMITS}", soft_wrap=True
    )
    out.print("Stored in the gallery." if stored else "Nothing was changed.")


_TABLE_COLUMNS = 78
"""Width in characters from which the table of sizes fits."""


def _print_sizes(result: CalibrationResult) -> None:
    headings = columns(result.calibration)
    rows = [cells(row) for row in result.outlooks]
    if out.width < _TABLE_COLUMNS:
        for row in rows:
            out.print(
                ", ".join(f"{h} {cell}" for h, cell in zip(headings, row, strict=True) if cell),
                soft_wrap=True,
            )
    else:
        table = Table(box=None, pad_edge=False)
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        out.print(table)
    out.print(ABOUT_THE_TABLE, soft_wrap=True)
