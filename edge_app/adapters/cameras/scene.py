"""A composed scene: who is where is known for every frame, because it was written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.errors import StorageError
from edge_app.ports import FrameSource
from edge_app.records import Box, Float32Array, Frame, FrameOrigin, ImageBgr

_FEATHER: Final = 0.08
_BACKDROP_CELL_PX: Final = 60
_NOISE_SLACK_PX: Final = 64


@dataclass(frozen=True, slots=True)
class Key:
    """Where something is at one moment: the centre of its rectangle, and the width.

    Between two keys all three change linearly. Pixels of the frame for an `Actor`, of the
    still for a `PanZoom`.
    """

    time_s: float
    centre_x_px: float
    centre_y_px: float
    width_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """A cut-out that moves through the scene, there from its first key to its last.

    image_bgr: the cut-out, uint8 (height, width, 3); its edges are blended softly.
    path:      at least one key, in order of time; the width is the cut-out's.
    mask:      how much of each pixel is shown, uint8 (height, width), 0 to 255; None: all of it.
    """

    label: str
    image_bgr: ImageBgr = field(repr=False)
    path: tuple[Key, ...]
    mask: NDArray[np.uint8] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, eq=False)
class PanZoom:
    """A camera that moves over a still: the frame shows the part that the path's keys name.

    image_bgr: the still, uint8 (height, width, 3).
    path:      at least one key, in order of time; a part that would reach beyond the still is
               moved into it, or made smaller if it is too large.
    subjects:  (label, box in pixels of the still) of whoever is known to be in it.
    """

    image_bgr: ImageBgr = field(repr=False)
    path: tuple[Key, ...]
    subjects: tuple[tuple[str, Box], ...]


@dataclass(frozen=True, slots=True)
class Degradation:
    """What the camera does to the picture, in this order.

    blur_sigma_px: standard deviation of a Gaussian blur; 0 for none.
    gain:          factor on every pixel; below 1 for a dark scene.
    noise_sigma:   standard deviation of the noise added to every pixel, in grey levels.
    """

    blur_sigma_px: float
    gain: float
    noise_sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that a `SceneCamera` shows. The same scene gives the same frames.

    backdrop:    None for a generated one: soft blotches, without anything like a face.
    degradation: None for a perfect camera.
    """

    width_px: int
    height_px: int
    fps: float
    duration_s: float
    seed: int
    actors: tuple[Actor, ...]
    backdrop: PanZoom | None = None
    degradation: Degradation | None = None


@dataclass(frozen=True, slots=True)
class ActorTruth:
    """Somebody in view, and where: box_px is cut to the frame."""

    label: str
    box_px: Box


