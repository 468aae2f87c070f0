"""The impostor tail: how high do strangers score, and does its extrapolation hold?

Every picture is compared with every picture of everyone else, and the tail of those scores is
fitted (`edge_app.core.calibrate`). Comparisons that share a picture are not independent: a
picture that resembles many resembles them together. So intervals come from resampling people,
and the extrapolation is tested on galleries of people that the tail was not fitted on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.core.calibrate import (
    MIN_EXCEEDANCES,
    ImpostorTail,
    fit_tail,
    fpir_at,
    threshold_for,
)
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceReader, FaceTable, read_faces, with_progress
from edge_app.evaluation.files import identity_of, list_pictures, read_excluded, write_json
from edge_app.evaluation.measures import Interval, percentile_interval
from edge_app.records import Float32Array

TAIL_SHARE: Final = 1e-3
"""Share of comparisons that make the tail. Of 1e-2 to 1e-4, on LFW, the extrapolation from 400
people to galleries of up to 1,000 others erred least, and to the safe side, with this one."""

TARGET_FPIRS: Final = (0.01, 0.003)
GALLERY_SIZES: Final = (50, 100, 200, 500, 1000, 1500)

_FIT_SHARE: Final = 0.25
_TRIALS: Final = 40
_RESAMPLES: Final = 200
_MIN_PEOPLE: Final = 40
_MIN_PROBES: Final = 20
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the tail says for a gallery: ci95 from resampling people; None where it refuses."""

    target_fpir: float
    gallery: int
    threshold: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The threshold for `target_fpir` from some people, tried on a gallery of others.

    measured_fpir: mean over the trials; spread: the middle 80 % of them.
    """

    target_fpir: float
    gallery: int
    trials: int
    probes: int
    measured_fpir: float
    spread: Interval


@dataclass(frozen=True, slots=True)
class TailResult:
    """everyone: measured thresholds for `TARGET_FPIRS` when each person, one picture each, is
    searched among all others: not held out, but the largest gallery the pictures allow."""

    tail: ImpostorTail
    pictures: int
    people: int
    undetected: int
    thresholds: tuple[Threshold, ...]
    held_out: tuple[HeldOut, ...]
    everyone: tuple[tuple[float, float, float], ...]
    """(target FPIR, threshold where it is measured, FPIR the tail predicts there)."""
    scores: Float32Array = field(repr=False, compare=False)
    """Shape (comparisons,), for the report."""

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result."""
        return {
            "measure": "tail",
            "protocol": "all comparisons between pictures of different people; the top "
            f"{TAIL_SHARE:g} of them fitted, bounded tails refused; intervals: bootstrap over "
            f"people; held out: fitted on {_FIT_SHARE:.0%} of the people, tried on one picture "
            "each of the others",
            "pictures": self.pictures,
            "people": self.people,
            "undetected": self.undetected,
            "tail": asdict(self.tail),
            "thresholds": [asdict(entry) for entry in self.thresholds],
            "held_out": [asdict(entry) for entry in self.held_out],
            "everyone": [
                {"target_fpir": target, "measured_threshold": threshold, "predicted_fpir": fpir}
                for target, threshold, fpir in self.everyone
            ],
        }


def measure_tail(table: FaceTable, *, model_sha256: str, data: str) -> TailResult:
    """Fits the tail to all comparisons between different people, and tests it.

    Raises:
        ConfigError: fewer than 40 people.
        CalibrationError: too few comparisons for a tail.
    """
    who = [identity_of(name) for name in table.names]
    person = np.unique(who, return_inverse=True)[1].astype(np.int64)
    people = int(person.max()) + 1 if person.size else 0
    if people < _MIN_PEOPLE:
        raise ConfigError(
            f"the pictures show {people} people, and a tail needs {_MIN_PEOPLE} at least, named "
            "like Anna_Smith_0001.jpg; name another folder"
        )
    similarity = table.embeddings @ table.embeddings.T
    scores = cross_scores(similarity, person)
    if scores.size * TAIL_SHARE < 2 * MIN_EXCEEDANCES:
        raise CalibrationError(
            f"{scores.size} comparisons are too few for a tail and its intervals "
            f"({2 * MIN_EXCEEDANCES / TAIL_SHARE:.0f} at least); use more pictures"
        )
    tail = safe_tail(scores, _beginning(scores), model_sha256=model_sha256, data=data)
    return TailResult(
        tail=tail,
        pictures=len(table.names) + len(table.unread),
        people=people,
        undetected=len(table.unread),
        thresholds=_thresholds(tail, similarity, person),
        held_out=_held_out(similarity, person),
        everyone=_everyone(tail, similarity, person),
        scores=scores,
    )


def cross_scores(similarity: Float32Array, person: NDArray[np.int64]) -> Float32Array:
    """The scores between pictures of different people, each pair once, shape (comparisons,).

    similarity: shape (n, n); person: shape (n,).
    """
    rows, columns = np.triu_indices(len(person), 1)
    return np.asarray(similarity[rows, columns][person[rows] != person[columns]], np.float32)


