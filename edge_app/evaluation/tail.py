"""The impostor tail: how high do strangers score, and does its extrapolation hold?

Every picture is compared with every picture of everyone else, and the tail of those scores is
fitted (`edge_app.core.calibrate`). Enrolment averages several pictures into a template, and such
templates score a little higher with strangers than pictures do; few people have that many
pictures, so it is measured on those who do, mean against the same people's single pictures, by
how much the beginning of the tail moves. Probes stay single pictures: a device's decision needs
several frames that each reach the threshold, which happens to strangers no more often.

Comparisons that share a person are not independent: a face that resembles many resembles them
together. So intervals come from resampling people, and the extrapolation is tested on galleries
of people that the tail was not fitted on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.calibration_file import write_tail
from edge_app.core.calibrate import (
    CONFIDENCE,
    MIN_RESAMPLES,
    ImpostorTail,
    TailFit,
    fit_tail,
    fpir_at,
    threshold_estimate,
    threshold_for,
)
from edge_app.core.embed import average
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceReader, FaceTable, read_faces, with_progress
from edge_app.evaluation.files import identity_of, list_pictures, read_excluded, write_json
from edge_app.evaluation.measures import Interval
from edge_app.records import Float32Array

TAIL_SHARE: Final = 1e-3
"""Share of comparisons that make the tail. Of 1e-2 to 1e-4, on LFW, the extrapolation from 400
people to galleries of up to 1,000 others erred least, and to the safe side, with this one."""

TEMPLATE_PICTURES: Final = 5
"""A template averages at most so many; see `EnrolmentConfig.max_frames`."""

TARGET_FPIRS: Final = (0.01, 0.003)
GALLERY_SIZES: Final = (25, 100, 500, 1_000, 5_000, 10_000, 50_000)
HELD_OUT_SIZES: Final = (50, 100, 200, 500, 1_000, 1_200)
FIT_SHARE: Final = 0.1
"""Of the people, for the held-out trials: the smaller, the farther the extrapolation."""

_TRIALS: Final = 40
_RESAMPLES: Final = 200
_TRIAL_RESAMPLES: Final = MIN_RESAMPLES + 25
"""Some of them leave too little of a tail."""
_MIN_COMPARISONS: Final = 200_000
_MIN_PEOPLE: Final = 40
_MIN_AVERAGED: Final = 30
_MIN_PROBES: Final = 20
_KEPT: Final = 8
"""So many times the tail's share of scores is kept: more than any resample reaches down to."""
_SEED: Final = 1

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the tail says for a gallery. threshold: as calibrated, None where that is refused;
    ci95: of the lowest one that meets the target, from resampling people."""

    target_fpir: float
    gallery: int
    threshold: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The threshold for `target_fpir` from some people, tried on a gallery of others.

    fitted_on:     how many people the tail was fitted on.
    measured_fpir: mean over the trials, at the calibrated threshold; spread: the middle 80 %.
    best_fpir:     the same mean, at the best estimate of the threshold.
    above_target:  share of trials that measured more than the target.
    """

    target_fpir: float
    gallery: int
    trials: int
    probes: int
    measured_fpir: float
    spread: Interval
    fitted_on: int
    best_fpir: float
    above_target: float


