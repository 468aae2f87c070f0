"""The comparable vector: its direction, its length, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_app.core.embed import SHRINK, WEAK, average, comparable, direction
from edge_app.errors import ModelError
from edge_app.records import Float32Array

raw_vectors = arrays(np.float32, 8, elements=st.floats(-100, 100, width=32)).filter(
    lambda vector: bool(np.linalg.norm(vector) > 1e-3)
)


def of_length(length: float, dim: int = 192) -> Float32Array:
    vector = np.random.default_rng(3).standard_normal(dim)
    return np.asarray(vector * length / np.linalg.norm(vector), np.float32)


@given(raw_vectors)
def test_keeps_the_direction_and_is_never_longer_than_one(vector: Float32Array) -> None:
    made = comparable(vector)
    assert made.dtype == np.float32
    assert np.linalg.norm(made) <= 1 + 1e-5
    np.testing.assert_allclose(direction(made), direction(vector), atol=1e-5)


@pytest.mark.parametrize("length", [1e-3, 1.0, 40.0, WEAK])
def test_a_weak_vector_keeps_its_whole_cosine(length: float) -> None:
    assert np.linalg.norm(comparable(of_length(length))) == pytest.approx(1, abs=1e-5)


def test_a_strong_vector_is_shrunk_by_its_length() -> None:
    made = float(np.linalg.norm(comparable(of_length(2 * WEAK))))
    assert made == pytest.approx(2**-SHRINK, abs=1e-5)


@given(st.floats(1, 200), st.floats(1, 200))
def test_the_longer_never_counts_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    weaker, stronger = comparable(of_length(low)), comparable(of_length(high))
    assert np.linalg.norm(stronger) <= np.linalg.norm(weaker) + 1e-6


def test_takes_the_networks_batch_of_one() -> None:
    assert comparable(of_length(70.0).reshape(1, 192)).shape == (192,)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_refuses_what_has_no_direction(bad: float) -> None:
    vector = np.full(192, bad, np.float32)
    with pytest.raises(ModelError, match="make models"):
        comparable(vector)


def test_the_average_of_one_is_itself() -> None:
    one = comparable(of_length(90.0))
    np.testing.assert_allclose(average(one[None]), one, atol=1e-6)


@given(st.lists(raw_vectors, min_size=1, max_size=6))
def test_the_average_has_the_mean_length(vectors: list[Float32Array]) -> None:
    made = np.stack([comparable(vector) for vector in vectors])
    if np.linalg.norm(made.mean(axis=0)) < 1e-2:
        return
    lengths = np.linalg.norm(made, axis=1)
    assert np.linalg.norm(average(made)) == pytest.approx(lengths.mean(), abs=1e-4)


def test_the_average_lies_between_two() -> None:
    left, right = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(average(np.stack([left, right])), [0.5**0.5] * 2, atol=1e-6)


def test_vectors_that_cancel_out_have_no_average() -> None:
    one = comparable(of_length(70.0))
    with pytest.raises(ModelError):
        average(np.stack([one, -one]))
