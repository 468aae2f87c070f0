import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core import decode as d
from edge_app.records import Box, Detection, Landmarks

SHORT, BACK = d.GEOMETRIES["blazeface_short"], d.GEOMETRIES["blazeface_back"]
SQUARE = Box(0, 0, 128, 128)


def detection(x: float, y: float, width: float, score: float) -> Detection:
    points = np.full((6, 2), [x + width / 2, y + width / 2], np.float32)
    return Detection(Box(x, y, x + width, y + width), Landmarks(points), score)


def outputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, count, 16), np.float32), np.full((1, count, 1), -80, np.float32)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("blazeface_short", 896),
        ("blazeface_back", 896),
        ("blazeface_full", 2304),
        ("blazeface_wide", 3360),
    ],
)
def test_anchor_counts_fit_the_networks(name: str, count: int) -> None:
    geometry = d.GEOMETRIES[name]
    anchors = geometry.anchors_px
    assert anchors.shape == (count, 2)
    assert anchors.min() > 0
    assert (anchors.max(axis=0) < (geometry.width_px, geometry.height_px)).all()


def decoded(
    regressors: np.ndarray,
    logits: np.ndarray,
    *,
    region: Box = SQUARE,
    scale: float = 1.0,
    min_width_px: float = 0.0,
    max_width_px: float = np.inf,
) -> list[Detection]:
    return d.decode(
        regressors,
        logits,
        SHORT,
        region=region,
        scale=scale,
        min_score=0.5,
        min_width_px=min_width_px,
        max_width_px=max_width_px,
    )


def test_no_face_gives_no_detection() -> None:
    assert decoded(*outputs(896)) == []
    assert d.suppress([], 0.3) == []


def test_one_face_lands_where_its_anchor_says() -> None:
    regressors, logits = outputs(896)
    logits[0, 0, 0] = 3.0
    regressors[0, 0, :4] = (1.0, 2.0, 20.0, 30.0)  # anchor 0 is at (4, 4) in input pixels
    region = Box(100, 50, 356, 306)
    (found,) = decoded(regressors, logits, region=region, scale=0.5)
    assert found.box_px == Box(90.0, 32.0, 130.0, 92.0)
    assert found.score == pytest.approx(0.9526, abs=1e-4)
    np.testing.assert_allclose(found.landmarks.points_px, np.tile([[108, 58]], (6, 1)))


def test_hostile_logits_neither_overflow_nor_pass() -> None:
    regressors, logits = outputs(896)
    logits[0, :, 0] = -np.inf
    logits[0, 5, 0] = np.nan
    logits[0, 6, 0] = np.inf
    assert [f.score for f in decoded(regressors, logits)] == [1.0]


def test_faces_that_the_region_cannot_show_well_are_left_to_another() -> None:
    regressors, logits = outputs(896)
    logits[0, :4, 0] = 3.0
    regressors[0, :4, 2] = (12.9, 13.0, 40.0, 40.1)
    found = decoded(regressors, logits, scale=0.5, min_width_px=26.0, max_width_px=80.0)
    assert [round(f.box_px.width) for f in found] == [26, 80]


@pytest.mark.parametrize("width", [-40.0, np.nan, np.inf, -np.inf])
def test_hostile_boxes_do_not_pass(width: float) -> None:
    regressors, logits = outputs(896)
    logits[0, 0, 0] = 3.0
    regressors[0, 0, 2] = width
    assert decoded(regressors, logits, max_width_px=1920.0) == []


def test_boxes_without_an_area_do_not_stop_the_program() -> None:
    points = Landmarks(np.zeros((6, 2), np.float32))
    empty = [Detection(Box(5, 5, x1, 9), points, 0.9) for x1 in (5.0, 2.0, float("nan"))]
    assert len(d.suppress(empty, 0.3)) == 3


def test_two_answers_for_one_face_blend_by_score() -> None:
    (one,) = d.suppress([detection(0, 0, 100, 0.9), detection(10, 0, 100, 0.3)], 0.3)
    assert one.score == 0.9
    assert one.box_px.x0 == pytest.approx(2.5)