class SceneCamera:
    """A `FrameSource` that draws a `Scene`, as fast as it is read.

    A frame of 1920 x 1080 takes 2 to 4 ms on an x86 core; noise and blur take 3 to 5 more each.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._cast = tuple(_Sprite(actor) for actor in scene.actors)
        self._generated = _generated_backdrop(scene)
        self._noise = _noise_fields(scene)
        self._next: int | None = None

    @property
    def origin(self) -> FrameOrigin:
        return FrameOrigin.REPLAY

    @property
    def description(self) -> str:
        return f"composed scene of {self._scene.duration_s:g} s"

    @property
    def undecodable(self) -> int:
        return 0

    def open(self) -> None:
        self._next = 0

    def read(self) -> Frame | None:
        number = self._next
        if number is None or number >= round(self._scene.duration_s * self._scene.fps):
            return None
        self._next = number + 1
        return self.frame(number)

    def close(self) -> None:
        self._next = None

    def frame(self, number: int) -> Frame:
        """Frame `number` of the scene, whatever was read before."""
        time_s = number / self._scene.fps
        image = self._background(time_s)
        for sprite in self._cast:
            rectangle = sprite.rectangle(time_s)
            if rectangle is not None:
                sprite.paste(image, rectangle)
        return Frame(self._degraded(image, number), time_s, number, FrameOrigin.REPLAY)

    def truth(self, time_s: float) -> tuple[ActorTruth, ...]:
        """Everybody in view at `time_s`, the backdrop's subjects first."""
        boxes = self._subjects(time_s)
        for sprite in self._cast:
            rectangle = sprite.rectangle(time_s)
            if rectangle is not None:
                boxes.append((sprite.label, rectangle.box_px()))
        cut = [ActorTruth(label, self._cut(box)) for label, box in boxes]
        return tuple(truth for truth in cut if truth.box_px.width > 0 and truth.box_px.height > 0)

    def _background(self, time_s: float) -> ImageBgr:
        if self._scene.backdrop is None:
            return self._generated.copy()
        still = self._scene.backdrop
        window = self._window(still, time_s)
        part = still.image_bgr[window.y : window.y + window.height, window.x :][:, : window.width]
        return _resized(part, self._scene.width_px, self._scene.height_px)

    def _degraded(self, image: ImageBgr, number: int) -> ImageBgr:
        degradation = self._scene.degradation
        if degradation is None:
            return image
        if degradation.blur_sigma_px > 0:
            image = _u8(cv2.GaussianBlur(image, (0, 0), degradation.blur_sigma_px))
        if degradation.gain != 1:
            image = _u8(cv2.convertScaleAbs(image, alpha=degradation.gain))
        if self._noise is not None:
            image = self._noisy(image, self._noise, number)
        return image

    def _noisy(self, image: ImageBgr, noise: _Noise, number: int) -> ImageBgr:
        """A different part of the noise for each frame; drawing it anew would take 40 ms."""
        rng = np.random.default_rng((self._scene.seed, number))
        y, x = (int(offset) for offset in rng.integers(0, _NOISE_SLACK_PX, 2))
        rows = slice(y, y + self._scene.height_px)
        columns = slice(x, x + self._scene.width_px)
        brighter = cv2.add(image, noise.brighter[rows, columns])
        return _u8(cv2.subtract(brighter, noise.darker[rows, columns]))

    def _subjects(self, time_s: float) -> list[tuple[str, Box]]:
        still = self._scene.backdrop
        if still is None:
            return []
        window = self._window(still, time_s)
        scale_x = self._scene.width_px / window.width
        scale_y = self._scene.height_px / window.height
        return [
            (
                label,
                Box(
                    (box.x0 - window.x) * scale_x,
                    (box.y0 - window.y) * scale_y,
                    (box.x1 - window.x) * scale_x,
                    (box.y1 - window.y) * scale_y,
                ),
            )
            for label, box in still.subjects
        ]

    def _window(self, still: PanZoom, time_s: float) -> _Rectangle:
        """The part of the still that is shown, in whole pixels and inside it."""
        height_px, width_px = still.image_bgr.shape[:2]
        centre_x, centre_y, width = _at(still.path, time_s)
        aspect = self._scene.height_px / self._scene.width_px
        shown_width = max(1, round(min(width, width_px, height_px / aspect)))
        shown_height = min(height_px, max(1, round(shown_width * aspect)))
        x = min(max(0, round(centre_x - shown_width / 2)), width_px - shown_width)
        y = min(max(0, round(centre_y - shown_height / 2)), height_px - shown_height)
        return _Rectangle(x, y, shown_width, shown_height)

    def _cut(self, box: Box) -> Box:
        return Box(
            max(0.0, box.x0),
            max(0.0, box.y0),
            min(float(self._scene.width_px), box.x1),
            min(float(self._scene.height_px), box.y1),
        )


def write_mjpeg_avi(path: Path, source: FrameSource, fps: float) -> None:
    """Stores every frame of a source as a video. Raises StorageError, or what the source raises."""
    writer: cv2.VideoWriter | None = None
    source.open()
    try:
        while (frame := source.read()) is not None:
            if writer is None:
                writer = _avi_writer(path, fps, (frame.width_px, frame.height_px))
            writer.write(frame.image_bgr)
    finally:
        source.close()
        if writer is not None:
            writer.release()


