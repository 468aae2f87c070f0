"""What each evaluation says: its headline numbers, and its page of plots and worst errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.core.calibrate import fpir_at
from edge_app.evaluation.detection import HARD_BELOW_PX, TARGET_BINS_PX, DetectionResult
from edge_app.evaluation.encounters import FPS
from edge_app.evaluation.identification import FPIRS, Calibrated, IdentificationResult
from edge_app.evaluation.measures import (
    NO_SCORE,
    Float64Array,
    bootstrap_miss_rates,
    operating_point,
    poisson_interval,
)
from edge_app.evaluation.page import (
    BLUE,
    GREY,
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
from edge_app.evaluation.tail import TARGET_FPIRS, TailResult
from edge_app.evaluation.verification import FAR, VerificationResult
from edge_app.evaluation.video import FALSE_RATES, NEVER, Outcome, VideoPoint, VideoResult
from edge_app.records import Calibration

Result = VerificationResult | IdentificationResult | DetectionResult | TailResult | VideoResult

_WORST: Final = 12
_CURVE_RESAMPLES: Final = 400
_SEED: Final = 1


def figures(result: Result) -> tuple[Figure, ...]:
    """The headline numbers of a result, for the page and for the terminal."""
    match result:
        case VerificationResult():
            return _verification_figures(result)
        case IdentificationResult():
            return _identification_figures(result)
        case DetectionResult():
            return _detection_figures(result)
        case TailResult():
            return _tail_figures(result)
        case VideoResult():
            return _video_figures(result)


def write_report(result: Result, path: Path, *, pictures: Path | None) -> None:
    """Writes a result's page. pictures: the folder to show faces from; None shows names only.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the page cannot be written.
    """
    match result:
        case VerificationResult():
            page = _verification_page(result)
        case IdentificationResult():
            page = _identification_page(result)
        case DetectionResult():
            page = _detection_page(result)
        case TailResult():
            page = _tail_page(result)
        case VideoResult():
            page = _video_page(result)
    write_page(page, path, pictures=pictures)


def _verification_figures(result: VerificationResult) -> tuple[Figure, ...]:
    low, high = result.tar_ci95
    return (
        Figure("Accuracy", percent(result.accuracy), interval_text(result.accuracy_ci95)),
        Figure(
            f"TAR at FAR {FAR:g}", percent(1 - result.point.miss_rate), interval_text((low, high))
        ),
        Figure("Pairs", f"{len(result.pairs)}", f"{result.same.sum()} of the same person"),
        Figure("No face found", f"{len(result.unread)}", f"of {result.pictures} pictures"),
    )


def _identification_figures(result: IdentificationResult) -> tuple[Figure, ...]:
    rates = tuple(
        Figure(
            f"FNIR at FPIR {percent(fpir, 1)}",
            percent(point.miss_rate),
            f"{interval_text(ci)}, threshold {point.threshold:.3f}",
        )
        for fpir, point, ci in zip(FPIRS, result.points, result.misses_ci95, strict=True)
    )
    searches = f"{result.own.size} + {result.non_mated.size}"
    return (
        Figure("Rank 1", percent(result.rank1), interval_text(result.rank1_ci95)),
        *rates,
        _identification_calibrated(result.calibrated),
        Figure("Enrolled people", f"{len(result.people)}", _enrolled(result)),
        Figure("Searches", searches, "mated + non-mated"),
        Figure("No face found", f"{len(result.unread)}", "pictures"),
    )


def _identification_calibrated(calibrated: Calibrated | None) -> Figure:
    label = "FNIR at the device's own threshold"
    if calibrated is None:
        return Figure(label, "-", "no threshold is calibrated for a gallery of this size")
    low, high = calibrated.fpir_ci95
    return Figure(
        label,
        percent(calibrated.fnir),
        f"{interval_text(calibrated.fnir_ci95)}, threshold {calibrated.calibration.threshold:.3f}; "
        f"FPIR {percent(calibrated.fpir)} ({100 * low:.2f} to {100 * high:.2f} %), calibrated to "
        f"{percent(calibrated.calibration.target_fpir, 1)}",
    )


def _detection_figures(result: DetectionResult) -> tuple[Figure, ...]:
    low, high = poisson_interval(result.false_detections)
    recalls = tuple(
        Figure(
            f"Recall at {width} px",
            "-" if bin_.recall is None else percent(bin_.recall),
            f"{bin_.name} px: {bin_.found} of {bin_.faces}; {interval_text(bin_.recall_ci95)}",
        )
        for width in TARGET_BINS_PX
        for bin_ in result.bins
        if bin_.from_px <= width < bin_.to_px
    )
    per_frame = (low / result.frames, high / result.frames)
    return (
        *recalls,
        Figure(
            "False detections per frame",
            f"{result.false_detections / result.frames:.4f}",
            f"{result.false_detections} in {result.frames} frames; "
            f"95 %: {per_frame[0]:.4f} to {per_frame[1]:.4f}",
        ),
    )


def _tail_figures(result: TailResult) -> tuple[Figure, ...]:
    return (
        Figure("Comparisons", f"{result.tail.comparisons:,}", f"{result.people} people"),
        Figure("Tail begins at", f"{result.tail.u:.3f}", f"{result.tail.tail_fraction:.2%} above"),
        Figure("Scale", f"{result.tail.scale:.4f}", f"shape {result.tail.shape:.3f}"),
        Figure("No face found", f"{result.undetected}", f"of {result.pictures} pictures"),
    )


def _video_figures(result: VideoResult) -> tuple[Figure, ...]:
    mated, strangers = len(result.mated), len(result.strangers)
    at_false = tuple(
        Figure(
            f"Missed at {percent(rate, 1)} false",
            percent(point.missed / mated),
            f"{interval_text(result.missed_ci95(rate))}, threshold {point.threshold:.3f}",
        )
        for rate in FALSE_RATES
        for point in (result.at_false(rate),)
    )
    in_one = tuple(
        Figure(
            f"Missed at {percent(rate, 1)} false in one gallery",
            percent(point.missed / mated),
            f"{interval_text(result.missed_in_one_ci95(rate))}, threshold {point.threshold:.3f}",
        )
        for rate in FALSE_RATES
        for point in (result.at_false_in_one(rate),)
    )
    calibrated = tuple(
        Figure(
            f"Calibrated for {calibration.max_templates}",
            f"{percent(point.missed / mated)} missed",
            f"{_calibrated_false(result, calibration, point)}, threshold {point.threshold:.3f}, "
            f"calibrated to {percent(calibration.target_fpir, 1)}",
        )
        for calibration in result.calibrations
        for point in (result.at_calibrated(calibration),)
    )
    strict = result.at_false(FALSE_RATES[-1])
    time = "-" if strict.seconds is None else f"{strict.seconds[0]:.1f} s"
    late = "" if strict.seconds is None else f"95 % within {strict.seconds[1]:.1f} s, "
    unseen = sum(outcome.detected == 0 for outcome in (*result.mated, *result.strangers))
    return (
        *at_false,
        *in_one,
        *calibrated,
        Figure("Time to the right name", time, f"{late}at {percent(FALSE_RATES[-1], 1)} false"),
        Figure("Encounters", f"{mated} + {strangers}", "of enrolled people + of strangers"),
        Figure(
            "Galleries",
            f"{result.galleries}",
            f"of {result.enrolled} people, {_pictures(result.enrol_images)} each",
        ),
        Figure("No face found", f"{unseen}", "encounters"),
    )


def _calibrated_false(result: VideoResult, calibration: Calibration, point: VideoPoint) -> str:
    """What is false where the device calibrates for one gallery, or for one of all people."""
    if calibration is result.calibrations[0]:
        meetings = len(result.strangers) * result.galleries
        return f"{percent(point.false_in_one / meetings)} false in one gallery"
    return f"{percent(point.false / len(result.strangers))} false"


def _verification_page(result: VerificationResult) -> Page:
    genuine, impostor = result.scores[result.same], result.scores[~result.same]
    order = np.argsort(result.scores, kind="stable")
    misses = [int(i) for i in order if result.same[i]][:_WORST]
    alarms = [int(i) for i in order[::-1] if not result.same[i]][:_WORST]

    def rows(indices: list[int]) -> list[tuple[str, ...]]:
        chosen = [(result.pairs[i], float(result.scores[i])) for i in indices]
        return [(_score(score), pair.left, pair.right) for pair, score in chosen]

    columns = ("score", "left", "right")
    return Page(
        title="Verification",
        about=about_embedder(result.embedder, result.model_sha256),
        figures=_verification_figures(result),
        plots=(
            plot(
                lambda axes: _error_curve(axes, genuine, np.arange(genuine.size), impostor, (FAR,)),
                "Detection error trade-off",
                "Misses over false matches, on logarithmic axes. Band: 95 % of bootstrap "
                "resamples of pairs.",
            ),
            plot(
                lambda axes: _histogram(
                    axes,
                    (("same person", genuine, BLUE), ("different people", impostor, ORANGE)),
                    ((result.point.threshold, f"FAR {FAR:g}"),),
                ),
                "Comparison scores",
                "How alike the two faces are. It is not a probability.",
            ),
        ),
        tables=(
            Table("Least alike pairs of one person", columns, rows(misses), frozenset({1, 2})),
            Table("Most alike pairs of two people", columns, rows(alarms), frozenset({1, 2})),
        ),
        limits=LFW_LIMITS,
    )


def _identification_page(result: IdentificationResult) -> Page:
    returned, strangers = result.returned, result.non_mated
    worst = np.lexsort((result.own, returned))[:_WORST]
    alarms = np.argsort(-strangers, kind="stable")[:_WORST]
    misses = [
        (
            _score(float(result.own[i])),
            "yes" if returned[i] > NO_SCORE else "no",
            result.split.mated[i],
            result.split.gallery[result.people[result.mated_person[i]]][0],
        )
        for i in worst
    ]
    false = [
        (
            _score(float(strangers[i])),
            result.split.non_mated[i],
            result.split.gallery[result.people[result.nearest[i]]][0],
        )
        for i in alarms
    ]
    marks = tuple(
        (point.threshold, f"FPIR {percent(fpir, 1)}")
        for fpir, point in zip(FPIRS, result.points, strict=True)
    )
    return Page(
        title=f"Open-set identification, {_enrolled(result)}",
        about=about_embedder(result.embedder, result.model_sha256),
        figures=_identification_figures(result),
        plots=(
            plot(
                lambda axes: _error_curve(
                    axes, returned, result.mated_person, strangers, FPIRS, identification=True
                ),
                "FNIR over FPIR",
                "Enrolled people missed over strangers taken for someone. Band: 95 % of "
                "bootstrap resamples of people, the gallery fixed.",
            ),
            plot(
                lambda axes: _histogram(
                    axes,
                    (
                        ("enrolled, own templates", result.own, BLUE),
                        ("strangers, best of all", strangers, ORANGE),
                    ),
                    marks,
                ),
                "Best scores of searches",
                "With the best template. It is not a probability.",
            ),
        ),
        tables=(
            Table(
                "Enrolled people with the lowest scores",
                ("own score", "came first", "probe", "enrolled"),
                misses,
                frozenset({2, 3}),
            ),
            Table(
                "Strangers with the highest scores",
                ("score", "stranger", "taken for"),
                false,
                frozenset({1, 2}),
            ),
        ),
        limits=LFW_LIMITS,
    )


def _detection_page(result: DetectionResult) -> Page:
    rows = [
        (
            f"{bin_.name} px",
            f"{bin_.faces}",
            f"{bin_.found}",
            "-" if bin_.recall is None else percent(bin_.recall),
            interval_text(bin_.recall_ci95),
        )
        for bin_ in result.bins
    ]
    wear = [
        (name, bin_.name, f"{bin_.faces}", f"{bin_.found}", interval_text(bin_.recall_ci95))
        for name, bins in result.wear.items()
        for bin_ in bins
    ]
    scenes = [(name, f"{missed}", f"{false}") for name, missed, false in result.worst[:_WORST]]
    return Page(
        title="Detection",
        about=f"{result.frames} composed scenes with {result.faces} faces, searched as a still "
        "picture is. A face's width is that of its mesh, ear to ear.",
        figures=_detection_figures(result),
        plots=(
            plot(
                lambda axes: _recall(axes, result),
                "Recall by face width",
                "Share of faces found. Bars: 95 % Wilson intervals.",
            ),
        ),
        tables=(
            Table("By width", ("width", "faces", "found", "recall", "interval"), rows),
            Table(
                f"Faces below {HARD_BELOW_PX} px by what was done to them",
                ("what", "from-to", "faces", "found", "interval"),
                wear,
            ),
            Table("Scenes with most errors", ("scene", "missed", "false"), scenes),
        ),
        limits="The scenes are composed: portraits pasted on made-up backgrounds without "
        "shoulders or hands. Real streets hold other things that resemble faces.",
    )


def _tail_page(result: TailResult) -> Page:
    thresholds = [
        (
            percent(entry.target_fpir, 1),
            f"{entry.gallery}",
            "refused" if entry.threshold is None else f"{entry.threshold:.3f}",
            "" if entry.ci95 is None else f"{entry.ci95[0]:.3f} to {entry.ci95[1]:.3f}",
        )
        for entry in result.thresholds
    ]
    held_out = [
        (
            percent(entry.target_fpir, 1),
            f"{entry.gallery}",
            percent(entry.measured_fpir, 2),
            f"{percent(entry.spread[0], 2)} to {percent(entry.spread[1], 2)}",
            f"{entry.trials} x {entry.probes}",
        )
        for entry in result.held_out
    ]
    plots = [
        plot(
            lambda axes: _tail_fit(axes, result),
            "Strangers' scores",
            "Share of comparisons at or above a score, and the fitted tail.",
        )
    ]
    if result.held_out:
        plots.append(
            plot(
                lambda axes: _extrapolation(axes, result),
                "Does it hold for other people?",
                "FPIR in galleries of people that the tail was not fitted on. Dashed: the "
                "target. Bars: the middle 80 % of the trials.",
            )
        )
    return Page(
        title="Impostor tail",
        about=f"{result.tail.data}. Model {result.tail.model_sha256[:12]}.",
        figures=_tail_figures(result),
        plots=tuple(plots),
        tables=(
            Table("Thresholds", ("FPIR", "templates", "threshold", "95 % interval"), thresholds),
            Table(
                "Held-out people",
                ("target FPIR", "gallery", "measured", "middle 80 %", "trials x probes"),
                held_out,
            ),
            Table(
                f"All {result.people} people against each other, one picture each",
                ("FPIR", "threshold where it is measured", "FPIR predicted there"),
                [
                    (percent(target, 1), f"{threshold:.3f}", percent(fpir))
                    for target, threshold, fpir in result.everyone
                ],
            ),
        ),
        limits=LFW_LIMITS,
    )


def _video_page(result: VideoResult) -> Page:
    rejected = [(reason, percent(share)) for reason, share in result.rejected.items()]
    missed = [
        (
            _highest(result, outcome.right_frame != NEVER),
            outcome.encounter.person,
            outcome.encounter.pictures[0],
            f"{len(outcome.encounter.pictures)}",
            f"{outcome.embedded}",
            _most_common(outcome),
        )
        for outcome in sorted(result.mated, key=lambda o: int((o.right_frame != NEVER).sum()))
    ]
    false = [
        (
            _highest(result, outcome.wrong > 0),
            outcome.encounter.person,
            outcome.encounter.pictures[0],
            outcome.taken_for,
        )
        for outcome in sorted(result.strangers, key=lambda o: -_place(o.wrong > 0))
        if outcome.taken_for
    ]
    return Page(
        title=f"Encounters, {_pictures(result.enrol_images)} enrolled each",
        about=about_embedder(result.embedder, result.model_sha256),
        figures=_video_figures(result),
        plots=(
            plot(
                lambda axes: _encounter_errors(axes, result),
                "Missed over false encounters",
                "Enrolled people whom nobody named over strangers who were named in any gallery. "
                "A dot for every threshold at which the program was run.",
            ),
            plot(
                lambda axes: _errors_by_threshold(axes, result),
                "Errors by threshold",
                "Dotted: the thresholds that the device calibrates for one gallery, and for one "
                "of all enrolled people.",
            ),
            plot(
                lambda axes: _times_to_name(axes, result),
                "Time to the right name",
                "Share of enrolled people named so far, from the first frame on. Who is named "
                "late came nearer or looked more like themselves later.",
            ),
        ),
        tables=(
            Table(
                "Enrolled people who were hardest to name",
                ("named up to", "person", "first look", "looks", "searches", "mostly rejected as"),
                missed[:_WORST],
                frozenset({2}),
            ),
            Table(
                "Strangers who came closest to a name",
                ("named up to", "stranger", "first look", "taken for"),
                false[:_WORST],
                frozenset({2}),
            ),
            Table("Faces found but not searched", ("reason", "share of all found"), rejected),
        ),
        limits="The encounters are composed from stills: no expression moves, no head turns, and "
        "a person's pictures are often years apart. " + LFW_LIMITS,
    )


def _place(named: NDArray[np.bool_]) -> int:
    """Of the highest threshold at which somebody was named; -1 if at none."""
    places = np.flatnonzero(named)
    return int(places[-1]) if places.size else -1


def _highest(result: VideoResult, named: NDArray[np.bool_]) -> str:
    place = _place(named)
    return "never" if place < 0 else f"{result.thresholds[place]:.3f}"


def _most_common(outcome: Outcome) -> str:
    if not outcome.rejections:
        return ""
    reason = max(outcome.rejections, key=lambda r: outcome.rejections[r])
    return f"{reason.value}, {outcome.rejections[reason]} of {outcome.detected}"


def _error_curve(
    axes: Any,
    genuine: Float64Array,
    person: NDArray[np.int64],
    impostor: Float64Array,
    marked: Sequence[float],
    *,
    identification: bool = False,
) -> None:
    rates = np.geomspace(min(1 / impostor.size, 0.1), 0.5, 60)
    misses = np.array([operating_point(genuine, impostor, rate).miss_rate for rate in rates])
    band = bootstrap_miss_rates(
        genuine, person, impostor, rates, resamples=_CURVE_RESAMPLES, seed=_SEED
    )
    low, high = np.percentile(band, (2.5, 97.5), axis=0)
    floor = 0.5 / genuine.size
    axes.fill_between(
        rates, np.maximum(low, floor), np.maximum(high, floor), color=BLUE, alpha=0.15, lw=0
    )
    axes.step(rates, np.maximum(misses, floor), where="post", color=BLUE, lw=1.8)
    for rate in marked:
        miss = operating_point(genuine, impostor, rate).miss_rate
        axes.plot([rate], [max(miss, floor)], "o", color=ORANGE, ms=6, zorder=3)
        axes.annotate(
            f"{percent(miss, 1)} at {rate:g}",
            (rate, max(miss, floor)),
            xytext=(8, 8),
            textcoords="offset points",
            color="#333b44",
        )
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(max(floor, float(misses.min()) / 3), 1)
    names = ("FPIR", "FNIR") if identification else ("false match rate", "false non-match rate")
    axes.set(xlabel=names[0], ylabel=names[1])


def _histogram(
    axes: Any,
    groups: Sequence[tuple[str, Float64Array, str]],
    marks: Sequence[tuple[float, str]],
) -> None:
    bins = np.linspace(-0.4, 1.0, 71)
    for name, scores, colour in groups:
        shares = np.full(scores.size, 100 / max(scores.size, 1))
        axes.hist(
            np.clip(scores, -0.4, 1.0), bins, weights=shares, color=colour, alpha=0.55, label=name
        )
    top = axes.get_ylim()[1]
    for i, (threshold, name) in enumerate(marks):
        axes.axvline(threshold, color=GREY, lw=1.1, ls="--")
        label = {"color": GREY, "va": "top", "backgroundcolor": "#ffffffd0", "zorder": 4}
        axes.text(threshold + 0.012, top * (0.98 - 0.08 * i), name, **label)
    axes.set(xlabel="comparison score", ylabel="% of the group")
    axes.legend(loc="upper left")


def _recall(axes: Any, result: DetectionResult) -> None:
    seen = [bin_ for bin_ in result.bins if bin_.recall is not None]
    places = np.arange(len(seen))
    recall = np.array([100 * (bin_.recall or 0.0) for bin_ in seen])
    low = np.array([100 * bin_.recall_ci95[0] for bin_ in seen])
    high = np.array([100 * bin_.recall_ci95[1] for bin_ in seen])
    axes.bar(places, recall, color=BLUE, alpha=0.75, width=0.7)
    errors = np.maximum(0, np.stack((recall - low, high - recall)))
    axes.errorbar(places, recall, errors, fmt="none", ecolor="#20272e", capsize=3, lw=1)
    axes.set_xticks(places, [bin_.name for bin_ in seen])
    axes.set(xlabel="face width, px", ylabel="found, %", ylim=(0, 103))
    axes.grid(visible=False, axis="x")


def _encounter_errors(axes: Any, result: VideoResult) -> None:
    mated, strangers = len(result.mated), len(result.strangers)
    missed = (~result.named).sum(axis=0) / mated
    false = (result.alarms > 0).sum(axis=0) / strangers
    floors = 0.5 / strangers, 0.5 / mated
    shown = np.maximum(false, floors[0]), np.maximum(missed, floors[1])
    axes.plot(*shown, "o-", color=BLUE, lw=1.4, ms=3)
    for row, rate in enumerate(FALSE_RATES):
        point = result.at_false(rate)
        low, high = result.missed_ci95(rate)
        x, y = max(point.false / strangers, floors[0]), point.missed / mated
        axes.plot([x, x], [max(low, floors[1]), max(high, floors[1])], color=ORANGE, lw=1.4)
        axes.plot([x], [max(y, floors[1])], "o", color=ORANGE, ms=6, zorder=3)
        axes.annotate(
            f"{percent(y, 1)} at {rate:g}",
            (x, max(y, floors[1])),
            xytext=(8, 8 + 12 * row),
            textcoords="offset points",
            color="#333b44",
        )
    axes.set(xscale="log", yscale="log", xlabel="strangers named", ylabel="enrolled people missed")
    axes.set(xlim=(floors[0] * 0.8, 1), ylim=(floors[1] * 0.8, 1))


def _errors_by_threshold(axes: Any, result: VideoResult) -> None:
    shown = np.array(result.thresholds) < 1
    thresholds = np.array(result.thresholds)[shown]
    missed = 100 * (~result.named).mean(axis=0)[shown]
    false = 100 * (result.alarms > 0).mean(axis=0)[shown]
    in_one = 100 * result.alarms.mean(axis=0)[shown] / result.galleries
    axes.plot(thresholds, missed, color=BLUE, lw=1.8, label="enrolled people missed")
    axes.plot(thresholds, false, color=ORANGE, lw=1.8, label="strangers named in any gallery")
    axes.plot(thresholds, in_one, color=ORANGE, lw=1.4, ls="--", label="in one gallery")
    for calibration in result.calibrations:
        axes.axvline(calibration.threshold, color=GREY, lw=1.1, ls=":")
    axes.set(xlabel="threshold", ylabel="% of the encounters")
    axes.set_ylim(0, max(5.0, 1.3 * float(missed.min()), 1.1 * float(in_one.max())))
    axes.legend(loc="upper center")


def _times_to_name(axes: Any, result: VideoResult) -> None:
    for rate, colour in zip(FALSE_RATES, (BLUE, ORANGE), strict=True):
        place = result.thresholds.index(result.at_false(rate).threshold)
        frames = np.array([outcome.right_frame[place] for outcome in result.mated])
        seconds = np.concatenate(([0], np.sort(frames[frames != NEVER]) / FPS))
        shares = 100 * np.arange(seconds.size) / len(result.mated)
        label = f"at {percent(rate, 1)} false"
        axes.step(seconds, shares, where="post", color=colour, lw=1.8, label=label)
    axes.set(xlabel="seconds", ylabel="% of enrolled people named", ylim=(0, 103))
    axes.set_xlim(left=0)
    axes.legend(loc="lower right")


def _tail_fit(axes: Any, result: TailResult) -> None:
    falling = np.sort(result.scores)[::-1]
    keep = np.unique(np.geomspace(1, falling.size, 600).astype(int)) - 1
    axes.plot(falling[keep], (keep + 1) / falling.size, color=BLUE, lw=1.8, label="measured")
    grid = np.linspace(result.tail.u, min(1.0, float(falling[0]) + 0.1), 100)
    fitted = [fpir_at(result.tail, float(t), 1) for t in grid]
    axes.plot(grid, fitted, color=ORANGE, lw=1.6, ls="--", label="fitted tail")
    axes.set(xlabel="comparison score", ylabel="share at or above", yscale="log")
    axes.set_xlim(0.0, float(grid[-1]))
    axes.legend(loc="lower left")


def _extrapolation(axes: Any, result: TailResult) -> None:
    for target, colour in zip(TARGET_FPIRS, (BLUE, ORANGE), strict=True):
        entries = [entry for entry in result.held_out if entry.target_fpir == target]
        sizes = np.array([entry.gallery for entry in entries], dtype=float)
        measured = np.array([100 * entry.measured_fpir for entry in entries])
        low = np.array([100 * entry.spread[0] for entry in entries])
        high = np.array([100 * entry.spread[1] for entry in entries])
        errors = np.maximum(0, np.stack((measured - low, high - measured)))
        axes.axhline(100 * target, color=colour, lw=1, ls="--")
        # Set apart a little, so that neither hides the other's bars.
        places = sizes * (1 + 3 * (target - 0.005))
        style = {"fmt": "o-", "color": colour, "capsize": 3, "lw": 1.4, "ms": 5}
        axes.errorbar(places, measured, errors, label=f"target {percent(target, 1)}", **style)
    axes.set(xscale="log", xlabel="people in the gallery", ylabel="measured FPIR, %")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")


def _enrolled(result: IdentificationResult) -> str:
    averaged = "" if result.enrol_images == 1 else ", averaged"
    return f"{_pictures(result.enrol_images)} each{averaged}"


def _pictures(count: int) -> str:
    return "one picture" if count == 1 else f"{count} pictures"


def _score(score: float) -> str:
    return "no face" if score == NO_SCORE else f"{score:.3f}"
