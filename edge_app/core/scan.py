"""Where to look in this frame: around known faces, and elsewhere a part at a time.

A still picture is searched whole, with the finest tiles. A running camera shows the same place
again in a thirtieth of a second: its frames are searched a region at a time, first those that
look different from when they were last searched (docs/adr/0016-scan.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.core.decode import GEOMETRIES, tiles
from edge_app.core.geometry import clip
from edge_app.core.governor import Effort
from edge_app.records import Box, ImageBgr

_CELL_PX = 20
"""Side of a cell of the motion map: a 60 px face fills nine."""

_SAMPLE_STEP_PX = 4
"""Every fourth pixel each way, averaged over a cell, is enough to tell movement from noise."""

_MOVED_SHARE = 0.003
"""Share of a tile's cells that must change: three, so that no single flicker counts."""

_LEAST_CHANGE = 0.5
"""No face halves its width between two frames; what does is not the one that is followed."""

_BODY_WIDTHS, _BODY_HEIGHTS = 1.5, 7.0
"""How far a body reaches from its face's centre: to each side in widths, down in heights."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """tile_detector, scan_detector, follow_detector: for a still picture, for the frames of a
                      camera and around a known face; see `decode.GEOMETRIES`.
    tile, scan_tile:  width of a tile of a still and of a frame, as a share of its longer side.
    overlap, scan_overlap: least share of its side that a tile has in common with its neighbour.
    max_tile_face:    widest face to take from a tile, as a share of its width: of a wider one it
                      may see a part and call it a face. The whole picture is there for those.
    min_input_px:     narrowest face, on a detector's input, that it is trusted with.
    min_scan_score:   score (0 to 1) from which a face in a frame is worth a close look.
    tiles_per_frame:  how many changed regions to search in a frame, at most.
    still_frames:     in every so many frames, the region that waited longest is one of them,
                      or the only one where nothing changed.
    follow_margin:    side of the region around a known face, in face widths.
    motion_luma:      change of a cell (0 to 255) that counts as movement.
    """

    tile_detector: str
    scan_detector: str
    follow_detector: str
    tile: float
    scan_tile: float
    overlap: float
    scan_overlap: float
    max_tile_face: float
    min_input_px: float
    min_scan_score: float
    tiles_per_frame: int
    still_frames: int
    follow_margin: float
    motion_luma: int


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the frame to search, and the detector to search it with.

    min_width_px, max_width_px: of the faces to look for, in frame pixels. Narrower ones are
        left to a region that enlarges them more, wider ones to one that shows more of them.
    min_score: a face must reach it, besides the pipeline's own limit.
    brightened: its light is stretched to the whole range first, which shows a network faces in
        the dark corners of a picture. The short range one needs no help, and then sees ghosts.
    """

    box_px: Box
    detector: str
    min_width_px: float = 0.0
    max_width_px: float = float("inf")
    min_score: float = 0.0
    brightened: bool = False


def still_regions(width_px: int, height_px: int, plan: ScanPlan) -> tuple[Region, ...]:
    """All regions of a picture that stands alone: the whole of it, then its tiles."""
    boxes = _boxes(width_px, height_px, plan.tile_detector, plan.tile, plan.overlap)
    return tuple(
        replace(_region(box, boxes, plan.tile_detector, plan), brightened=True) for box in boxes
    )


def frame_regions(width_px: int, height_px: int, plan: ScanPlan) -> tuple[Region, ...]:
    """All regions that a camera's frames are searched in, the whole first."""
    boxes = _boxes(width_px, height_px, plan.scan_detector, plan.scan_tile, plan.scan_overlap)
    return tuple(
        replace(_region(box, boxes, plan.scan_detector, plan), min_score=plan.min_scan_score)
        for box in boxes
    )


def _boxes(width: int, height: int, detector: str, tile: float, overlap: float) -> list[Box]:
    """The whole picture, then its tiles, if it is larger than one."""
    geometry = GEOMETRIES[detector]
    # Enlarging shows a network nothing new.
    side_px = max(tile * max(width, height), geometry.width_px)
    tile_px = (side_px, side_px * geometry.height_px / geometry.width_px)
    return list(dict.fromkeys((Box(0, 0, width, height), *tiles(width, height, tile_px, overlap))))


def _region(box: Box, boxes: Sequence[Box], detector: str, plan: ScanPlan) -> Region:
    whole, tile = boxes[0], boxes[-1]
    widest_px = float("inf") if box is whole else plan.max_tile_face * tile.width
    narrowest_px = plan.min_input_px / GEOMETRIES[detector].scale(box)
    return Region(box, detector, narrowest_px, widest_px)