def test_a_half_face_inside_a_whole_one_is_the_same_face() -> None:
    (one,) = d.suppress([detection(0, 0, 100, 0.8), detection(20, 20, 45, 0.9)], 0.3)
    assert one.box_px.width in {45, 100}


def test_neighbours_stay_apart() -> None:
    assert len(d.suppress([detection(0, 0, 100, 0.9), detection(110, 0, 100, 0.8)], 0.3)) == 2


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(10, 200)), max_size=25))
def test_suppression_leaves_no_overlaps_and_loses_no_place(
    faces: list[tuple[float, float, float]],
) -> None:
    found = [detection(x, y, w, 0.5 + i / 100) for i, (x, y, w) in enumerate(faces)]
    kept = d.suppress(found, 0.3)
    assert len(kept) <= len(found)
    assert bool(kept) == bool(found)
    assert [k.score for k in kept] == sorted((k.score for k in kept), reverse=True)


@settings(max_examples=60)
@given(st.integers(2, 1300), st.integers(2, 1300), st.sampled_from(sorted(d.GEOMETRIES)))
def test_network_input_is_in_range_and_letterboxed(width: int, height: int, detector: str) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    geometry = d.GEOMETRIES[detector]
    size = (geometry.height_px, geometry.width_px)
    tensor, scale = d.network_input(image, Box(0, 0, width, height), geometry, brightened=True)
    assert tensor.shape == (1, *size, 3)
    assert scale == pytest.approx(min(size[0] / height, size[1] / width))
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    rest = np.ones(size, bool)
    rest[: max(1, round(height * scale)), : max(1, round(width * scale))] = False
    assert (tensor[0, rest] == -1).all()


def test_colours_are_turned_round() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128] = (255, 0, 128)
    image[128:, :, 1] = 255
    tensor, _ = d.network_input(image, Box(0, 0, 256, 256), BACK, brightened=True)
    np.testing.assert_allclose(tensor[0, 0, 0], [128 / 127.5 - 1, -1, 1], atol=1e-6)


def test_a_dark_region_is_stretched_to_the_whole_range() -> None:
    ramp = np.tile(np.linspace(20, 100, 256).astype(np.uint8)[:, None], (256, 1, 3))
    tensor, _ = d.network_input(
        ramp.reshape(256, 256, 3), Box(0, 0, 256, 256), BACK, brightened=True
    )
    assert tensor.min() == -1
    assert tensor.max() == pytest.approx(1, abs=0.02)


def test_other_regions_stay_as_they_are() -> None:
    ramp = np.tile(np.linspace(20, 100, 256).astype(np.uint8)[:, None], (256, 1, 3))
    tensor, _ = d.network_input(
        ramp.reshape(256, 256, 3), Box(0, 0, 256, 256), BACK, brightened=False
    )
    assert tensor.min() == pytest.approx(20 / 127.5 - 1)
    assert tensor.max() == pytest.approx(100 / 127.5 - 1)


def test_a_flat_region_is_not_made_of_noise() -> None:
    image = np.random.default_rng(0).integers(60, 64, (256, 256, 3)).astype(np.uint8)
    tensor, _ = d.network_input(image, Box(0, 0, 256, 256), BACK, brightened=True)
    assert np.ptp(tensor) <= 4 * 3 / 127.5 + 1e-6


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.1, 1), st.floats(0, 0.5))
def test_tiles_cover_the_frame(width: int, height: int, share: float, overlap: float) -> None:
    tile = (share * max(width, height), 0.6 * share * max(width, height))
    boxes = d.tiles(width, height, tile, overlap)
    assert all(b.width <= tile[0] + 1e-6 and b.height <= tile[1] + 1e-6 for b in boxes)
    across = {(b.x0, b.x1) for b in boxes}, width, tile[0]
    down = {(b.y0, b.y1) for b in boxes}, height, tile[1]
    for covered, length, side in (across, down):
        spans = sorted(covered)
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(length)
        for left, right in itertools.pairwise(spans):
            assert left[1] - right[0] >= overlap * side - 1e-6
