"""Search that reads a twelfth of the bytes: int8 over the axes that templates really use.

Embeddings of the shipped network have 192 numbers and span 64 dimensions: on LFW the rest of a
vector has a length of 0.001 in the median, 0.005 at most (docs/matching.md). So rows are kept
along their principal axes only, and searched as int8; those that can be among the best are scored
again from float32. Where axes do not hold every row, none are left out.

Nothing is lost. For a probe q and a row x, with their parts along the axes p and y, quantised to p'
and y' (Cauchy-Schwarz, twice):

    |p.y - p'.y'| <= |p| |y - y'| + |p - p'| |y'| = slack

`count` rows have a quantised score of at least L, so the true count-th best is at least
L - slack, and whatever reaches that has a quantised score of at least L - 2 slack. Scores are
those along the axes: off by |q - its part| |x - its part|, at most 0.00005 for such embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import simsimd
from numpy.typing import NDArray

from edge_app.adapters.exact_index import best
from edge_app.adapters.sealed import SealedMemory
from edge_app.records import Float32Array

_LEVELS: Final = 127
_SAMPLE_ROWS: Final = 4096
_ROWS_AT_ONCE: Final = 4096
_FOLD: Final = 64
_MAX_REST: Final = 0.01
"""Length of a row beside the axes up to which axes are left out."""
_ROUNDING: Final = 1e-5
"""What float32 sums of this size may be off by."""


class Int8Index:
    """All inner products in int8, then those in float32 of the rows that can be best.

    Both kinds of rows lie in sealed memory; the axes, which say nothing of one person, do not.
    """

    def __init__(self, matrix: Float32Array) -> None:
        """Build over this matrix, shape (n, dim), n > 0, float32, comparable rows.

        The matrix is not needed afterwards.

        Raises:
            GalleryError: the system gives no sealed memory.
        """
        self._axes = _axes(matrix)
        count, width = len(matrix), self._axes.shape[1]
        parts = SealedMemory.filled(
            count * width * 4, lambda view: _project(matrix, self._axes, view)
        )
        self._parts = parts.matrix(width)
        self._step = _step(self._parts)
        self._row_error = self._row_length = 0.0
        # Sealed memory is read as float32: whole fours of bytes.
        rows = SealedMemory.filled(-(-count * width // 4) * 4, self._quantise)
        self._rows = rows.matrix(1).view(np.int8).ravel()[: count * width].reshape(-1, width)

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._rows)

    @property
    def width(self) -> int:
        """How many axes are searched."""
        return int(self._axes.shape[1])

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:
        """See `SearchIndex.search`."""
        count = min(count, len(self))
        if count == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        part = embedding @ self._axes
        rows = self._possible(part, count)
        return best(rows, self._parts[rows] @ part, count)

    def _possible(self, part: Float32Array, count: int) -> NDArray[Any]:
        """The rows that may be among the best `count`, ascending."""
        step = _step(part)
        quantised = np.round(part / step).astype(np.int8)
        slack = (
            float(np.linalg.norm(part)) * self._row_error
            + float(np.linalg.norm(part - step * quantised)) * self._row_length
            + _ROUNDING
        )
        scores = np.asarray(
            simsimd.cdist(quantised[None], self._rows, "dot", out_dtype="float32")
        ).ravel()
        least = _reached_by(scores, count) - 2 * slack / (step * self._step)
        return np.flatnonzero(scores >= least)

    def _quantise(self, view: memoryview) -> None:
        """Write the int8 rows, and note how far off the worst of them is."""
        target = np.frombuffer(view, np.int8)[: self._parts.size].reshape(self._parts.shape)
        for rows in _slices(len(target)):
            quantised = np.round(self._parts[rows] / np.float32(self._step))
            target[rows] = quantised
            known = np.asarray(quantised * np.float32(self._step), np.float32)
            self._row_error = max(self._row_error, _longest(self._parts[rows] - known))
            self._row_length = max(self._row_length, _longest(known))


def _axes(matrix: Float32Array) -> Float32Array:
    """As many principal axes of these rows as hold every one of them, shape (dim, width)."""
    sample = matrix[:: max(1, len(matrix) // _SAMPLE_ROWS)].astype(np.float64)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
    squares = (sample @ axes) ** 2
    rests = np.sqrt(np.cumsum(squares[:, ::-1], axis=1)[:, ::-1].max(axis=0))
    width = int(np.count_nonzero(rests > _MAX_REST))
    # The SIMD kernels take 16 numbers at a time.
    width = min(-(-max(width, 1) // 16) * 16, matrix.shape[1])
    chosen = np.ascontiguousarray(axes[:, :width], dtype=np.float32)
    held = all(
        _longest(matrix[rows] - matrix[rows] @ chosen @ chosen.T) <= _MAX_REST
        for rows in _slices(len(matrix))
    )
    return chosen if held else np.eye(matrix.shape[1], dtype=np.float32)


def _project(matrix: Float32Array, axes: Float32Array, view: memoryview) -> None:
    target = np.frombuffer(view, np.float32).reshape(len(matrix), -1)
    for rows in _slices(len(matrix)):
        np.matmul(matrix[rows], axes, out=target[rows])


def _slices(count: int) -> Iterator[slice]:
    """A few rows at a time, so that no second copy of all of them comes about."""
    return (slice(first, first + _ROWS_AT_ONCE) for first in range(0, count, _ROWS_AT_ONCE))


def _step(values: Float32Array) -> float:
    """Between two levels, so that the largest value is the last one."""
    largest = max(float(np.abs(values[rows]).max()) for rows in _slices(len(values)))
    return max(largest / _LEVELS, float(np.finfo(np.float32).tiny))


def _reached_by(scores: Float32Array, count: int) -> float:
    """A score that at least `count` rows reach: the best rows of as many disjoint groups."""
    groups = len(scores) // _FOLD
    if groups >= count:
        scores = scores[: groups * _FOLD].reshape(_FOLD, groups).max(axis=0)
    return float(np.partition(scores, -count)[-count])


def _longest(rows: NDArray[Any]) -> float:
    return float(np.linalg.norm(rows, axis=1).max())