@dataclass(slots=True, eq=False)
class Scanner:
    """Remembers which region was searched when, and what it looked like. For one camera.

    _seen:   what the motion map was when each region was last searched: (regions, rows, columns).
    _inside: which of its cells lie in each region, of the same shape.
    """

    plan: ScanPlan
    _size: tuple[int, int] = (0, 0)
    _regions: tuple[Region, ...] = ()
    _age_frames: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    _still_frames: int = 0
    _seen: NDArray[np.int16] = field(
        default_factory=lambda: np.zeros((0, 0, 0), np.int16), repr=False
    )
    _inside: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros((0, 0, 0), np.bool_), repr=False
    )

    def regions(
        self,
        image: ImageBgr,
        followed: Sequence[Box],
        waiting: Sequence[Box] = (),
        effort: Effort = Effort.FULL,
    ) -> list[Region]:
        """The regions to search in this frame; every one lies inside the image.

        followed: the known faces to look around in this frame.
        waiting:  other known faces. Nobody's movement is news once their face is known.
        effort:   below the full one, half as many regions, and the rotation half as fast.
        """
        height, width = image.shape[:2]
        motion_map = _motion_map(image)
        if (width, height) != self._size:
            self._start(width, height, motion_map)
            chosen = [0]  # the whole, alone: the quickest way to whoever is near
        else:
            self._age_frames += 1
            moved = self._moved(motion_map, (*followed, *waiting))
            chosen = self._choose(moved, 1 if effort is Effort.FULL else 2)
        self._age_frames[chosen] = 0
        self._seen[chosen] = motion_map
        around = (follow_region(box, width, height, self.plan) for box in followed)
        return [region for region in around if region] + [self._regions[i] for i in chosen]

    def _start(self, width: int, height: int, motion_map: NDArray[np.int16]) -> None:
        self._size = (width, height)
        self._regions = frame_regions(width, height, self.plan)
        self._still_frames = 0
        count = len(self._regions)
        # Nobody has looked there yet: no brightness is as far from every other as this one.
        self._seen = np.full((count, *motion_map.shape), -256, np.int16)
        self._age_frames = np.zeros(count, np.float32)
        self._inside = np.zeros((count, *motion_map.shape), np.bool_)
        for cells, region in zip(self._inside, self._regions, strict=True):
            cells[_cells(region.box_px)] = True

    def _moved(
        self, motion_map: NDArray[np.int16], known_faces: Sequence[Box]
    ) -> NDArray[np.bool_]:
        """Which regions have changed since they were last searched."""
        changed = np.abs(self._seen - motion_map) > self.plan.motion_luma
        changed &= self._inside
        for box in known_faces:
            changed[(slice(None), *_cells(_body(box)))] = False
        shares = changed.sum(axis=(1, 2)) / self._inside.sum(axis=(1, 2))
        return np.asarray(shares > _MOVED_SHARE)

    def _choose(self, moved: NDArray[np.bool_], thrift: int) -> list[int]:
        """Those that changed, longest waiting first; now and then the longest waiting of all.

        thrift: the part of the plan's work to do, as a divisor.
        """
        most = max(1, self.plan.tiles_per_frame // thrift)
        by_age = [int(i) for i in np.argsort(-self._age_frames, kind="stable")]
        chosen = [i for i in by_age if moved[i]][:most]
        self._still_frames += 1
        if self._still_frames >= self.plan.still_frames * thrift:
            self._still_frames = 0
            if by_age[0] not in chosen:
                chosen = [by_age[0], *chosen][:most]
        return chosen


def _motion_map(image: ImageBgr) -> NDArray[np.int16]:
    """The mean brightness of each cell, shape (rows, columns), at least one of each."""
    height, width = image.shape[:2]
    sampled = np.ascontiguousarray(image[::_SAMPLE_STEP_PX, ::_SAMPLE_STEP_PX, 1])
    size = (max(1, width // _CELL_PX), max(1, height // _CELL_PX))
    return np.asarray(cv2.resize(sampled, size, interpolation=cv2.INTER_AREA), np.int16)


def _cells(box: Box) -> tuple[slice, slice]:
    """Rows and columns of the motion map that a box touches."""
    x0, y0 = (max(0, int(v) // _CELL_PX) for v in (box.x0, box.y0))
    x1, y1 = (max(0, int(v) // _CELL_PX + 1) for v in (box.x1, box.y1))
    return slice(y0, y1), slice(x0, x1)


def _body(face: Box) -> Box:
    """About where somebody is whose face is here."""
    cx, cy = face.centre
    reach = _BODY_WIDTHS * face.width
    return Box(cx - reach, cy - face.height, cx + reach, cy + _BODY_HEIGHTS * face.height)


def follow_region(box_px: Box, width: int, height: int, plan: ScanPlan) -> Region | None:
    """The square around a known face, cut to the frame; None if nothing of it is inside."""
    cx, cy = box_px.centre
    half = max(box_px.width, box_px.height) * plan.follow_margin / 2
    inside = clip(Box(cx - half, cy - half, cx + half, cy + half), width, height)
    if inside.width < 2 or inside.height < 2:
        return None
    return Region(inside, plan.follow_detector, _LEAST_CHANGE * box_px.width)
