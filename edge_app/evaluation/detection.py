"""Detection: which faces of composed scenes are found, and what else is taken for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_app.core.geometry import intersection_over_union
from edge_app.errors import MediaError
from edge_app.evaluation.faces import FaceReader, FaceReading, with_progress
from edge_app.evaluation.files import read_picture, write_json
from edge_app.evaluation.measures import Interval, poisson_interval, wilson_interval
from edge_app.evaluation.scenes import TrueFace, Truth, Wear, read_truth
from edge_app.records import Box, ImageBgr

MIN_OVERLAP: Final = 0.5
"""Intersection over union from which a detection is the face (WIDER FACE, Yang et al. 2016)."""

WIDTH_BINS_PX: Final = (30, 34, 46, 51, 69, 102, 138, 225, 330, 481)
TARGET_BINS_PX: Final = {40: (34, 46), 60: (51, 69), 120: (102, 138)}
"""Recall at a width is that of the faces within 15 % of it."""

HARD_BELOW_PX: Final = 69
"""Wear decides only over smaller faces; the larger ones are found in any."""

WEAR_BINS: Final[dict[str, tuple[Callable[[TrueFace, Wear], float], tuple[float, ...]]]] = {
    "gain": (lambda _, wear: wear.gain, (0.25, 0.5, 0.75, 1.01)),
    "blur_px": (lambda _, wear: wear.blur_px, (0, 0.01, 0.5, 1.0, 1.51)),
    "noise_luma": (lambda _, wear: wear.noise_luma, (0, 2.5, 5, 7.5, 10.01)),
    "tilt_deg": (lambda face, _: abs(face.tilt_deg), (0, 8, 16, 25.01)),
}

FRAMES_WATCHED: Final = 15
"""Half a second at 30 frames a second."""

_SWAY_PX: Final = 4
"""How far a worn camera moves between two frames, at most: 5 degrees a second."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces of one range of widths, or of another property, and how many were found.

    found_in_time: in one or more of the `FRAMES_WATCHED` frames after they appeared.
    """

    from_px: float
    to_px: float
    faces: int
    found: int
    found_in_time: int

    @property
    def name(self) -> str:
        return f"{self.from_px:g}-{self.to_px:g}"

    @property
    def recall(self) -> float | None:
        """Share that was found; None if there was none to find."""
        return self.found / self.faces if self.faces else None

    @property
    def recall_ci95(self) -> Interval:
        """Taking faces for independent, though those of one scene share its light and blur."""
        return wilson_interval(self.found, self.faces)

    def to_json(self) -> dict[str, Any]:
        """The numbers of this bin."""
        return {
            "faces": self.faces,
            "found": self.found,
            "recall": self.recall,
            "recall_ci95": list(self.recall_ci95),
            "recall_within_0.5_s": self.found_in_time / self.faces if self.faces else None,
        }


@dataclass(frozen=True, slots=True)
class SceneOutcome:
    """What became of one scene.

    found, in_time: a flag for each true face: in the frame as a still; in the half second in
                    which a running device finds it.
    false:          confirmed detections that are no face, or a second one of the same face.
    unconfirmed:    the same before FaceMesh had its say.
    false_in_time:  false ones among all of the half second's frames.
    """

    scene: Truth
    found: tuple[bool, ...]
    in_time: tuple[bool, ...]
    false: int
    unconfirmed: int
    false_in_time: int


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """bins: by width. wear: the faces narrower than `HARD_BELOW_PX`, by what was done to them.
    The false ones: see `SceneOutcome`."""

    bins: tuple[Bin, ...]
    wear: dict[str, tuple[Bin, ...]]
    frames: int
    faces: int
    false_detections: int
    unconfirmed: int
    false_in_time: int
    undecodable: int
    worst: tuple[tuple[str, int, int], ...] = field(repr=False)
    """Scenes with (missed, false) detections, worst first."""

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result."""
        low, high = poisson_interval(self.false_detections)
        by_width = {(bin_.from_px, bin_.to_px): bin_ for bin_ in self.bins}
        return {
            "measure": "detection",
            "protocol": "a still, suppression, mesh presence, one detection per mesh; a "
            "detection is a face when the box around its mesh overlaps a true box by "
            f"{MIN_OVERLAP} or more (intersection over union), one to one, best score first; "
            "recall at a width: faces within 15 % of it; recall within 0.5 s: the rotating scan, "
            f"{FRAMES_WATCHED} frames of a swaying camera; intervals: Wilson and Garwood",
            "frames": self.frames,
            "undecodable": self.undecodable,
            "faces": self.faces,
            "recall_at_width_px": {
                f"{width}": by_width[limits].to_json() for width, limits in TARGET_BINS_PX.items()
            },
            "recall_by_face_width_px": {bin_.name: bin_.to_json() for bin_ in self.bins},
            f"recall_below_{HARD_BELOW_PX}_px_by_wear": {
                wear: {bin_.name: bin_.to_json() for bin_ in bins}
                for wear, bins in self.wear.items()
            },
            "false_detections": self.false_detections,
            "false_detections_per_frame": self.false_detections / self.frames,
            "false_detections_per_frame_ci95": [low / self.frames, high / self.frames],
            "false_before_mesh_per_frame": self.unconfirmed / self.frames,
            "false_in_rotation_per_frame": self.false_in_time / (self.frames * FRAMES_WATCHED),
        }


