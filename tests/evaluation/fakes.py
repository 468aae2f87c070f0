"""A pipeline whose answers the test writes, for the evaluation's own logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_app.core.scan import Region, ScanPlan
from edge_app.evaluation.faces import FaceReader, FaceTable, ReadingRules
from edge_app.records import (
    Box,
    Calibration,
    Detection,
    FaceMesh,
    Float32Array,
    ImageBgr,
    Landmarks,
)

PLAN = ScanPlan(
    tile_detector="blazeface_back",
    scan_detector="blazeface_wide",
    follow_detector="blazeface_short",
    tile=0.24,
    scan_tile=0.37,
    overlap=0.2,
    scan_overlap=0.14,
    max_tile_face=0.33,
    min_input_px=13.0,
    min_scan_score=0.5,
    tiles_per_frame=1,
    still_frames=3,
    follow_margin=2.0,
    motion_luma=12,
)
ROLES = {PLAN.tile_detector: "tile", PLAN.scan_detector: "scan", PLAN.follow_detector: "follow"}
RULES = ReadingRules(scan=PLAN, max_detection_overlap=0.3, min_presence=0.5)


def detection(x: float, y: float, side: float, score: float = 0.9) -> Detection:
    """A face whose box has this centre and side."""
    half = side / 2
    points = np.full((6, 2), (x, y), np.float32)
    return Detection(Box(x - half, y - half, x + half, y + half), Landmarks(points), score)


class FakeEmbedder:
    name = "fake"
    sha256 = "0" * 64

    def __call__(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        raise AssertionError("the fake pipeline embeds by itself")


@dataclass
class FakePipeline:
    """finds: what each detector sees; whole: what the scan of a frame sees; the mesh of a
    detection fills its box; presence: of detections at x (0.9 if not named). The embedding
    points along the axis of the face's colour."""

    finds: Mapping[str, Sequence[Detection]] = field(default_factory=dict)
    whole: Sequence[Detection] = ()
    presence: Mapping[float, float] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)

    def detect_in(self, image: ImageBgr, region: Region) -> list[Detection]:
        assert region.box_px == Box(0, 0, image.shape[1], image.shape[0])
        role = ROLES[region.detector]
        self.searched.append(role)
        return list(self.finds.get(role, ()))

    def detect_whole(self, image: ImageBgr) -> list[Detection]:
        return list(self.whole)

    def aligned(self, image: ImageBgr, found: Detection) -> tuple[ImageBgr, FaceMesh]:
        box = found.box_px
        corners = np.array([[box.x0, box.y0, 0], [box.x1, box.y1, 0]], np.float32)
        mesh = FaceMesh(np.resize(corners, (468, 3)), self.presence.get(box.centre[0], 0.9))
        return np.full((112, 112, 3), image[0, 0], np.uint8), mesh

    def embed(self, face: ImageBgr) -> Float32Array:
        vector = np.zeros(3, np.float32)
        vector[int(face[0, 0].argmax())] = 1
        return vector


def calibrate(comparisons: int) -> Calibration:
    return Calibration(0.5, 0.003, comparisons, FakeEmbedder.sha256)


def reader(pipeline: FakePipeline) -> FaceReader:
    return FaceReader(pipeline, FakeEmbedder(), RULES)


def table(embeddings: Mapping[str, Sequence[float]], no_face: Sequence[str] = ()) -> FaceTable:
    """Pictures and their embeddings, scaled to length one."""
    rows = np.array(list(embeddings.values()), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return FaceTable(tuple(embeddings), rows, tuple(no_face), ())
