"""What an enrolment gains from more pictures, and what its warnings and gates cost.

Everything is measured on pictures of different days, which vary more than the frames of one
guided capture: the gain of a second and third frame of one capture is smaller than it looks here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.core import quality
from edge_app.core.embed import average
from edge_app.core.quality import QualityLimits
from edge_app.errors import ConfigError
from edge_app.evaluation.faces import FaceReader, with_progress
from edge_app.evaluation.files import (
    identity_of,
    list_pictures,
    read_excluded,
    read_pairs,
    read_picture,
    write_json,
)
from edge_app.evaluation.identification import split
from edge_app.evaluation.measures import (
    NO_SCORE,
    RESAMPLES,
    Float64Array,
    Interval,
    percentile_interval,
    threshold_at,
    wilson_interval,
)
from edge_app.records import Float32Array, Rejection

RATES: Final = (1e-3, 1e-4)
"""False match rates of single comparisons; in a gallery of 100, FPIRs of about 10 and 1 %."""

NEIGHBOURS: Final = 100
"""Size of the gallery that the warning of look-alikes is judged for."""

_GATED_FPIR: Final = 0.01
_NO_GATE: Final = "none"
_DRAWS: Final = 20
_SEED: Final = 1
_TAIL: Final = 5.0
"""How many times more of the highest scores are kept than the rate needs: a resample may move the
threshold down."""


class Fusion(StrEnum):
    """What becomes of a person's pictures: one averaged template, as the station makes it, or a
    template of each, the best of which counts."""

    MEAN = "mean"
    EACH = "each"


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What was read. Rows belong together.

    names:    pictures with a face.
    searched: shape (n, dim), float32, as a probe.
    enrolled: the same as a template takes it.
    faults:   by the gate's name, why each is refused, or None.
    """

    names: tuple[str, ...]
    searched: Float32Array = field(repr=False)
    enrolled: Float32Array = field(repr=False)
    faults: Mapping[str, tuple[Rejection | None, ...]] = field(repr=False)
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """A way of making templates, at one false match rate.

    shift: of the threshold, against one picture per person.
    fnir:  share of mated searches that miss, every person counting alike.
    """

    pictures: int
    fusion: Fusion
    rate: float
    threshold: float
    threshold_ci95: Interval
    shift: float
    shift_ci95: Interval
    fnir: float
    fnir_ci95: Interval


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """How templates of unrelated people, and of one person, score with each other.

    warned:  share of new people, in a gallery of `NEIGHBOURS`, whom a warning is given for.
    refused: share of people who are refused when they enrol a second time, with other pictures.
    Intervals take pairs for independent, and are a little too narrow.
    """

    pictures: int
    people: int
    pairs: int
    warned_pairs: int
    warned: float
    warned_ci95: Interval
    doubles: int
    refused: float
    refused_ci95: Interval


@dataclass(frozen=True, slots=True)
class GateCost:
    """A gate before every search, at the threshold that gives FPIR 1 % without any.

    reasons: share of all pictures refused, by the reason.
    fnir:    refused mated probes count as misses; fpir: refused non-mated ones as no alarms.
    """

    gate: str
    reasons: Mapping[Rejection, float]
    fnir: float
    fnir_ci95: Interval
    fpir: float
    fpir_ci95: Interval


