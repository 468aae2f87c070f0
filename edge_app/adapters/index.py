"""Which search structure a gallery gets: measured on the machine, with its own templates.

Figures of all that was tried, from 1,000 to 1,000,000 templates: docs/matching.md.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.exact_index import ExactIndex, best
from edge_app.adapters.int8_index import Int8Index
from edge_app.adapters.sealed import SealedMemory, descriptor_path
from edge_app.core.gallery import SearchIndex
from edge_app.errors import ConfigError, GalleryError
from edge_app.records import Float32Array

_SEED: Final = 1


class IndexKind(StrEnum):
    """Which index to build; AUTO measures."""

    AUTO = "auto"
    EXACT = "exact"
    INT8 = "int8"
    ANNOY = "annoy"


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How to build and how to choose.

    trees:             Annoy trees; 40 by measurement (DESIGN section 4).
    min_recall:        share of searches in which Annoy must return the true nearest row.
    sample_count:      searches made to measure recall and time.
    sample_similarity: cosine of a sample probe to its template; near the threshold is hardest.
    rows_per_search:   how many rows a search asks for while measuring.
    annoy_budget_ms:   median time per search up to which AUTO does without Annoy.
    """

    trees: int
    min_recall: float
    sample_count: int
    sample_similarity: float
    rows_per_search: int
    annoy_budget_ms: float


@dataclass(frozen=True, slots=True)
class IndexMeasurement:
    """What one index did on this machine with these templates."""

    kind: IndexKind
    templates: int
    build_s: float
    median_ms: float
    recall: float


class AnnoyIndex:
    """Annoy's forest in sealed memory; its candidates are scored again, exactly.

    It cannot delete: people who left are masked by the gallery until the next build.
    """

    def __init__(self, matrix: Float32Array, settings: IndexSettings) -> None:
        """Build over this matrix, shape (n, dim), n > 0, float32, comparable rows.

        Raises:
            ConfigError: Annoy is not installed.
            GalleryError: the build failed, or the system gives no sealed memory.
        """
        self._exact = ExactIndex(matrix)
        self._matrix = matrix
        self._forest = _annoy().AnnoyIndex(matrix.shape[1], "angular")
        self._memory = SealedMemory.written(
            lambda descriptor: _grow_forest(descriptor, matrix, settings.trees), self._load
        )
        self._nodes = self._nodes_for_recall(settings)

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._matrix)

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:
        """See `SearchIndex.search`; the rows are the best of those that the forest proposes."""
        count = min(count, len(self))
        rows = self._propose(embedding, count, max(self._nodes, count))
        if len(rows) < count:
            return self._exact.search(embedding, count)
        return best(rows, self._matrix[rows] @ embedding, count)

    @property
    def search_nodes(self) -> int:
        """Annoy's search_k, as chosen by measured recall."""
        return self._nodes

    def _load(self, path: str) -> None:
        try:
            self._forest.load(path)
        except OSError as error:
            raise _annoy_failed(str(error)) from error
        # Annoy takes a file that was cut short without a word.
        if self._forest.get_n_items() != len(self._matrix):
            raise _annoy_failed("it came out incomplete")

    def _propose(self, embedding: Float32Array, count: int, nodes: int) -> NDArray[Any]:
        if count == 0:
            return np.empty(0, dtype=np.int64)
        found = self._forest.get_nns_by_vector(embedding, count, search_k=nodes)
        return np.sort(np.asarray(found, dtype=np.int64))

    def _nodes_for_recall(self, settings: IndexSettings) -> int:
        """Double search_k until the true nearest rows are found often enough."""
        count = min(settings.rows_per_search, len(self))
        nodes = settings.trees * count
        while nodes < settings.trees * len(self):
            found = (
                self._exact.search(probe, 1)[0][0] in self._propose(probe, count, nodes)
                for probe in _sample_probes(self._matrix, settings)
            )
            if sum(found) >= settings.min_recall * settings.sample_count:
                break
            nodes *= 2
        return nodes


