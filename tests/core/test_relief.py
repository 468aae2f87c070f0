from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.core.relief import _NOSE, Patch, following, narrowing, patch, relief
from edge_app.records import FaceMesh

_RANDOM = np.random.default_rng(3)
POINTS = _RANDOM.uniform(16, 112, (468, 2))
POINTS[list(_NOSE)] = _RANDOM.uniform(50, 78, (len(_NOSE), 2))
TEXTURE = _RANDOM.uniform(-40, 40, (16, 16)).astype(np.float32)
GREY = np.asarray(cv2.resize(TEXTURE, (128, 128), interpolation=cv2.INTER_CUBIC), np.float32)
REST = Patch(GREY, POINTS)


def bump(points: NDArray[np.float64], height_px: float) -> NDArray[np.float64]:
    """How a nose in the middle moves to the right when the head turns."""
    off = np.linalg.norm(points - 64, axis=-1)
    return np.stack([height_px * np.exp(-((off / 14) ** 2)), 0 * off], axis=-1)


def moved(picture_px: float, mesh_px: float) -> Patch:
    """The view in which the picture's nose moved so far, and the mesh's so far."""
    grid = np.stack(np.meshgrid(np.arange(128.0), np.arange(128.0)), axis=-1)
    source = (grid - bump(grid, picture_px)).astype(np.float32)
    grey = cv2.remap(GREY, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
    return Patch(np.asarray(grey, np.float32), POINTS + bump(POINTS, mesh_px))


def test_a_head_moves_its_nose_and_a_sheet_does_not() -> None:
    assert following(REST, moved(6.0, 6.0)) > 0.05
    assert following(REST, moved(0.0, 6.0)) < -0.1


def test_nothing_moved_says_nothing() -> None:
    assert following(REST, REST) == pytest.approx(0.0, abs=1e-6)
    assert relief(REST, REST, 0.0) == pytest.approx(0.0, abs=1e-6)


@given(st.floats(0, 44), st.floats(0, 75), st.floats(-180, 180))
def test_a_sheet_narrows_by_its_own_rotation(nose_deg: float, sheet_deg: float, at: float) -> None:
    """However it is held: the axis it is turned about does not matter."""
    cos, sin = np.cos(np.radians(at)), np.sin(np.radians(at))
    about = np.array([[cos, -sin], [sin, cos]])
    squeeze = about @ np.diag([np.cos(np.radians(sheet_deg)), 1.0]) @ about.T
    turned = Patch(GREY, (POINTS - 64) @ squeeze + 64)
    expected = np.log(np.cos(np.radians(sheet_deg)) / np.cos(np.radians(nose_deg)))
    assert narrowing(REST, turned, nose_deg) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "hostile",
    [
        Patch(np.zeros((128, 128), np.float32), POINTS),
        Patch(GREY, np.full((468, 2), 64.0)),
        Patch(GREY, POINTS[:, :1] * [1.0, 0.0] + [0.0, 64.0]),
        Patch(GREY, POINTS + 5000.0),
        Patch(GREY, 128 - POINTS),
    ],
    ids=["no detail", "a point", "a line", "out of the picture", "upside down"],
)
def test_degenerate_views_give_a_number(hostile: Patch) -> None:
    for rest, turned in ((REST, hostile), (hostile, REST), (hostile, hostile)):
        assert np.isfinite(relief(rest, turned, 20.0))


@given(st.floats(-60, 60), st.floats(0.5, 4.0))
def test_a_patch_is_the_same_however_the_face_leans(roll_deg: float, scale: float) -> None:
    face = np.array([[-20, -10, 0], [20, -10, 0], [0, 5, -10], [-12, 20, 0], [12, 20, 0]])
    points = np.zeros((468, 3))
    for corners, at in (((33, 133), 0), ((362, 263), 1), ((1,), 2), ((61,), 3), ((291,), 4)):
        points[list(corners)] = face[at]
    cos, sin = scale * np.cos(np.radians(roll_deg)), scale * np.sin(np.radians(roll_deg))
    leaning = points.copy()
    leaning[:, :2] = points[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + (300, 200)
    points[:, :2] += (300, 200)
    image = np.zeros((400, 600, 3), np.uint8)
    upright = patch(image, FaceMesh(points.astype(np.float32), 1.0))
    turned = patch(image, FaceMesh(leaning.astype(np.float32), 1.0))
    np.testing.assert_allclose(upright.points, turned.points, atol=0.01)
    assert np.hypot(*(upright.points[263] - upright.points[33])) == pytest.approx(44, abs=0.1)


def test_a_mesh_of_nothing_has_a_patch() -> None:
    mesh = FaceMesh(np.zeros((468, 3), np.float32), 0.0)
    nothing = patch(np.zeros((10, 10, 3), np.uint8), mesh)
    assert nothing.grey.shape == (128, 128)
    assert np.isfinite(relief(nothing, replace(nothing), 90.0))
