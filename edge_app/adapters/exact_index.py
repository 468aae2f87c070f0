"""Exact search: one matrix product over the sealed templates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.records import Float32Array


class ExactIndex:
    """All inner products by one matrix product. Ties go to the lower row."""

    def __init__(self, matrix: Float32Array) -> None:
        """Search this matrix, shape (n, dim), float32, comparable rows, in place."""
        self._matrix = matrix

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._matrix)

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:
        """See `SearchIndex.search`."""
        similarities = self._matrix @ embedding
        count = min(count, len(self))
        rows = np.arange(len(self))
        if 0 < count < len(self):
            least = np.partition(similarities, -count)[-count]
            rows = np.flatnonzero(similarities >= least)
        return best(rows, similarities[rows], count)


def best(
    rows: NDArray[Any], similarities: Float32Array, count: int
) -> tuple[NDArray[Any], Float32Array]:
    """The best `count` of rows in ascending order; rounding beyond a score's range is cut."""
    order = np.argsort(-similarities, kind="stable")[:count]
    return rows[order], np.clip(similarities[order], -1.0, 1.0)
