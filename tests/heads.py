"""A portrait that turns its head: the person before the camera, for tests of live capture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.evaluation.attacks import Portrait, head
from edge_app.evaluation.surfaces import Camera, Placement, Surface, draw
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr

_DISTANCE_M = 0.6


@dataclass(frozen=True)
class Relief:
    """A solid head where the portrait has it, before the portrait out of focus."""

    backdrop: ImageBgr
    head: Surface
    camera: Camera
    position_m: tuple[float, float, float]

    def turned(self, yaw_deg: float, pitch_deg: float) -> ImageBgr:
        """The portrait with its head turned; yaw > 0 to the viewer's right, pitch > 0 up."""
        canvas = self.backdrop.copy()
        draw(canvas, self.head, Placement(yaw_deg, pitch_deg, 0.0, self.position_m), self.camera)
        return canvas


def relief(pipeline: Pipeline, image: ImageBgr) -> Relief:
    """Of the only face in a portrait."""
    mesh = pipeline.mesh(image, pipeline.detect_whole(image)[0])
    portrait = Portrait(image, mesh.points_px.astype(np.float64))
    height, width = image.shape[:2]
    scale = portrait.metres_per_px
    solid = head(portrait, depth=1.0)
    x, y, _ = portrait.middle
    backdrop = cv2.GaussianBlur(image, (0, 0), width / 10)
    return Relief(
        np.asarray(backdrop, np.uint8),
        solid,
        Camera(width, height, _DISTANCE_M / scale),
        (float(x - width / 2) * scale, float(y - height / 2) * scale, _DISTANCE_M),
    )
