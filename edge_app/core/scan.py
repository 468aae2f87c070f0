"""Where to look in this frame: around known faces always, elsewhere a part at a time.

A 40 px face needs the 256 px detector on a quarter of the frame's width, so the frame is cut
into overlapping tiles. All are searched in the first frame; after that only the few that
moved or have waited longest (the measurements are in docs/adr/0003-detector.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_app.core.decode import GEOMETRIES, tiles
from edge_app.core.geometry import clip
from edge_app.records import Box, ImageBgr

_THUMBNAIL_STEP_PX = 20
"""Every 20th pixel is enough to see a face-sized thing move, and costs 20 microseconds."""

_FULL_MOTION_SHARE = 0.02
"""A 100 px face that moves changes this share of a tile; more is not more urgent."""


_LEAST_CHANGE = 0.5
"""No face halves its width between two frames; what does is not the one that is followed."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """tile_detector, follow_detector: model names; see `decode.GEOMETRIES`.
    tile:             side of a square tile, as a share of the frame's longer side.
    overlap:          least share of its side that a tile has in common with its neighbour.
    max_tile_face:    widest face to take from a tile, as a share of its side: of a wider one it
                      may see a part and call it a face. The whole frame is there for those.
    min_input_px:     narrowest face, on a detector's input, that it is trusted with.
    tiles_per_frame:  how many regions to search in each frame after the first.
    follow_margin:    side of the region around a known face, in face widths.
    motion_luma:      change of a pixel (0 to 255) that counts as movement.
    motion_boost:     how many times sooner a fully moving tile is searched than a still one.
    """

    tile_detector: str
    follow_detector: str
    tile: float
    overlap: float
    max_tile_face: float
    min_input_px: float
    tiles_per_frame: int
    follow_margin: float
    motion_luma: int
    motion_boost: float


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the frame to search, and the detector to search it with.

    min_width_px, max_width_px: of the faces to look for, in frame pixels. Narrower ones are
        left to a region that enlarges them more, wider ones to one that shows more of them.
    brightened: its light is stretched to the whole range first, which shows a network faces in
        the dark corners of a frame. The short range one needs no help, and then sees ghosts.
    """

    box_px: Box
    detector: str
    min_width_px: float = 0.0
    max_width_px: float = float("inf")
    brightened: bool = False


@dataclass(slots=True, eq=False)
class Scanner:
    """Remembers which tile was searched when. For one camera, one thread."""

    plan: ScanPlan
    _size: tuple[int, int] = (0, 0)
    _tiles: tuple[Region, ...] = ()
    _age_frames: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    _thumbnail: NDArray[np.int16] = field(
        default_factory=lambda: np.zeros((0, 0), np.int16), repr=False
    )

    def regions(self, image: ImageBgr, known_faces: Sequence[Box]) -> list[Region]:
        """The regions to search in this frame; every one lies inside the image."""
        height, width = image.shape[:2]
        thumbnail = image[::_THUMBNAIL_STEP_PX, ::_THUMBNAIL_STEP_PX, 1].astype(np.int16)
        if (width, height) != self._size:
            self._start(width, height)
            self._thumbnail = thumbnail
            return list(self._tiles)
        self._age_frames += 1
        around = [follow_region(box, width, height, self.plan) for box in known_faces]
        followed = [region for region in around if region is not None]
        motion = self._motion(thumbnail, followed)
        urgency = self._age_frames * (1 + self.plan.motion_boost * motion)
        self._thumbnail = thumbnail
        chosen = np.argsort(-urgency, kind="stable")[: self.plan.tiles_per_frame]
        self._age_frames[chosen] = 0
        return followed + [self._tiles[i] for i in chosen]

    def _start(self, width: int, height: int) -> None:
        plan = self.plan
        input_px = GEOMETRIES[plan.tile_detector].input_px
        # Enlarging shows a network nothing new.
        side_px = max(plan.tile * max(width, height), input_px)
        whole = Box(0, 0, width, height)
        self._tiles = tuple(
            Region(
                box,
                plan.tile_detector,
                plan.min_input_px * max(box.width, box.height) / input_px,
                float("inf") if box == whole else plan.max_tile_face * side_px,
                brightened=True,
            )
            for box in dict.fromkeys((*tiles(width, height, side_px, plan.overlap), whole))
        )
        self._age_frames = np.zeros(len(self._tiles), np.float32)
        self._size = (width, height)

    def _motion(
        self, thumbnail: NDArray[np.int16], followed: Sequence[Region]
    ) -> NDArray[np.float32]:
        """How much moved in each tile since the last frame, 0 to 1; known faces do not count."""
        moved = np.abs(thumbnail - self._thumbnail) > self.plan.motion_luma
        for region in followed:
            moved[_on_thumbnail(region.box_px)] = False
        shares = np.empty(len(self._tiles), np.float32)
        for i, region in enumerate(self._tiles):
            shares[i] = moved[_on_thumbnail(region.box_px)].mean()
        np.minimum(shares / np.float32(_FULL_MOTION_SHARE), np.float32(1), out=shares)
        return shares


def _on_thumbnail(box: Box) -> tuple[slice, slice]:
    x0, y0 = (int(v) // _THUMBNAIL_STEP_PX for v in (box.x0, box.y0))
    x1, y1 = (int(v) // _THUMBNAIL_STEP_PX + 1 for v in (box.x1, box.y1))
    return slice(y0, y1), slice(x0, x1)


def follow_region(box_px: Box, width: int, height: int, plan: ScanPlan) -> Region | None:
    """The square around a known face, cut to the frame; None if nothing of it is inside."""
    cx, cy = box_px.centre
    half = max(box_px.width, box_px.height) * plan.follow_margin / 2
    inside = clip(Box(cx - half, cy - half, cx + half, cy + half), width, height)
    if inside.width < 2 or inside.height < 2:
        return None
    return Region(inside, plan.follow_detector, _LEAST_CHANGE * box_px.width)
