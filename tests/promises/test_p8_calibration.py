"""P8: a gallery whose threshold does not hold its FPIR cannot come into being."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home, embedder_sha256
from edge_app.config import Config, make_config
from edge_app.core.calibrate import (
    fit_tail,
    fpir_at,
    require_holds,
    require_meets,
    threshold_for,
)
from edge_app.core.gallery import Gallery, comparisons_per_search
from edge_app.core.present import hud_view, spoken_text
from edge_app.core.steady import PresentSettings, RecognisedFace, steady
from edge_app.device import Device, Outputs
from edge_app.doctor import Health, examine
from edge_app.errors import CalibrationError
from edge_app.records import Calibration
from tests.enrolling import enrol_pictures, enrol_portraits
from tests.people import CALIBRATION, MODEL_SHA256, TAIL, admitted, enrolment, faces, gallery_of
from tests.scenes import scene_camera

FACES = faces(4)
PEOPLE = [enrolment(1, FACES[:2]), enrolment(2, FACES[2:3])]


def build(calibration: Calibration) -> Gallery:
    return gallery_of(PEOPLE, calibration=calibration)


def test_gallery_of_the_calibrated_size_is_built() -> None:
    gallery = build(replace(CALIBRATION, max_templates=3))
    assert gallery.calibration.target_fpir == CALIBRATION.target_fpir


def test_gallery_with_one_template_too_many_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"3 templates.*at most 2; run `familiar calibrate`"):
        build(replace(CALIBRATION, max_templates=2))


def test_threshold_of_another_model_is_refused() -> None:
    with pytest.raises(CalibrationError, match="run `familiar calibrate`"):
        build(replace(CALIBRATION, model_sha256="00" * 32))


def test_threshold_for_more_false_alarms_than_configured_is_refused() -> None:
    require_meets(CALIBRATION, CALIBRATION.target_fpir)
    require_meets(CALIBRATION, 0.02)
    with pytest.raises(CalibrationError, match=r"0\.01, and match\.target_fpir is 0\.003; run"):
        require_meets(CALIBRATION, 0.003)


def test_live_and_demo_templates_are_not_added_up() -> None:
    """No search compares with both, so the FPIR depends on the larger section."""
    people = [*PEOPLE, enrolment(3, FACES[3:], demo=True)]
    assert comparisons_per_search(admitted(people).people) == 3
    gallery_of(people, calibration=replace(CALIBRATION, max_templates=3))


def test_target_that_needs_an_impossible_threshold_is_refused() -> None:
    wide = replace(TAIL, resampled=tuple(replace(fit, scale=0.2) for fit in TAIL.resampled))
    with pytest.raises(CalibrationError, match="above which nobody is recognised"):
        threshold_for(wide, 0.001, 1000)


def test_target_beyond_the_measured_data_is_refused() -> None:
    few = replace(TAIL, comparisons=10_000)
    threshold_for(few, 0.01, 1_000)
    with pytest.raises(CalibrationError, match="measure the tail on more images"):
        threshold_for(few, 0.01, 2_000)


@pytest.mark.parametrize("people", [10, 500])
def test_strangers_are_named_as_rarely_as_calibrated(people: int) -> None:
    """End to end on simulated scores: fit on one crowd, measure on another."""
    random = np.random.default_rng(3)
    falling = np.sort(0.2 + 0.04 * random.standard_exponential(200_000))[::-1]
    once = np.ones(falling.size, np.int64)
    fit = fit_tail(falling, once, comparisons=falling.size, tail_fraction=0.01)
    tail = replace(TAIL, best=fit, resampled=(fit,) * 100)
    calibration = threshold_for(tail, 0.02, people)
    strangers = 0.2 + 0.04 * random.standard_exponential((5_000_000 // people, people))
    fpir = float((strangers.max(axis=1) >= calibration.threshold).mean())
    assert fpir == pytest.approx(0.02, rel=0.25)
    assert fpir_at(tail, calibration.threshold, people) == pytest.approx(0.02, rel=1e-6)


def test_holds_exactly_up_to_its_size() -> None:
    require_holds(CALIBRATION, comparisons=100_000, model_sha256=MODEL_SHA256)
    require_holds(CALIBRATION, comparisons=0, model_sha256=MODEL_SHA256)
    with pytest.raises(CalibrationError):
        require_holds(CALIBRATION, comparisons=100_001, model_sha256=MODEL_SHA256)


# ------------------------------------------------------------------------ the whole device


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


def device(config: Config, home: Home) -> Device:
    return Device(
        config,
        home,
        source=scene_camera(1.0),
        lossless=True,
        outputs=Outputs(NullDisplay(), NullSpeaker(), (), ""),
        clock=SystemClock(),
        stop=threading.Event(),
    )


def gallery_finding(config: Config, home: Home) -> tuple[Health, str]:
    findings = examine(config, home, camera="0", broker_url="", clock=SystemClock())
    return next((f.health, f.detail) for f in findings if f.part == "gallery")


def test_the_threshold_of_a_device_is_the_one_in_its_gallery(
    config: Config, home: Home, media: Path
) -> None:
    enrol_portraits(config, home, media)
    chosen = Calibration(0.61, 0.002, 40, embedder_sha256(config))
    home.store().calibrate(chosen)
    assert device(config, home)._gallery.current.calibration == chosen


def test_first_enrolment_brings_a_threshold_with_head_room(
    config: Config, home: Home, media: Path
) -> None:
    enrol_portraits(config, home, media)
    calibration = device(config, home)._gallery.current.calibration
    assert calibration.max_templates == config.match.least_gallery
    assert calibration.target_fpir == config.match.target_fpir


Setup = Callable[[Config, Home], Config]


def outgrown(config: Config, home: Home) -> Config:
    home.store().calibrate(Calibration(0.6, 0.003, 1, embedder_sha256(config)))
    return config


def of_another_model(config: Config, home: Home) -> Config:
    home.store().calibrate(Calibration(0.6, 0.003, 25, "00" * 32))
    return config


def too_lax(config: Config, home: Home) -> Config:
    return make_config({"match": {"target_fpir": 0.001}})


@pytest.mark.parametrize("setup", [outgrown, of_another_model, too_lax])
def test_a_device_whose_threshold_does_not_hold_refuses_to_start_and_says_what_to_do(
    config: Config, home: Home, media: Path, setup: Setup
) -> None:
    enrol_portraits(config, home, media)
    enrol_pictures(config, home, [media / "stranger-1.jpg"], name="Second Person")
    device(config, home)
    config = setup(config, home)
    with pytest.raises(CalibrationError, match="run `familiar calibrate`"):
        device(config, home)
    health, detail = gallery_finding(config, home)
    assert health is Health.FAULT
    assert "familiar calibrate" in detail


def test_enrolment_beyond_the_threshold_is_told_at_once(
    config: Config, home: Home, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enrol_portraits(config, home, media)
    outgrown(config, home)
    enrol_pictures(config, home, [media / "stranger-1.jpg"], name="Second Person")
    (warning,) = [r.getMessage() for r in caplog.records if "calibrate" in r.getMessage()]
    assert "2 templates" in warning
    assert "Second" not in warning


def test_doctor_tells_when_strangers_were_measured_to_score_higher(
    config: Config, home: Home, media: Path
) -> None:
    enrol_portraits(config, home, media)
    assert gallery_finding(config, home)[0] is Health.WELL
    home.store().calibrate(Calibration(0.45, 0.003, 25, embedder_sha256(config)))
    health, detail = gallery_finding(config, home)
    assert health is Health.WARNING
    assert "run `familiar calibrate`" in detail


# ----------------------------------------------------------------- a score is no probability


@pytest.mark.parametrize("similarity", [0.6, 0.72, 0.999])
def test_what_the_wearer_sees_and_hears_shows_no_score(similarity: float) -> None:
    """92 % sure of what? A score means something next to its threshold and FPIR only."""
    settings = PresentSettings(
        unsure_margin=0.05,
        unsure_slack=0.02,
        ahead_share=0.34,
        side_slack=0.04,
        hold_s=0.5,
        max_people=3,
    )
    face = RecognisedFace("p", "Anna", "colleague", 500.0, similarity)
    people = steady([], [face], now_s=0, frame_width_px=1000, threshold=0.6, settings=settings)
    view = hud_view(people, fault="", hint="", language="en")
    shown = f"{view.lines} {view.status} {spoken_text(view.lines, 'en')}"
    assert "Anna" in shown
    assert not re.search(r"\d|%|percent|sure\b", shown.replace("unsure=", ""))
