import importlib
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.adapters import index as index_module
from edge_app.adapters.exact_index import ExactIndex
from edge_app.adapters.index import (
    AnnoyIndex,
    IndexKind,
    IndexSettings,
    annoy_installed,
    build_index,
    measure_indices,
)
from edge_app.adapters.int8_index import Int8Index
from edge_app.adapters.sealed import SealedMemory
from edge_app.errors import ConfigError, GalleryError
from edge_app.records import Float32Array
from tests.people import faces

SETTINGS = IndexSettings(
    trees=40,
    min_recall=0.99,
    sample_count=100,
    sample_similarity=0.5,
    rows_per_search=20,
    annoy_budget_ms=1000.0,
)


def ranked(matrix: Float32Array, embedding: Float32Array) -> list[tuple[float, int]]:
    cosines = [(-float(row.astype(np.float64) @ embedding), n) for n, row in enumerate(matrix)]
    return sorted(cosines)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_empty_exact_index_finds_nothing(count: int) -> None:
    rows, similarities = ExactIndex(np.empty((0, 8), np.float32)).search(faces(1, 0, 8)[0], count)
    assert (rows.shape, similarities.shape) == ((0,), (0,))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_exact_index_equals_sorting_all_cosines(size: int, count: int, seed: int) -> None:
    matrix, embedding = faces(size, seed, 8), faces(1, seed + 1, 8)[0]
    rows, similarities = ExactIndex(matrix).search(embedding, count)
    expected = ranked(matrix, embedding)[:count]
    assert rows.dtype == np.int64
    assert similarities.dtype == np.float32
    assert similarities == pytest.approx([-s for s, _ in expected], abs=1e-6)
    assert rows.tolist() == [n for _, n in expected]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_ties_go_to_the_lower_row(count: int) -> None:
    matrix = np.repeat(faces(1), 5, axis=0)
    rows, _ = ExactIndex(matrix).search(matrix[0], count)
    assert rows.tolist() == list(range(min(count, 5)))


def test_similarity_stays_within_a_cosines_range() -> None:
    matrix = np.float32(1.0001) * faces(3)
    for index in (ExactIndex(matrix), AnnoyIndex(matrix, SETTINGS)):
        _, similarities = index.search(matrix[1], 3)
        assert similarities.max() == 1.0


def test_exact_index_searches_the_sealed_matrix_itself() -> None:
    matrix = faces(10)
    assert np.shares_memory(ExactIndex(matrix)._matrix, matrix)