@dataclass(frozen=True, slots=True)
class Averaging:
    """How much averaging pictures into a template moves the tail up, from `people` people."""

    pictures: int
    people: int
    shift: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class TailResult:
    """tail: for averaged templates. held_out: for galleries of single pictures, and of averaged
    templates in held_out_averaged. everyone: measured thresholds for `TARGET_FPIRS` when each
    person, one picture each, is searched among all others: not held out, but the largest
    gallery the pictures allow."""

    tail: ImpostorTail
    averaging: Averaging
    pictures: int
    people: int
    undetected: int
    thresholds: tuple[Threshold, ...]
    held_out: tuple[HeldOut, ...]
    held_out_averaged: tuple[HeldOut, ...]
    everyone: tuple[tuple[float, float, float], ...]
    """(target FPIR, threshold where it is measured, FPIR the tail predicts there)."""
    scores: Float32Array = field(repr=False, compare=False)
    """Of pictures with averaged templates, shape (comparisons,), for the report."""

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result."""
        tail = asdict(self.tail)
        del tail["resampled"]
        return {
            "measure": "tail",
            "protocol": "all comparisons between pictures of different people; the top "
            f"{TAIL_SHARE:g} of them fitted, bounded tails refused, moved up by what averaging "
            f"{self.averaging.pictures} pictures into a template does; threshold: {CONFIDENCE:g} "
            "of bootstrap resamples of people ask for no more; ci95: their middle 95 %; held "
            f"out: fitted on {FIT_SHARE:.0%} of the people (averaged: on half), tried on one "
            "picture each of the others",
            "pictures": self.pictures,
            "people": self.people,
            "undetected": self.undetected,
            "tail": tail,
            "averaging": asdict(self.averaging),
            "thresholds": [asdict(entry) for entry in self.thresholds],
            "held_out": [asdict(entry) for entry in self.held_out],
            "held_out_averaged": [asdict(entry) for entry in self.held_out_averaged],
            "everyone": [
                {"target_fpir": target, "measured_threshold": threshold, "predicted_fpir": fpir}
                for target, threshold, fpir in self.everyone
            ],
        }


def measure_tail(table: FaceTable, *, model_sha256: str, data: str) -> TailResult:
    """Fits the tail to all comparisons between different people, and tests it.

    Raises:
        ConfigError: fewer than 40 people.
        CalibrationError: too few comparisons for a tail, or too few people with several
            pictures for what averaging does to it.
    """
    crowd = Crowd.of(table)
    if crowd.people < _MIN_PEOPLE:
        raise ConfigError(
            f"the pictures show {crowd.people} people, and a tail needs {_MIN_PEOPLE} at least, "
            "named like Anna_Smith_0001.jpg; name another folder"
        )
    fitter = Fitter(crowd, model_sha256=model_sha256, data=data)
    if fitter.comparisons < _MIN_COMPARISONS:
        raise CalibrationError(
            f"{fitter.comparisons} comparisons are too few for a tail and its intervals "
            f"({_MIN_COMPARISONS} at least); use more pictures"
        )
    random = np.random.default_rng(_SEED)
    resamples = with_progress(_resamples(crowd, _RESAMPLES, random), "Resampling people")
    single, averaged, averaging = fitter.tails(list(resamples))
    return TailResult(
        tail=averaged,
        averaging=averaging,
        pictures=len(table.names) + len(table.unread),
        people=crowd.people,
        undetected=len(table.unread),
        thresholds=tuple(
            _threshold(averaged, target, size) for target in TARGET_FPIRS for size in GALLERY_SIZES
        ),
        held_out=_held_out(crowd),
        held_out_averaged=_held_out_averaged(crowd),
        everyone=_everyone(single, crowd),
        scores=fitter.averaged.scores,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Pictures of people numbered 0 to people - 1. embeddings: shape (n, dim)."""

    embeddings: Float32Array = field(repr=False)
    person: Int64Array
    people: int

    @classmethod
    def of(cls, table: FaceTable) -> Crowd:
        who = [identity_of(name) for name in table.names]
        person = np.unique(who, return_inverse=True)[1].astype(np.int64)
        return cls(table.embeddings, person, int(person.max()) + 1 if person.size else 0)

    @property
    def pictures(self) -> Int64Array:
        """How many pictures each person has, shape (people,)."""
        return np.bincount(self.person, minlength=self.people)

    @property
    def first(self) -> Float32Array:
        """One picture of each person, shape (people, dim)."""
        return self.embeddings[np.unique(self.person, return_index=True)[1]]

    def only(self, people: Int64Array) -> Crowd:
        """Some of the people, numbered anew in the order given."""
        number = np.full(self.people, -1)
        number[people] = np.arange(len(people))
        person = number[self.person]
        order = np.flatnonzero(person >= 0)
        order = order[np.argsort(person[order], kind="stable")]
        return Crowd(self.embeddings[order], person[order], len(people))

    def templates(self, people: Int64Array, pictures: int) -> Float32Array:
        """One of each person's first pictures, averaged as enrolment does."""
        return np.stack([average(self.embeddings[self.person == one][:pictures]) for one in people])


class Comparisons:
    """The scores of one set of faces with another, those of one person with themselves left out.

    Only the highest are kept with whose they are; `weights` count people, shape (people,).
    """

    def __init__(
        self, left: Float32Array, left_person: Int64Array, right: Crowd, *, once: bool
    ) -> None:
        """left: shape (m, dim). once: left is right, and each pair is to count once."""
        similarity = left @ right.embeddings.T
        different = left_person[:, None] != right.person[None]
        if once:
            different &= np.triu(np.ones_like(different), 1)
        self.scores: Float32Array = similarity[different]
        self._lefts = np.bincount(left_person, minlength=right.people)
        self._rights = right.pictures
        self._once = once
        rows, columns = np.nonzero(different & (similarity >= self._floor()))
        kept = similarity[rows, columns].astype(np.float64)
        order = np.argsort(-kept, kind="stable")
        self._falling: Float64Array = kept[order]
        self._left = left_person[rows[order]]
        self._right = right.person[columns[order]]

    def fit(self, weights: Int64Array) -> TailFit:
        """Raises CalibrationError."""
        left, right = weights * self._lefts, weights * self._rights
        ordered = int(left.sum()) * int(right.sum()) - int((left * right).sum())
        return fit_tail(
            self._falling,
            weights[self._left] * weights[self._right],
            comparisons=ordered // 2 if self._once else ordered,
            tail_fraction=TAIL_SHARE,
        )

    def _floor(self) -> float:
        rank = min(self.scores.size, round(_KEPT * TAIL_SHARE * self.scores.size) + 1)
        return float(np.partition(self.scores, -rank)[-rank]) if rank else 1.0


