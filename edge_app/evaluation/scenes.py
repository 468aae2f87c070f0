"""Composes frames with faces at known places and sizes, for measuring detection.

A scene is a made-up background with faces pasted through a feathered ellipse, so that the
surroundings of a portrait, which may hold other people, stay out. The background is made of
gradients, texture and shapes: it is no street, and says little of false detections in one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from edge_app.core.geometry import apply, around
from edge_app.errors import ConfigError, MediaError, StorageError
from edge_app.evaluation.faces import FaceReader, with_progress
from edge_app.evaluation.files import list_pictures, read_picture, write_json
from edge_app.records import Box, Float32Array, ImageBgr

WIDTH_PX: Final = 1920
HEIGHT_PX: Final = 1080
MIN_FACES: Final = 1
MAX_FACES: Final = 30
MIN_FACE_PX: Final = 30
MAX_FACE_PX: Final = 480
MAX_TILT_DEG: Final = 25.0

_JPEG_QUALITY: Final = 92
_PLACES_TRIED: Final = 40
_STEP_BACK: Final = 0.7
_FORMAT: Final = 2
_OVERSAMPLING: Final = 3

_ELLIPSE: Final = (0.80, 0.80)
"""Half width and half height of the pasted ellipse, in widths and heights of the face's box."""

_ELLIPSE_RISE: Final = 0.08
"""How far the ellipse's centre lies above the box's, in box heights: there is hair above."""

_FEATHER: Final = 0.12
"""Share of the ellipse's radius over which the pasted face fades out."""


@dataclass(frozen=True, slots=True)
class Wear:
    """What was done to a frame after composing it.

    gain:       brightness, 0 to 1.
    blur_px:    standard deviation of the Gaussian blur; 0 is none.
    noise_luma: standard deviation of the sensor noise, of 255.
    """

    gain: float
    blur_px: float
    noise_luma: float