@dataclass(frozen=True, slots=True)
class TemplatesResult:
    """gallery, non_mated, probes: of `costs`; probes are counted over all draws."""

    embedder: str
    model_sha256: str
    folds: tuple[str, ...]
    draws: int
    gallery: int
    non_mated: int
    probes: int
    relative_similarity: float
    same_similarity: float
    costs: tuple[Cost, ...]
    look_alikes: tuple[LookAlikes, ...]
    gates: tuple[GateCost, ...]
    unread: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result, without names of people."""
        return {
            "measure": "enrolment",
            "protocol": "people with more pictures than the largest count are enrolled with some "
            "drawn at random, the same people and probes for every count; all others are "
            "non-mated with their first picture; thresholds at a false match rate of single "
            "comparisons; intervals: bootstrap over people on both sides",
            **asdict(replace(self, unread=())),
            "unread": len(self.unread),
        }


def read(
    reader: FaceReader, folder: Path, names: Sequence[str], gates: Mapping[str, QualityLimits]
) -> Pictures:
    """Reads the portrait in every picture. Raises MediaError when one cannot be read."""
    found, searched, enrolled, unread = [], [], [], []
    faults: dict[str, list[Rejection | None]] = {name: [] for name in gates}
    for name in with_progress(names, "Reading faces"):
        image = read_picture(folder / name)
        reading = None if image is None else reader.portrait(image)
        if reading is None:
            unread.append(name)
            continue
        measured = quality.assess(reading.face, reading.mesh)
        for gate, limits in gates.items():
            faults[gate].append(quality.fault(reading.face, reading.mesh, measured, limits))
        found.append(name)
        searched.append(reader.embed(reading))
        enrolled.append(reader.embed_for_template(reading))
    if not found:
        raise ConfigError(f"no face was found in {folder}; name a folder of portraits")
    return Pictures(
        tuple(found),
        np.stack(searched),
        np.stack(enrolled),
        {gate: tuple(reasons) for gate, reasons in faults.items()},
        tuple(unread),
    )


def _by_person(pictures: Pictures) -> dict[str, NDArray[np.int64]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(pictures.names):
        rows[identity_of(name)].append(row)
    return {who: np.array(own) for who, own in rows.items()}


# --------------------------------------------------------------------- number of pictures


@dataclass(slots=True, eq=False)
class _Scores:
    """Of one way of making templates, over all draws.

    tail, tail_person, tail_stranger: the highest non-mated scores, and whose they are.
    mated, mated_person: own scores, `NO_SCORE` where another person came first.
    """

    tail: list[Float64Array] = field(default_factory=list)
    tail_person: list[NDArray[np.int64]] = field(default_factory=list)
    tail_stranger: list[NDArray[np.int64]] = field(default_factory=list)
    mated: list[Float64Array] = field(default_factory=list)
    mated_person: list[NDArray[np.int64]] = field(default_factory=list)

    def add(
        self, searches: Float32Array, owner: NDArray[np.int64], strangers: Float32Array
    ) -> None:
        """searches: shape (mated, people); strangers: shape (non-mated, people)."""
        scores = searches.astype(np.float64)
        probe = np.arange(owner.size)
        own = scores[probe, owner]
        scores[probe, owner] = NO_SCORE
        self.mated.append(np.where(own > scores.max(axis=1), own, NO_SCORE))
        self.mated_person.append(owner)
        keep = min(strangers.size, int(np.ceil(_TAIL * max(RATES) * strangers.size)) + 1)
        highest = np.argpartition(strangers.reshape(-1), -keep)[-keep:]
        stranger, person = np.unravel_index(highest, strangers.shape)
        self.tail.append(strangers[stranger, person].astype(np.float64))
        self.tail_person.append(person)
        self.tail_stranger.append(stranger)


def costs_of_counts(
    pictures: Pictures, counts: Sequence[int]
) -> tuple[list[Cost], tuple[int, int, int]]:
    """The costs of every count and fusion, and how many people, strangers and probes there were.

    Raises ConfigError when nobody has enough pictures or there is no stranger.
    """
    by_person = _by_person(pictures)
    most = max(counts)
    people = [own for own in by_person.values() if own.size > most]
    strangers = np.array([own[0] for own in by_person.values() if own.size <= most], np.int64)
    if not people or not strangers.size:
        raise ConfigError(
            f"this needs people with more than {most} pictures and others with fewer, named like "
            "Anna_Smith_0001.jpg; name another folder or smaller counts"
        )
    ways = [(count, fusion) for fusion in (Fusion.MEAN, Fusion.EACH) for count in counts]
    scores = {way: _Scores() for way in ways}
    random = np.random.default_rng(_SEED)
    for _ in range(_DRAWS):
        drawn = [random.permutation(own) for own in people]
        probes = np.concatenate([own[most:] for own in drawn])
        owner = np.repeat(np.arange(len(people)), [own.size - most for own in drawn])
        for count, fusion in ways:
            gallery = [pictures.enrolled[own[:count]] for own in drawn]
            scores[count, fusion].add(
                _search(pictures.searched[probes], gallery, fusion),
                owner,
                _search(pictures.searched[strangers], gallery, fusion),
            )
    costs = []
    for rate in RATES:
        sampled = {
            way: _resampled(of, rate, len(people), strangers.size) for way, of in scores.items()
        }
        costs += [_cost(way, rate, sampled) for way in ways]
    return costs, (len(people), int(strangers.size), int(probes.size) * _DRAWS)


def _search(
    searched: Float32Array, gallery: Sequence[Float32Array], fusion: Fusion
) -> Float32Array:
    """Scores, shape (probes, people): with the mean, or the best of a person's templates."""
    if fusion is Fusion.MEAN:
        return searched @ np.stack([average(own) for own in gallery]).T
    return np.stack([(searched @ own.T).max(axis=1) for own in gallery], axis=1)