class Fitter:
    """Fits a crowd's tail, for single pictures and for averaged templates."""

    def __init__(self, crowd: Crowd, *, model_sha256: str, data: str) -> None:
        """Compare everybody with everybody. Raises CalibrationError."""
        self._crowd = crowd
        self._sha256, self._data = model_sha256, data
        self._singles = Comparisons(crowd.embeddings, crowd.person, crowd, once=True)
        self._pictures = _averaged_pictures(crowd.pictures)
        self._chosen = np.flatnonzero(crowd.pictures >= self._pictures)
        means = crowd.templates(self._chosen, self._pictures)
        self.averaged = Comparisons(means, self._chosen, crowd, once=False)
        rows = np.concatenate(
            [np.flatnonzero(crowd.person == one)[: self._pictures] for one in self._chosen]
        )
        same = crowd.embeddings[rows], crowd.person[rows]
        self._same_people = Comparisons(*same, crowd, once=False)

    @property
    def comparisons(self) -> int:
        return int(self._singles.scores.size)

    def tails(
        self, resamples: Sequence[Int64Array]
    ) -> tuple[ImpostorTail, ImpostorTail, Averaging]:
        """For single pictures, for averaged templates, and what lies between the two.

        Raises:
            CalibrationError: too few comparisons, or hardly a resample has enough of them.
        """
        best, shift = self._fit(np.ones(self._crowd.people, np.int64))
        fits: list[tuple[TailFit, float]] = []
        for weights in resamples:
            with contextlib.suppress(CalibrationError):  # hardly anything is left of a tail
                fits.append(self._fit(weights))
        single = ImpostorTail(
            self._sha256,
            best,
            tuple(fit for fit, _ in fits),
            TAIL_SHARE,
            self._crowd.people,
            self.comparisons,
            1,
            self._data,
        )
        averaged = replace(
            single,
            best=_moved(best, shift),
            resampled=tuple(_moved(fit, moved) for fit, moved in fits),
            template_pictures=self._pictures,
        )
        low, high = np.quantile([moved for _, moved in fits], (0.025, 0.975))
        spread = (float(low), float(high))
        return single, averaged, Averaging(self._pictures, len(self._chosen), shift, spread)

    def _fit(self, weights: Int64Array) -> tuple[TailFit, float]:
        shift = self.averaged.fit(weights).u - self._same_people.fit(weights).u
        return self._singles.fit(weights), shift


def _averaged_pictures(pictures: Int64Array) -> int:
    """Of how many pictures enough people have a mean."""
    for count in range(TEMPLATE_PICTURES, 1, -1):
        if int((pictures >= count).sum()) >= _MIN_AVERAGED:
            return count
    raise CalibrationError(
        f"fewer than {_MIN_AVERAGED} people have two pictures, and enrolment averages "
        f"{TEMPLATE_PICTURES}; add pictures of the same people"
    )


def _moved(fit: TailFit, shift: float) -> TailFit:
    """Five digits are finer than any of this is known, and keep the file small."""
    return TailFit(round(fit.u + shift, 5), round(fit.scale, 5), round(fit.shape, 5))


def _resamples(crowd: Crowd, count: int, random: np.random.Generator) -> list[Int64Array]:
    """How often each person is drawn, `count` times over."""
    people = crowd.people
    return [np.bincount(random.integers(0, people, people), minlength=people) for _ in range(count)]


def _threshold(tail: ImpostorTail, target: float, gallery: int) -> Threshold:
    try:
        calibrated = threshold_for(tail, target, gallery).threshold
        needed = threshold_estimate(tail, target, gallery)
    except CalibrationError:
        return Threshold(target, gallery, None, None)
    return Threshold(target, gallery, calibrated, (needed.low, needed.high))


# -------------------------------------------------------------------------- held-out people


