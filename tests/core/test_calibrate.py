import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.calibrate import (
    MAX_EXTRAPOLATION,
    ImpostorTail,
    decode_tails,
    encode_tails,
    fit_tail,
    fmr_at,
    fpir_at,
    tail_for,
    threshold_for,
)
from edge_app.errors import CalibrationError
from tests.people import MODEL_SHA256, TAIL

tails = st.builds(
    ImpostorTail,
    model_sha256=st.just(MODEL_SHA256),
    u=st.floats(0.1, 0.4),
    tail_fraction=st.floats(1e-4, 0.05),
    shape=st.floats(-0.3, 0.1) | st.just(0.0),
    scale=st.floats(0.005, 0.03),
    comparisons=st.just(10**8),
    data=st.just("made up"),
)


def test_fmr_at_the_tails_beginning_is_its_fraction() -> None:
    assert fmr_at(TAIL, TAIL.u) == TAIL.tail_fraction


def test_nothing_scores_beyond_the_end_of_a_bounded_tail() -> None:
    assert fmr_at(TAIL, TAIL.u + 1.0001 * TAIL.scale / -TAIL.shape) == 0.0
    assert fmr_at(TAIL, 1.0) == 0.0


def test_exponential_tail_is_the_limit_of_small_shapes() -> None:
    exponential = fmr_at(replace(TAIL, shape=0.0), 0.5)
    assert exponential == pytest.approx(0.01 * math.exp(-0.3 / 0.05))
    assert fmr_at(replace(TAIL, shape=1e-7), 0.5) == pytest.approx(exponential, rel=1e-4)
    assert fmr_at(replace(TAIL, shape=-1e-7), 0.5) == pytest.approx(exponential, rel=1e-4)


def test_nothing_is_said_below_the_tail() -> None:
    with pytest.raises(CalibrationError, match="below the measured tail"):
        fpir_at(TAIL, TAIL.u - 1e-6, 10)


def test_fpir_of_an_empty_gallery_is_zero() -> None:
    assert fpir_at(TAIL, TAIL.u, 0) == 0.0


def test_fpir_of_a_tail_that_is_everything_is_one() -> None:
    assert fpir_at(replace(TAIL, tail_fraction=1.0), TAIL.u, 1) == 1.0


@given(tails, st.floats(1e-3, 0.3), st.integers(1, 50_000))
def test_threshold_meets_its_target(tail: ImpostorTail, fpir: float, comparisons: int) -> None:
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
    with pytest.raises(CalibrationError, match=r"1000 measured comparisons support 1\.0e-04"):
        threshold_for(tail, 0.99e-4, 1)


@pytest.mark.parametrize(("shape", "tolerance"), [(-0.25, 0.03), (0.0, 0.03), (0.1, 0.04)])
def test_fit_recovers_a_known_tail(shape: float, tolerance: float) -> None:
    uniform = np.random.default_rng(0).random(20_000)
    excess = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    scores = np.concatenate([0.3 + 0.02 * excess, np.zeros(980_000)]).astype(np.float32)
    tail = fit_tail(scores, u=0.3, model_sha256=MODEL_SHA256, data="made up")
    assert tail.shape == pytest.approx(shape, abs=tolerance)
    assert tail.scale == pytest.approx(0.02, rel=0.05)
    assert tail.tail_fraction == pytest.approx(0.02)
    assert tail.comparisons == 1_000_000


def test_fit_never_rules_out_a_score_that_was_seen() -> None:
    scores = np.concatenate([np.linspace(0.3, 0.4, 500), [0.42]]).astype(np.float32)
    tail = fit_tail(scores, u=0.29, model_sha256=MODEL_SHA256, data="made up")
    assert fmr_at(tail, 0.419) > 0


@pytest.mark.parametrize("scores", [[], [0.5] * 99, [0.5] * 1000, [0.1] * 1000])
def test_too_few_or_constant_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(CalibrationError, match="too few for a tail"):
        fit_tail(
            np.asarray(scores, dtype=np.float32), u=0.3, model_sha256=MODEL_SHA256, data="none"
        )


@given(st.lists(tails, max_size=3))
def test_file_round_trip(written: list[ImpostorTail]) -> None:
    assert decode_tails(encode_tails(written)) == tuple(written)


def test_fitted_tail_can_be_written() -> None:
    scores = np.linspace(0, 1, 1000, dtype=np.float32)
    tail = fit_tail(scores, u=0.5, model_sha256=MODEL_SHA256, data="made up")
    assert decode_tails(encode_tails([tail])) == (tail,)


ENTRY = json.loads(encode_tails([TAIL]))["tails"][0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "tails": []}',
        '{"format": 1, "tails": [], "more": 1}',
        '{"format": 1, "tails": [7]}',
        json.dumps({"format": 1, "tails": [{**ENTRY, "u": "0.2"}]}),
        json.dumps({"format": 1, "tails": [{**ENTRY, "comparisons": 1.5}]}),
        json.dumps({"format": 1, "tails": [{**ENTRY, "more": 1}]}),
        json.dumps({"format": 1, "tails": [{"u": 0.2}]}),
        "[" * 100_000,
    ],
)
def test_malformed_file_is_refused(content: str) -> None:
    with pytest.raises(CalibrationError, match="malformed"):
        decode_tails(content)


def test_tail_is_found_by_model() -> None:
    other = replace(TAIL, model_sha256="00" * 32)
    assert tail_for((other, TAIL), MODEL_SHA256) is TAIL
    with pytest.raises(CalibrationError, match="run the evaluation"):
        tail_for((other,), MODEL_SHA256)
