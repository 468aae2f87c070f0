"""Open-set identification: enrolled people among strangers.

People with more than K pictures are enrolled with their first K, in file-name order, and their
other pictures are mated probes; people with one picture are non-mated probes. A person's enrolled
pictures are averaged into one template, as the device does. A mated probe is missed unless its own
person comes first and reaches the threshold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.core.embed import average
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceReader, FaceTable, read_faces
from edge_app.evaluation.files import identity_of, list_pictures, read_excluded, write_json
from edge_app.evaluation.measures import (
    NO_SCORE,
    RESAMPLES,
    Calibrate,
    Float64Array,
    Interval,
    OperatingPoint,
    bootstrap_miss_rates,
    operating_point,
    percentile_interval,
    wilson_interval,
)
from edge_app.records import Calibration

FPIRS: Final = (0.01, 0.003)
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Split:
    """Which picture plays which part. gallery: person to enrolled pictures."""

    gallery: Mapping[str, tuple[str, ...]]
    mated: tuple[str, ...]
    non_mated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was measured at the threshold that a device with this gallery would use.

    fnir, fpir: shares of the mated probes missed, and of the non-mated ones that return anyone.
    """

    calibration: Calibration
    fnir: float
    fnir_ci95: Interval
    fpir: float
    fpir_ci95: Interval


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationResult:
    """Every search's outcome, and what follows from them.

    own, others:  shape (mated,): best score of the probe's own person and of anyone else.
    non_mated:    shape (non-mated,): best score of anyone.
    nearest:      shape (non-mated,): who that was, an index into `people`.
    points:       one per FPIR of `FPIRS`; misses_ci95 are their intervals.
    calibrated:   None if the device would refuse to start with a gallery of this size.
    """

    embedder: str
    model_sha256: str
    enrol_images: int
    split: Split = field(repr=False)
    people: tuple[str, ...] = field(repr=False)
    own: Float64Array = field(repr=False)
    others: Float64Array = field(repr=False)
    non_mated: Float64Array = field(repr=False)
    nearest: NDArray[np.int64] = field(repr=False)
    unread: tuple[str, ...]
    rank1_ci95: Interval
    points: tuple[OperatingPoint, ...]
    misses_ci95: tuple[Interval, ...]
    calibrated: Calibrated | None

    @property
    def returned(self) -> Float64Array:
        """Scores of the mated probes that found their own person first, else `NO_SCORE`."""
        return np.where(self.own > self.others, self.own, NO_SCORE)

    @property
    def mated_person(self) -> NDArray[np.int64]:
        """Shape (mated,): whose probe each is, 0 to the number of enrolled people - 1."""
        return _persons(self.split, self.people)

    @property
    def rank1(self) -> float:
        """Share of mated probes whose own person came first."""
        return float(np.mean(self.own > self.others))

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result; names of people stay in the report."""
        keys = [f"{fpir:g}" for fpir in FPIRS]
        return {
            "measure": "identification",
            "protocol": "open set; people with more than K pictures enrolled with the first K "
            "in file-name order, averaged, their others mated; people with one picture non-mated; "
            "intervals: bootstrap over people, gallery fixed; of the measured FPIR: Wilson",
            "embedder": self.embedder,
            "model_sha256": self.model_sha256,
            "enrol_images": self.enrol_images,
            "gallery": len(self.people),
            "mated": int(self.own.size),
            "non_mated": int(self.non_mated.size),
            "undetected": len(self.unread),
            "rank1": self.rank1,
            "rank1_ci95": list(self.rank1_ci95),
            "fnir_at_fpir": {k: p.miss_rate for k, p in zip(keys, self.points, strict=True)},
            "fnir_at_fpir_ci95": {
                k: list(ci) for k, ci in zip(keys, self.misses_ci95, strict=True)
            },
            "threshold_at_fpir": {k: p.threshold for k, p in zip(keys, self.points, strict=True)},
            "calibrated": None if self.calibrated is None else _calibrated_json(self.calibrated),
        }


def _calibrated_json(calibrated: Calibrated) -> dict[str, Any]:
    return {
        "threshold": calibrated.calibration.threshold,
        "target_fpir": calibrated.calibration.target_fpir,
        "comparisons": calibrated.calibration.max_templates,
        "fnir": calibrated.fnir,
        "fnir_ci95": list(calibrated.fnir_ci95),
        "fpir": calibrated.fpir,
        "fpir_ci95": list(calibrated.fpir_ci95),
    }


def split(names: Collection[str], enrol_images: int) -> Split:
    """Assigns the parts.

    Raises:
        ConfigError: enrol_images is below 1, or there are no mated or no non-mated probes.
    """
    if enrol_images < 1:
        raise ConfigError(f"--enrol-images must be 1 or more, not {enrol_images}")
    by_person: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        by_person[identity_of(name)].append(name)
    enrolled = {who: own for who, own in by_person.items() if len(own) > enrol_images}
    result = Split(
        gallery={who: tuple(own[:enrol_images]) for who, own in enrolled.items()},
        mated=tuple(name for own in enrolled.values() for name in own[enrol_images:]),
        non_mated=tuple(own[0] for own in by_person.values() if len(own) == 1),
    )
    if not result.mated or not result.non_mated:
        raise ConfigError(
            f"open-set identification needs people with more than {enrol_images} pictures and "
            "people with one, named like Anna_Smith_0001.jpg; name another folder"
        )
    return result


def identify(
    table: FaceTable,
    parts: Split,
    *,
    enrol_images: int,
    embedder: str,
    model_sha256: str,
    calibrate: Calibrate,
) -> IdentificationResult:
    """Searches every probe. A picture without a face makes a miss, never a false alarm."""
    people = tuple(parts.gallery)
    row = {name: i for i, name in enumerate(table.names)}
    mated = _searches(table, row, parts, parts.mated)
    non_mated = _searches(table, row, parts, parts.non_mated)
    person = _persons(parts, people)
    probe = np.arange(person.size)
    own = mated[probe, person]
    mated[probe, person] = NO_SCORE
    others = mated.max(axis=1)
    best = non_mated.max(axis=1)
    found = np.where(own > others, own, NO_SCORE)
    misses = bootstrap_miss_rates(
        found, person, best, np.array(FPIRS), resamples=RESAMPLES, seed=_SEED
    )
    missed_by_rank = _misses_below(np.nextafter(NO_SCORE, 0.0), found, person)
    return IdentificationResult(
        embedder=embedder,
        model_sha256=model_sha256,
        enrol_images=enrol_images,
        split=parts,
        people=people,
        own=own,
        others=others,
        non_mated=best,
        nearest=non_mated.argmax(axis=1),
        unread=table.unread,
        rank1_ci95=percentile_interval(1 - missed_by_rank),
        points=tuple(operating_point(found, best, fpir) for fpir in FPIRS),
        misses_ci95=tuple(percentile_interval(column) for column in misses.T),
        calibrated=_calibrated(found, person, best, calibrate, len(people)),
    )


def _calibrated(
    found: Float64Array,
    person: NDArray[np.int64],
    non_mated: Float64Array,
    calibrate: Calibrate,
    people: int,
) -> Calibrated | None:
    try:
        calibration = calibrate(people)
    except CalibrationError:
        return None
    false = int((non_mated >= calibration.threshold).sum())
    return Calibrated(
        calibration,
        fnir=float(np.mean(found < calibration.threshold)),
        fnir_ci95=percentile_interval(_misses_below(calibration.threshold, found, person)),
        fpir=false / non_mated.size,
        fpir_ci95=wilson_interval(false, non_mated.size),
    )


def _misses_below(threshold: float, found: Float64Array, person: NDArray[np.int64]) -> Float64Array:
    """Shares missed at a fixed threshold in bootstrap resamples of people: shape (resamples,)."""
    highest_that_fails = np.array([np.nextafter(threshold, -np.inf)])
    misses = bootstrap_miss_rates(
        found, person, highest_that_fails, np.array([0.0]), resamples=RESAMPLES, seed=_SEED
    )
    return misses[:, 0]


def _persons(parts: Split, people: Sequence[str]) -> NDArray[np.int64]:
    number = {who: i for i, who in enumerate(people)}
    return np.array([number[identity_of(name)] for name in parts.mated], dtype=np.int64)


def _searches(
    table: FaceTable, row: Mapping[str, int], parts: Split, probes: Sequence[str]
) -> Float64Array:
    """Scores of probes against people, shape (probes, people)."""
    scores = np.full((len(probes), len(parts.gallery)), NO_SCORE)
    read = [i for i, name in enumerate(probes) if name in row]
    if not read:
        return scores
    searched = table.embeddings[[row[probes[i]] for i in read]]
    for column, pictures in enumerate(parts.gallery.values()):
        enrolled = [row[name] for name in pictures if name in row]
        if enrolled:
            scores[read, column] = searched @ average(table.embeddings[enrolled])
    return scores


def run(
    reader: FaceReader,
    *,
    images: Path,
    exclude: Path | None,
    enrol_images: int,
    calibrate: Calibrate,
    json_out: Path,
) -> IdentificationResult:
    """`familiar evaluate identification`: reads, searches, writes the JSON.

    Raises:
        ConfigError: a list is malformed or the folder lacks mated or non-mated probes.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    excluded = read_excluded(exclude) if exclude else frozenset()
    parts = split(set(list_pictures(images)) - excluded, enrol_images)
    enrolled = [name for pictures in parts.gallery.values() for name in pictures]
    names = [*enrolled, *parts.mated, *parts.non_mated]
    table = read_faces(reader, images, names, enrolled=frozenset(enrolled))
    result = identify(
        table,
        parts,
        enrol_images=enrol_images,
        embedder=reader.embedder_name,
        model_sha256=reader.embedder_sha256,
        calibrate=calibrate,
    )
    write_json(json_out, result.to_json())
    return result
