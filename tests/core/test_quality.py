from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.config import Config
from edge_app.core.quality import assess, fault, occluded, sharpness
from edge_app.pipeline import Pipeline
from edge_app.records import FaceMesh, ImageBgr, Quality, Rejection
from tests.support import picture


def judge(
    pipeline: Pipeline, config: Config, image: ImageBgr
) -> tuple[Rejection | None, Quality, ImageBgr, FaceMesh]:
    face, mesh = pipeline.aligned(image, pipeline.detect_whole(image)[0])
    measured = assess(face, mesh)
    return fault(face, mesh, measured, config.quality), measured, face, mesh


def test_a_flat_grey_patch_has_no_sharpness() -> None:
    assert sharpness(np.full((80, 72), 128, np.float32)) == 0


def test_sharpness_does_not_depend_on_contrast() -> None:
    noise = np.random.default_rng(0).normal(128, 30, (80, 72)).astype(np.float32)
    dim = ((noise - 128) / 3 + 60).astype(np.float32)
    assert sharpness(dim) == pytest.approx(sharpness(noise), rel=1e-3)


@pytest.mark.parametrize(
    "name",
    ["enrolled-1.jpg", "enrolled-2.jpg", "enrolled-3.jpg", "stranger-1.jpg", "stranger-2.png"],
)
def test_good_portraits_pass(pipeline: Pipeline, config: Config, media: Path, name: str) -> None:
    reason, measured, _, _ = judge(pipeline, config, picture(media / name))
    assert reason is None
    assert measured.score > 0.7


def test_a_blurred_portrait_is_refused_and_scores_less(
    pipeline: Pipeline, config: Config, portrait: ImageBgr
) -> None:
    blurred = np.asarray(cv2.GaussianBlur(portrait, (0, 0), 17), np.uint8)
    reason, measured, _, _ = judge(pipeline, config, blurred)
    assert reason is Rejection.BLURRED
    assert measured.score < judge(pipeline, config, portrait)[1].score / 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda face: face // 12, Rejection.TOO_DARK),
        (lambda face: 255 - (255 - face) // 30, Rejection.TOO_BRIGHT),
    ],
)
def test_light(
    pipeline: Pipeline, config: Config, portrait: ImageBgr, change: object, reason: Rejection
) -> None:
    assert callable(change)
    _, _, face, mesh = judge(pipeline, config, portrait)
    altered = change(face)
    assert fault(altered, mesh, assess(altered, mesh), config.quality) is reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("min_interocular_px", 399.0, Rejection.TOO_SMALL),
        ("max_yaw_deg", 0.0, Rejection.EXTREME_POSE),
        ("max_pitch_deg", 0.0, Rejection.EXTREME_POSE),
        ("min_presence", 1.1, Rejection.NOT_A_FACE),
        ("min_contrast", 255.0, Rejection.BLURRED),
    ],
)
def test_each_limit_bites(
    pipeline: Pipeline,
    config: Config,
    portrait: ImageBgr,
    field: str,
    value: float,
    reason: Rejection,
) -> None:
    _, measured, face, mesh = judge(pipeline, config, portrait)
    limits = replace(config.quality, **{field: value})
    assert fault(face, mesh, measured, limits) is reason


def test_dark_glasses_and_masks_are_seen(
    pipeline: Pipeline, config: Config, portrait: ImageBgr
) -> None:
    _, _, face, _ = judge(pipeline, config, portrait)
    assert not occluded(face, config.quality)
    glasses = face.copy()
    glasses[44:60, 24:88] = 12
    assert occluded(glasses, config.quality)
    mask = face.copy()
    mask[76:112, 16:96] = (210, 190, 90)  # the blue of a surgical mask
    assert occluded(mask, config.quality)
