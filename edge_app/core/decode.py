"""From a part of a frame to detections: regions, network input, boxes, suppression.

The network family is BlazeFace (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face
detection on mobile GPUs", 2019). Its regressors are offsets from fixed anchors, in pixels of
the input square: centre x, centre y, width, height, then six keypoints x, y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.core.geometry import intersection_over_union
from edge_app.records import Box, Detection, Float32Array, ImageBgr, Landmarks


@dataclass(frozen=True, slots=True, eq=False)
class DetectorGeometry:
    """What decoding needs to know of one detector.

    width_px, height_px: of the input.
    anchors_px:          shape (n, 2), float32, anchor centres in pixels of the input.
    """

    width_px: int
    height_px: int
    anchors_px: Float32Array

    def scale(self, region: Box) -> float:
        """Input pixels per frame pixel when the whole of a region is shown."""
        return min(self.width_px / region.width, self.height_px / region.height)


def detector_geometry(
    width_px: int, height_px: int, cells: tuple[tuple[int, int], ...]
) -> DetectorGeometry:
    """Anchor centres, row by row; `cells` lists (side in pixels, anchors per cell) per layer."""
    layers = []
    for side_px, per_cell in cells:
        x, y = (np.arange(side_px / 2, length, side_px) for length in (width_px, height_px))
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, per_cell, axis=0))
    return DetectorGeometry(width_px, height_px, np.concatenate(layers).astype(np.float32))


GEOMETRIES = {
    "blazeface_short": detector_geometry(128, 128, ((8, 2), (16, 6))),
    "blazeface_wide": detector_geometry(320, 192, ((8, 2), (16, 6))),
    "blazeface_back": detector_geometry(256, 256, ((16, 2), (32, 6))),
    "blazeface_full": detector_geometry(192, 192, ((4, 1),)),
}


_LUMA_STEP_PX = 4
"""Every fourth pixel of the input, each way, is enough to know how bright a region is."""

_DARKEST, _BRIGHTEST = 0.005, 0.995
"""Shares of a region's pixels that may become all black and all white."""

_CONTAINED = 0.7
"""Share of a box from which it is inside another."""

_MAX_GAIN = 4.0
"""Beyond this, the noise of a dark sensor is all that is left to see."""


def network_input(
    image: ImageBgr, region: Box, geometry: DetectorGeometry, *, brightened: bool
) -> tuple[Float32Array, float]:
    """The region, scaled to fit a detector's input from its top left corner, rest black.

    brightened: its darkest and brightest pixels become black and white, as far as a gain of
    4 goes: a camera exposes for the whole frame, not for its corners.

    Returns (tensor, scale): tensor float32 (1, height, width, 3), RGB in -1 to 1; scale in
    input pixels per frame pixel. The region must lie inside the image.
    """
    x0, y0, x1, y1 = (round(v) for v in (region.x0, region.y0, region.x1, region.y1))
    scale = geometry.scale(Box(x0, y0, x1, y1))
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    small = _resized(image[y0:y1, x0:x1], width, height, scale)
    luma = small[::_LUMA_STEP_PX, ::_LUMA_STEP_PX, 1]
    darkest, brightest = _range_of(luma) if brightened else (0, 255)
    tensor = np.full((1, geometry.height_px, geometry.width_px, 3), -1.0, dtype=np.float32)
    rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    # The table turns bytes into the network's numbers in one pass, straight into place.
    cv2.LUT(rgb, _levels(darkest, brightest), dst=tensor[0, :height, :width])
    return tensor, scale


