"""Verification: do two pictures show the same person? LFW's protocol for view 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ConfigError
from edge_app.evaluation.faces import FaceReader, FaceTable, read_faces, with_progress
from edge_app.evaluation.files import Pair, list_pictures, read_pairs, write_json
from edge_app.evaluation.measures import (
    NO_SCORE,
    RESAMPLES,
    Float64Array,
    Interval,
    OperatingPoint,
    bootstrap_accuracy,
    bootstrap_miss_rates,
    cross_validated_accuracy,
    operating_point,
    percentile_interval,
)

FAR: Final = 1e-3
_SEED: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class VerificationResult:
    """Every pair's score, and what follows from them.

    scores: shape (pairs,), cosine, `NO_SCORE` where a face was not found.
    same:   shape (pairs,), whether the pair shows one person.
    point:  at a false match rate of `FAR` over all pairs.
    """

    embedder: str
    model_sha256: str
    pairs: tuple[Pair, ...] = field(repr=False)
    scores: Float64Array = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)
    pictures: int
    unread: tuple[str, ...]
    accuracy: float
    accuracy_ci95: Interval
    point: OperatingPoint
    tar_ci95: Interval

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result; names of people stay in the report."""
        return {
            "measure": "verification",
            "protocol": "threshold from the other folds, mean over folds; "
            "TAR at FAR over all pairs; intervals: bootstrap over pairs within folds",
            "embedder": self.embedder,
            "model_sha256": self.model_sha256,
            "pairs": len(self.pairs),
            "folds": len({pair.fold for pair in self.pairs}),
            "pictures": self.pictures,
            "undetected": len(self.unread),
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "tar_at_far_1e-3": 1 - self.point.miss_rate,
            "tar_at_far_1e-3_ci95": list(self.tar_ci95),
            "threshold_at_far_1e-3": self.point.threshold,
        }


def verify(
    table: FaceTable, pairs: Sequence[Pair], *, embedder: str, model_sha256: str
) -> VerificationResult:
    """Scores the pairs. A picture without a face makes a miss, never a false match.

    Raises:
        ConfigError: fewer than two folds, or a fold without pairs of either kind.
    """
    fold = np.unique([pair.fold for pair in pairs], return_inverse=True)[1].astype(np.int64)
    same = np.array([pair.same for pair in pairs])
    _require_folds(fold, same)
    row = {name: i for i, name in enumerate(table.names)}
    scores = np.array([_score(table, row, pair) for pair in pairs])
    resampled = bootstrap_accuracy(scores, same, fold, resamples=RESAMPLES, seed=_SEED)
    accuracies = np.array([*with_progress(resampled, "Resampling pairs", total=RESAMPLES)])
    genuine, impostor = scores[same], scores[~same]
    misses = bootstrap_miss_rates(
        genuine, np.arange(genuine.size), impostor, np.array([FAR]), resamples=RESAMPLES, seed=_SEED
    )
    return VerificationResult(
        embedder=embedder,
        model_sha256=model_sha256,
        pairs=tuple(pairs),
        scores=scores,
        same=same,
        pictures=len(table.names) + len(table.unread),
        unread=table.unread,
        accuracy=cross_validated_accuracy(scores, same, fold),
        accuracy_ci95=percentile_interval(accuracies),
        point=operating_point(genuine, impostor, FAR),
        tar_ci95=percentile_interval(1 - misses[:, 0]),
    )


def _require_folds(fold: NDArray[np.int64], same: NDArray[np.bool_]) -> None:
    kinds = {(int(number), bool(kind)) for number, kind in zip(fold, same, strict=True)}
    folds = {number for number, _ in kinds}
    if len(folds) < 2 or len(kinds) != 2 * len(folds):
        raise ConfigError(
            "verification needs two folds or more, each with pairs of the same person and of "
            "different ones; correct the list of pairs"
        )


def _score(table: FaceTable, row: dict[str, int], pair: Pair) -> float:
    left, right = row.get(pair.left), row.get(pair.right)
    if left is None or right is None:
        return NO_SCORE
    return float(table.embeddings[left] @ table.embeddings[right])


def run(reader: FaceReader, *, images: Path, pairs: Path, json_out: Path) -> VerificationResult:
    """`familiar evaluate verification`: reads, measures, writes the JSON.

    Raises:
        ConfigError: the list is malformed or names a picture that is not there.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    listed = read_pairs(pairs)
    needed = sorted({name for pair in listed for name in (pair.left, pair.right)})
    missing = sorted(set(needed) - set(list_pictures(images)))
    if missing:
        raise ConfigError(
            f"{pairs} names {missing[0]} and {len(missing) - 1} more pictures that are not in "
            f"{images}; name the folder that the list belongs to"
        )
    table = read_faces(reader, images, needed)
    result = verify(
        table, listed, embedder=reader.embedder_name, model_sha256=reader.embedder_sha256
    )
    write_json(json_out, result.to_json())
    return result
