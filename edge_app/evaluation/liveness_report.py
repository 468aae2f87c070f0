"""The page of `familiar evaluate liveness`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_app.evaluation.liveness import (
    BEYOND_REACH,
    LIMITS,
    TARGET_APCER,
    TARGET_BPCER,
    Errors,
    LivenessResult,
    Rate,
)
from edge_app.evaluation.page import (
    BLUE,
    ORANGE,
    Figure,
    Page,
    Table,
    interval_text,
    percent,
    plot,
    write_page,
)


def figures(result: LivenessResult) -> tuple[Figure, ...]:
    """The headline numbers, for the page and for the terminal."""
    real = result.real_people
    rows = [_figure("BPCER, heads that turn", result.bona_fide, f"target {TARGET_BPCER:.0%}")]
    rows += [
        _figure(
            f"APCER, {errors.kind}",
            errors,
            "no target: beyond a challenge"
            if errors.kind in BEYOND_REACH
            else f"target {TARGET_APCER:.0%}",
        )
        for errors in result.attacks
    ]
    if real is not None:
        low, middle, high = real.relief_percentiles
        rows.append(
            Figure(
                "Real people taken for sheets",
                percent(real.refused.rate),
                f"{interval_text(real.refused.ci95)} of {real.people} people, {real.pairs} pairs "
                f"of their pictures; relief {middle:.2f} ({low:.2f} to {high:.2f})",
            )
        )
    rows.append(
        Figure(
            "The same challenge twice",
            percent(result.luck),
            f"of {result.turns} turns: the least that recordings of others pass by chance",
        )
    )
    return tuple(rows)


def write_report(result: LivenessResult, path: Path) -> None:
    """Raises ConfigError (matplotlib is not installed) or StorageError."""
    halves = [
        (errors.kind, *(_half(rate) for rate in errors.halves))
        for errors in (result.bona_fide, *result.attacks)
    ]
    page = Page(
        title="Liveness: what passes, who is refused",
        about=f"{result.people} people, each once per kind of clip; seed {result.seed}.",
        figures=(),
        plots=(
            plot(
                lambda axes: _bars(axes, result),
                "Judged wrongly",
                "Share of clips, with exact 95 % intervals; the lines are the targets.",
            ),
        ),
        tables=(
            Table(
                "Figures",
                ("measure", "figure", "95 % interval, sample"),
                [(f.label, f.value, f.note) for f in figures(result)],
            ),
            Table("Every second person", ("kind", "first half", "second half"), halves),
        ),
        limits=LIMITS,
    )
    write_page(page, path)


def _figure(label: str, errors: Errors, target: str) -> Figure:
    rate = errors.all
    note = f"{interval_text(rate.ci95)}; {rate.wrong} of {rate.presented}; {target}"
    return Figure(label, percent(rate.rate), note)


def _half(rate: Rate) -> str:
    return f"{percent(rate.rate)} ({interval_text(rate.ci95)}), {rate.wrong} of {rate.presented}"


def _bars(axes: Any, result: LivenessResult) -> None:
    errors = (result.bona_fide, *result.attacks)[::-1]
    rates = np.array([100 * e.all.rate for e in errors])
    bounds = np.array([e.all.ci95 for e in errors]).T * 100
    places = np.arange(len(errors))
    axes.errorbar(
        rates, places, xerr=np.abs(bounds - rates), fmt="o", color=BLUE, ecolor=BLUE, capsize=3
    )
    for limit in (TARGET_APCER, TARGET_BPCER):
        axes.axvline(100 * limit, color=ORANGE, lw=1)
    axes.set_yticks(places, [e.kind for e in errors])
    axes.set(xlabel="judged wrongly, %")
