"""Composes encounters: somebody comes nearer, and looks different from moment to moment.

One encounter is one tracklet. A person's pictures lie over each other, eyes on eyes, and fade
into one another while the face grows, moves and tilts before a panning background, in changing
light, with noise and a spell of motion blur. Only the face is shown, through a feathered ellipse,
because the surroundings of a picture may hold other people. It is no video of a person: the
pictures are years apart, which is harder than one conversation, and every look is a still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from edge_app.evaluation import scenes
from edge_app.records import Box, FaceMesh, Float32Array, ImageBgr

WIDTH_PX: Final = 960
HEIGHT_PX: Final = 540
FPS: Final = 9.0
"""A frame comes just after the least time between two looks (0.1 s), so each is looked at."""

MAX_LOOKS: Final = 5
"""Pictures of one encounter."""

_LOOK_S: Final = 0.8
_LEAST_S: Final = 2.0
_FADE_S: Final = 0.3
_LOOK_SIDE_PX: Final = 192
_FACE_SIDE_PX: Final = 90.0
"""Root of a face's area (its mesh's box) in a look: about its size in LFW."""

_GUESSED_FACE: Final = 0.6
"""Root of a face's area over the picture's, where no face was found: LFW's."""

_ELLIPSE: Final = (0.80, 0.80)
_ELLIPSE_RISE: Final = 0.08
_FEATHER: Final = 0.12
_BACKDROPS: Final = 4
_NOISE_SLACK_PX: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture of a person, its face moved to the middle and to the common size.

    image: float32 (192, 192, 3), BGR; share: float32 (192, 192, 1), how much of it to show.
    """

    image: Float32Array = field(repr=False)
    share: Float32Array = field(repr=False)


def look(picture: ImageBgr, mesh: FaceMesh | None) -> Look:
    """A person's look in a picture, where its face's mesh lies; None: assumed in the middle."""
    face = _middle(picture) if mesh is None else _around(mesh)
    scale = _FACE_SIDE_PX / np.sqrt(face.width * face.height)
    middle = _LOOK_SIDE_PX / 2
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = middle - scale * np.asarray(face.centre)
    shrunk = picture
    if scale < 0.6:  # averaged first: bilinear sampling alone would skip pixels
        shrunk = np.asarray(
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
        matrix[:, :2] = np.eye(2)
    size = (_LOOK_SIDE_PX, _LOOK_SIDE_PX)
    image = cv2.warpAffine(
        shrunk, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return Look(image.astype(np.float32), _ellipse(face, scale, picture.shape))


def _around(mesh: FaceMesh) -> Box:
    points = mesh.points_px[:, :2]
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Box(float(x0), float(y0), float(max(x1, x0 + 1)), float(max(y1, y0 + 1)))


def _middle(picture: ImageBgr) -> Box:
    height, width = picture.shape[:2]
    half_w, half_h = width * _GUESSED_FACE / 2, height * _GUESSED_FACE / 2
    return Box(width / 2 - half_w, height / 2 - half_h, width / 2 + half_w, height / 2 + half_h)


def _ellipse(face: Box, scale: float, shape: tuple[int, ...]) -> Float32Array:
    """The share of a look's pixels that is shown: round the face, inside the picture."""
    height, width = shape[:2]
    cx, cy = face.centre
    cy -= _ELLIPSE_RISE * face.height
    half_w = max(1.0, min(_ELLIPSE[0] * face.width, cx, width - cx)) * scale
    half_h = max(1.0, min(_ELLIPSE[1] * face.height, cy, height - cy)) * scale
    middle = _LOOK_SIDE_PX / 2
    y, x = np.mgrid[0:_LOOK_SIDE_PX, 0:_LOOK_SIDE_PX].astype(np.float32) + np.float32(0.5)
    rise = _ELLIPSE_RISE * face.height * scale
    radius = np.hypot((x - middle) / half_w, (y - middle + rise) / half_h)
    share = np.clip((1 - radius) / _FEATHER, 0, 1)
    return np.asarray(share[:, :, None], np.float32)


