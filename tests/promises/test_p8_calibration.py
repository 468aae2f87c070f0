"""P8: a gallery whose threshold does not hold its FPIR cannot come into being."""

from dataclasses import replace

import numpy as np
import pytest

from edge_app.core.calibrate import (
    fit_tail,
    fpir_at,
    require_holds,
    threshold_for,
)
from edge_app.core.gallery import Gallery, comparisons_per_search
from edge_app.errors import CalibrationError
from edge_app.records import Calibration
from tests.people import CALIBRATION, MODEL_SHA256, TAIL, enrolment, faces, gallery_of

FACES = faces(4)
PEOPLE = [enrolment(1, FACES[:2]), enrolment(2, FACES[2:3])]


def build(calibration: Calibration) -> Gallery:
    return gallery_of(PEOPLE, calibration=calibration)


def test_gallery_of_the_calibrated_size_is_built() -> None:
    gallery = build(replace(CALIBRATION, max_templates=3))
    assert gallery.calibration.target_fpir == CALIBRATION.target_fpir


def test_gallery_with_one_template_too_many_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"3 templates.*at most 2; calibrate"):
        build(replace(CALIBRATION, max_templates=2))


def test_threshold_of_another_model_is_refused() -> None:
    with pytest.raises(CalibrationError, match="calibrate again for this model"):
        build(replace(CALIBRATION, model_sha256="00" * 32))


def test_live_and_demo_templates_are_not_added_up() -> None:
    """No search compares with both, so the FPIR depends on the larger section."""
    people = [*PEOPLE, enrolment(3, FACES[3:], demo=True)]
    assert comparisons_per_search(people) == 3
    gallery_of(people, calibration=replace(CALIBRATION, max_templates=3))


def test_target_that_needs_an_impossible_threshold_is_refused() -> None:
    wide = replace(TAIL, shape=0.0, scale=0.2)
    with pytest.raises(CalibrationError, match="above which nobody is recognised"):
        threshold_for(wide, 0.001, 1000)


def test_target_beyond_the_measured_data_is_refused() -> None:
    few = replace(TAIL, comparisons=10_000)
    threshold_for(few, 0.01, 1_000)
    with pytest.raises(CalibrationError, match="measure the tail on more images"):
        threshold_for(few, 0.01, 2_000)


@pytest.mark.parametrize("people", [10, 500])
def test_strangers_are_named_as_rarely_as_calibrated(people: int) -> None:
    """End to end on simulated cosines: fit on one crowd, measure on another."""
    random = np.random.default_rng(3)
    scores = (0.1 * random.standard_normal(2_000_000)).astype(np.float32)
    u = float(np.quantile(scores, 0.995))
    tail = fit_tail(scores, u=u, model_sha256=MODEL_SHA256, data="simulated")
    calibration = threshold_for(tail, 0.02, people)
    strangers = 0.1 * random.standard_normal((10_000_000 // people, people))
    fpir = float((strangers.max(axis=1) >= calibration.threshold).mean())
    assert fpir == pytest.approx(0.02, rel=0.25)
    assert fpir_at(tail, calibration.threshold, people) == pytest.approx(0.02, rel=1e-6)


def test_tail_with_impossible_numbers_is_refused() -> None:
    with pytest.raises(CalibrationError, match="impossible numbers"):
        replace(TAIL, scale=0.0)
    with pytest.raises(CalibrationError, match="impossible numbers"):
        replace(TAIL, u=float("nan"))
    with pytest.raises(CalibrationError, match="impossible numbers"):
        replace(TAIL, tail_fraction=0.0)


def test_holds_exactly_up_to_its_size() -> None:
    require_holds(CALIBRATION, comparisons=100_000, model_sha256=MODEL_SHA256)
    require_holds(CALIBRATION, comparisons=0, model_sha256=MODEL_SHA256)
    with pytest.raises(CalibrationError):
        require_holds(CALIBRATION, comparisons=100_001, model_sha256=MODEL_SHA256)