def _avi_writer(path: Path, fps: float, size_px: tuple[int, int]) -> cv2.VideoWriter:
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, fps, size_px)
    if not writer.isOpened():
        raise StorageError(
            f"the video {str(path)!r} cannot be written; end its name in .avi and check that its "
            "folder exists and is writable"
        )
    return writer


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """In whole pixels."""

    x: int
    y: int
    width: int
    height: int

    def box_px(self) -> Box:
        return Box(
            float(self.x), float(self.y), float(self.x + self.width), float(self.y + self.height)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    """What to add and what to take away; both uint8, (height + slack, width + slack, 3)."""

    brighter: ImageBgr = field(repr=False)
    darker: ImageBgr = field(repr=False)


class _Sprite:
    """An actor, ready to be pasted."""

    def __init__(self, actor: Actor) -> None:
        self.label = actor.label
        self._image = actor.image_bgr
        self._mask = actor.mask
        self._path = actor.path

    def rectangle(self, time_s: float) -> _Rectangle | None:
        """Where the cut-out is, which may be partly or wholly outside the frame."""
        if not self._path[0].time_s <= time_s <= self._path[-1].time_s:
            return None
        centre_x, centre_y, width_px = _at(self._path, time_s)
        width = max(1, round(width_px))
        height = max(1, round(width * self._image.shape[0] / self._image.shape[1]))
        return _Rectangle(round(centre_x - width / 2), round(centre_y - height / 2), width, height)

    def paste(self, image: ImageBgr, at: _Rectangle) -> None:
        """Blends the cut-out into the image, in place."""
        x0, x1 = max(0, at.x), min(image.shape[1], at.x + at.width)
        y0, y1 = max(0, at.y), min(image.shape[0], at.y + at.height)
        if x0 >= x1 or y0 >= y1:
            return
        columns = slice(x0 - at.x, x1 - at.x)
        rows = slice(y0 - at.y, y1 - at.y)
        cut_out = _resized(self._image, at.width, at.height)[rows, columns]
        weight = np.outer(_ramp(at.height)[rows], _ramp(at.width)[columns])
        if self._mask is not None:
            shown = _resized(self._mask, at.width, at.height)[rows, columns]
            weight *= shown / np.float32(255)
        part = image[y0:y1, x0:x1]
        part[:] = cv2.blendLinear(part, cut_out, 1 - weight, weight)


def _at(path: Sequence[Key], time_s: float) -> tuple[float, float, float]:
    """(centre x, centre y, width) at a moment; before the first key and after the last, theirs."""
    times = [key.time_s for key in path]
    return (
        float(np.interp(time_s, times, [key.centre_x_px for key in path])),
        float(np.interp(time_s, times, [key.centre_y_px for key in path])),
        float(np.interp(time_s, times, [key.width_px for key in path])),
    )


def _ramp(length_px: int) -> Float32Array:
    """Weights of a cut-out along one side: 1 inside, falling to 0 over the feather, (length,)."""
    from_edge = np.minimum(np.arange(length_px), np.arange(length_px)[::-1]) + 0.5
    return np.clip(from_edge / (_FEATHER * length_px), 0.0, 1.0).astype(np.float32)


def _generated_backdrop(scene: Scene) -> ImageBgr:
    """Soft random blotches, nearly grey, that get lighter from top to bottom."""
    rng = np.random.default_rng(scene.seed)
    rows = max(2, scene.height_px // _BACKDROP_CELL_PX)
    columns = max(2, scene.width_px // _BACKDROP_CELL_PX)
    blotches = rng.uniform(60, 120, (rows, columns, 1)) + rng.uniform(-8, 8, (rows, columns, 3))
    blotches += np.linspace(0, 60, rows)[:, None, None]
    size = (scene.width_px, scene.height_px)
    return cv2.resize(blotches, size, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def _noise_fields(scene: Scene) -> _Noise | None:
    if scene.degradation is None or scene.degradation.noise_sigma <= 0:
        return None
    rng = np.random.default_rng((scene.seed, 1))
    shape = (scene.height_px + _NOISE_SLACK_PX, scene.width_px + _NOISE_SLACK_PX, 3)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(scene.degradation.noise_sigma)
    noise = np.rint(noise).clip(-255, 255)
    return _Noise(noise.clip(0).astype(np.uint8), (-noise).clip(0).astype(np.uint8))


def _resized(image: ImageBgr, width_px: int, height_px: int) -> ImageBgr:
    # Averaging is slow on a large still; up to a half, linear interpolation skips no pixel.
    method = cv2.INTER_AREA if image.shape[1] > 2 * width_px else cv2.INTER_LINEAR
    return _u8(cv2.resize(image, (width_px, height_px), interpolation=method))


def _u8(image: object) -> ImageBgr:
    return np.asarray(image, dtype=np.uint8)