@pytest.mark.parametrize("size", [1, 2, 30, 1500])
def test_annoy_finds_every_template_by_itself_with_exact_cosines(size: int) -> None:
    matrix = faces(size)
    index, exact = AnnoyIndex(matrix, SETTINGS), ExactIndex(matrix)
    assert len(index) == size
    for row in range(0, size, max(1, size // 50)):
        rows, similarities = index.search(matrix[row], 5)
        assert rows[0] == row
        assert len(rows) == min(5, size)
        every_row, every_similarity = exact.search(matrix[row], size)
        truth = dict(zip(every_row.tolist(), every_similarity.tolist(), strict=True))
        assert similarities == pytest.approx([truth[r] for r in rows.tolist()], abs=1e-6)
        assert sorted(similarities, reverse=True) == list(similarities)


def test_annoy_asked_for_everything_returns_every_row() -> None:
    matrix = faces(500)
    index = AnnoyIndex(matrix, SETTINGS)
    for count in (0, 499, 500, 100_000):
        rows, _ = index.search(matrix[3], count)
        assert len(set(rows.tolist())) == min(count, 500)


def test_annoy_falls_back_to_exact_where_the_forest_proposes_too_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = faces(100)
    index = AnnoyIndex(matrix, SETTINGS)
    monkeypatch.setattr(index, "_propose", lambda *_: np.array([7]))
    assert (
        index.search(matrix[3], 5)[0].tolist()
        == ExactIndex(matrix).search(matrix[3], 5)[0].tolist()
    )


def test_search_nodes_grow_until_recall_is_measured_to_suffice() -> None:
    matrix = faces(1200)
    hard = replace(SETTINGS, sample_similarity=0.3)
    eager = AnnoyIndex(matrix, replace(hard, min_recall=0.3)).search_nodes
    thorough = AnnoyIndex(matrix, hard).search_nodes
    assert thorough > eager
    exact, int8, annoy = measure_indices(matrix, hard)
    assert (exact.kind, exact.recall) == (IndexKind.EXACT, 1.0)
    assert (int8.kind, int8.recall) == (IndexKind.INT8, 1.0)
    assert annoy.kind is IndexKind.ANNOY
    assert annoy.recall >= 0.99


def test_annoy_build_is_the_same_every_time() -> None:
    matrix = faces(300)
    one, other = AnnoyIndex(matrix, SETTINGS), AnnoyIndex(matrix, SETTINGS)
    assert one.search(matrix[0], 20)[0].tolist() == other.search(matrix[0], 20)[0].tolist()


def test_forest_that_comes_out_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annoy itself loads a file that was cut short without a word."""
    real = index_module._grow_forest

    def cut_short(descriptor: int, matrix: Float32Array, trees: int) -> None:
        real(descriptor, matrix, trees)
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)

    monkeypatch.setattr(index_module, "_grow_forest", cut_short)
    with pytest.raises(GalleryError, match=r"incomplete|could not be built"):
        AnnoyIndex(faces(300), SETTINGS)


def test_forest_stays_after_the_descriptor_is_closed() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all it takes
    matrix = faces(50)
    index = AnnoyIndex(matrix, SETTINGS)
    after = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all it takes
    assert len(after - before) <= 2  # the mappings of forest and memory hold their own
    assert index.search(matrix[4], 1)[0][0] == 4


def without_annoy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name == "annoy":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_missing_annoy_is_said_when_asked_for_and_passed_over_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_annoy(monkeypatch)
    matrix = faces(20)
    assert not annoy_installed()
    assert isinstance(build_index(matrix, IndexKind.AUTO, SETTINGS), Int8Index)
    assert [m.kind for m in measure_indices(matrix, SETTINGS)] == [
        IndexKind.EXACT,
        IndexKind.INT8,
    ]
    with pytest.raises(ConfigError, match=r"pip install familiar-edge\[annoy\]"):
        build_index(matrix, IndexKind.ANNOY, SETTINGS)


@pytest.mark.parametrize(
    ("int8_ms", "annoy_ms", "chosen"),
    [(0.9, 0.1, Int8Index), (5.0, 0.1, AnnoyIndex), (5.0, 6.0, Int8Index)],
)
def test_auto_takes_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, int8_ms: float, annoy_ms: float, chosen: type
) -> None:
    times = {Int8Index: int8_ms, AnnoyIndex: annoy_ms}
    monkeypatch.setattr(index_module, "_median_ms", lambda index, *_: times[type(index)])
    within = replace(SETTINGS, annoy_budget_ms=1.0)
    assert type(build_index(faces(50), IndexKind.AUTO, within)) is chosen


def test_kind_that_was_asked_for_is_built() -> None:
    matrix = faces(20)
    assert type(build_index(matrix, IndexKind.EXACT, SETTINGS)) is ExactIndex
    assert type(build_index(matrix, IndexKind.INT8, SETTINGS)) is Int8Index
    assert type(build_index(matrix, IndexKind.ANNOY, SETTINGS)) is AnnoyIndex


def test_indices_work_on_sealed_memory() -> None:
    matrix = faces(50)

    def fill(view: memoryview) -> None:
        view[:] = matrix.tobytes()

    sealed = SealedMemory.filled(matrix.nbytes, fill).matrix(matrix.shape[1])
    for kind in (IndexKind.EXACT, IndexKind.INT8, IndexKind.ANNOY):
        index = build_index(sealed, kind, SETTINGS)
        assert index.search(matrix[9], 1)[0][0] == 9