def _resampled(scores: _Scores, rate: float, people: int, strangers: int) -> Float64Array:
    """Threshold and FNIR, shape (1 + RESAMPLES, 2); first as measured, then resampled over
    people. The same resample has the same people in every way of making templates."""
    tail = np.concatenate(scores.tail)
    falling = np.argsort(-tail)
    tail = tail[falling]
    whose = np.concatenate(scores.tail_person)[falling]
    who = np.concatenate(scores.tail_stranger)[falling]
    mated = np.concatenate(scores.mated)
    rising = np.argsort(mated)
    owner = np.concatenate(scores.mated_person)[rising]
    mated = mated[rising]
    share = 1 / np.bincount(owner, minlength=people)
    passing = rate * people * strangers * len(scores.tail)
    random = np.random.default_rng(_SEED)
    result = np.empty((1 + RESAMPLES, 2))
    for i in range(1 + RESAMPLES):
        enrolled, others = np.ones(people, np.int64), np.ones(strangers, np.int64)
        if i:
            enrolled = np.bincount(random.integers(0, people, people), minlength=people)
            others = np.bincount(random.integers(0, strangers, strangers), minlength=strangers)
        reached = np.cumsum(enrolled[whose] * others[who])
        first_refused = min(int(np.searchsorted(reached, passing, side="right")), tail.size - 1)
        threshold = float(np.nextafter(tail[first_refused], np.inf))
        weight = np.concatenate(([0.0], np.cumsum((enrolled * share)[owner])))
        missed = weight[np.searchsorted(mated, threshold)]
        result[i] = threshold, missed / people
    return result


def _cost(
    way: tuple[int, Fusion], rate: float, sampled: Mapping[tuple[int, Fusion], Float64Array]
) -> Cost:
    count, fusion = way
    threshold, fnir = sampled[way].T
    shift = threshold - sampled[min(n for n, _ in sampled), fusion][:, 0]
    return Cost(
        pictures=count,
        fusion=fusion,
        rate=rate,
        threshold=float(threshold[0]),
        threshold_ci95=percentile_interval(threshold[1:]),
        shift=float(shift[0]),
        shift_ci95=percentile_interval(shift[1:]),
        fnir=float(fnir[0]),
        fnir_ci95=percentile_interval(fnir[1:]),
    )


# ------------------------------------------------------------------------------ warnings


def look_alikes(
    pictures: Pictures, count: int, relative_similarity: float, same_similarity: float
) -> LookAlikes:
    """Of averaged templates of `count` pictures."""
    own = [rows for rows in _by_person(pictures).values() if rows.size >= count]
    templates = np.stack([average(pictures.enrolled[rows[:count]]) for rows in own])
    scores = (templates @ templates.T)[np.triu_indices(len(own), 1)]
    warned = int(np.sum(scores >= relative_similarity))
    again = [
        float(templates[i] @ average(pictures.enrolled[rows[count : 2 * count]]))
        for i, rows in enumerate(own)
        if rows.size >= 2 * count
    ]
    refused = sum(score >= same_similarity for score in again)
    low, high = wilson_interval(warned, scores.size)
    return LookAlikes(
        pictures=count,
        people=len(own),
        pairs=int(scores.size),
        warned_pairs=warned,
        warned=_anyone(warned / max(scores.size, 1)),
        warned_ci95=(_anyone(low), _anyone(high)),
        doubles=len(again),
        refused=refused / max(len(again), 1),
        refused_ci95=wilson_interval(refused, len(again)),
    )


def _anyone(share: float) -> float:
    """From the share of single comparisons to that of searches among `NEIGHBOURS`."""
    return float(-np.expm1(NEIGHBOURS * np.log1p(-min(share, 1 - 1e-12))))


# --------------------------------------------------------------------------------- gates


