"""Exact search that reads a twelfth of the bytes: int8 over the axes that templates really use.

Embeddings of the shipped network have 192 numbers and span 64 dimensions: on LFW the rest of a
vector has a length of 0.001 in the median, 0.005 at most (docs/matching.md). So rows are searched
along their principal axes, as int8, and only rows that can be among the best are scored again
from the float32 templates.

None is lost. For a probe q and a row x, with their parts along the axes p and y, quantised to p'
and y', and the rests r and s beside the axes (Cauchy-Schwarz, three times):

    |q.x - p'.y'| <= |p| |y - y'| + |p - p'| |y'| + |r| |s| = slack

`count` rows have a quantised score of at least L, so the true count-th best is at least
L - slack, and whatever reaches that has a quantised score of at least L - 2 slack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import simsimd
from numpy.typing import NDArray

from edge_app.adapters.index import ExactIndex
from edge_app.adapters.sealed import SealedMemory
from edge_app.records import Float32Array

_LEVELS: Final = 127
_SAMPLE_ROWS: Final = 4096
_ROWS_AT_ONCE: Final = 4096
_FOLD: Final = 64
_MAX_REST: Final = 0.01
"""Length of a row beside the axes up to which axes are left out; the probe's own rest is as short,
so this costs 0.0001 of slack at most where the quantisation costs 0.015."""
_ROUNDING: Final = 1e-5
"""What float32 sums of this size may be off by."""


class Int8Index:
    """All inner products in int8, then the exact ones of the rows that can be best.

    The int8 rows lie in sealed memory; the axes, which say nothing of one person, do not.
    """

    def __init__(self, matrix: Float32Array) -> None:
        """Build over this matrix, shape (n, dim), n > 0, float32, comparable rows; it is kept.

        Raises:
            GalleryError: the system gives no sealed memory.
        """
        self._matrix = matrix
        self._axes = _axes(matrix)
        self._step = max(float(np.abs(part).max()) for part, _ in self._parts()) / _LEVELS
        self._step = max(self._step, float(np.finfo(np.float32).tiny))
        self._row_error = self._row_length = self._row_rest = 0.0
        width = self._axes.shape[1]
        size_bytes = len(matrix) * width
        self._memory = SealedMemory.filled(-(-size_bytes // 4) * 4, self._quantise)
        self._rows = self._memory.matrix(1).view(np.int8).ravel()[:size_bytes].reshape(-1, width)

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._matrix)

    @property
    def width(self) -> int:
        """How many axes are searched."""
        return int(self._axes.shape[1])

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:
        """See `SearchIndex.search`."""
        count = min(count, len(self))
        if count == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows = self._possible(embedding, count)
        best, similarities = ExactIndex(self._matrix[rows]).search(embedding, count)
        return rows[best], similarities

    def _possible(self, embedding: Float32Array, count: int) -> NDArray[Any]:
        """The rows that may be among the best `count`, ascending."""
        part = embedding @ self._axes
        step = max(float(np.abs(part).max()) / _LEVELS, float(np.finfo(np.float32).tiny))
        quantised = np.round(part / step).astype(np.int8)
        slack = (
            float(np.linalg.norm(part)) * self._row_error
            + float(np.linalg.norm(part - step * quantised)) * self._row_length
            + float(np.linalg.norm(embedding - self._axes @ part)) * self._row_rest
            + _ROUNDING
        )
        scores = np.asarray(
            simsimd.cdist(quantised[None], self._rows, "dot", out_dtype="float32")
        ).ravel()
        least = _reached_by(scores, count) - 2 * slack / (step * self._step)
        return np.flatnonzero(scores >= least)

    def _parts(self) -> Iterator[tuple[Float32Array, Float32Array]]:
        """The rows along the axes, and what is left of them, a few at a time."""
        for first in range(0, len(self._matrix), _ROWS_AT_ONCE):
            rows = self._matrix[first : first + _ROWS_AT_ONCE]
            part = rows @ self._axes
            yield part, np.asarray(rows - part @ self._axes.T, np.float32)

    def _quantise(self, view: memoryview) -> None:
        """Write the int8 rows, and note how far off the worst of them is."""
        size_bytes = len(self._matrix) * self.width
        target = np.frombuffer(view, np.int8)[:size_bytes].reshape(-1, self.width)
        first = 0
        for part, rest in self._parts():
            quantised = np.round(part / np.float32(self._step))
            target[first : first + len(part)] = quantised
            known = quantised * np.float32(self._step)
            self._row_error = max(self._row_error, _longest(part - known))
            self._row_length = max(self._row_length, _longest(known))
            self._row_rest = max(self._row_rest, _longest(rest))
            first += len(part)


def _axes(matrix: Float32Array) -> Float32Array:
    """As many principal axes of these rows as leave little of a sample of them, (dim, width)."""
    sample = matrix[:: max(1, len(matrix) // _SAMPLE_ROWS)].astype(np.float64)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
    squares = (sample @ axes) ** 2
    rests = np.sqrt(np.cumsum(squares[:, ::-1], axis=1)[:, ::-1].max(axis=0))
    width = int(np.count_nonzero(rests > _MAX_REST))
    # The SIMD kernels take 16 numbers at a time.
    width = min(-(-max(width, 1) // 16) * 16, matrix.shape[1])
    return np.ascontiguousarray(axes[:, :width], dtype=np.float32)


def _reached_by(scores: Float32Array, count: int) -> float:
    """A score that at least `count` rows reach: the best rows of as many disjoint groups."""
    groups = len(scores) // _FOLD
    if groups >= count:
        scores = scores[: groups * _FOLD].reshape(_FOLD, groups).max(axis=0)
    return float(np.partition(scores, -count)[-count])


def _longest(rows: Float32Array) -> float:
    return float(np.linalg.norm(rows, axis=1).max())
