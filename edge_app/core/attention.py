"""The attention gate (P11): whose face may become a probe at all.

It needs the detector's six keypoints only, so that a bystander's face is neither meshed nor
embedded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_app.core.geometry import inside_polygon
from edge_app.records import Box, Detection, Purpose, Rejection

INTERPUPILLARY_M = 0.063
"""Mean adult distance of the eyes: N. A. Dodgson, "Variation and extrema of human
interpupillary distance", SPIE 5291, 2004 (mean 63 mm, nearly all adults 52 to 76 mm)."""

_YAW_DEG_PER_NOSE_SHIFT = 72.0
"""Yaw over the nose tip's shift along the eye line, in interocular distances. Least squares
against FaceMesh on 500 LFW images, correlation 0.96, within +-40 degrees."""


@dataclass(frozen=True, slots=True)
class AttentionLimits:
    """horizontal_fov_deg: the camera's field of view across the frame's width.
    max_distance_m:      conversation distance, for `assist`.
    max_yaw_deg:         how far a face may be turned and still count as towards the wearer.
    zone:                corners of the marked zone as shares of width and height, for the
                         other purposes.
    """

    horizontal_fov_deg: float
    max_distance_m: float
    max_yaw_deg: float
    zone: tuple[tuple[float, float], ...]


def distance_m(interocular_px: float, frame_width_px: int, horizontal_fov_deg: float) -> float:
    """Distance of a frontal adult face from a pinhole camera; infinite for 0 px."""
    if interocular_px <= 0:
        return math.inf
    focal_px = frame_width_px / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)
    return INTERPUPILLARY_M * focal_px / interocular_px


def coarse_yaw_deg(detection: Detection) -> float:
    """Head yaw from the detector's eyes and nose; positive to the viewer's right."""
    right_eye, left_eye, nose = detection.landmarks.points_px[:3].astype(float)
    axis = left_eye - right_eye
    squared = float(axis @ axis)
    if squared == 0:
        return 90.0
    shift = float((nose - (right_eye + left_eye) / 2) @ axis) / squared
    return max(-90.0, min(90.0, _YAW_DEG_PER_NOSE_SHIFT * shift))


def cut_off(box_px: Box, frame_width_px: int, frame_height_px: int) -> bool:
    """Whether less than nine tenths of the face lie inside the frame."""
    width = min(box_px.x1, frame_width_px) - max(box_px.x0, 0.0)
    height = min(box_px.y1, frame_height_px) - max(box_px.y0, 0.0)
    return width <= 0 or height <= 0 or width * height < 0.9 * box_px.area


def attention(
    detection: Detection,
    frame_width_px: int,
    frame_height_px: int,
    *,
    purpose: Purpose,
    limits: AttentionLimits,
    asked: bool,
) -> Rejection | None:
    """Why this face may not be searched, or None if it may.

    asked: the wearer just asked "who is this?"; lifts distance and direction, for `assist` only.
    """
    if purpose is not Purpose.ASSIST:
        x, y = detection.box_px.centre
        if not inside_polygon((x / frame_width_px, y / frame_height_px), limits.zone):
            return Rejection.OUTSIDE_ZONE
        return None
    if asked:
        return None
    yaw_deg = coarse_yaw_deg(detection)
    # A turned face shows its eyes closer together than they are.
    interocular_px = detection.landmarks.interocular_px / max(
        math.cos(math.radians(yaw_deg)), math.cos(math.radians(60))
    )
    if distance_m(interocular_px, frame_width_px, limits.horizontal_fov_deg) > (
        limits.max_distance_m
    ):
        return Rejection.TOO_FAR
    if abs(yaw_deg) > limits.max_yaw_deg:
        return Rejection.TURNED_AWAY
    return None