@dataclass(frozen=True, slots=True)
class TrueFace:
    """One face of a scene.

    box_px:   around its mesh, which reaches from ear to ear and from brow to chin.
    width_px: of that box before the face was tilted.
    tilt_deg: clockwise for the viewer.
    """

    box_px: Box
    width_px: float
    tilt_deg: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What one scene's file holds."""

    file: str
    faces: tuple[TrueFace, ...]
    wear: Wear


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A picture that shows one face. mesh_px: shape (468, 2), where its mesh lies."""

    image_bgr: ImageBgr = field(repr=False)
    mesh_px: Float32Array = field(repr=False)

    @property
    def face_px(self) -> Box:
        """The box around the mesh."""
        return around(self.mesh_px)


def background(random: np.random.Generator) -> ImageBgr:
    """A frame without faces: texture at all scales, shapes and lines. uint8 (1080, 1920, 3)."""
    canvas = np.full((HEIGHT_PX, WIDTH_PX, 3), random.uniform(60, 180), np.float32)
    canvas += random.normal(0, 12, 3).astype(np.float32)
    for side in (2, 4, 10, 30, 100, 300, 900):
        luma = _texture(side, 1, random) * np.float32(random.uniform(2, 16))
        chroma = _texture(side, 3, random) * np.float32(random.uniform(0, 4))
        canvas += luma[:, :, None] + chroma
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(int(random.integers(20, 70))):
        _draw_shape(image, random)
    return image


def _texture(side: int, channels: int, random: np.random.Generator) -> Float32Array:
    """Smooth noise of `side` grains across the frame, deviation about 1."""
    grains = random.standard_normal((max(2, side * 9 // 16), side, channels), dtype=np.float32)
    grown = cv2.resize(grains, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    return np.asarray(grown, np.float32)


def _draw_shape(image: ImageBgr, random: np.random.Generator) -> None:
    luma, chroma = random.uniform(20, 235), random.normal(0, 20, 3)
    colour = tuple(int(v) for v in np.clip(luma + chroma, 0, 255))
    x, y = int(random.integers(0, WIDTH_PX)), int(random.integers(0, HEIGHT_PX))
    w, h = (int(v) for v in np.exp(random.uniform(np.log(8), np.log(500), 2)))
    match int(random.integers(0, 4)):
        case 0:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
        case 1:
            angle = float(random.uniform(0, 180))
            cv2.ellipse(image, (x, y), (w // 2, h // 2), angle, 0, 360, colour, -1, cv2.LINE_AA)
        case 2:
            corners = random.integers(-w, w + 1, (5, 2)) + np.array([x, y])
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        case _:
            cv2.line(image, (x, y), (x + w, y + h), colour, 1 + w // 60, cv2.LINE_AA)


def paste(
    scene: ImageBgr,
    portrait: Portrait,
    centre_px: tuple[float, float],
    width_px: float,
    tilt_deg: float,
) -> Box:
    """Draws the portrait's face into the scene, in place; returns the box around it there.

    width_px: of the face before it is tilted. tilt_deg: clockwise for the viewer, about the
    centre of the face's box.
    """
    face = portrait.face_px
    scale = width_px / face.width
    angle = np.radians(tilt_deg)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = np.asarray(centre_px) - matrix[:, :2] @ np.asarray(face.centre)
    reach = round(scale * max(face.width, face.height) * 1.3) + 2
    x0, y0 = (max(0, round(c) - reach) for c in centre_px)
    x1 = min(scene.shape[1], round(centre_px[0]) + reach)
    y1 = min(scene.shape[0], round(centre_px[1]) + reach)
    # Three times as fine, then averaged down: bilinear sampling alone would skip pixels of a
    # portrait that shrinks.
    fine = matrix.copy()
    fine[:, 2] -= (x0, y0)
    fine *= _OVERSAMPLING
    fine[:, 2] += fine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    size = (x1 - x0, y1 - y0)
    fine_size = (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING)
    layers = np.dstack([portrait.image_bgr.astype(np.float32), _mask(portrait) * 255])
    warped = cv2.warpAffine(layers, fine, fine_size, flags=cv2.INTER_LINEAR)
    small = cv2.resize(warped, size, interpolation=cv2.INTER_AREA)
    share = small[:, :, 3:] / np.float32(255)
    part = scene[y0:y1, x0:x1]
    part[:] = np.rint(part * (1 - share) + small[:, :, :3] * share).astype(np.uint8)
    return around(apply(matrix, portrait.mesh_px))


def _mask(portrait: Portrait) -> Float32Array:
    """How much of each pixel to paste, 0 to 1: an ellipse round the face, inside the picture."""
    height, width = portrait.image_bgr.shape[:2]
    face = portrait.face_px
    cx, cy = face.centre
    cy -= _ELLIPSE_RISE * face.height
    half_w = min(_ELLIPSE[0] * face.width, cx, width - cx)
    half_h = min(_ELLIPSE[1] * face.height, cy, height - cy)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    radius = np.hypot((x - cx) / half_w, (y - cy) / half_h)
    return np.asarray(np.clip((1 - radius) / _FEATHER, 0, 1), np.float32)


def compose(
    portraits: Sequence[Portrait], random: np.random.Generator
) -> tuple[ImageBgr, tuple[TrueFace, ...], Wear]:
    """One scene: uint8 (1080, 1920, 3), its faces, and its wear."""
    scene = background(random)
    wanted = int(random.integers(MIN_FACES, MAX_FACES + 1))
    widths = np.exp(random.uniform(np.log(MIN_FACE_PX), np.log(MAX_FACE_PX), wanted))
    faces: list[TrueFace] = []
    # The largest first; who finds no room among them stands further back.
    for drawn in np.sort(widths)[::-1]:
        room = _room(float(drawn), [face.box_px for face in faces], random)
        if room is None:
            continue
        width, centre = room
        portrait = portraits[int(random.integers(0, len(portraits)))]
        tilt_deg = float(random.uniform(-MAX_TILT_DEG, MAX_TILT_DEG))
        box = paste(scene, portrait, centre, width, tilt_deg)
        faces.append(TrueFace(box, width, tilt_deg))
    wear = Wear(
        gain=float(random.uniform(0.25, 1.0)),
        blur_px=float(max(0.0, random.uniform(-1.0, 1.5))),
        noise_luma=float(random.uniform(0.0, 10.0)),
    )
    return _worn(scene, wear, random), tuple(faces), wear


def _room(
    width_px: float, taken: Sequence[Box], random: np.random.Generator
) -> tuple[float, tuple[float, float]] | None:
    """The largest width up to this one for which there is a place, with its centre; or None."""
    while width_px >= MIN_FACE_PX:
        centre = _free_place(width_px, taken, random)
        if centre is not None:
            return width_px, centre
        width_px *= _STEP_BACK
    return None


def _free_place(
    width_px: float, taken: Sequence[Box], random: np.random.Generator
) -> tuple[float, float] | None:
    """A centre for a face that lies whole inside the frame and touches no other; or None."""
    for _ in range(_PLACES_TRIED):
        x = float(random.uniform(width_px, WIDTH_PX - width_px))
        y = float(random.uniform(width_px, HEIGHT_PX - width_px))
        if all(
            max(abs(x - box.centre[0]), abs(y - box.centre[1]))
            > 0.85 * (width_px + max(box.width, box.height))
            for box in taken
        ):
            return x, y
    return None


def _worn(scene: ImageBgr, wear: Wear, random: np.random.Generator) -> ImageBgr:
    image = scene.astype(np.float32) * np.float32(wear.gain)
    if wear.blur_px > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), wear.blur_px), np.float32)
    noise = random.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32(wear.noise_luma)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def usable_portrait(reader: FaceReader, image: ImageBgr) -> Portrait | None:
    """The picture, if it shows one whole face; None otherwise."""
    reading = reader.portrait(image)
    if reading is None or len(reader.scene(image)) > 1:
        return None
    portrait = Portrait(image, reading.mesh.points_px[:, :2])
    box = portrait.face_px
    height, width = image.shape[:2]
    inside = box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height
    return portrait if inside else None


def encode_truth(seed: int, truths: Sequence[Truth]) -> dict[str, Any]:
    """What `truth.json` holds."""
    return {"format": _FORMAT, "seed": seed, "scenes": [asdict(truth) for truth in truths]}


def read_truth(path: Path) -> tuple[Truth, ...]:
    """Reads `truth.json`.

    Raises:
        ConfigError: it cannot be read, or is not what `make-scenes` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError("unknown format")
        truths = tuple(
            Truth(
                _file_name(entry["file"]),
                tuple(_true_face(face) for face in entry["faces"]),
                Wear(**{k: float(v) for k, v in entry["wear"].items()}),
            )
            for entry in content["scenes"]
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no truth file; name the truth.json that make-scenes wrote"
        ) from error
    if not truths:
        raise ConfigError(f"{path} lists no scene; run make-scenes again")
    return truths