def _resized(part: ImageBgr, width: int, height: int, scale: float) -> ImageBgr:
    """The part, scaled; where that makes it smaller, each pixel is the mean of sixteen.

    Averaging every pixel of a frame takes ten times as long and finds no face more; sampling
    just four is faster still and loses one of a hundred (docs/adr/0016).
    """
    if scale >= 1:
        return np.asarray(cv2.resize(part, (width, height)), np.uint8)
    twice = cv2.resize(part, (2 * width, 2 * height))
    return np.asarray(cv2.resize(twice, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _range_of(luma: ImageBgr) -> tuple[int, int]:
    """The luma values between which all but the darkest and the brightest few pixels lie."""
    below = np.cumsum(np.bincount(luma.reshape(-1), minlength=256))
    darkest, brightest = np.searchsorted(below, (_DARKEST * below[-1], _BRIGHTEST * below[-1]))
    return int(darkest), int(brightest)


def _levels(darkest: float, brightest: float) -> Float32Array:
    """A table, shape (256,), that takes these pixel values, if not too near, to -1 and 1."""
    gain = min(255 / max(brightest - darkest, 1.0), _MAX_GAIN)
    return np.asarray(
        np.clip((np.arange(256) - darkest) * gain, 0, 255) / 127.5 - 1, dtype=np.float32
    )


def decode(
    regressors: Float32Array,
    logits: Float32Array,
    geometry: DetectorGeometry,
    *,
    region: Box,
    scale: float,
    min_score: float,
    min_width_px: float,
    max_width_px: float,
) -> list[Detection]:
    """Detections above `min_score`, in frame pixels, not yet suppressed.

    min_width_px, max_width_px: the widths of boxes to keep, in frame pixels.
    """
    scores_logit = logits.reshape(-1)
    values = regressors.reshape(-1, 16)
    certain = scores_logit > np.log(min_score / (1 - min_score))
    widths_px = values[:, 2] / scale
    fitting = (widths_px >= min_width_px) & (widths_px <= max_width_px)
    keep = np.flatnonzero(certain & fitting)
    values = values[keep]
    origin = np.array([round(region.x0), round(region.y0)], dtype=np.float32)
    anchors_px = geometry.anchors_px[keep]
    centres = (values[:, 0:2] + anchors_px) / scale + origin
    half_sizes = values[:, 2:4] / (2 * scale)
    keypoints = (values[:, 4:16].reshape(-1, 6, 2) + anchors_px[:, None]) / scale + origin
    scores = 1 / (1 + np.exp(-np.clip(scores_logit[keep], -80, 80)))
    return [
        Detection(
            Box(*(float(v) for v in (*(centre - half), *(centre + half)))),
            Landmarks(points.astype(np.float32)),
            float(score),
        )
        for centre, half, points, score in zip(centres, half_sizes, keypoints, scores, strict=True)
    ]


def suppress(detections: list[Detection], max_overlap: float) -> list[Detection]:
    """Blends detections of one face into one, weighted by score; best first.

    BlazeFace's anchors flicker between frames; averaging the overlapping answers is steadier
    than keeping the best (section 3.3 of its paper). Half-faces at tile edges are smaller
    boxes inside larger ones, so containment counts as overlap too.
    """
    ordered = sorted(detections, key=lambda d: d.score, reverse=True)
    corners = _corners([d.box_px for d in ordered])
    remaining = np.arange(len(ordered))
    blended = []
    while remaining.size:
        best, others = remaining[0], remaining[1:]
        same = _same_faces(corners[best], corners[others], max_overlap)
        blended.append(_blend(ordered[best], [ordered[i] for i in others[same]]))
        remaining = others[~same]
    return blended


def same_face(a: Box, b: Box, max_overlap: float) -> bool:
    """Whether two boxes overlap by more than `max_overlap`, or one lies mostly in the other."""
    return bool(_same_faces(_corners([a])[0], _corners([b]), max_overlap)[0])


def _corners(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """x0, y0, x1, y1 of each box: shape (boxes, 4)."""
    return np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.float64).reshape(-1, 4)


def _same_faces(
    one: NDArray[np.float64], many: NDArray[np.float64], max_overlap: float
) -> NDArray[np.bool_]:
    """`same_face` of one box and each of many, from their corners."""
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    area, areas = _areas(one[None])[0], _areas(many)
    # Written without quotients: a box without an area is no face's, not even its own.
    overlapping = shared > max_overlap * (area + areas - shared)
    contained = shared > _CONTAINED * np.minimum(area, areas)
    return np.asarray((shared > 0) & (overlapping | contained))


def _areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1))


def _blend(best: Detection, same: list[Detection]) -> Detection:
    # A truncated box at a tile's edge would drag the blend; only like-sized boxes vote.
    voters = [best, *(d for d in same if intersection_over_union(d.box_px, best.box_px) > 0.5)]
    weights = np.array([d.score for d in voters], dtype=np.float32)
    weights /= weights.sum()
    corners = np.array([(d.box_px.x0, d.box_px.y0, d.box_px.x1, d.box_px.y1) for d in voters])
    points = np.stack([d.landmarks.points_px for d in voters])
    return Detection(
        Box(*(float(v) for v in weights @ corners)),
        Landmarks(np.tensordot(weights, points, axes=1).astype(np.float32)),
        best.score,
    )


def tiles(
    width_px: int, height_px: int, tile_px: tuple[float, float], overlap: float
) -> tuple[Box, ...]:
    """Covers a frame with as few tiles as will do, evenly spread.

    tile_px: their width and height. A frame that is narrower or lower cuts them off.
    overlap: least share of its side that a tile has in common with its neighbour.
    """

    def spans(length: int, side_px: float) -> list[tuple[float, float]]:
        side = min(side_px, float(length))
        count = 1 + math.ceil((length - side) / (side_px * (1 - overlap)))
        step = (length - side) / max(count - 1, 1)
        return [(i * step, i * step + side) for i in range(count)]

    across, down = spans(width_px, tile_px[0]), spans(height_px, tile_px[1])
    return tuple(Box(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across)
