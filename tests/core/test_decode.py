import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core import decode as d
from edge_app.records import Box, Detection, Landmarks

SHORT = d.GEOMETRIES["blazeface_short"]


def detection(x: float, y: float, width: float, score: float) -> Detection:
    points = np.full((6, 2), [x + width / 2, y + width / 2], np.float32)
    return Detection(Box(x, y, x + width, y + width), Landmarks(points), score)


def outputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, count, 16), np.float32), np.full((1, count, 1), -80, np.float32)


@pytest.mark.parametrize(
    ("name", "count"),
    [("blazeface_short", 896), ("blazeface_back", 896), ("blazeface_full", 2304)],
)
def test_anchor_counts_fit_the_networks(name: str, count: int) -> None:
    anchors = d.GEOMETRIES[name].anchors
    assert anchors.shape == (count, 2)
    assert anchors.min() > 0
    assert anchors.max() < 1


def test_no_face_gives_no_detection() -> None:
    regressors, logits = outputs(896)
    found = d.decode(
        regressors, logits, SHORT, region=Box(0, 0, 128, 128), scale=1.0, min_score=0.5
    )
    assert found == []
    assert d.suppress([], 0.3) == []


def test_one_face_lands_where_its_anchor_says() -> None:
    regressors, logits = outputs(896)
    logits[0, 0, 0] = 3.0
    regressors[0, 0, :4] = (1.0, 2.0, 20.0, 30.0)  # anchor 0 is at (4, 4) in input pixels
    region = Box(100, 50, 356, 306)
    (found,) = d.decode(regressors, logits, SHORT, region=region, scale=0.5, min_score=0.5)
    assert found.box_px == Box(90.0, 32.0, 130.0, 92.0)
    assert found.score == pytest.approx(0.9526, abs=1e-4)
    np.testing.assert_allclose(found.landmarks.points_px, np.tile([[108, 58]], (6, 1)))


def test_hostile_logits_neither_overflow_nor_pass() -> None:
    regressors, logits = outputs(896)
    logits[0, :, 0] = -np.inf
    logits[0, 5, 0] = np.nan
    logits[0, 6, 0] = np.inf
    found = d.decode(
        regressors, logits, SHORT, region=Box(0, 0, 128, 128), scale=1.0, min_score=0.5
    )
    assert [f.score for f in found] == [1.0]


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
@given(st.integers(2, 1300), st.integers(2, 1300), st.sampled_from([128, 192, 256]))
def test_network_input_is_in_range_and_letterboxed(width: int, height: int, size: int) -> None:
    image = np.full((height, width, 3), (255, 0, 128), np.uint8)
    tensor, scale = d.network_input(image, Box(0, 0, width, height), size)
    assert tensor.shape == (1, size, size, 3)
    assert scale == pytest.approx(size / max(width, height))
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    # BGR in, RGB out
    np.testing.assert_allclose(tensor[0, 0, 0], [128 / 127.5 - 1, -1, 1], atol=1e-6)


@given(
    st.integers(64, 4000),
    st.integers(64, 4000),
    st.integers(1, 6),
    st.integers(1, 5),
    st.floats(0, 0.5),
)
def test_tiles_cover_the_frame(
    width: int, height: int, columns: int, rows: int, overlap: float
) -> None:
    boxes = d.tiles(width, height, columns, rows, overlap)
    assert len(boxes) == columns * rows
    assert min(b.x0 for b in boxes) == 0
    assert max(b.x1 for b in boxes) == pytest.approx(width)
    assert max(b.y1 for b in boxes) == pytest.approx(height)
    xs = sorted({(b.x0, b.x1) for b in boxes})
    assert all(left[1] >= right[0] - 1e-6 for left, right in itertools.pairwise(xs))
