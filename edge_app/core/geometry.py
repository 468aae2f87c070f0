"""Rectangles, similarity transforms and crops.

A transform is a float64 array of shape (2, 3) that maps source to destination pixels:
`destination = matrix[:, :2] @ source + matrix[:, 2]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.records import Box, Float32Array, ImageBgr

Transform = NDArray[np.float64]

_DECIMATE_BELOW = 0.5
"""Bilinear sampling skips source pixels below this scale; average them first."""


def intersection_over_union(a: Box, b: Box) -> float:
    """Overlap of two boxes, 0 to 1; 0 when either is empty."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0


def clip(box: Box, width_px: int, height_px: int) -> Box:
    """The part of the box inside an image; empty (zero area) if there is none."""
    x0, x1 = (min(max(x, 0.0), float(width_px)) for x in (box.x0, box.x1))
    y0, y1 = (min(max(y, 0.0), float(height_px)) for y in (box.y0, box.y1))
    return Box(x0, y0, x1, y1)


def scaled(box: Box, factor: float) -> Box:
    """The box, grown or shrunk about its centre."""
    (cx, cy), half_width, half_height = box.centre, box.width / 2, box.height / 2
    return Box(
        cx - half_width * factor,
        cy - half_height * factor,
        cx + half_width * factor,
        cy + half_height * factor,
    )


def around(points_px: Float32Array) -> Box:
    """The smallest box that holds all points, shape (n, 2), n >= 1."""
    (x0, y0), (x1, y1) = points_px.min(axis=0), points_px.max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def inside_polygon(point: tuple[float, float], polygon: Sequence[tuple[float, float]]) -> bool:
    """Whether a point lies in a polygon (even-odd rule); an empty polygon holds nothing."""
    if len(polygon) < 3:
        return False
    contour = np.asarray(polygon, dtype=np.float32)
    return cv2.pointPolygonTest(contour, point, measureDist=False) >= 0


def similarity_transform(source: Float32Array, destination: Float32Array) -> Transform:
    """Least-squares rotation, uniform scale and shift, source onto destination.

    source, destination: shape (n, 2), n >= 2, the source points not all equal.
    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", IEEE TPAMI 13(4), 1991, equations 40 to 42.
    Raises ValueError when the source points coincide.
    """
    source_mean, destination_mean = source.mean(axis=0), destination.mean(axis=0)
    sx, sy = (source - source_mean).astype(np.float64).T
    dx, dy = (destination - destination_mean).astype(np.float64).T
    variance = sx @ sx + sy @ sy
    if not variance > 0:
        raise ValueError("the source points coincide")
    # In two dimensions the singular value decomposition comes down to these two sums.
    cos, sin = (sx @ dx + sy @ dy) / variance, (sx @ dy - sy @ dx) / variance
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = destination_mean - matrix[:, :2] @ source_mean
    return matrix


def square_crop_transform(
    centre: tuple[float, float], side_px: float, angle_rad: float, size_px: int
) -> Transform:
    """Maps a rotated square of the frame onto a size_px x size_px crop.

    angle_rad: direction of the square's top edge in the frame, clockwise from +x.
    """
    scale = size_px / side_px
    cos, sin = np.cos(angle_rad) * scale, np.sin(angle_rad) * scale
    matrix = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    matrix[:, 2] = size_px / 2 - matrix[:, :2] @ np.asarray(centre)
    return matrix


def apply(matrix: Transform, points: Float32Array) -> Float32Array:
    """Transforms points of shape (n, 2)."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def invert(matrix: Transform) -> Transform:
    """The transform back. Raises ZeroDivisionError if there is none."""
    (a, b, _), (c, d, _) = matrix.tolist()
    per_area = 1 / (a * d - b * c)
    inverse = np.empty((2, 3))
    inverse[:, :2] = [[d * per_area, -b * per_area], [-c * per_area, a * per_area]]
    inverse[:, 2] = -inverse[:, :2] @ matrix[:, 2]
    return inverse


def scale_of(matrix: Transform) -> float:
    """Destination pixels per source pixel of a similarity transform."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def warp_crop(image: ImageBgr, matrix: Transform, size_px: int) -> ImageBgr:
    """The size_px x size_px crop that `matrix` maps the image onto; black outside the image.

    Faces much larger than the crop are averaged down first, so that fine texture does not
    alias. Only the region under the crop is touched.
    """
    scale = scale_of(matrix)
    if scale >= _DECIMATE_BELOW:
        return _sample(image, matrix, size_px)
    corners = np.array([[0, 0], [size_px, 0], [0, size_px], [size_px, size_px]], dtype=np.float32)
    footprint = apply(invert(matrix), corners)
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(footprint.min(axis=0)) - 2, 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(footprint.max(axis=0)) + 2, 0, (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return np.zeros((size_px, size_px, 3), dtype=np.uint8)
    small_width = max(1, round((x1 - x0) * scale * 1.5))
    small_height = max(1, round((y1 - y0) * scale * 1.5))
    small = cv2.resize(
        image[y0:y1, x0:x1], (small_width, small_height), interpolation=cv2.INTER_AREA
    )
    # Pixel edges, not centres, are what both images share: x_full = x_small / ratio + x0.
    ratio = np.array([small_width / (x1 - x0), small_height / (y1 - y0)])
    onto_crop = np.empty((2, 3))
    onto_crop[:, :2] = matrix[:, :2] / ratio
    onto_crop[:, 2] = matrix[:, 2] + matrix[:, :2] @ np.array([x0, y0])
    return _sample(np.asarray(small, dtype=np.uint8), onto_crop, size_px)


def smoothed(tensor: Float32Array, sigma_px: float) -> Float32Array:
    """A network input, shape (1, height, width, channels), after a Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(tensor[0], (0, 0), sigma_px), np.float32)[None]


def _sample(image: ImageBgr, matrix: Transform, size_px: int) -> ImageBgr:
    # OpenCV puts the origin at the first pixel's centre, we at its corner.
    at_centres = matrix.copy()
    at_centres[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    crop = cv2.warpAffine(
        image, at_centres, (size_px, size_px), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0)
    )
    return np.asarray(crop, dtype=np.uint8)
