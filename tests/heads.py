"""A portrait that turns its head: the person before the camera, for tests of live capture.

FaceMesh's own depth makes the portrait a relief, which is turned and drawn triangle by
triangle. It looks like a mask, but its nose moves against its eyes, as a photograph's does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr

_DEPTH = 1.8
"""The neck and hair do not turn with the face, so the nose has to stand out further."""


@dataclass(frozen=True)
class Relief:
    """points: (468, 3), pixels; triangles: (n, 3) indices into them."""

    image: ImageBgr
    points: NDArray[np.float64]
    triangles: NDArray[np.int64]

    def turned(self, yaw_deg: float, pitch_deg: float) -> ImageBgr:
        """The portrait with its head turned; yaw > 0 to the viewer's right, pitch > 0 up."""
        centre = self.points.mean(axis=0)
        yaw, pitch = np.radians(yaw_deg), np.radians(-pitch_deg)
        about_y = np.array(
            [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
        )
        about_x = np.array(
            [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
        )
        turned = (self.points - centre) @ (about_x @ about_y).T + centre
        canvas = self.image.copy()
        far_first = np.argsort(-turned[self.triangles, 2].mean(axis=1))
        for corners in self.triangles[far_first]:
            _draw(canvas, self.image, self.points[corners, :2], turned[corners, :2])
        return canvas


def relief(pipeline: Pipeline, image: ImageBgr) -> Relief:
    """Of the only face in a portrait."""
    _, mesh = pipeline.aligned(image, pipeline.detect_whole(image)[0])
    points = mesh.points_px.astype(np.float64) * (1, 1, _DEPTH)
    x0, y0 = points[:, :2].min(axis=0) - 5
    x1, y1 = points[:, :2].max(axis=0) + 5
    plane = cv2.Subdiv2D((int(x0), int(y0), int(x1 - x0) + 10, int(y1 - y0) + 10))
    for x, y in points[:, :2]:
        plane.insert((float(x), float(y)))
    triangles = []
    for corners in np.asarray(plane.getTriangleList()).reshape(-1, 3, 2):
        distances = np.linalg.norm(points[None, :, :2] - corners[:, None], axis=2)
        if distances.min(axis=1).max() < 0.5:
            triangles.append(distances.argmin(axis=1))
    return Relief(image, points, np.array(triangles))


def _draw(
    canvas: ImageBgr, texture: ImageBgr, source: NDArray[np.float64], target: NDArray[np.float64]
) -> None:
    a, b, c = target
    if (b[0] - a[0]) * (c[1] - a[1]) == (b[1] - a[1]) * (c[0] - a[0]):
        return
    x0, y0 = np.floor(target.min(axis=0)).astype(int)
    x1, y1 = np.ceil(target.max(axis=0)).astype(int) + 1
    x0, y0 = max(x0, 0), max(y0, 0)
    x1, y1 = min(x1, canvas.shape[1]), min(y1, canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    local = (target - [x0, y0]).astype(np.float32)
    matrix = cv2.getAffineTransform(source.astype(np.float32), local)
    size = (int(x1 - x0), int(y1 - y0))
    patch = cv2.warpAffine(texture, matrix, size, borderMode=cv2.BORDER_REFLECT)
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.round(local).astype(np.int32), 1)
    part = canvas[y0:y1, x0:x1]
    part[mask > 0] = patch[mask > 0]
