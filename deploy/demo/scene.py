"""The demo's street: one enrolled person and two strangers come and go, and we know when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.cameras.picture import PictureLimits, load_picture
from edge_app.adapters.cameras.scene import Actor, Degradation, Key, PanZoom, Scene
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr

WIDTH_PX, HEIGHT_PX, FPS, DURATION_S = 1920, 1080, 30.0, 16.0
ENROLLED, WALL = "enrolled", "wall"

_LIMITS = PictureLimits(64, 50_000_000, WIDTH_PX, HEIGHT_PX)
_HORIZON_PX = 560
_WALL_TOP_PX = 640
_SKETCH = 0.4  # the outline is found on a smaller picture, which takes a second less


@dataclass(frozen=True, slots=True)
class Walk:
    """Someone's way through the picture: (time, face centre x, y, face width) in s and px."""

    label: str
    portrait: str
    steps: tuple[tuple[float, float, float, float], ...]


WALKS = (
    Walk("stranger 1", "stranger-1.jpg", ((0.3, 200, 500, 80), (9.0, 1560, 470, 120))),
    Walk(ENROLLED, "enrolled-3.jpg", ((1.5, 1350, 505, 70), (5.5, 700, 420, 190))),
    Walk("stranger 2", "stranger-2.png", ((6.5, 1800, 500, 75), (14.5, 300, 470, 130))),
    Walk(ENROLLED, "enrolled-3.jpg", ((10.5, 800, 500, 75), (15.2, 1450, 440, 170))),
)


def street_scene(media: Path, reader: Pipeline) -> Scene:
    """The scene; `reader` finds the faces in the portraits, to size the cut-outs by."""
    cast = {walk.portrait: _cut_out(media / walk.portrait, reader) for walk in WALKS}
    still = street_picture()
    middle = (WIDTH_PX / 2, HEIGHT_PX / 2)
    return Scene(
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        fps=FPS,
        duration_s=DURATION_S,
        seed=7,
        actors=(*(_actor(walk, *cast[walk.portrait]) for walk in WALKS), _wall()),
        backdrop=PanZoom(still, (Key(0.0, *middle, WIDTH_PX),), ()),
        degradation=Degradation(blur_sigma_px=0.0, gain=1.0, noise_sigma=4.0),
    )


def _actor(walk: Walk, image: ImageBgr, mask: NDArray[np.uint8], share: float) -> Actor:
    # The head is in the upper part of a cut-out; keys name the centre of the whole.
    keys = []
    for time_s, x, y, face_px in walk.steps:
        width = face_px / share
        height = width * image.shape[0] / image.shape[1]
        keys.append(Key(time_s, x, y + height * 0.12, width))
    return Actor(walk.label, image, tuple(keys), mask)


def _cut_out(path: Path, reader: Pipeline) -> tuple[ImageBgr, NDArray[np.uint8], float]:
    """Head and shoulders, what is behind them taken away, and the face's share of the width."""
    image = load_picture(path, _LIMITS)
    face = reader.detect_whole(image)[0].box_px
    x, y = face.centre
    x0, x1 = (int(np.clip(x + k * face.width, 0, image.shape[1])) for k in (-1.5, 1.5))
    y0, y1 = (int(np.clip(y + k * face.width, 0, image.shape[0])) for k in (-1.4, 2.1))
    cut = np.ascontiguousarray(image[y0:y1, x0:x1])
    scale = min(1.0, 600 / cut.shape[1])
    cut = np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    small = cv2.resize(cut, None, fx=_SKETCH, fy=_SKETCH, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    mid_x, mid_y = (int(v * scale * _SKETCH) for v in (x - x0, y - y0))
    radius = face.width * scale * _SKETCH
    person = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    head = (int(radius * 0.75), int(radius))
    cv2.ellipse(person, (mid_x, mid_y), head, 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.rectangle(person, (0, int(mid_y + radius * 1.2)), (width, height), cv2.GC_PR_FGD, -1)
    middle = (int(radius * 0.45), int(radius * 0.6))
    cv2.ellipse(person, (mid_x, mid_y), middle, 0, 0, 360, cv2.GC_FGD, -1)
    person[: max(1, height // 40), :] = cv2.GC_BGD
    colours = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, person, (0, 0, 1, 1), *colours, 4, cv2.GC_INIT_WITH_MASK)
    found = np.isin(person, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, [max(outlines, key=cv2.contourArea)], -1, 255, -1)  # without holes
    mask = np.asarray(cv2.resize(mask, (cut.shape[1], cut.shape[0])), np.uint8)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 2.5), np.uint8)
    return cut, mask, float(face.width * scale / cut.shape[1])


def _wall() -> Actor:
    """A garden wall before everybody, so that portraits need no legs."""
    rng = np.random.default_rng(5)
    image = np.full((520, 2600, 3), (78, 84, 92), np.uint8)
    for row, y in enumerate(range(0, 520, 52)):
        for x in range(-65 * (row % 2), 2600, 130):
            tone = int(rng.integers(-9, 10))
            stone = tuple(int(v + tone) for v in (92, 99, 110))
            cv2.rectangle(image, (x + 3, y + 3), (x + 126, y + 48), stone, -1)
    middle = (WIDTH_PX / 2, _WALL_TOP_PX + 260)
    keys = (Key(0.0, *middle, 2600), Key(DURATION_S, *middle, 2600))
    return Actor(WALL, image, keys)


def street_picture() -> ImageBgr:
    """A drawn street in the evening: sky, houses, windows, pavement. Nothing like a face."""
    rng = np.random.default_rng(3)
    image = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    sky = np.linspace((140, 90, 60), (190, 180, 215), _HORIZON_PX)
    image[:_HORIZON_PX] = sky[:, None].astype(np.uint8)
    ground = np.linspace((95, 95, 100), (60, 58, 60), HEIGHT_PX - _HORIZON_PX)
    image[_HORIZON_PX:] = ground[:, None].astype(np.uint8)
    x = 0
    while x < WIDTH_PX:
        width = int(rng.integers(190, 330))
        top = int(rng.integers(60, 260))
        wall = tuple(int(v) for v in rng.integers(70, 150) + rng.integers(-18, 18, 3))
        cv2.rectangle(image, (x, top), (x + width, _HORIZON_PX + 60), wall, -1)
        for wy in range(top + 40, _HORIZON_PX - 40, 95):
            for wx in range(x + 28, x + width - 50, 74):
                lit = rng.random() < 0.4
                pane = (110, 190, 235) if lit else tuple(int(v * 0.55) for v in wall)
                cv2.rectangle(image, (wx, wy), (wx + 42, wy + 58), pane, -1)
                cv2.line(image, (wx + 21, wy), (wx + 21, wy + 58), wall, 3)
        x += width
    cv2.rectangle(image, (0, _HORIZON_PX + 60), (WIDTH_PX, _HORIZON_PX + 74), (120, 120, 124), -1)
    for i in range(-6, 7):
        start = (WIDTH_PX // 2 + i * 140, _HORIZON_PX + 75)
        cv2.line(image, start, (WIDTH_PX // 2 + i * 420, HEIGHT_PX), (88, 86, 88), 2)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.6), np.uint8)
