import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.track import Track, Tracker, TrackingLimits
from edge_app.records import Box, Detection, Landmarks

LIMITS = TrackingLimits(
    min_overlap=0.2, max_lost_s=0.7, position_noise=0.05, acceleration_noise=4.0
)


def at(x: float, y: float, width: float = 80.0) -> Detection:
    points = np.full((6, 2), [x, y], np.float32)
    box = Box(x - width / 2, y - width / 2, x + width / 2, y + width / 2)
    return Detection(box, Landmarks(points), 0.9)


def step(tracker: Tracker, time_s: float, *detections: Detection) -> list[Track]:
    tracker.predict(time_s)
    return tracker.update(detections, time_s)


def test_nothing_seen_nothing_tracked() -> None:
    tracker = Tracker(LIMITS)
    assert step(tracker, 0.0) == []
    assert tracker.tracks == []


def test_a_walking_face_keeps_its_tracklet() -> None:
    tracker = Tracker(LIMITS)
    ids = {
        track.track_id for i in range(60) for track in step(tracker, i / 30, at(100 + 12 * i, 300))
    }
    assert ids == {1}
    assert tracker.tracks[0].box_px.centre == pytest.approx((808, 300), abs=4)


def test_a_face_unseen_for_a_moment_is_found_where_it_went() -> None:
    tracker = Tracker(LIMITS)
    for i in range(20):
        step(tracker, i / 30, at(100 + 10 * i, 300))
    for i in range(20, 32):
        assert step(tracker, i / 30) == []
    (track,) = step(tracker, 32 / 30, at(420, 300))
    assert track.track_id == 1


def test_a_face_unseen_for_long_is_a_new_tracklet() -> None:
    tracker = Tracker(LIMITS)
    step(tracker, 0.0, at(100, 100))
    step(tracker, 1.0)
    assert tracker.tracks == []
    (track,) = step(tracker, 1.1, at(100, 100))
    assert track.track_id == 2


def test_people_who_cross_keep_their_own() -> None:
    tracker = Tracker(LIMITS)
    for i in range(90):
        left, right = at(200 + 8 * i, 300), at(920 - 8 * i, 340)
        seen = step(tracker, i / 30, left, right)
        assert len(seen) == 2
    by_x = sorted(tracker.tracks, key=lambda t: t.box_px.x0)
    assert [t.track_id for t in by_x] == [2, 1]


def test_a_clock_that_runs_backwards_ends_tracklets() -> None:
    tracker = Tracker(LIMITS)
    step(tracker, 10.0, at(100, 100))
    (track,) = step(tracker, 3.0, at(100, 100))
    assert track.track_id == 2


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1920), st.floats(0, 1080), st.floats(20, 400)), max_size=6),
        max_size=12,
    )
)
def test_every_detection_belongs_to_one_tracklet(
    frames: list[list[tuple[float, float, float]]],
) -> None:
    tracker = Tracker(LIMITS)
    for i, faces in enumerate(frames):
        detections = [at(*face) for face in faces]
        seen = step(tracker, i / 30, *detections)
        assert len(seen) == len(detections)
        assert {id(t.detection) for t in seen} == {id(d) for d in detections}
        assert len({t.track_id for t in seen}) == len(seen)
        assert all(np.isfinite([t.box_px.x0, t.box_px.y1]).all() for t in tracker.tracks)
