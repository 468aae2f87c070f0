"""Which way each frame of a capture faces: straight, or left, right, up, down.

A template averaged over these knows the face from where it will be met (docs/adr/0011).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from statistics import median

from edge_app.records import Pose, Probe

_TURNED_DEG = 10.0
"""From where a face counts as turned: the liveness challenge's turns lie beyond it."""


class Facing(StrEnum):
    """Left and right are the person's own, as in the liveness challenge."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


def facings(probes: Sequence[Probe]) -> list[Facing]:
    """Of every frame of one capture, from its FaceMesh pose.

    Cameras stand at different heights, so up and down begin from the person's own level look:
    the median pitch of the frames that turn neither left nor right.
    """
    poses = [probe.quality.pose for probe in probes]
    ahead = [pose.pitch_deg for pose in poses if abs(pose.yaw_deg) < _TURNED_DEG]
    level_deg = median(ahead) if ahead else 0.0
    return [_facing(pose, pose.pitch_deg - level_deg) for pose in poses]


def _facing(pose: Pose, lift_deg: float) -> Facing:
    if max(abs(pose.yaw_deg), abs(lift_deg)) < _TURNED_DEG:
        return Facing.STRAIGHT
    if abs(pose.yaw_deg) >= abs(lift_deg):
        return Facing.LEFT if pose.yaw_deg > 0 else Facing.RIGHT
    return Facing.UP if lift_deg > 0 else Facing.DOWN
