from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.enrolment.poses import Facing, facings
from edge_app.records import FrameOrigin, Pose, Probe
from tests.people import faces, quality


def turned(yaw_deg: float, pitch_deg: float) -> Probe:
    measured = replace(quality(1.0), pose=Pose(yaw_deg, pitch_deg, 0.0))
    return Probe(faces(1)[0], measured, 0.0, FrameOrigin.LIVE)


def test_no_frames() -> None:
    assert facings([]) == []


def test_one_frame_is_level_by_itself() -> None:
    assert facings([turned(0, -25)]) == [Facing.STRAIGHT]
    assert facings([turned(25, 12)]) == [Facing.LEFT]


@pytest.mark.parametrize("camera_deg", [-20.0, 0.0, 15.0])
def test_up_and_down_begin_from_the_persons_level_look(camera_deg: float) -> None:
    asked = {
        Facing.STRAIGHT: (3, 2),
        Facing.LEFT: (22, 4),
        Facing.RIGHT: (-22, -4),
        Facing.UP: (-4, 14),
        Facing.DOWN: (4, -14),
    }
    probes = [turned(yaw, pitch + camera_deg) for yaw, pitch in asked.values()]
    level = [turned(0, camera_deg + nod) for nod in (-1, 0, 1)]
    assert facings([*level, *probes])[3:] == list(asked)


@given(st.lists(st.tuples(st.floats(-60, 60), st.floats(-40, 40)), max_size=12))
def test_a_mirror_swaps_left_and_right_only(poses: list[tuple[float, float]]) -> None:
    swapped = {Facing.LEFT: Facing.RIGHT, Facing.RIGHT: Facing.LEFT}
    seen = facings([turned(yaw, pitch) for yaw, pitch in poses])
    mirrored = facings([turned(-yaw, pitch) for yaw, pitch in poses])
    assert mirrored == [swapped.get(facing, facing) for facing in seen]
