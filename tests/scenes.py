"""Composed scenes with the real portraits: the tests know who is where."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from edge_app.adapters.cameras.scene import Actor, Key, Scene, SceneCamera
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr
from tests.support import picture

FPS = 15.0
Step = tuple[float, float, float, float]
"""(time_s, face centre x, face centre y, face width), in pixels of a 1920 x 1080 frame."""


class Cast:
    """Cut-outs of the portraits whose faces have a known size and place."""

    def __init__(self, media: Path, reader: Pipeline) -> None:
        self._media = media
        self._reader = reader
        self._cut = cache(self._cut_out)

    def walk(self, portrait: str, *steps: Step, flip: bool = False) -> Actor:
        """Somebody on their way; `flip` shows the mirror image."""
        image, share, (dx, dy) = self._cut(portrait)
        if flip:
            image, dx = np.ascontiguousarray(image[:, ::-1]), -dx
        keys = []
        for time_s, x, y, face_px in steps:
            width = face_px / share
            keys.append(Key(time_s, x - dx * width, y - dy * width, width))
        return Actor(portrait, image, tuple(keys))

    def stand(self, portrait: str, x: float, y: float, face_px: float, until_s: float) -> Actor:
        return self.walk(portrait, (0.0, x, y, face_px), (until_s, x, y, face_px))

    def _cut_out(self, portrait: str) -> tuple[ImageBgr, float, tuple[float, float]]:
        image = picture(self._media / portrait)
        face = self._reader.detect_whole(image)[0].box_px
        x, y = face.centre
        x0, x1 = (int(np.clip(x + k * face.width, 0, image.shape[1])) for k in (-1.3, 1.3))
        y0, y1 = (int(np.clip(y + k * face.width, 0, image.shape[0])) for k in (-1.4, 1.4))
        cut = np.ascontiguousarray(image[y0:y1, x0:x1])
        height, width = cut.shape[:2]
        off_centre = ((x - x0 - width / 2) / width, (y - y0 - height / 2) / width)
        return cut, face.width / width, off_centre


def scene_camera(duration_s: float, *actors: Actor) -> SceneCamera:
    return SceneCamera(
        Scene(
            width_px=1920, height_px=1080, fps=FPS, duration_s=duration_s, seed=1, actors=actors
        )
    )  # fmt: skip
