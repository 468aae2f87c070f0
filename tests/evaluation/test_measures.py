import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.evaluation.measures import (
    NO_SCORE,
    Float64Array,
    allowed,
    best_threshold,
    bootstrap_accuracy,
    bootstrap_miss_rates,
    cross_validated_accuracy,
    operating_point,
    percentile_interval,
    poisson_interval,
    threshold_at,
    wilson_interval,
)

# Coarse scores, so that ties are the rule.
SCORES = st.lists(st.integers(-10, 10).map(lambda i: i / 10), min_size=1, max_size=30)


def array(values: list[float]) -> Float64Array:
    return np.array(values, dtype=np.float64)


def test_seven_of_seven_hundred_are_one_per_cent() -> None:
    assert allowed(700, 0.01) == 7
    assert allowed(1063, 0.003) == 3
    assert allowed(10, 0.01) == 0


def test_a_threshold_needs_scores() -> None:
    with pytest.raises(ValueError, match="impostor"):
        threshold_at(array([]), 0.01)
    with pytest.raises(ValueError, match="genuine"):
        operating_point(array([]), array([0.1]), 0.01)


def test_the_threshold_lies_just_above_the_first_score_that_may_not_match() -> None:
    impostor = array([0.1, 0.2, 0.3, 0.4])
    assert threshold_at(impostor, 0.25) == np.nextafter(0.3, 1)
    assert threshold_at(impostor, 0.0) == np.nextafter(0.4, 1)


def test_a_tie_at_the_threshold_matches_nobody() -> None:
    impostor = array([0.1, 0.4, 0.4, 0.4])
    assert threshold_at(impostor, 0.25) > 0.4


def test_faces_that_were_not_found_are_no_alarms_and_misses() -> None:
    point = operating_point(array([NO_SCORE, 0.9]), array([NO_SCORE, NO_SCORE]), 0.0)
    assert point.threshold == -1.0
    assert point.miss_rate == 0.5


@given(SCORES, st.floats(0, 0.99))
def test_the_threshold_is_the_lowest_that_meets_the_rate(scores: list[float], rate: float) -> None:
    impostor = array(scores)
    threshold = threshold_at(impostor, rate)
    assert (impostor >= threshold).sum() <= allowed(impostor.size, rate)
    lower = impostor[impostor < threshold]
    if lower.size:
        assert (impostor >= lower.max()).sum() > allowed(impostor.size, rate)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.1, 0.5]))
def test_the_miss_rate_is_what_counting_gives(
    genuine: list[float], impostor: list[float], rate: float
) -> None:
    passing = math.floor(len(impostor) * rate + 1e-9)
    limit = sorted(impostor, reverse=True)[passing]
    expected = sum(score <= limit for score in genuine) / len(genuine)
    assert operating_point(array(genuine), array(impostor), rate).miss_rate == expected


@given(st.lists(st.tuples(st.integers(-10, 10), st.booleans()), min_size=1, max_size=20))
def test_no_threshold_decides_better(pairs: list[tuple[int, bool]]) -> None:
    scores = array([score / 10 for score, _ in pairs])
    same = np.array([kind for _, kind in pairs])

    def right(threshold: float) -> int:
        return int(((scores >= threshold) == same).sum())

    candidates = [*np.unique(scores), scores.max() + 1]
    assert right(best_threshold(scores, same)) == max(right(float(t)) for t in candidates)


def test_of_equally_good_thresholds_the_highest_wins_half_way() -> None:
    scores = array([0.2, 0.4, 0.6, 0.8])
    assert best_threshold(scores, np.array([False, True, False, True])) == pytest.approx(0.7)


@pytest.mark.parametrize("low", [0.5, float(np.nextafter(0.5, 1))])
def test_two_neighbouring_floats_are_still_told_apart(low: float) -> None:
    high = float(np.nextafter(low, 1))  # their mean is one of them, rounded to even
    threshold = best_threshold(array([low, high]), np.array([False, True]))
    assert low < threshold <= high


def test_accuracy_uses_the_other_folds_threshold() -> None:
    # Fold 0 would like a threshold between 0.2 and 0.3, fold 1 one between 0.6 and 0.7.
    scores = array([0.2, 0.3, 0.6, 0.7])
    same = np.array([False, True, False, True])
    fold = np.array([0, 0, 1, 1])
    assert cross_validated_accuracy(scores, same, fold) == 0.5
    assert cross_validated_accuracy(scores, same, np.array([0, 1, 1, 0])) == 0.25


def test_separable_scores_are_certain() -> None:
    scores = array([0.1, 0.1, 0.9, 0.9] * 5)
    same = scores > 0.5
    fold = np.arange(20) // 4
    values = np.array([*bootstrap_accuracy(scores, same, fold, resamples=50, seed=0)])
    assert percentile_interval(values) == (1.0, 1.0)


def test_the_bootstrap_brackets_the_estimate_and_repeats() -> None:
    random = np.random.default_rng(0)
    genuine, impostor = random.normal(0.7, 0.1, 400), random.normal(0.3, 0.1, 400)
    rates = array([0.01, 0.1])

    def values() -> Float64Array:
        return bootstrap_miss_rates(genuine, np.arange(400), impostor, rates, resamples=500, seed=3)

    assert np.array_equal(values(), values())
    for column, rate in zip(values().T, rates, strict=True):
        low, high = percentile_interval(column)
        assert low < operating_point(genuine, impostor, float(rate)).miss_rate < high


@given(st.integers(0, 1000), st.integers(1, 30))
def test_the_bootstrap_is_what_drawing_by_hand_gives(seed: int, count: int) -> None:
    scores = np.random.default_rng(seed)
    genuine, impostor = scores.integers(0, 20, 12) / 20, scores.integers(0, 20, count) / 20
    person = np.arange(12) % 5
    rates = array([0.0, 0.1, 0.5])
    drawn = bootstrap_miss_rates(genuine, person, impostor, rates, resamples=3, seed=seed)
    random = np.random.default_rng(seed)
    for row in drawn:
        others = np.sort(impostor)[::-1][random.integers(0, count, count)]
        own = np.concatenate([genuine[person == who] for who in random.integers(0, 5, 5)])
        expected = [operating_point(own, others, float(rate)).miss_rate for rate in rates]
        assert row == pytest.approx(expected)


def test_a_bootstrap_that_draws_everybody_once_is_the_estimate() -> None:
    # One person on each side leaves the resample no choice.
    values = bootstrap_miss_rates(
        array([0.1, 0.5, 0.9]), np.zeros(3, np.int64), array([0.5]), array([0.0]),
        resamples=5, seed=0,
    )  # fmt: skip
    assert values == pytest.approx(np.full((5, 1), 2 / 3))


def test_people_are_drawn_whole() -> None:
    # Person 0 has nine hits, person 1 one miss: drawn apart, rates in between would be common.
    values = bootstrap_miss_rates(
        array([0.9] * 9 + [0.1]), np.array([0] * 9 + [1]), array([0.5]), array([0.0]),
        resamples=200, seed=0,
    )  # fmt: skip
    assert set(np.round(values[:, 0], 6)) == {0.0, 0.1, 1.0}


def test_wilson_known_values() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_garwood_known_values() -> None:
    assert poisson_interval(0) == pytest.approx((0.0, 3.6889), abs=1e-3)
    assert poisson_interval(1) == pytest.approx((0.0253, 5.5716), abs=1e-3)
    assert poisson_interval(10) == pytest.approx((4.7954, 18.3904), abs=1e-3)
