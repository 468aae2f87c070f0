"""Tracklets: which detection is the same face as a moment ago.

A constant-velocity Kalman filter (OpenCV's) predicts each face's centre and width;
detections go to predictions in order of overlap. Nothing of a face's looks is used or kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge_app.core.geometry import intersection_over_union
from edge_app.records import Box, Detection


@dataclass(frozen=True, slots=True)
class TrackingLimits:
    """min_overlap:      intersection over union of prediction and detection.
    max_lost_s:       how long a face may go unseen before its tracklet ends.
    position_noise, acceleration_noise: standard deviations in face widths and face widths
                      per second squared; they weigh measurement against prediction.
    """

    min_overlap: float
    max_lost_s: float
    position_noise: float
    acceleration_noise: float


@dataclass(slots=True, eq=False)
class Track:
    """One face followed over frames. `detection` is None in frames where it was not seen."""

    track_id: int
    box_px: Box
    first_time_s: float
    last_seen_s: float
    detection: Detection | None
    aspect: float = field(repr=False)
    kalman: cv2.KalmanFilter = field(repr=False)
    time_s: float = field(repr=False)


class Tracker:
    """Holds the live tracklets of one camera. Not for use from two threads."""

    def __init__(self, limits: TrackingLimits) -> None:
        self._limits = limits
        self._next_id = 1
        self.tracks: list[Track] = []

    def predict(self, time_s: float) -> None:
        """Moves every tracklet to `time_s`; ends those unseen for too long."""
        limit_s = self._limits.max_lost_s
        self.tracks = [t for t in self.tracks if 0 <= time_s - t.last_seen_s <= limit_s]
        for track in self.tracks:
            _advance(track, time_s, self._limits)

    def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
        """Assigns a frame's detections; returns the tracklets seen in it. Call `predict` first."""
        for track in self.tracks:
            track.detection = None
        free_tracks, free_detections = list(self.tracks), list(detections)
        overlaps = sorted(
            (
                (intersection_over_union(t.box_px, d.box_px), t, d)
                for t in free_tracks
                for d in free_detections
            ),
            key=lambda row: row[0],
            reverse=True,
        )
        for overlap, track, detection in overlaps:
            if overlap < self._limits.min_overlap:
                break
            if track in free_tracks and detection in free_detections:
                _correct(track, detection, time_s)
                free_tracks.remove(track)
                free_detections.remove(detection)
        self.tracks.extend(self._start(detection, time_s) for detection in free_detections)
        return [track for track in self.tracks if track.detection is not None]

    def _start(self, detection: Detection, time_s: float) -> Track:
        track = Track(
            track_id=self._next_id,
            box_px=detection.box_px,
            first_time_s=time_s,
            last_seen_s=time_s,
            detection=detection,
            aspect=_aspect(detection.box_px),
            kalman=_new_filter(detection.box_px),
            time_s=time_s,
        )
        self._next_id += 1
        return track


def _new_filter(box: Box) -> cv2.KalmanFilter:
    # State: centre x, centre y, width and their velocities; measured: the first three.
    kalman = cv2.KalmanFilter(6, 3)
    kalman.measurementMatrix = np.eye(3, 6, dtype=np.float32)
    state = np.array([*box.centre, box.width, 0, 0, 0], dtype=np.float32)
    kalman.statePost = state.reshape(6, 1)
    spread = np.array([0.05, 0.05, 0.05, 1, 1, 0.5], dtype=np.float32) * max(box.width, 1.0)
    kalman.errorCovPost = np.diag(spread**2).astype(np.float32)
    return kalman


def _advance(track: Track, time_s: float, limits: TrackingLimits) -> None:
    step_s = max(0.0, time_s - track.time_s)
    track.time_s = time_s
    width = max(track.box_px.width, 1.0)
    transition = np.eye(6, dtype=np.float32)
    transition[:3, 3:] = np.eye(3) * step_s
    # White acceleration noise over one step: Bar-Shalom, Li and Kirubarajan, "Estimation with
    # Applications to Tracking and Navigation", 2001, equation 6.3.2-4.
    gain = np.concatenate([np.full(3, step_s**2 / 2), np.full(3, step_s)])
    pairs = np.kron(np.ones((2, 2)), np.eye(3))
    variance = (limits.acceleration_noise * width) ** 2
    track.kalman.transitionMatrix = transition
    track.kalman.processNoiseCov = (np.outer(gain, gain) * pairs * variance).astype(np.float32)
    track.kalman.measurementNoiseCov = (np.eye(3) * (limits.position_noise * width) ** 2).astype(
        np.float32
    )
    track.box_px = _box(track.kalman.predict(), track.aspect)


def _correct(track: Track, detection: Detection, time_s: float) -> None:
    box = detection.box_px
    measured = np.array([*box.centre, box.width], dtype=np.float32).reshape(3, 1)
    track.aspect = _aspect(box)
    track.box_px = _box(track.kalman.correct(measured), track.aspect)
    track.detection = detection
    track.last_seen_s = time_s


def _box(state: cv2.typing.MatLike, aspect: float) -> Box:
    x, y, width = (float(v) for v in np.asarray(state).reshape(-1)[:3])
    half_width = max(width, 1.0) / 2
    half_height = half_width * aspect
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def _aspect(box: Box) -> float:
    return box.height / box.width if box.width > 0 else 1.0