def assign(detections: Sequence[Box], truth: Sequence[Box]) -> tuple[tuple[bool, ...], int]:
    """(which true boxes were found, how many detections are false).

    detections: best score first; each takes the true box it overlaps most among those that
    are left.
    """
    found = [False] * len(truth)
    false = 0
    for box in detections:
        overlaps = [
            0.0 if taken else intersection_over_union(box, face)
            for face, taken in zip(truth, found, strict=True)
        ]
        best = max(range(len(truth)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= MIN_OVERLAP:
            found[best] = True
        else:
            false += 1
    return tuple(found), false


def run(reader: FaceReader, *, scenes: Path, truth: Path, json_out: Path) -> DetectionResult:
    """`familiar evaluate detection`: searches every scene, writes the JSON.

    Raises:
        ConfigError: the truth file is malformed.
        MediaError: a scene cannot be read, or none can be decoded.
        StorageError: the result cannot be written.
    """
    outcomes: list[SceneOutcome] = []
    undecodable = 0
    for scene in with_progress(read_truth(truth), "Searching scenes"):
        image = read_picture(scenes / scene.file)
        if image is None:
            undecodable += 1
            continue
        outcomes.append(search(reader, scene, image))
    if not outcomes:
        raise MediaError(f"no scene in {scenes} can be decoded; run make-scenes again")
    result = summarise(outcomes, undecodable)
    write_json(json_out, result.to_json())
    return result


def search(reader: FaceReader, scene: Truth, image: ImageBgr) -> SceneOutcome:
    """Searches one scene as a still, and as faces that a running device meets."""
    truth = [face.box_px for face in scene.faces]
    detections = reader.detections(image)
    found, false = assign(_boxes(reader.confirmed(image, detections)), truth)
    in_time = [False] * len(truth)
    false_in_time = 0
    sways = _sways()
    frames = chain([np.zeros_like(image)], (np.roll(image, (dy, dx), (0, 1)) for dx, dy in sways))
    for readings, (dx, dy) in zip(reader.arrival(frames), sways, strict=True):
        there = [Box(b.x0 + dx, b.y0 + dy, b.x1 + dx, b.y1 + dy) for b in truth]
        seen, wrong = assign(_boxes(readings), there)
        in_time = [a or b for a, b in zip(in_time, seen, strict=True)]
        false_in_time += wrong
    return SceneOutcome(
        scene=scene,
        found=found,
        in_time=tuple(in_time),
        false=false,
        unconfirmed=assign([d.box_px for d in detections], truth)[1],
        false_in_time=false_in_time,
    )


def _boxes(readings: Sequence[FaceReading]) -> list[Box]:
    return [reading.box_px for reading in readings]


def _sways() -> list[tuple[int, int]]:
    """Where a worn camera has swayed to, in whole pixels (dx, dy), in each watched frame."""
    steps = np.random.default_rng(0).integers(-_SWAY_PX, _SWAY_PX + 1, (FRAMES_WATCHED, 2))
    return [(int(dx), int(dy)) for dx, dy in steps.cumsum(axis=0)]


def summarise(outcomes: Sequence[SceneOutcome], undecodable: int) -> DetectionResult:
    """Counts by width and by wear."""
    faces = [
        (face, outcome.scene.wear, found, in_time)
        for outcome in outcomes
        for face, found, in_time in zip(
            outcome.scene.faces, outcome.found, outcome.in_time, strict=True
        )
    ]

    def binned(
        value: Callable[[TrueFace, Wear], float], edges: Sequence[float], below_px: float
    ) -> tuple[Bin, ...]:
        values = [
            (value(face, wear), found, in_time)
            for face, wear, found, in_time in faces
            if face.width_px < below_px
        ]
        bins = []
        for low, high in pairwise(edges):
            inside = [(found, in_time) for v, found, in_time in values if low <= v < high]
            found, in_time = (
                (sum(flags) for flags in zip(*inside, strict=True)) if inside else (0, 0)
            )
            bins.append(Bin(low, high, len(inside), found, in_time))
        return tuple(bins)

    scores = [(o.scene.file, o.found.count(False), o.false) for o in outcomes]
    flawed = [score for score in scores if score[1] or score[2]]
    return DetectionResult(
        bins=binned(lambda face, _: face.width_px, WIDTH_BINS_PX, float("inf")),
        wear={
            wear: binned(value, edges, HARD_BELOW_PX) for wear, (value, edges) in WEAR_BINS.items()
        },
        frames=len(outcomes),
        faces=len(faces),
        false_detections=sum(o.false for o in outcomes),
        unconfirmed=sum(o.unconfirmed for o in outcomes),
        false_in_time=sum(o.false_in_time for o in outcomes),
        undecodable=undecodable,
        worst=tuple(sorted(flawed, key=lambda s: (-s[2], -s[1], s[0]))),
    )
