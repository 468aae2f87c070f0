"""From a part of a frame to detections: regions, network input, boxes, suppression.

The network family is BlazeFace (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face
detection on mobile GPUs", 2019). Its regressors are offsets from fixed anchors, in pixels of
the input square: centre x, centre y, width, height, then six keypoints x, y.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.core.geometry import intersection_over_union
from edge_app.records import Box, Detection, Float32Array, ImageBgr, Landmarks


@dataclass(frozen=True, slots=True, eq=False)
class DetectorGeometry:
    """What decoding needs to know of one detector.

    input_px: side of the square input.
    anchors:  shape (n, 2), float32, anchor centres as shares of the input's side.
    """

    input_px: int
    anchors: Float32Array


def detector_geometry(input_px: int, cells: tuple[tuple[int, int], ...]) -> DetectorGeometry:
    """Anchor centres, row by row; `cells` lists (cells per side, anchors per cell) per layer."""
    layers = []
    for per_side, per_cell in cells:
        centres = (np.arange(per_side, dtype=np.float32) + 0.5) / per_side
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, per_cell, axis=0))
    return DetectorGeometry(input_px, np.concatenate(layers))


GEOMETRIES = {
    "blazeface_short": detector_geometry(128, ((16, 2), (8, 6))),
    "blazeface_back": detector_geometry(256, ((16, 2), (8, 6))),
    "blazeface_full": detector_geometry(192, ((48, 1),)),
}


def network_input(image: ImageBgr, region: Box, input_px: int) -> tuple[Float32Array, float]:
    """The region, scaled to fit the input square from its top left corner, rest black.

    Returns (tensor, scale): tensor float32 (1, input_px, input_px, 3), RGB in -1 to 1;
    scale in input pixels per frame pixel. The region must lie inside the image.
    """
    x0, y0, x1, y1 = (round(v) for v in (region.x0, region.y0, region.x1, region.y1))
    scale = input_px / max(x1 - x0, y1 - y0)
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    # Averaging costs a tenth of a millisecond more than sampling and keeps small faces whole.
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image[y0:y1, x0:x1], (width, height), interpolation=shrink)
    tensor = np.full((1, input_px, input_px, 3), -1.0, dtype=np.float32)
    np.multiply(small[:, :, ::-1], np.float32(1 / 127.5), out=tensor[0, :height, :width])
    tensor[0, :height, :width] -= 1.0
    return tensor, scale


def decode(
    regressors: Float32Array,
    logits: Float32Array,
    geometry: DetectorGeometry,
    *,
    region: Box,
    scale: float,
    min_score: float,
) -> list[Detection]:
    """Detections above `min_score`, in frame pixels, not yet suppressed.

    regressors: (1, n, 16); logits: (1, n, 1); region and scale as given to `network_input`.
    """
    scores_logit = logits.reshape(-1)
    keep = np.flatnonzero(scores_logit > np.log(min_score / (1 - min_score)))
    if keep.size == 0:
        return []
    values = regressors.reshape(-1, 16)[keep]
    origin = np.array([round(region.x0), round(region.y0)], dtype=np.float32)
    anchors_px = geometry.anchors[keep] * geometry.input_px
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
    remaining = sorted(detections, key=lambda d: d.score, reverse=True)
    blended = []
    while remaining:
        best = remaining[0]
        same = [d for d in remaining if _same_face(best.box_px, d.box_px, max_overlap)]
        remaining = [d for d in remaining if not _same_face(best.box_px, d.box_px, max_overlap)]
        blended.append(_blend(best, same))
    return blended


def _same_face(a: Box, b: Box, max_overlap: float) -> bool:
    if intersection_over_union(a, b) > max_overlap:
        return True
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    smaller = min(a.area, b.area)
    return width > 0 and height > 0 and smaller > 0 and width * height / smaller > 0.7


def _blend(best: Detection, same: list[Detection]) -> Detection:
    # A truncated box at a tile's edge would drag the blend; only like-sized boxes vote.
    voters = [d for d in same if intersection_over_union(d.box_px, best.box_px) > 0.5] or [best]
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
    width_px: int, height_px: int, columns: int, rows: int, overlap: float
) -> tuple[Box, ...]:
    """Covers a frame with columns x rows equal boxes that overlap by a share of their side."""

    def spans(length: int, count: int) -> list[tuple[float, float]]:
        side = length / (1 + (count - 1) * (1 - overlap))
        return [(i * side * (1 - overlap), i * side * (1 - overlap) + side) for i in range(count)]

    return tuple(
        Box(x0, y0, x1, y1)
        for y0, y1 in spans(height_px, rows)
        for x0, x1 in spans(width_px, columns)
    )
