import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.adapters.exact_index import ExactIndex
from edge_app.adapters.int8_index import Int8Index
from edge_app.records import Float32Array
from tests.people import faces


def near_a_subspace(size: int, seed: int, *, dim: int = 48, width: int = 16) -> Float32Array:
    """Unit vectors as the network makes them: few dimensions, and a little beside them."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(7).standard_normal((dim, dim)))[0][:, :width]
    rows = random.standard_normal((size, width)) @ axes.T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows += 0.0003 * random.standard_normal((size, dim))
    return np.asarray(rows, np.float32)


def assert_same(
    matrix: Float32Array, probe: Float32Array, count: int, *, tolerance: float = 5e-5
) -> None:
    rows, similarities = Int8Index(matrix).search(probe, count)
    exact_rows, exact_similarities = ExactIndex(matrix).search(probe, count)
    assert rows.dtype == np.int64
    assert similarities.dtype == np.float32
    assert similarities == pytest.approx(exact_similarities, abs=tolerance)
    assert len(set(rows.tolist())) == min(count, len(matrix))
    # Products of other shapes round otherwise: rows may change places within that.
    assert matrix[rows] @ probe == pytest.approx(matrix[exact_rows] @ probe, abs=tolerance)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_equals_exact_search_where_axes_are_left_out(size: int, count: int, seed: int) -> None:
    assert_same(near_a_subspace(size, seed), near_a_subspace(1, seed + 1)[0], count)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_equals_exact_search_where_every_axis_counts(size: int, count: int, seed: int) -> None:
    assert_same(faces(size, seed, 24), faces(1, seed + 1, 24)[0], count)


def test_searches_only_the_axes_in_use() -> None:
    assert Int8Index(near_a_subspace(500, 1)).width == 16
    assert Int8Index(faces(500, 1, 48)).width == 48


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1280, 1281])
def test_finds_every_template_by_itself(size: int) -> None:
    matrix = near_a_subspace(size, 3)
    index = Int8Index(matrix)
    assert len(index) == size
    for row in range(size):
        assert index.search(matrix[row], 1)[0].tolist() == [row]


def test_axes_that_leave_somebody_out_are_not_used() -> None:
    # Every other row is looked at for the axes: not the last one.
    matrix = np.concatenate([near_a_subspace(9001, 4), faces(1, 5, 48)])
    assert_same(matrix, matrix[-1], 5)
    index = Int8Index(matrix)
    assert index.width == 48
    assert index.search(matrix[-1], 1)[0].tolist() == [9001]


def test_a_probe_beside_all_axes_is_searched_too() -> None:
    matrix = near_a_subspace(300, 6)
    beside = np.linalg.svd(matrix)[2][-1].astype(np.float32)
    assert_same(matrix, beside, 20, tolerance=0.01)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 33])
def test_any_dimension(dim: int) -> None:
    assert_same(faces(7, 1, dim), faces(1, 2, dim)[0], 3)


def test_a_probe_of_zeros_scores_zero() -> None:
    _, similarities = Int8Index(faces(70)).search(np.zeros(192, np.float32), 3)
    assert similarities.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_ties_go_to_the_lower_row(count: int) -> None:
    matrix = np.repeat(faces(1), 5, axis=0)
    rows, _ = Int8Index(matrix).search(matrix[0], count)
    assert rows.tolist() == list(range(min(count, 5)))


def test_rows_are_sealed() -> None:
    index = Int8Index(faces(10))
    with pytest.raises(ValueError, match="read-only"):
        index._rows[0, 0] = 1


def test_few_rows_are_scored_again() -> None:
    matrix = near_a_subspace(20_000, 8, dim=192, width=64)
    index = Int8Index(matrix)
    probes = near_a_subspace(20, 9, dim=192, width=64)
    possible = [len(index._possible(probe @ index._axes, 20)) for probe in probes]
    assert max(possible) < 400
