"""What a threshold means: its FPIR at several sizes of gallery, as numbers and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_app.core.calibrate import (
    MAX_THRESHOLD,
    Estimate,
    ImpostorTail,
    fpir_estimate,
    threshold_estimate,
    threshold_for,
)
from edge_app.errors import CalibrationError
from edge_app.evaluation.page import (
    BLUE,
    GREY,
    ORANGE,
    Figure,
    Page,
    Table,
    plot,
    write_page,
)
from edge_app.records import Calibration

STRANGERS_A_DAY: Final = 100
"""Faces that pass the attention gate of someone who is out and about, to give a rate a meaning."""

LIMITS: Final = (
    "The intervals tell how far the threshold would move on other people like those measured. "
    "They don't tell what happens with people unlike them: relatives, twins and small children "
    "score higher with each other, and so may groups that the pictures hardly show. Beyond the "
    "number of people measured every figure is extrapolated, on the assumption that the tail "
    "goes on as it began."
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A gallery of some size. needed, threshold: the lowest that meets the target there, and the
    one that would be used; None where that is refused, and `refusal` tells why.

    fpir:   at the calibration's threshold.
    beyond: how many times more templates than people were measured; below 1 for fewer.
    """

    templates: int
    needed: Estimate | None
    threshold: float | None
    refusal: str
    fpir: Estimate
    beyond: float


def outlook(tail: ImpostorTail, calibration: Calibration, templates: int) -> Outlook:
    """What a gallery of so many templates would need, and how the calibration would do there.

    Raises CalibrationError if the calibration's threshold lies below the tail.
    """
    needed, threshold, refusal = None, None, ""
    try:
        threshold = threshold_for(tail, calibration.target_fpir, templates).threshold
        needed = threshold_estimate(tail, calibration.target_fpir, templates)
    except CalibrationError as error:
        refusal = str(error)
    fpir = fpir_estimate(tail, calibration.threshold, templates)
    return Outlook(templates, needed, threshold, refusal, fpir, templates / tail.people)


def in_words(fpir: float) -> str:
    """One sentence on what an FPIR means to whoever wears the device."""
    daily = fpir * STRANGERS_A_DAY
    often = f"about {daily:.1f} a day" if daily >= 1 else f"about one every {1 / daily:,.0f} days"
    return (
        f"An FPIR of {percent(fpir)} takes 1 in {1 / fpir:,.0f} strangers whose face is searched "
        f"for somebody enrolled: with {STRANGERS_A_DAY} of them a day, {often}."
    )


def percent(share: float) -> str:
    """Three digits, fit for shares from 1e-9 to 1."""
    return f"{_number(share)} %"


def _number(share: float) -> str:
    return np.format_float_positional(100 * share, precision=3, fractional=False, trim="-")


def cells(row: Outlook) -> tuple[str, ...]:
    """One line of the table under `columns`."""
    needed = "-" if row.needed is None else f"{row.needed.low:.3f} to {row.needed.high:.3f}"
    return (
        f"{row.templates:,}",
        "refused" if row.threshold is None else f"{row.threshold:.3f}",
        needed,
        percent(row.fpir.best),
        f"{_number(row.fpir.low)} to {percent(row.fpir.high)}",
        "" if row.beyond <= 1 else f"{row.beyond:.0f} x",
    )


def columns(calibration: Calibration) -> tuple[str, ...]:
    """The headings of the table."""
    return ("templates", "needs", "95 %", f"FPIR at {calibration.threshold:.3f}", "95 %", "beyond")


ABOUT_THE_TABLE: Final = (
    "needs: the threshold that keeps the target there. beyond: how many times more templates than "
    "people were measured; such a line is extrapolated."
)


def write_calibration_report(
    path: Path, tail: ImpostorTail, calibration: Calibration, rows: Sequence[Outlook]
) -> None:
    """Writes the page; rows: the first is the size calibrated for.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the page cannot be written.
    """
    here = rows[0]
    needed = here.needed
    page = Page(
        title="Calibration",
        about=f"{in_words(calibration.target_fpir)} Measured on {tail.people:,} people: "
        f"{tail.data}. Model {tail.model_sha256[:12]}.",
        figures=(
            Figure(
                "Threshold",
                f"{calibration.threshold:.3f}",
                "" if needed is None else f"95 %: {needed.low:.3f} to {needed.high:.3f}",
            ),
            Figure("Target FPIR", percent(calibration.target_fpir), "of strangers' searches"),
            Figure(
                "FPIR expected",
                percent(here.fpir.best),
                f"95 %: {percent(here.fpir.low)} to {percent(here.fpir.high)}",
            ),
            Figure("Holds for", f"{calibration.max_templates:,}", "templates"),
        ),
        plots=(
            plot(
                lambda axes: _fpir_curve(axes, tail, calibration),
                "FPIR over the threshold",
                f"Among {calibration.max_templates:,} templates. Band: 95 % of bootstrap "
                "resamples of people. A comparison score is not a probability.",
            ),
            plot(
                lambda axes: _threshold_curve(axes, tail, calibration),
                "Threshold over the gallery's size",
                "To keep the target. Band: 95 % of bootstrap resamples of people. Grey: more "
                "templates than people were measured.",
            ),
        ),
        tables=(
            Table("Galleries of other sizes", columns(calibration), [cells(row) for row in rows]),
        ),
        limits=f"{LIMITS} In the table: {ABOUT_THE_TABLE}",
    )
    write_page(page, path)


def _fpir_curve(axes: Any, tail: ImpostorTail, calibration: Calibration) -> None:
    grid = np.linspace(tail.u, min(MAX_THRESHOLD, calibration.threshold + 0.15), 80)
    estimates = [fpir_estimate(tail, float(t), calibration.max_templates) for t in grid]
    _band(axes, grid, estimates)
    axes.axhline(calibration.target_fpir, color=GREY, lw=1, ls="--")
    axes.plot([calibration.threshold], [calibration.target_fpir], "o", color=ORANGE, ms=6)
    axes.annotate(
        f"{calibration.threshold:.3f}",
        (calibration.threshold, calibration.target_fpir),
        xytext=(6, 6),
        textcoords="offset points",
        color="#333b44",
    )
    axes.set(xlabel="threshold (comparison score)", ylabel="FPIR", yscale="log")


def _threshold_curve(axes: Any, tail: ImpostorTail, calibration: Calibration) -> None:
    largest = max(50_000, calibration.max_templates)
    rows = [
        outlook(tail, calibration, int(size))
        for size in np.unique(np.geomspace(10, largest, 40).astype(int))
    ]
    kept = [row for row in rows if row.needed is not None]
    sizes = np.array([row.templates for row in kept], dtype=float)
    _band(axes, sizes, [row.needed for row in kept if row.needed is not None])
    used = [row.threshold for row in kept]
    axes.plot(sizes, used, color=ORANGE, lw=1.4, ls="--", label="used")
    axes.axvspan(tail.people, largest, color=GREY, alpha=0.12, lw=0)
    axes.set(xscale="log", xlabel="templates", ylabel="threshold (comparison score)")
    axes.legend(loc="upper left")


def _band(axes: Any, places: Any, estimates: Sequence[Estimate]) -> None:
    low, high = ([e.low for e in estimates], [e.high for e in estimates])
    axes.fill_between(places, low, high, color=BLUE, alpha=0.15, lw=0)
    axes.plot(places, [e.best for e in estimates], color=BLUE, lw=1.8, label="best estimate")
