"""From pictures to faces and embeddings, with the device's own code."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from edge_app.adapters.output import is_watched
from edge_app.core.decode import same_face, suppress
from edge_app.core.embed import average
from edge_app.core.geometry import around
from edge_app.core.scan import Region, Scanner, ScanPlan
from edge_app.evaluation.files import read_picture
from edge_app.ports import TensorModel
from edge_app.records import Box, Detection, FaceMesh, Float32Array, ImageBgr

_Item = TypeVar("_Item")


class FacePipeline(Protocol):
    """The methods of `edge_app.pipeline.Pipeline` that the evaluation measures."""

    def detect_in(self, image: ImageBgr, region: Region) -> list[Detection]: ...

    def detect_whole(self, image: ImageBgr) -> list[Detection]: ...

    def aligned(self, image: ImageBgr, detection: Detection) -> tuple[ImageBgr, FaceMesh]: ...

    def embed(self, face: ImageBgr) -> Float32Array: ...


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """The device's settings that decide what is a face.

    scan:                  which detectors look where.
    max_detection_overlap: intersection over union above which two detections are one face.
    min_presence:          FaceMesh's estimate (0 to 1) below which a detection is no face.
    """

    scan: ScanPlan
    max_detection_overlap: float
    min_presence: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceReading:
    """One face of a picture. face: uint8 (112, 112, 3), BGR, aligned."""

    detection: Detection
    mesh: FaceMesh
    face: ImageBgr = field(repr=False)

    @property
    def box_px(self) -> Box:
        """Around the mesh, which follows a face more closely than a detector's box."""
        return around(self.mesh.points_px[:, :2])


@dataclass(frozen=True, slots=True, eq=False)
class FaceTable:
    """What was read from a folder of pictures.

    names:       pictures in which a face was found.
    embeddings:  shape (len(names), dim), float32.
    no_face:     pictures in which none was found.
    undecodable: files that are no picture.
    """

    names: tuple[str, ...]
    embeddings: Float32Array = field(repr=False)
    no_face: tuple[str, ...]
    undecodable: tuple[str, ...]

    @property
    def unread(self) -> tuple[str, ...]:
        """Pictures without an embedding, for whichever reason."""
        return self.no_face + self.undecodable


class FaceReader:
    """Reads faces out of still pictures as the device does. For one thread."""

    def __init__(self, pipeline: FacePipeline, embedder: TensorModel, rules: ReadingRules) -> None:
        """Take the pipeline to measure; `embedder` is the one inside it, for its name."""
        self._pipeline = pipeline
        self._rules = rules
        self.embedder_name = embedder.name
        self.embedder_sha256 = embedder.sha256

    def portrait(self, image: ImageBgr) -> FaceReading | None:
        """The face whose box centre is nearest the picture's centre; None if there is none.

        A portrait fills its picture as a followed face fills the region around it, so it is
        searched as such a region is: whole, with the detector that follows faces, and where
        that finds nothing with the one that searches tiles.
        """
        height, width = image.shape[:2]
        whole = Box(0, 0, width, height)
        for detector in (self._rules.scan.follow_detector, self._rules.scan.tile_detector):
            found = self._pipeline.detect_in(image, Region(whole, detector))
            faces = self.confirmed(image, suppress(found, self._rules.max_detection_overlap))
            if faces:
                cx, cy = whole.centre
                return min(faces, key=lambda f: _distance(f.detection.box_px, cx, cy))
        return None

    def detections(self, image: ImageBgr) -> list[Detection]:
        """What the scan of a still takes for faces; best first."""
        return self._pipeline.detect_whole(image)

    def scene(self, image: ImageBgr) -> list[FaceReading]:
        """Every face of a frame, found by the scan of a still; best first."""
        return self.confirmed(image, self.detections(image))

    def arrival(self, frames: Iterable[ImageBgr]) -> Iterator[list[FaceReading]]:
        """The faces that a running device finds in each of the frames after the first."""
        scanner = Scanner(self._rules.scan)
        for number, image in enumerate(frames):
            regions = scanner.regions(image, ())
            if number == 0:
                continue
            found: list[Detection] = []
            for region in regions:
                found += self._pipeline.detect_in(image, region)
            yield self.confirmed(image, suppress(found, self._rules.max_detection_overlap))

    def embed(self, reading: FaceReading) -> Float32Array:
        """The embedding of a face that is searched for, shape (dim,)."""
        return self._pipeline.embed(reading.face)

    def embed_for_template(self, reading: FaceReading) -> Float32Array:
        """The same of a face that is enrolled: with its mirror image, as the station takes it."""
        mirrored = np.ascontiguousarray(reading.face[:, ::-1])
        return average(np.stack([self.embed(reading), self._pipeline.embed(mirrored)]))

    def confirmed(self, image: ImageBgr, detections: Sequence[Detection]) -> list[FaceReading]:
        """The detections that FaceMesh calls a face, each face once."""
        readings: list[FaceReading] = []
        for detection in detections:
            face, mesh = self._pipeline.aligned(image, detection)
            reading = FaceReading(detection, mesh, face)
            again = any(
                same_face(reading.box_px, other.box_px, self._rules.max_detection_overlap)
                for other in readings
            )
            if mesh.presence >= self._rules.min_presence and not again:
                readings.append(reading)
        return readings


def _distance(box: Box, x: float, y: float) -> float:
    return float(np.hypot(box.centre[0] - x, box.centre[1] - y))


def read_faces(
    reader: FaceReader, folder: Path, names: Sequence[str], *, enrolled: Collection[str] = ()
) -> FaceTable:
    """Embeds the portrait in each named picture of a folder.

    enrolled: those among them that become templates.

    Raises:
        MediaError: a file cannot be read.
    """
    found: list[str] = []
    embeddings: list[Float32Array] = []
    no_face: list[str] = []
    undecodable: list[str] = []
    for name in with_progress(names, "Reading faces"):
        image = read_picture(folder / name)
        if image is None:
            undecodable.append(name)
            continue
        reading = reader.portrait(image)
        if reading is None:
            no_face.append(name)
            continue
        found.append(name)
        embed = reader.embed_for_template if name in enrolled else reader.embed
        embeddings.append(embed(reading))
    table = np.stack(embeddings) if embeddings else np.zeros((0, 0), np.float32)
    return FaceTable(tuple(found), table, tuple(no_face), tuple(undecodable))


def with_progress(
    items: Iterable[_Item], what: str, *, total: int | None = None
) -> Iterable[_Item]:
    """The items, with a progress bar and the time left, if standard error is a terminal.

    total: how many they are, if they cannot say.
    """
    return track(
        items,
        description=what,
        total=total,
        console=Console(stderr=True),
        disable=not is_watched(sys.stderr),
    )
