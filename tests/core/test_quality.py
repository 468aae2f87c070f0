from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.config import Config
from edge_app.core.quality import assess, fault, occluded, sharpness, too_dark
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


@pytest.mark.parametrize("size", [(1, 1), (36, 64), (1080, 1920)])
def test_a_picture_is_too_dark_where_no_part_is_light(size: tuple[int, int]) -> None:
    night = np.full((*size, 3), 20, np.uint8)
    assert too_dark(night, 30.0)
    night[: max(1, size[0] // 20), : max(1, size[1] // 20)] = 90
    assert not too_dark(night, 30.0)


def test_the_noise_of_a_dark_picture_is_no_light() -> None:
    dark = np.random.default_rng(0).integers(0, 40, (1080, 1920, 3), np.uint8)
    assert too_dark(dark, 30.0)


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


Colour = tuple[int, int, int]


def painted(face: ImageBgr, rows: slice, columns: slice, colour: Colour) -> ImageBgr:
    changed = face.copy()
    changed[rows, columns] = colour
    return changed


EYES, LOWER_FACE = (slice(44, 63), slice(24, 88)), (slice(76, 112), slice(16, 96))
BLACK, SKY, SURGICAL = (12, 12, 12), (200, 140, 60), (210, 190, 90)


@pytest.mark.parametrize(
    ("cover", "place", "colour", "on_the_way"),
    [
        ("dark glasses", EYES, BLACK, True),
        ("glasses that mirror the sky", EYES, SKY, True),
        ("a surgical mask", LOWER_FACE, SURGICAL, True),
        ("tinted glasses", EYES, (40, 52, 66), False),
    ],
)
def test_covers_are_seen(
    pipeline: Pipeline,
    config: Config,
    portrait: ImageBgr,
    cover: str,
    place: tuple[slice, slice],
    colour: Colour,
    *,
    on_the_way: bool,
) -> None:
    """Enrolment refuses what a device, which meets people as they are, lets pass."""
    _, _, face, _ = judge(pipeline, config, portrait)
    covered = painted(face, *place, colour)
    for limits in (config.quality, config.enrolment_quality):
        assert not occluded(face, limits)
    assert occluded(covered, config.enrolment_quality), cover
    assert occluded(covered, config.quality) is on_the_way


@pytest.mark.parametrize(
    ("look", "rows", "columns"),
    [
        ("deep-set eyes under dark brows", slice(40, 56), slice(24, 88)),
        ("a black beard", slice(88, 112), slice(16, 96)),
        ("a shadow on one side", slice(40, 112), slice(0, 52)),
    ],
)
def test_dark_parts_of_a_face_are_no_covers(
    pipeline: Pipeline,
    config: Config,
    portrait: ImageBgr,
    look: str,
    rows: slice,
    columns: slice,
) -> None:
    _, _, face, _ = judge(pipeline, config, portrait)
    darker = face.copy()
    darker[rows, columns] = darker[rows, columns] // 6
    assert not occluded(darker, config.enrolment_quality), look


def test_a_beard_takes_the_colour_away_as_a_mask_does_but_is_dark(
    pipeline: Pipeline, config: Config, portrait: ImageBgr
) -> None:
    _, _, face, _ = judge(pipeline, config, portrait)
    limits = replace(config.enrolment_quality, max_lower_face_colour_distance=10.0)
    assert not occluded(face, limits)
    assert not occluded(painted(face, *LOWER_FACE, (20, 20, 20)), limits)
    assert occluded(painted(face, *LOWER_FACE, (150, 150, 150)), limits)


@pytest.mark.parametrize("skin", [0.35, 0.6, 1.0])
def test_how_dark_skin_is_makes_no_difference(
    pipeline: Pipeline, config: Config, portrait: ImageBgr, skin: float
) -> None:
    _, _, face, _ = judge(pipeline, config, portrait)
    darker = np.asarray(face * skin, np.uint8)
    assert not occluded(darker, config.enrolment_quality)
    assert occluded(painted(darker, *EYES, (0, 0, 0)), config.enrolment_quality)


@pytest.mark.parametrize("luma", [0, 128, 255])
def test_a_picture_of_nothing_is_no_cover(config: Config, luma: int) -> None:
    blank = np.full((112, 112, 3), luma, np.uint8)
    assert occluded(blank, config.enrolment_quality) is (luma == 0)
