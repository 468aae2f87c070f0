"""The page of `familiar evaluate enrolment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_app.evaluation.enrolment import NEIGHBOURS, Cost, Fusion, TemplatesResult
from edge_app.evaluation.page import (
    BLUE,
    LFW_LIMITS,
    ORANGE,
    Figure,
    Page,
    Table,
    about_embedder,
    interval_text,
    percent,
    plot,
    write_page,
)

_NAMES = {Fusion.MEAN: "averaged", Fusion.EACH: "kept apart"}


def figures(result: TemplatesResult) -> tuple[Figure, ...]:
    """The headline numbers, for the page and for the terminal."""
    return (
        *(_cost_figure(cost) for cost in result.costs),
        *(
            Figure(
                f"Warned without reason, {_pictures(alike.pictures)}",
                percent(alike.warned),
                f"{interval_text(alike.warned_ci95)} of new people in a gallery of {NEIGHBOURS}; "
                f"{alike.warned_pairs} of {alike.pairs} pairs",
            )
            for alike in result.look_alikes
        ),
        *(
            Figure(
                f"Second enrolment refused, {_pictures(alike.pictures)}",
                percent(alike.refused),
                f"{interval_text(alike.refused_ci95)} of {alike.doubles} people",
            )
            for alike in result.look_alikes
            if alike.doubles
        ),
        *(
            Figure(
                f"Gate: {gate.gate}",
                f"FNIR {percent(gate.fnir)}, FPIR {percent(gate.fpir)}",
                f"refuses {percent(sum(gate.reasons.values()))} of the pictures; FNIR "
                + interval_text(gate.fnir_ci95),
            )
            for gate in result.gates
        ),
    )


def write_report(result: TemplatesResult, path: Path) -> None:
    """Raises ConfigError (matplotlib is not installed) or StorageError."""
    rows = [(f.label, f.value, f.note) for f in figures(result)]
    reasons = [
        (gate.gate, reason.replace("_", " "), percent(share))
        for gate in result.gates
        for reason, share in gate.reasons.items()
    ]
    rate = result.costs[-1].rate
    page = Page(
        title="Enrolment: pictures, warnings, gates",
        about=about_embedder(result.embedder, result.model_sha256)
        + f" {result.gallery} people with many pictures, {result.non_mated} strangers, "
        f"{result.probes} mated searches over {result.draws} draws"
        + (f", folds {', '.join(result.folds)}." if result.folds else "."),
        figures=(),
        plots=(
            plot(
                lambda axes: _curves(axes, result, rate, "fnir"),
                "Enrolled people missed",
                f"FNIR at a false match rate of {rate:g}, over pictures per person.",
            ),
            plot(
                lambda axes: _curves(axes, result, rate, "shift"),
                "How much higher strangers score",
                "Shift of the threshold for the same rate, against one picture per person.",
            ),
        ),
        tables=(
            Table("Figures", ("measure", "figure", "95 % interval, sample"), rows),
            Table("Refused pictures", ("gate", "reason", "share of all"), reasons),
        ),
        limits="The pictures of one person are of different days; the frames of one capture vary "
        "less, and gain less by being several. " + LFW_LIMITS,
    )
    write_page(page, path)


def _cost_figure(cost: Cost) -> Figure:
    low, high = cost.shift_ci95
    return Figure(
        f"{_pictures(cost.pictures)} {_NAMES[cost.fusion]}, FMR {cost.rate:g}",
        f"FNIR {percent(cost.fnir)}",
        f"{interval_text(cost.fnir_ci95)}; threshold {cost.threshold:.3f}, shift {cost.shift:+.3f} "
        f"({low:+.3f} to {high:+.3f})",
    )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _curves(axes: Any, result: TemplatesResult, rate: float, what: str) -> None:
    scale = 100 if what == "fnir" else 1
    for fusion, colour in ((Fusion.MEAN, BLUE), (Fusion.EACH, ORANGE)):
        costs = [cost for cost in result.costs if (cost.fusion, cost.rate) == (fusion, rate)]
        counts = [cost.pictures for cost in costs]
        values = np.array([getattr(cost, what) for cost in costs])
        bounds = np.array([getattr(cost, f"{what}_ci95") for cost in costs]).T
        axes.fill_between(counts, *(scale * bounds), color=colour, alpha=0.15, lw=0)
        axes.plot(counts, scale * values, "o-", color=colour, label=_NAMES[fusion])
    axes.set_xticks(counts)
    label = "FNIR, %" if what == "fnir" else "shift of the threshold"
    axes.set(xlabel="pictures per person", ylabel=label)
    axes.legend(loc="best")