class _Trials:
    """What held-out trials measured, by target and gallery size."""

    def __init__(self) -> None:
        self._measured: dict[tuple[float, int], list[tuple[float, float, int]]] = {}
        self._fitted_on = 0

    def add(self, tail: ImpostorTail, best: Float32Array, gallery: int) -> None:
        """best: the highest score of each probe with a gallery of so many."""
        self._fitted_on = tail.people
        for target in TARGET_FPIRS:
            with contextlib.suppress(CalibrationError):
                used = threshold_for(tail, target, gallery).threshold
                at_best = threshold_estimate(tail, target, gallery).best
                rates = float(np.mean(best >= used)), float(np.mean(best >= at_best))
                self._measured.setdefault((target, gallery), []).append((*rates, best.size))

    def summary(self) -> tuple[HeldOut, ...]:
        entries = []
        for (target, gallery), values in self._measured.items():
            used, at_best, probes = np.array(values).T
            entries.append(
                HeldOut(
                    target_fpir=target,
                    gallery=gallery,
                    trials=len(values),
                    probes=round(float(probes.mean())),
                    measured_fpir=float(used.mean()),
                    spread=(float(np.quantile(used, 0.1)), float(np.quantile(used, 0.9))),
                    fitted_on=self._fitted_on,
                    best_fpir=float(at_best.mean()),
                    above_target=float(np.mean(used > target)),
                )
            )
        return tuple(sorted(entries, key=lambda entry: (-entry.target_fpir, entry.gallery)))


def _held_out(crowd: Crowd) -> tuple[HeldOut, ...]:
    """Galleries of one picture each: the largest that the pictures allow."""
    random = np.random.default_rng(_SEED)
    trials, first = _Trials(), crowd.first
    for _ in with_progress(range(_TRIALS), "Trying held-out people"):
        order = random.permutation(crowd.people)
        fitted_on = round(crowd.people * FIT_SHARE)
        tail = _single_tail(crowd.only(order[:fitted_on]), random)
        others = first[order[fitted_on:]]
        for size in HELD_OUT_SIZES:
            if tail is not None and size + _MIN_PROBES <= len(others):
                trials.add(tail, (others[size:] @ others[:size].T).max(axis=1), size)
    return trials.summary()


def _single_tail(crowd: Crowd, random: np.random.Generator) -> ImpostorTail | None:
    comparisons = Comparisons(crowd.embeddings, crowd.person, crowd, once=True)
    fits = []
    for weights in _resamples(crowd, _TRIAL_RESAMPLES, random):
        with contextlib.suppress(CalibrationError):
            fits.append(comparisons.fit(weights))
    try:
        best = comparisons.fit(np.ones(crowd.people, np.int64))
        return ImpostorTail(
            "", best, tuple(fits), TAIL_SHARE, crowd.people, comparisons.scores.size, 1, ""
        )
    except CalibrationError:
        return None


def _held_out_averaged(crowd: Crowd) -> tuple[HeldOut, ...]:
    """Galleries of averaged templates: a third of the people who have the pictures for one."""
    random = np.random.default_rng(_SEED)
    trials, first = _Trials(), crowd.first
    pictures = _averaged_pictures(crowd.pictures)
    size = int((crowd.pictures >= pictures).sum()) // 3
    for _ in with_progress(range(_TRIALS), "Trying averaged templates"):
        order = random.permutation(crowd.people)
        inside, outside = order[: crowd.people // 2], order[crowd.people // 2 :]
        enrolled = outside[crowd.pictures[outside] >= pictures][:size]
        with contextlib.suppress(CalibrationError):  # too few of those people on either side
            tail = _averaged_tail(crowd.only(inside), random)
            strangers = first[np.setdiff1d(outside, enrolled)]
            if len(enrolled) == size and len(strangers) >= _MIN_PROBES:
                best = (strangers @ crowd.templates(enrolled, pictures).T).max(axis=1)
                trials.add(tail, best, size)
    return trials.summary()


def _averaged_tail(crowd: Crowd, random: np.random.Generator) -> ImpostorTail:
    resamples = _resamples(crowd, _TRIAL_RESAMPLES, random)
    return Fitter(crowd, model_sha256="", data="").tails(resamples)[1]


def _everyone(tail: ImpostorTail, crowd: Crowd) -> tuple[tuple[float, float, float], ...]:
    alone = (crowd.first @ crowd.first.T).astype(np.float64)
    np.fill_diagonal(alone, -1.0)
    best = alone.max(axis=1)
    entries = []
    for target in TARGET_FPIRS:
        threshold = float(np.quantile(best, 1 - target))
        if threshold >= tail.u:
            entries.append((target, threshold, fpir_at(tail, threshold, crowd.people - 1)))
    return tuple(entries)


def run(
    reader: FaceReader,
    *,
    images: Path,
    exclude: Path | None,
    data: str,
    json_out: Path,
    tails: Path | None,
) -> TailResult:
    """`familiar evaluate tail`: reads a folder of pictures of different people, fits, tests.

    data:  where the pictures come from, in words; it goes into the tail.
    tails: an `impostor_tail.json` to put the tail into, in the place of this embedder's.

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
    if tails is not None:
        write_tail(tails, reader.embedder_name, result.tail)
    return result