def costs_of_gates(pictures: Pictures, enrol_images: int) -> list[GateCost]:
    """Raises ConfigError when there are no mated or no non-mated probes."""
    parts = split(pictures.names, enrol_images)
    row = {name: i for i, name in enumerate(pictures.names)}
    gallery = [pictures.enrolled[[row[name] for name in own]] for own in parts.gallery.values()]
    mated = np.array([row[name] for name in parts.mated])
    strangers = np.array([row[name] for name in parts.non_mated])
    number = {who: i for i, who in enumerate(parts.gallery)}
    owner = np.array([number[identity_of(name)] for name in parts.mated])
    scores = _Scores()
    non_mated = _search(pictures.searched[strangers], gallery, Fusion.MEAN)
    scores.add(_search(pictures.searched[mated], gallery, Fusion.MEAN), owner, non_mated)
    best = non_mated.max(axis=1).astype(np.float64)
    threshold = threshold_at(best, _GATED_FPIR)
    return [
        _gate_cost(
            gate,
            faults,
            missed=(scores.mated[0] < threshold) | _refused(faults, mated),
            owner=owner,
            alarms=(best >= threshold) & ~_refused(faults, strangers),
        )
        for gate, faults in {_NO_GATE: [None] * len(row), **pictures.faults}.items()
    ]


def _refused(faults: Sequence[Rejection | None], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.array([faults[row] is not None for row in rows])


def _gate_cost(
    gate: str,
    faults: Sequence[Rejection | None],
    *,
    missed: NDArray[np.bool_],
    owner: NDArray[np.int64],
    alarms: NDArray[np.bool_],
) -> GateCost:
    counted = Counter(fault for fault in faults if fault is not None)
    people = int(owner.max()) + 1
    probes = np.bincount(owner, minlength=people)
    misses = np.bincount(owner, weights=missed, minlength=people)
    random = np.random.default_rng(_SEED)
    drawn = random.integers(0, people, (RESAMPLES, people))
    rates = misses[drawn].sum(axis=1) / probes[drawn].sum(axis=1)
    return GateCost(
        gate=gate,
        reasons={reason: count / len(faults) for reason, count in counted.most_common()},
        fnir=float(missed.mean()),
        fnir_ci95=percentile_interval(rates),
        fpir=float(alarms.mean()),
        fpir_ci95=wilson_interval(int(alarms.sum()), alarms.size),
    )


def run(
    reader: FaceReader,
    *,
    images: Path,
    exclude: Path | None,
    pairs: Path | None,
    folds: Sequence[str],
    counts: Sequence[int],
    gates: Mapping[str, QualityLimits],
    relative_similarity: float,
    same_similarity: float,
    json_out: Path,
) -> TemplatesResult:
    """`familiar evaluate enrolment`: reads, measures, writes the JSON.

    pairs, folds: only people of these folds of a list of pairs; all without folds.
    counts:       pictures per person, each measured.
    gates:        measured for one enrolled picture.

    Raises:
        ConfigError: a list is malformed, or the folder lacks people with many or few pictures.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    if not counts or min(counts) < 1:
        raise ConfigError("--count must be 1 or more; name it several times to compare")
    chosen = sorted(set(list_pictures(images)) - (read_excluded(exclude) if exclude else set()))
    if folds:
        people = _people_of(pairs, folds)
        chosen = [name for name in chosen if identity_of(name) in people]
    pictures = read(reader, images, chosen, gates)
    costs, (gallery, non_mated, probes) = costs_of_counts(pictures, sorted(set(counts)))
    result = TemplatesResult(
        embedder=reader.embedder_name,
        model_sha256=reader.embedder_sha256,
        folds=tuple(folds),
        draws=_DRAWS,
        gallery=gallery,
        non_mated=non_mated,
        probes=probes,
        relative_similarity=relative_similarity,
        same_similarity=same_similarity,
        costs=tuple(costs),
        look_alikes=tuple(
            look_alikes(pictures, count, relative_similarity, same_similarity)
            for count in sorted(set(counts))
        ),
        gates=tuple(costs_of_gates(pictures, 1)),
        unread=pictures.unread,
    )
    write_json(json_out, result.to_json())
    return result


def _people_of(pairs: Path | None, folds: Sequence[str]) -> set[str]:
    if pairs is None:
        raise ConfigError("--fold needs --pairs, the list that says who is in which")
    listed = [pair for pair in read_pairs(pairs) if pair.fold in folds]
    if not listed:
        raise ConfigError(f"{pairs} has no fold named {' or '.join(folds)}; name one that it has")
    return {identity_of(name) for pair in listed for name in (pair.left, pair.right)}
