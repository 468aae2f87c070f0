import json
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.core.calibrate import (
    MAX_EXTRAPOLATION,
    MIN_RESAMPLES,
    ImpostorTail,
    TailFit,
    decode_tails,
    encode_tails,
    fit_tail,
    fmr_at,
    fpir_at,
    fpir_estimate,
    tail_for,
    threshold_estimate,
    threshold_for,
)
from edge_app.errors import CalibrationError
from tests.people import MODEL_SHA256, TAIL

fits = st.builds(
    TailFit,
    u=st.floats(0.1, 0.4),
    scale=st.floats(0.005, 0.03),
    shape=st.floats(0.0, 0.1) | st.just(0.0),
)
tails = st.builds(
    ImpostorTail,
    model_sha256=st.just(MODEL_SHA256),
    best=fits,
    resampled=st.lists(fits, min_size=5, max_size=5).map(lambda some: tuple(some * 20)),
    tail_fraction=st.floats(1e-4, 0.05),
    people=st.just(10**4),
    comparisons=st.just(10**8),
    template_pictures=st.just(5),
    data=st.just("made up"),
)


def certain(tail: ImpostorTail) -> ImpostorTail:
    """The same, as though every resample said the same."""
    return replace(tail, resampled=(tail.best,) * MIN_RESAMPLES)


# ------------------------------------------------------------------------- what a tail says


def test_fmr_at_the_tails_beginning_is_its_fraction() -> None:
    assert fmr_at(TAIL, TAIL.u) == TAIL.tail_fraction


def test_a_tail_never_ends() -> None:
    assert fmr_at(TAIL, 1.0) > 0
    with pytest.raises(CalibrationError, match="impossible numbers"):
        TailFit(0.2, 0.05, -0.01)


def test_exponential_tail_is_the_limit_of_small_shapes() -> None:
    exponential = fmr_at(TAIL, 0.5)
    assert exponential == pytest.approx(0.01 * math.exp(-0.3 / 0.05))
    heavier = replace(TAIL, best=TailFit(0.2, 0.05, 1e-7))
    assert fmr_at(heavier, 0.5) == pytest.approx(exponential, rel=1e-4)


def test_generalised_pareto_tail_by_hand() -> None:
    heavy = replace(TAIL, best=TailFit(0.2, 0.05, 0.5))
    assert fmr_at(heavy, 0.3) == pytest.approx(0.01 * (1 + 0.5 * 2) ** -2)


def test_nothing_is_said_below_the_tail() -> None:
    for ask in (fpir_at, fpir_estimate):
        with pytest.raises(CalibrationError, match="below the measured tail"):
            ask(TAIL, TAIL.u - 1e-6, 10)


def test_fpir_of_an_empty_gallery_is_zero() -> None:
    assert fpir_at(TAIL, TAIL.u, 0) == 0.0


def test_fpir_of_a_tail_that_is_everything_is_one() -> None:
    assert fpir_at(replace(TAIL, tail_fraction=1.0), TAIL.u, 1) == 1.0


# ------------------------------------------------------------------------------ thresholds


@given(tails, st.floats(1e-3, 0.3), st.integers(1, 50_000))
def test_threshold_meets_its_target(tail: ImpostorTail, fpir: float, comparisons: int) -> None:
    tail = certain(tail)
    calibration = threshold_for(tail, fpir, comparisons)
    reached = fpir_at(tail, calibration.threshold, comparisons)
    assert reached <= fpir * (1 + 1e-6)
    if calibration.threshold > tail.u:
        assert reached == pytest.approx(fpir, rel=1e-6)
    assert (calibration.target_fpir, calibration.max_templates) == (fpir, comparisons)


@given(tails, st.floats(1e-3, 0.3), st.integers(1, 25_000))
def test_more_people_never_lower_the_threshold(
    tail: ImpostorTail, fpir: float, comparisons: int
) -> None:
    few = threshold_for(tail, fpir, comparisons).threshold
    assert threshold_for(tail, fpir, 2 * comparisons).threshold >= few


def test_nine_of_ten_resamples_ask_for_no_more_than_the_threshold() -> None:
    used = threshold_for(TAIL, 0.003, 100).threshold
    asked = [threshold_estimate(replace(TAIL, best=fit), 0.003, 100).best for fit in TAIL.resampled]
    assert sum(each <= used + 1e-9 for each in asked) == 91
    needed = threshold_estimate(TAIL, 0.003, 100)
    assert needed.low < needed.best < used < needed.high
    assert sum(needed.low <= each <= needed.high for each in asked) == 95


def test_the_uncertainty_of_the_fpir_is_that_of_the_threshold() -> None:
    needed = threshold_estimate(TAIL, 0.003, 100)
    assert fpir_estimate(TAIL, needed.best, 100).best == pytest.approx(0.003)
    assert fpir_estimate(TAIL, needed.high, 100).high == pytest.approx(0.003, rel=1e-3)
    assert fpir_estimate(TAIL, needed.low, 100).low == pytest.approx(0.003, rel=1e-3)


def test_a_fit_that_begins_higher_says_what_it_can() -> None:
    """At a threshold below its beginning its FMR is at least the tail's fraction."""
    higher = replace(TAIL, resampled=(TailFit(0.4, 0.05, 0.0),) * MIN_RESAMPLES)
    assert fpir_estimate(higher, 0.3, 1).high == pytest.approx(TAIL.tail_fraction)


