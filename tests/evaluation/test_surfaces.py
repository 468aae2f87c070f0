from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.evaluation.surfaces import Camera, Placement, draw, sheet

CAMERA = Camera(200, 100, 100.0)
AHEAD = (0.0, 0.0, 1.0)
ORIGIN = np.zeros((1, 3))


def canvas() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((100, 200, 3), np.uint8)


def test_a_sheet_ahead_is_drawn_as_large_as_it_is() -> None:
    picture = np.full((20, 40, 3), 200, np.uint8)
    seen = canvas()
    draw(seen, sheet(picture, 0.4, float("inf"), 0.0), Placement(0, 0, 0, AHEAD), CAMERA)
    rows, columns = np.nonzero(seen[..., 0] == 200)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx(
        (80, 119, 40, 59), abs=1
    )


def test_where_a_picture_lies_on_the_screen() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, :20] = 250
    seen = canvas()
    draw(seen, sheet(picture, 0.4, float("inf"), 0.0), Placement(0, 0, 0, AHEAD), CAMERA)
    assert seen[40, 90, 0] == 250
    assert seen[60, 110, 0] == 0
    assert seen[40, 110, 0] == 0


@pytest.mark.parametrize("z", [-1.0, 0.0, 0.01])
def test_what_is_behind_or_at_the_camera_does_not_break_it(z: float) -> None:
    surface = sheet(np.full((20, 40, 3), 200, np.uint8), 0.4, 0.1, 0.0)
    draw(canvas(), surface, Placement(30, 0, 0, (0.0, 0.0, z)), CAMERA)


def test_what_is_out_of_view_or_edge_on_leaves_the_canvas_as_it_was() -> None:
    surface = sheet(np.full((20, 40, 3), 200, np.uint8), 0.4, float("inf"), 0.0)
    for place in (Placement(0, 0, 0, (9.0, 0.0, 1.0)), Placement(90, 0, 0, AHEAD)):
        seen = canvas()
        draw(seen, surface, place, CAMERA)
        assert np.count_nonzero(seen) < 3 * 100 * 2


@pytest.mark.parametrize(
    ("place", "towards"),
    [
        (Placement(30, 0, 0, AHEAD), (1, 0)),
        (Placement(-30, 0, 0, AHEAD), (-1, 0)),
        (Placement(0, 30, 0, AHEAD), (0, -1)),
        (Placement(0, -30, 0, AHEAD), (0, 1)),
    ],
)
def test_a_nose_goes_where_the_face_turns(place: Placement, towards: tuple[int, int]) -> None:
    (nose,) = place.apply(np.array([[0.0, 0.0, -0.1]]))
    assert np.sign(np.round(nose[:2], 6)).tolist() == list(towards)


@given(
    st.floats(-80, 80), st.floats(-80, 80), st.floats(-80, 80), st.floats(0.02, 1), st.floats(0, 90)
)
def test_bending_and_turning_do_not_stretch_paper(
    yaw: float, pitch: float, roll: float, bend_m: float, axis_deg: float
) -> None:
    flat = sheet(np.zeros((30, 30, 3), np.uint8), 0.2, float("inf"), axis_deg)
    bent = sheet(np.zeros((30, 30, 3), np.uint8), 0.2, bend_m, axis_deg)
    placed = Placement(yaw, pitch, roll, AHEAD).apply(bent.points_m)
    assert placed.mean(axis=0)[2] > 0.5
    # Neighbours on the bent sheet are no farther apart than along the paper.
    edges = bent.triangles[:, :2]
    apart = np.linalg.norm(placed[edges[:, 0]] - placed[edges[:, 1]], axis=1)
    along = np.linalg.norm(bent.texture_px[edges[:, 0]] - bent.texture_px[edges[:, 1]], axis=1)
    assert np.all(apart <= along * 0.2 / 30 + 1e-9)
    assert np.ptp(flat.points_m[:, 2]) == 0
