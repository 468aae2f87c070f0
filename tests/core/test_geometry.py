import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core import geometry as g
from edge_app.records import Box

coordinate = st.floats(-2000, 2000)
side = st.floats(0.5, 1500)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(coordinate), draw(coordinate)
    return Box(x, y, x + draw(side), y + draw(side))


def test_empty_boxes_share_nothing() -> None:
    empty = Box(5, 5, 5, 5)
    assert g.intersection_over_union(empty, empty) == 0
    assert g.intersection_over_union(empty, Box(0, 0, 10, 10)) == 0


@given(boxes(), boxes())
def test_overlap_is_symmetric_and_a_share(a: Box, b: Box) -> None:
    overlap = g.intersection_over_union(a, b)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(g.intersection_over_union(b, a))


@given(boxes())
def test_a_box_overlaps_itself_wholly(a: Box) -> None:
    assert g.intersection_over_union(a, a) == pytest.approx(1)


@given(boxes(), st.floats(0.1, 10))
def test_a_scaled_box_keeps_its_centre(a: Box, factor: float) -> None:
    b = g.scaled(a, factor)
    assert b.centre == pytest.approx(a.centre, abs=1e-6)
    assert b.width == pytest.approx(a.width * factor, abs=1e-6)
    assert b.height == pytest.approx(a.height * factor, abs=1e-6)


def test_the_box_around_points() -> None:
    one = np.array([[3.0, 7.0]], np.float32)
    assert g.around(one) == Box(3, 7, 3, 7)
    assert g.around(np.array([[3, 7], [-1, 9], [2, 0]], np.float32)) == Box(-1, 0, 3, 9)


def test_smoothing_keeps_the_mean_and_lowers_the_noise() -> None:
    noise = np.random.default_rng(0).random((1, 192, 192, 3), dtype=np.float32)
    soft = g.smoothed(noise, 2.5)
    assert soft.shape == noise.shape
    assert soft.dtype == np.float32
    assert soft.mean() == pytest.approx(noise.mean(), abs=0.01)
    assert soft.std() < noise.std() / 5


@given(boxes(), st.integers(1, 2000), st.integers(1, 2000))
def test_clipped_boxes_lie_inside(a: Box, width: int, height: int) -> None:
    inside = g.clip(a, width, height)
    assert 0 <= inside.x0 <= inside.x1 <= width
    assert 0 <= inside.y0 <= inside.y1 <= height


def test_a_polygon_of_two_corners_holds_nothing() -> None:
    assert not g.inside_polygon((0.5, 0.5), [(0, 0), (1, 1)])


def test_inside_and_outside_a_triangle() -> None:
    triangle = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    assert g.inside_polygon((0.2, 0.2), triangle)
    assert not g.inside_polygon((0.8, 0.8), triangle)


@given(st.floats(0.05, 20), st.floats(-math.pi, math.pi), coordinate, coordinate, st.integers(2, 8))
def test_similarity_is_recovered_from_its_points(
    scale: float, angle: float, x: float, y: float, count: int
) -> None:
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    truth = np.array([[cos, -sin, x], [sin, cos, y]])
    points = np.random.default_rng(count).uniform(-50, 50, (count, 2)).astype(np.float32)
    found = g.similarity_transform(points, g.apply(truth, points))
    np.testing.assert_allclose(
        g.apply(found, points), g.apply(truth, points), atol=0.02 + scale / 100
    )


def test_a_mirrored_target_is_not_reached_by_mirroring() -> None:
    points = np.array([[0, 0], [10, 0], [0, 5], [7, 9]], np.float32)
    found = g.similarity_transform(points, points * np.array([-1, 1], np.float32))
    assert np.linalg.det(found[:, :2]) > 0


def test_points_that_coincide_are_refused() -> None:
    points = np.ones((5, 2), np.float32)
    with pytest.raises(ValueError, match="coincide"):
        g.similarity_transform(points, points)


@given(coordinate, coordinate, st.floats(2, 800), st.floats(-3.2, 3.2))
def test_a_square_crop_maps_its_centre_and_inverts(
    x: float, y: float, side_px: float, angle: float
) -> None:
    transform = g.square_crop_transform((x, y), side_px, angle, 192)
    centre = np.array([[x, y]], np.float32)
    np.testing.assert_allclose(g.apply(transform, centre), [[96, 96]], atol=0.1)
    there_and_back = g.apply(g.invert(transform), g.apply(transform, centre))
    np.testing.assert_allclose(there_and_back, centre, atol=0.1)


def test_a_crop_outside_the_image_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    for side_px in (40.0, 4000.0):
        transform = g.square_crop_transform((9000.0, 9000.0), side_px, 0.0, 112)
        assert g.warp_crop(image, transform, 112).max() == 0


@pytest.mark.parametrize("side_px", [56.0, 112.0, 300.0, 1000.0])
def test_a_crop_shows_the_same_place_at_every_scale(side_px: float) -> None:
    """The decimated way and the direct way must not be half a pixel apart."""
    ramp = np.tile(np.linspace(0, 255, 1200, dtype=np.float32), (1200, 1))
    image = np.stack([ramp.astype(np.uint8)] * 3, axis=-1)
    transform = g.square_crop_transform((600.0, 600.0), side_px, 0.0, 112)
    crop = g.warp_crop(image, transform, 112).astype(float)
    middle = crop[40:72, 55:57].mean()
    assert middle == pytest.approx(255 * 599.5 / 1199, abs=0.8)


def test_a_rotated_crop_is_upright() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[200:, :] = 255  # below the eye line
    turned = np.ascontiguousarray(np.rot90(image, -1))  # clockwise: "down" points left
    transform = g.square_crop_transform((200.0, 200.0), 200.0, math.pi / 2, 64)
    crop = g.warp_crop(turned, transform, 64)
    assert crop[:28].max() == 0
    assert crop[36:].min() == 255