def safe_tail(scores: Float32Array, u: float, *, model_sha256: str, data: str) -> ImpostorTail:
    """The tail of the scores above u, without an end.

    A fit with shape < 0 says that no stranger ever scores above some end. On LFW it predicts
    up to twice too few false positives in galleries of other people, because the rare alike
    ones, small children above all, are missing from the part it was fitted on. The exponential
    tail of the same mean (shape 0) has predicted at most 12 % too few, and mostly too many.

    Raises:
        CalibrationError: too few scores for a tail.
    """
    fitted = fit_tail(scores, u=u, model_sha256=model_sha256, data=data)
    if fitted.shape >= 0:
        return fitted
    excess = scores[scores > fitted.u].astype(np.float64) - fitted.u
    return replace(fitted, shape=0.0, scale=float(excess.mean()))


def _beginning(scores: Float32Array) -> float:
    return float(np.quantile(scores, 1 - TAIL_SHARE))


def _thresholds(
    tail: ImpostorTail, similarity: Float32Array, person: NDArray[np.int64]
) -> tuple[Threshold, ...]:
    random = np.random.default_rng(_SEED)
    people = int(person.max()) + 1
    tails = []
    for _ in with_progress(range(_RESAMPLES), "Resampling people"):
        drawn = np.bincount(random.integers(0, people, people), minlength=people)
        with contextlib.suppress(CalibrationError):  # hardly anything left above u
            tails.append(_resampled_tail(tail, similarity, person, drawn))
    entries = []
    for target in TARGET_FPIRS:
        for gallery in GALLERY_SIZES:
            best = _threshold(tail, target, gallery)
            values = [_threshold(other, target, gallery) for other in tails]
            known = np.array([value for value in values if value is not None])
            interval = percentile_interval(known) if best is not None and known.size else None
            entries.append(Threshold(target, gallery, best, interval))
    return tuple(entries)


def _resampled_tail(
    tail: ImpostorTail,
    similarity: Float32Array,
    person: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> ImpostorTail:
    """The tail with each person's pictures counted as often as the person was drawn."""
    rows, columns = np.nonzero(np.triu(similarity > tail.u, 1))
    other = person[rows] != person[columns]
    rows, columns = rows[other], columns[other]
    above = np.repeat(similarity[rows, columns], drawn[person[rows]] * drawn[person[columns]])
    pictures = drawn * np.bincount(person, minlength=drawn.size)
    comparisons = (int(pictures.sum()) ** 2 - int((pictures**2).sum())) // 2
    below = np.full(max(0, comparisons - above.size), -1.0, np.float32)
    return safe_tail(np.concatenate((above, below)), tail.u, model_sha256="", data="")


def _threshold(tail: ImpostorTail, target: float, gallery: int) -> float | None:
    try:
        return threshold_for(tail, target, gallery).threshold
    except CalibrationError:
        return None


def _held_out(similarity: Float32Array, person: NDArray[np.int64]) -> tuple[HeldOut, ...]:
    random = np.random.default_rng(_SEED)
    first = np.unique(person, return_index=True)[1]
    people = len(first)
    fitted_on = round(people * _FIT_SHARE)
    sizes = [n for n in GALLERY_SIZES if n + _MIN_PROBES <= people - fitted_on]
    measured: dict[tuple[float, int], list[float]] = {
        (target, size): [] for target in TARGET_FPIRS for size in sizes
    }
    for _ in with_progress(range(_TRIALS), "Trying held-out people"):
        order = random.permutation(people)
        chosen = np.flatnonzero(np.isin(person, order[:fitted_on]))
        try:
            scores = cross_scores(similarity[np.ix_(chosen, chosen)], person[chosen])
            tail = safe_tail(scores, _beginning(scores), model_sha256="", data="")
        except CalibrationError:
            continue
        others = first[order[fitted_on:]]
        for size in sizes:
            best = similarity[np.ix_(others[size:], others[:size])].max(axis=1)
            for target in TARGET_FPIRS:
                threshold = _threshold(tail, target, size)
                if threshold is not None:
                    measured[target, size].append(float(np.mean(best >= threshold)))
    return tuple(
        HeldOut(
            target_fpir=target,
            gallery=size,
            trials=len(values),
            probes=people - fitted_on - size,
            measured_fpir=float(np.mean(values)),
            spread=(float(np.quantile(values, 0.1)), float(np.quantile(values, 0.9))),
        )
        for (target, size), values in measured.items()
        if values
    )


def _everyone(
    tail: ImpostorTail, similarity: Float32Array, person: NDArray[np.int64]
) -> tuple[tuple[float, float, float], ...]:
    first = np.unique(person, return_index=True)[1]
    alone = similarity[np.ix_(first, first)].astype(np.float64)
    np.fill_diagonal(alone, -1.0)
    best = alone.max(axis=1)
    entries = []
    for target in TARGET_FPIRS:
        threshold = float(np.quantile(best, 1 - target))
        if threshold >= tail.u:
            entries.append((target, threshold, fpir_at(tail, threshold, len(first) - 1)))
    return tuple(entries)


def run(
    reader: FaceReader, *, images: Path, exclude: Path | None, data: str, json_out: Path
) -> TailResult:
    """`familiar evaluate tail`: reads a folder of pictures of different people, fits, tests.

    data: where the pictures come from, in words; it goes into the tail.

    Raises:
        ConfigError: a list is malformed or there are too few people.
        CalibrationError: too few comparisons for a tail.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    excluded: Collection[str] = read_excluded(exclude) if exclude else ()
    names = [name for name in list_pictures(images) if name not in excluded]
    table = read_faces(reader, images, names)
    result = measure_tail(table, model_sha256=reader.embedder_sha256, data=data)
    write_json(json_out, result.to_json())
    return result
