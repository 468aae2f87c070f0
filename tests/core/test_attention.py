import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.attention import (
    INTERPUPILLARY_M,
    AttentionLimits,
    attention,
    coarse_yaw_deg,
    cut_off,
    distance_m,
)
from edge_app.records import Box, Detection, Landmarks, Purpose, Rejection

GATE = ((0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0))
LIMITS = AttentionLimits(70.0, 4.0, 35.0, GATE)


def face(x: float, eyes_px: float, nose_shift: float = 0.0) -> Detection:
    """A face at x, 540 whose nose is off the eyes' middle by a share of their distance."""
    points = np.zeros((6, 2), np.float32)
    points[0] = (x - eyes_px / 2, 540)
    points[1] = (x + eyes_px / 2, 540)
    points[2] = (x + nose_shift * eyes_px, 540 + eyes_px / 2)
    half = eyes_px * 1.2
    return Detection(Box(x - half, 540 - half, x + half, 540 + half), Landmarks(points), 0.9)


def gate(
    detection: Detection, purpose: Purpose = Purpose.ASSIST, *, asked: bool = False
) -> Rejection | None:
    return attention(detection, 1920, 1080, purpose=purpose, limits=LIMITS, asked=asked)


def test_eyes_that_coincide_are_infinitely_far() -> None:
    assert distance_m(0.0, 1920, 70.0) == math.inf
    assert gate(face(960, 0.0)) is Rejection.TOO_FAR


def test_a_face_at_four_metres_has_its_eyes_22_px_apart() -> None:
    assert distance_m(21.6, 1920, 70.0) == pytest.approx(4.0, abs=0.01)


@given(st.floats(0.3, 30), st.floats(30, 120), st.integers(320, 4096))
def test_distance_inverts_the_pinhole(metres: float, fov_deg: float, width: int) -> None:
    eyes_px = INTERPUPILLARY_M / metres * width / 2 / math.tan(math.radians(fov_deg / 2))
    assert distance_m(eyes_px, width, fov_deg) == pytest.approx(metres)


def test_assist_looks_at_near_faces_turned_to_the_wearer() -> None:
    assert gate(face(960, 60)) is None
    assert gate(face(960, 19)) is Rejection.TOO_FAR
    assert gate(face(960, 60, 0.6)) is Rejection.TURNED_AWAY
    assert gate(face(960, 60, -0.6)) is Rejection.TURNED_AWAY


def test_asking_lifts_distance_and_direction_for_assist_only() -> None:
    assert gate(face(960, 19, 0.6), asked=True) is None
    assert gate(face(100, 60), Purpose.ENTRY, asked=True) is Rejection.OUTSIDE_ZONE


@pytest.mark.parametrize("purpose", [Purpose.ENTRY, Purpose.CARE, Purpose.SELF_EXCLUSION])
def test_the_other_purposes_look_inside_the_zone_only(purpose: Purpose) -> None:
    assert gate(face(960, 10), purpose) is None
    assert gate(face(100, 200), purpose) is Rejection.OUTSIDE_ZONE


@pytest.mark.parametrize("purpose", [Purpose.ENTRY, Purpose.CARE, Purpose.SELF_EXCLUSION])
def test_no_zone_means_nobody(purpose: Purpose) -> None:
    limits = AttentionLimits(70.0, 4.0, 35.0, ())
    result = attention(face(960, 90), 1920, 1080, purpose=purpose, limits=limits, asked=False)
    assert result is Rejection.OUTSIDE_ZONE


def test_yaw_is_positive_to_the_viewers_right() -> None:
    assert coarse_yaw_deg(face(960, 60, 0.25)) == pytest.approx(18)
    assert coarse_yaw_deg(face(960, 60, -0.25)) == pytest.approx(-18)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(100, 100, 200, 200), False),
        (Box(-5, 100, 95, 200), False),
        (Box(-20, 100, 80, 200), True),
        (Box(-300, 100, -200, 200), True),
        (Box(1850, 1000, 1950, 1100), True),
    ],
)
def test_faces_cut_by_the_frame(box: Box, expected: bool) -> None:
    assert cut_off(box, 1920, 1080) is expected