class Stage:
    """Backgrounds and sensor noise, made once; plays any number of encounters before them."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng((seed, 0))
        self._backdrops = [scenes.background(random) for _ in range(_BACKDROPS)]
        shape = (HEIGHT_PX + _NOISE_SLACK_PX, WIDTH_PX + _NOISE_SLACK_PX, 3)
        self._noise = random.standard_normal(shape, dtype=np.float32)

    def play(self, looks: Sequence[Look], random: np.random.Generator) -> Iterator[ImageBgr]:
        """The frames of one encounter, uint8 (540, 960, 3), `FPS` of them a second."""
        duration_s = max(_LEAST_S, _LOOK_S * len(looks))
        count = round(duration_s * FPS)
        walk = _walk(count, random)
        still = self._backdrops[int(random.integers(_BACKDROPS))]
        noise = self._noise * np.float32(walk.noise_luma)
        brighter = np.rint(noise.clip(0)).astype(np.uint8)
        darker = np.rint((-noise).clip(0)).astype(np.uint8)
        for number in range(count):
            x, y = (round(float(v)) for v in walk.pan_px[number])
            image = still[y : y + HEIGHT_PX, x : x + WIDTH_PX].copy()
            _paste(image, _at(looks, number / FPS, duration_s / len(looks)), walk, number)
            if walk.blur_px[number] > 0.1:
                sigma = float(walk.blur_px[number])
                image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
            lit = cv2.convertScaleAbs(image, alpha=float(walk.gain[number]))
            y, x = (int(v) for v in random.integers(0, _NOISE_SLACK_PX, 2))
            part = (slice(y, y + HEIGHT_PX), slice(x, x + WIDTH_PX))
            yield np.asarray(cv2.subtract(cv2.add(lit, brighter[part]), darker[part]), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """What changes from frame to frame; arrays have a row per frame.

    centre_px: (frames, 2), the face's middle. pan_px: (frames, 2), the background's corner.
    size:      of the face, over that of a look.
    """

    centre_px: Float32Array
    pan_px: Float32Array
    size: Float32Array
    tilt_deg: Float32Array
    gain: Float32Array
    blur_px: Float32Array
    noise_luma: float


def _walk(count: int, random: np.random.Generator) -> _Walk:
    share = np.linspace(0, 1, count)

    def sway(amplitude: float) -> Float32Array:
        turns, phase = random.uniform(0.5, 1.5), random.uniform(0, 2 * np.pi)
        return np.asarray(amplitude * np.sin(2 * np.pi * turns * share + phase), np.float32)

    size = np.geomspace(random.uniform(0.55, 0.75), random.uniform(1.0, 1.4), count)
    begin = random.uniform((200, 170), (WIDTH_PX - 200, HEIGHT_PX - 170))
    end = np.clip(begin + random.uniform(-150, 150, 2), (200, 170), (760, 370))
    centre = begin + (end - begin) * share[:, None] + np.stack([sway(6), sway(6)], axis=1)
    room = scenes.WIDTH_PX - WIDTH_PX, scenes.HEIGHT_PX - HEIGHT_PX
    corner = random.uniform((40, 40), np.subtract(room, 40))
    pan = corner + np.stack([sway(30), sway(15)], axis=1)
    gain = random.uniform(0.55, 1.15) * (1 + sway(random.uniform(0, 0.2)))
    spell = np.exp(-(((share - random.uniform(0, 1)) / 0.08) ** 2))
    blur = random.uniform(0, 0.6) + random.uniform(0, 1.5) * spell
    return _Walk(
        centre.astype(np.float32),
        pan.astype(np.float32),
        size.astype(np.float32),
        sway(random.uniform(0, 12)),
        gain.astype(np.float32),
        blur.astype(np.float32),
        float(random.uniform(1, 6)),
    )


def _at(looks: Sequence[Look], time_s: float, each_s: float) -> Look:
    """The look of a moment; at the end of its time each fades into the next."""
    number = min(int(time_s / each_s), len(looks) - 1)
    left_s = (number + 1) * each_s - time_s
    if number + 1 == len(looks) or left_s >= _FADE_S:
        return looks[number]
    old = np.float32(left_s / _FADE_S)
    now, then = looks[number], looks[number + 1]
    return Look(now.image * old + then.image * (1 - old), now.share * old + then.share * (1 - old))


def _paste(image: ImageBgr, shown: Look, walk: _Walk, number: int) -> None:
    scale, angle = float(walk.size[number]), np.radians(float(walk.tilt_deg[number]))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    middle = np.array([_LOOK_SIDE_PX / 2] * 2)
    reach = int(np.ceil(_LOOK_SIDE_PX * scale * 0.75))
    x0, y0 = (int(v) - reach for v in walk.centre_px[number])
    matrix[:, 2] = walk.centre_px[number] - (x0, y0) - matrix[:, :2] @ middle
    layers = np.dstack([shown.image, shown.share])
    warped = cv2.warpAffine(layers, matrix, (2 * reach, 2 * reach), flags=cv2.INTER_LINEAR)
    top, left = max(0, -y0), max(0, -x0)
    part = image[y0 + top : y0 + 2 * reach, x0 + left : x0 + 2 * reach]
    warped = warped[top : top + part.shape[0], left : left + part.shape[1]]
    share = warped[:, :, 3:]
    part[:] = np.rint(part * (1 - share) + warped[:, :, :3] * share).astype(np.uint8)
