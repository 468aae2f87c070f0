"""Detection: which faces of composed scenes are found, and what else is taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from edge_app.core.geometry import intersection_over_union
from edge_app.errors import MediaError
from edge_app.evaluation.faces import FaceReader, with_progress
from edge_app.evaluation.files import read_picture, write_json
from edge_app.evaluation.measures import Interval, poisson_interval, wilson_interval
from edge_app.evaluation.scenes import Truth, read_truth
from edge_app.records import Box

MIN_OVERLAP: Final = 0.5
"""Intersection over union from which a detection is the face (WIDER FACE, Yang et al. 2016)."""

WIDTH_BINS_PX: Final = (30, 35, 50, 75, 100, 150, 225, 330, 481)
"""Faces of 40, 60 and 120 px, the sizes of the targets, lie near the middle of a bin."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces of one range of widths, and how many of them were found."""

    from_px: int
    to_px: int
    faces: int
    found: int

    @property
    def name(self) -> str:
        return f"{self.from_px}-{self.to_px}"

    @property
    def recall(self) -> float | None:
        """Share that was found; None if there was none to find."""
        return self.found / self.faces if self.faces else None

    @property
    def recall_ci95(self) -> Interval:
        """Taking faces for independent, though those of one scene share its light and blur."""
        return wilson_interval(self.found, self.faces)


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """false_detections: detections that are no face, or a second one of the same face."""

    bins: tuple[Bin, ...]
    frames: int
    faces: int
    false_detections: int
    undecodable: int
    worst: tuple[tuple[str, int, int], ...] = field(repr=False)
    """Scenes with (missed, false) detections, worst first."""

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result."""
        low, high = poisson_interval(self.false_detections)
        return {
            "measure": "detection",
            "protocol": "first-frame scan, suppression and mesh presence; a detection is a face "
            f"when it overlaps a true box by {MIN_OVERLAP} or more (intersection over union), "
            "one to one, best score first; intervals: Wilson and Garwood",
            "frames": self.frames,
            "undecodable": self.undecodable,
            "faces": self.faces,
            "recall_by_face_width_px": {
                bin_.name: {
                    "faces": bin_.faces,
                    "found": bin_.found,
                    "recall": bin_.recall,
                    "recall_ci95": list(bin_.recall_ci95),
                }
                for bin_ in self.bins
            },
            "false_detections": self.false_detections,
            "false_detections_per_frame": self.false_detections / self.frames,
            "false_detections_per_frame_ci95": [low / self.frames, high / self.frames],
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
    outcomes: list[tuple[Truth, tuple[bool, ...], int]] = []
    undecodable = 0
    for scene in with_progress(read_truth(truth), "Searching scenes"):
        image = read_picture(scenes / scene.file)
        if image is None:
            undecodable += 1
            continue
        boxes = [reading.detection.box_px for reading in reader.scene(image)]
        truths = [face.box_px for face in scene.faces]
        outcomes.append((scene, *assign(boxes, truths)))
    if not outcomes:
        raise MediaError(f"no scene in {scenes} can be decoded; run make-scenes again")
    result = summarise(outcomes, undecodable)
    write_json(json_out, result.to_json())
    return result


def summarise(
    outcomes: Sequence[tuple[Truth, tuple[bool, ...], int]], undecodable: int
) -> DetectionResult:
    """Counts by width. outcomes: each scene, which of its faces were found, false detections."""
    widths = [
        (face.width_px, hit)
        for scene, found, _ in outcomes
        for face, hit in zip(scene.faces, found, strict=True)
    ]
    bins = []
    for low, high in pairwise(WIDTH_BINS_PX):
        hits = [hit for width, hit in widths if low <= width < high]
        bins.append(Bin(low, high, len(hits), sum(hits)))
    scores = [(scene.file, found.count(False), false) for scene, found, false in outcomes]
    flawed = [score for score in scores if score[1] or score[2]]
    return DetectionResult(
        bins=tuple(bins),
        frames=len(outcomes),
        faces=len(widths),
        false_detections=sum(false for _, _, false in outcomes),
        undecodable=undecodable,
        worst=tuple(sorted(flawed, key=lambda s: (-s[2], -s[1], s[0]))),
    )