def build_index(matrix: Float32Array, kind: IndexKind, settings: IndexSettings) -> SearchIndex:
    """The index to search this matrix with, shape (n, dim), n > 0, float32, comparable rows.

    AUTO takes int8, which finds as much as exact search does in less time and memory; beyond its
    time budget, and where Annoy is installed, the faster of the two.

    Raises:
        ConfigError: ANNOY was asked for and is not installed.
        GalleryError: the build failed, or the system gives no sealed memory.
    """
    if kind is IndexKind.ANNOY:
        return AnnoyIndex(matrix, settings)
    if kind is IndexKind.EXACT:
        return ExactIndex(matrix)
    index = Int8Index(matrix)
    if kind is IndexKind.INT8 or not annoy_installed():
        return index
    own_ms = _median_ms(index, matrix, settings)
    if own_ms <= settings.annoy_budget_ms:
        return index
    annoy = AnnoyIndex(matrix, settings)
    return annoy if _median_ms(annoy, matrix, settings) < own_ms else index


def measure_indices(matrix: Float32Array, settings: IndexSettings) -> tuple[IndexMeasurement, ...]:
    """Time and recall of every index that is installed, exact first.

    matrix: shape (n, dim), n > 0, float32, comparable rows.
    """
    kinds = [IndexKind.EXACT, IndexKind.INT8] + [IndexKind.ANNOY] * annoy_installed()
    return tuple(_measure(kind, matrix, settings) for kind in kinds)


def annoy_installed() -> bool:
    """Whether the optional Annoy package can be used."""
    try:
        _annoy()
    except ConfigError:
        return False
    return True


def _measure(kind: IndexKind, matrix: Float32Array, settings: IndexSettings) -> IndexMeasurement:
    exact = ExactIndex(matrix)
    began_s = time.perf_counter()
    index = build_index(matrix, kind, settings)
    build_s = time.perf_counter() - began_s
    found = sum(
        exact.search(probe, 1)[0][0] in index.search(probe, settings.rows_per_search)[0]
        for probe in _sample_probes(matrix, settings)
    )
    return IndexMeasurement(
        kind,
        len(matrix),
        build_s,
        _median_ms(index, matrix, settings),
        found / settings.sample_count,
    )


def _median_ms(index: SearchIndex, matrix: Float32Array, settings: IndexSettings) -> float:
    times_ms = []
    for probe in _sample_probes(matrix, settings):
        began_s = time.perf_counter()
        index.search(probe, settings.rows_per_search)
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(times_ms)


def _sample_probes(matrix: Float32Array, settings: IndexSettings) -> Iterator[Float32Array]:
    """Unit vectors at the sample cosine to random rows, in random directions."""
    random = np.random.default_rng(_SEED)
    similarity = settings.sample_similarity
    for row in random.integers(len(matrix), size=settings.sample_count):
        template = matrix[row] / np.linalg.norm(matrix[row])
        aside = random.standard_normal(template.size).astype(np.float32)
        aside -= (aside @ template) * template
        aside /= np.linalg.norm(aside)
        probe = similarity * template + np.sqrt(1 - similarity**2) * aside
        yield probe.astype(np.float32)


def _grow_forest(descriptor: int, matrix: Float32Array, trees: int) -> None:
    """Let Annoy build straight into the memory behind a descriptor; a temporary file would
    put templates on a disk (P5)."""
    forest = _annoy().AnnoyIndex(matrix.shape[1], "angular")
    try:
        forest.set_seed(_SEED)
        forest.on_disk_build(descriptor_path(descriptor))
        for row, embedding in enumerate(matrix):
            forest.add_item(row, embedding)
        forest.build(trees, 1)
    except OSError as error:
        raise _annoy_failed(str(error)) from error
    finally:
        forest.unload()


def _annoy_failed(reason: str) -> GalleryError:
    return GalleryError(
        f"the Annoy index could not be built: {reason}; free some memory, or set match.index to "
        "exact"
    )


def _annoy() -> Any:
    try:
        return importlib.import_module("annoy")
    except ImportError as error:
        raise ConfigError(
            "match.index is annoy, and Annoy is not installed; run `pip install "
            "familiar-edge[annoy]` or set match.index to auto"
        ) from error