def _true_face(entry: dict[str, Any]) -> TrueFace:
    box = Box(**{key: float(value) for key, value in entry["box_px"].items()})
    return TrueFace(box, float(entry["width_px"]), float(entry["tilt_deg"]))


def _file_name(value: object) -> str:
    """A name inside the scenes' own folder, and nothing else."""
    if not isinstance(value, str) or Path(value).name != value:
        raise ValueError("not a file name")
    return value


def run(reader: FaceReader, *, images: Path, out: Path, seed: int, count: int) -> tuple[Truth, ...]:
    """`familiar evaluate make-scenes`: writes `count` scenes and their truth.json into `out`.

    Raises:
        ConfigError: count is below 1.
        MediaError: the pictures cannot be read or none shows one whole face.
        StorageError: a file cannot be written.
    """
    if count < 1:
        raise ConfigError(f"--count must be 1 or more, not {count}")
    random = np.random.default_rng(seed)
    portraits = _portraits(reader, images, random)
    truths = []
    for number in with_progress(range(count), "Composing scenes"):
        # A generator each, so that scene 7 is the same however many are made.
        image, faces, wear = compose(portraits, np.random.default_rng((seed, number)))
        truth = Truth(f"scene_{number:04d}.jpg", faces, wear)
        _write_jpeg(out / truth.file, image)
        truths.append(truth)
    write_json(out / "truth.json", encode_truth(seed, truths))
    return tuple(truths)


_PORTRAITS: Final = 300
"""Different faces in a set of scenes: enough variety, read in half a minute."""


def _portraits(
    reader: FaceReader, folder: Path, random: np.random.Generator
) -> tuple[Portrait, ...]:
    names = list_pictures(folder)
    chosen = random.choice(len(names), size=min(_PORTRAITS, len(names)), replace=False)
    found = []
    for i in with_progress([int(i) for i in chosen], "Reading portraits"):
        image = read_picture(folder / names[i])
        portrait = None if image is None else usable_portrait(reader, image)
        if portrait is not None:
            found.append(portrait)
    if not found:
        raise MediaError(f"no picture in {folder} shows one whole face; name a folder of portraits")
    return tuple(found)


def _write_jpeg(path: Path, image: ImageBgr) -> None:
    done, content = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    if not done:
        raise StorageError(f"cannot encode {path}; check the installation of opencv")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; name a writable folder"
        ) from error