@pytest.mark.parametrize("fpir", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_target_is_refused(fpir: float) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        threshold_for(TAIL, fpir, 10)


def test_empty_gallery_is_calibrated_by_its_caller_as_one_comparison() -> None:
    with pytest.raises(CalibrationError):
        threshold_for(TAIL, 0.01, 0)


def test_extrapolation_ends_a_decade_below_the_data() -> None:
    assert MAX_EXTRAPOLATION == 10
    tail = replace(TAIL, comparisons=1000)
    threshold_for(tail, 1.01e-4, 1)
    for ask in (threshold_for, threshold_estimate):
        with pytest.raises(CalibrationError, match=r"1000 measured comparisons support 1\.0e-04"):
            ask(tail, 0.99e-4, 1)


# ---------------------------------------------------------------------------------- fitting


def fitted(scores: NDArray[np.float64], share: float, comparisons: int) -> TailFit:
    falling = np.sort(scores)[::-1]
    ones = np.ones(falling.size, np.int64)
    return fit_tail(falling, ones, comparisons=comparisons, tail_fraction=share)


def drawn(shape: float, count: int = 20_000) -> NDArray[np.float64]:
    uniform = np.random.default_rng(0).random(count)
    return 0.3 + 0.02 * (-np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape)


@pytest.mark.parametrize("shape", [0.0, 0.1, 0.2])
def test_fit_recovers_a_known_tail(shape: float) -> None:
    scores = np.concatenate([drawn(shape), [0.3]])
    fit = fitted(scores, 0.02, 1_000_000)
    assert fit.u == pytest.approx(0.3, abs=1e-6)
    assert fit.shape == pytest.approx(shape, abs=0.04)
    assert fit.scale == pytest.approx(0.02, rel=0.05)


def test_a_bounded_tail_becomes_the_exponential_one_of_its_mean() -> None:
    scores = drawn(-0.25)
    fit = fitted(np.concatenate([scores, [0.3]]), 0.02, 1_000_000)
    assert fit.shape == 0.0
    assert fit.scale == pytest.approx(float(np.mean(scores)) - 0.3, rel=1e-3)


def test_only_the_highest_share_is_fitted() -> None:
    scores = np.linspace(0, 1, 10_001)
    assert fitted(scores, 0.1, 10_001).u == pytest.approx(0.9, abs=2e-4)


@given(st.integers(0, 2**32 - 1))
def test_a_weight_is_a_score_that_often(seed: int) -> None:
    random = np.random.default_rng(seed)
    falling = np.sort(0.3 + random.exponential(0.05, 400))[::-1]
    weights = random.integers(0, 4, 400)
    weights[-1] = 1
    total = int(weights.sum())
    # The tail ends between two scores, not among the copies of one.
    share = float(np.cumsum(weights)[250] + 0.5) / total
    weighted = fit_tail(falling, weights, comparisons=total, tail_fraction=share)
    repeated = fitted(np.repeat(falling, weights), share, total)
    assert astuple(weighted) == pytest.approx(astuple(repeated))


@pytest.mark.parametrize(
    "scores", [[], [0.5] * 24, [0.5] * 1000, list(np.linspace(0, 1, 20))], ids=len
)
def test_too_few_or_constant_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(CalibrationError, match="compare more images"):
        fitted(np.asarray(scores, dtype=np.float64), 0.9, max(len(scores), 1))


def test_scores_that_do_not_reach_down_to_the_tails_beginning_are_refused() -> None:
    with pytest.raises(CalibrationError, match="compare more images"):
        fitted(np.linspace(0.5, 0.9, 50), 0.1, 1_000)


# --------------------------------------------------------------------- impostor_tail.json


@given(st.dictionaries(st.text(max_size=9), tails, max_size=3))
def test_file_round_trip(written: dict[str, ImpostorTail]) -> None:
    assert decode_tails(encode_tails(written)) == written


ENTRY = json.loads(encode_tails({"net": TAIL}))["tails"]["net"]


def changed(**values: object) -> str:
    return json.dumps({"format": 2, "tails": {"net": {**ENTRY, **values}}})


def test_unchanged_entry_is_read() -> None:
    assert decode_tails(changed()) == {"net": TAIL}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "tails": {}}',
        '{"format": 2, "tails": []}',
        '{"format": 2, "tails": {}, "more": 1}',
        '{"format": 2, "tails": {"net": 7}}',
        '{"format": 2, "tails": {"net": {"best": [0.2, 0.1, 0.0]}}}',
        changed(best="0.2"),
        changed(best=[0.2, 0.1]),
        changed(best=[0.2, 0.1, 0]),
        changed(best=[0.2, 0.1, True]),
        changed(comparisons=1.5),
        changed(more=1),
        changed(resampled=[7]),
        "[" * 100_000,
    ],
)
def test_malformed_file_is_refused(content: str) -> None:
    with pytest.raises(CalibrationError, match="malformed"):
        decode_tails(content)


@pytest.mark.parametrize(
    "values",
    [
        {"best": [0.2, 0.0, 0.0]},
        {"best": [0.2, 0.1, -0.1]},
        {"best": [float("nan"), 0.1, 0.0]},
        {"best": [1.0, 0.1, 0.0]},
        {"resampled": ENTRY["resampled"][:99]},
        {"resampled": [*ENTRY["resampled"], [0.2, float("inf"), 0.0]]},
        {"tail_fraction": 0.0},
        {"people": 0},
    ],
    ids=str,
)
def test_numbers_that_are_no_tail_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(CalibrationError, match="impossible numbers"):
        decode_tails(changed(**values))


def test_tail_is_found_by_model() -> None:
    other = replace(TAIL, model_sha256="00" * 32)
    assert tail_for({"a": other, "b": TAIL}, MODEL_SHA256) is TAIL
    with pytest.raises(CalibrationError, match="familiar evaluate tail"):
        tail_for({"a": other}, MODEL_SHA256)
