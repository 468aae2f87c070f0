"""Somebody, or something held up instead, before an enrolment station's camera: made-up clips.

Heads are stills that FaceMesh's depth makes solid, so they turn as heads do; nobody's skin,
eyelids or light is simulated. The attacks are pictures of prints and screens. None of this is a
presentation attack instrument in the sense of ISO/IEC 30107-3: no paper and no screen was made,
and the attacks that were thought of are not all there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge_app.core.liveness import Ask, draw_turns
from edge_app.evaluation.measures import Float64Array
from edge_app.evaluation.surfaces import Camera, Placement, Surface, draw, sheet
from edge_app.records import FaceMesh, Float32Array, Frame, FrameOrigin, ImageBgr

CAMERA: Final = Camera(640, 360, 457.0)
"""70 degrees wide. A third of a station's size: small portraits hold no more detail than that."""

FRAMES_PER_S: Final = 6.0

_EYES_M: Final = 0.063
"""Distance of the eyes of grown-ups (Dodgson, "Variation and extrema of human interpupillary
distance", 2004)."""

_EYES_PX: Final = 60.0
"""In a portrait; larger ones are made smaller, for the renderer does not."""

_EYES: Final = ((33, 133), (362, 263))
_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""FaceMesh's outline of the face, in order."""

_RINGS: Final = ((1.15, 0.3), (1.35, 0.8), (1.7, 1.4))
"""Hair, ears and neck: how much wider than the outline, and how many eye distances behind."""

_COVERED: Final = 1.5
"""Up to where, in outlines, they hide what is behind them."""

_REACTION_S: Final = (0.3, 0.9)
_FURTHER: Final = 1.2

_SCREEN_PX: Final = (400, 300)
"""Of the picture on a screen; each pixel is three dots wide and high."""

_FILMED_BY: Final = Camera(*_SCREEN_PX, CAMERA.focal_px)
_FILMED_M: Final = 0.55
"""What is on a screen was taken by such a camera, at about this distance."""

_DEPTHS: Final = (0.75, 1.1)
"""Flat and prominent noses."""

_SIZES: Final = (0.7, 1.3)
_BENDS_M: Final = (0.06, 0.25)
"""Radii that prints bend to, for a face as large as in life; the first is rounder than heads."""

_MOST_DEG: Final = 60.0
_LEVEL: Final = 0.2
"""Share of that from which a print is turned, about which axis it then is bent."""

_NOISE: Final = 3.0
"""Standard deviation of the camera's noise, of 255."""


class Kind(StrEnum):
    """HEAD is nobody's attack. STEERED_SCREEN needs somebody who plays the right scene at the
    right moment: the challenge alone cannot refuse it."""

    HEAD = "head"
    STILL = "still photograph"
    MOVED = "photograph, moved, bent and turned"
    TURNED_AS_ASKED = "photograph turned as asked"
    BENT_AS_ASKED = "bent photograph turned as asked"
    SCREEN = "still on a screen, turned as asked"
    VIDEO = "video of somebody looking about, on a screen"
    EARLIER_CHALLENGE = "video of an earlier challenge, on a screen"
    STEERED_SCREEN = "video that is steered to do as asked, on a screen"


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A picture with one face. points: FaceMesh's, shape (468, 3), pixels of it."""

    image: ImageBgr = field(repr=False)
    points: Float64Array = field(repr=False)

    @property
    def metres_per_px(self) -> float:
        return _EYES_M / _eyes_px(self.points)

    @property
    def middle(self) -> Float64Array:
        """Of the face's outline, shape (3,): what a solid head turns about."""
        return np.asarray(self.points[list(_OVAL)].mean(axis=0))


def portrait(image: ImageBgr, mesh: FaceMesh) -> Portrait:
    """A portrait, made smaller if it is large."""
    points = mesh.points_px.astype(np.float64)
    scale = min(1.0, _EYES_PX / _eyes_px(points))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Portrait(np.asarray(small, np.uint8), points * scale)


def _eyes_px(points: Float64Array) -> float:
    right, left = (points[list(corners), :2].mean(axis=0) for corners in _EYES)
    return float(np.hypot(*(left - right)))


def head(of: Portrait, depth: float) -> Surface:
    """A solid head. depth: how far its nose stands out, 1 as FaceMesh has it."""
    points = of.points.copy()
    outline, centre = points[list(_OVAL)], of.middle
    rings = []
    for wider, behind in _RINGS:
        ring = outline.copy()
        ring[:, :2] = centre[:2] + (outline[:, :2] - centre[:2]) * wider
        ring[:, 2] += behind * _eyes_px(points)
        rings.append(ring)
    everything = np.concatenate([points, *rings])
    texture, offset = _padded(of.image, everything[:, :2])
    texture_px = everything[:, :2] + offset
    cover = np.zeros(texture.shape[:2], np.float32)
    hair = centre[:2] + (outline[:, :2] - centre[:2]) * _COVERED + offset
    cv2.fillPoly(cover, [np.round(hair).astype(np.int32)], (1.0,))
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), _eyes_px(points) / 8), np.float32)
    points_m = (everything - centre) * of.metres_per_px * (1, 1, depth)
    return Surface(texture, cover, points_m, texture_px, _delaunay(texture_px, texture))


def _padded(image: ImageBgr, points: Float64Array) -> tuple[ImageBgr, Float64Array]:
    """The image, widened to hold all points, and what to add to their places."""
    height, width = image.shape[:2]
    left, top = np.maximum(0, np.ceil(-points.min(axis=0)).astype(int) + 1)
    right, bottom = np.maximum(0, np.ceil(points.max(axis=0)).astype(int) + 1 - (width, height))
    wider = cv2.copyMakeBorder(
        image, int(top), int(bottom), int(left), int(right), cv2.BORDER_REPLICATE
    )
    return np.asarray(wider, np.uint8), np.array([left, top], np.float64)


def _delaunay(points: Float64Array, texture: ImageBgr) -> NDArray[np.int64]:
    plane = cv2.Subdiv2D((0, 0, texture.shape[1] + 1, texture.shape[0] + 1))
    number = {}
    for i, (x, y) in enumerate(points.astype(np.float32).tolist()):
        plane.insert((x, y))
        number[x, y] = i
    found = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2).tolist()
    named = [[number.get((x, y), -1) for x, y in triangle] for triangle in found]
    return np.array([triangle for triangle in named if min(triangle) >= 0], np.int64)


# ------------------------------------------------------------------------------- motion


class Motion(Protocol):
    """How something moves. Called once per frame, with what is asked for at that time."""

    def __call__(self, asked: str, time_s: float) -> Placement: ...


@dataclass(frozen=True, slots=True)
class Hand:
    """How a neck or a hand moves what it holds.

    turn_deg, nod_deg: least and largest rotation that it makes when asked.
    limit_deg:     least and largest rotation that it goes to when that was not enough.
    patience_s:    after how long it goes a bit further.
    speed_deg_s:   least and largest speed.
    mixing:        standard deviation of the other axes' part in a rotation.
    jitter_deg, jitter_m: standard deviations of the tremor.
    distance_m:    least and largest distance from the camera.
    """

    turn_deg: tuple[float, float]
    nod_deg: tuple[float, float]
    limit_deg: tuple[float, float]
    patience_s: float
    speed_deg_s: tuple[float, float]
    mixing: float
    jitter_deg: float
    jitter_m: float
    distance_m: tuple[float, float]


_NECK: Final = Hand(
    turn_deg=(22.0, 40.0),
    nod_deg=(14.0, 25.0),
    limit_deg=(35.0, 45.0),
    patience_s=2.0,
    speed_deg_s=(25.0, 120.0),
    mixing=0.12,
    jitter_deg=1.0,
    jitter_m=0.003,
    distance_m=(0.40, 0.75),
)
_PRINT: Final = Hand(
    turn_deg=(15.0, 50.0),
    nod_deg=(15.0, 50.0),
    limit_deg=(35.0, 60.0),
    patience_s=0.8,
    speed_deg_s=(25.0, 150.0),
    mixing=0.15,
    jitter_deg=1.5,
    jitter_m=0.004,
    distance_m=(0.28, 0.70),
)
_HELD: Final = Hand(
    turn_deg=(2.0, 6.0),
    nod_deg=(2.0, 6.0),
    limit_deg=(6.0, 8.0),
    patience_s=2.0,
    speed_deg_s=(10.0, 30.0),
    mixing=0.5,
    jitter_deg=0.7,
    jitter_m=0.003,
    distance_m=(0.35, 0.60),
)


class _Turning:
    """Turns towards a target at a speed, with tremor: what all motions have in common."""

    def __init__(self, hand: Hand, random: Generator) -> None:
        self.hand = hand
        self.random = random
        self._speed_deg_s = random.uniform(*hand.speed_deg_s)
        self._rest = random.normal(0, 2.0, 3)
        self._angles = self._rest.copy()
        self._tremor = np.zeros(6)
        self._place = np.array(
            [random.normal(0, 0.03), random.normal(0, 0.02), random.uniform(*hand.distance_m)]
        )
        self._time_s: float | None = None

    def towards(self, target_deg: Float64Array, time_s: float) -> Placement:
        passed_s = 0.0 if self._time_s is None else time_s - self._time_s
        self._time_s = time_s
        step = self._rest + target_deg - self._angles
        self._angles += np.clip(step, -self._speed_deg_s * passed_s, self._speed_deg_s * passed_s)
        sizes = np.repeat((self.hand.jitter_deg, self.hand.jitter_m), 3)
        self._tremor += 0.5 * (self.random.normal(0, sizes) - self._tremor)
        yaw, pitch, roll = self._angles + self._tremor[:3]
        x, y, z = self._place + self._tremor[3:]
        return Placement(float(yaw), float(pitch), float(roll), (float(x), float(y), float(z)))

    def rotation(self, asked: str) -> Float64Array:
        """A rotation that is meant to be what is asked for: yaw, pitch, roll."""
        turn = self.random.uniform(*self.hand.turn_deg)
        nod = self.random.uniform(*self.hand.nod_deg)
        poses: dict[Ask, Float64Array] = {
            Ask.LEFT: np.array([turn, 0, 0]),
            Ask.RIGHT: np.array([-turn, 0, 0]),
            Ask.UP: np.array([0, nod, 0]),
            Ask.DOWN: np.array([0, -nod, 0]),
        }
        wanted = poses.get(Ask(asked), np.zeros(3))
        mixed = self.random.normal(0, self.hand.mixing, 3) * np.abs(wanted).max()
        return np.asarray(wanted + mixed)


class Obeying(_Turning):
    """Does as asked after a while, and goes further when that was not enough."""

    def __init__(self, hand: Hand, random: Generator) -> None:
        super().__init__(hand, random)
        self._limit_deg = random.uniform(*hand.limit_deg)
        self._asked: str = Ask.STRAIGHT
        self._since_s = 0.0
        self._target = self._coming = np.zeros(3)

    def __call__(self, asked: str, time_s: float) -> Placement:
        if asked != self._asked:
            self._asked, self._coming = asked, self.rotation(asked)
            self._since_s = time_s + self.random.uniform(*_REACTION_S)
        elif time_s > self._since_s + self.hand.patience_s:
            further = self._coming * _FURTHER
            self._coming = np.clip(further, -self._limit_deg, self._limit_deg)
            self._since_s = time_s
        if time_s >= self._since_s:
            self._target = self._coming
        return self.towards(self._target, time_s)


class Wandering(_Turning):
    """Turns as it likes."""

    def __init__(self, hand: Hand, random: Generator) -> None:
        super().__init__(hand, random)
        self._until_s = 0.0
        self._target = np.zeros(3)

    def __call__(self, asked: str, time_s: float) -> Placement:
        del asked
        if time_s >= self._until_s:
            self._until_s = time_s + self.random.uniform(0.5, 2.0)
            self._target = self.rotation(self.random.choice(list(Ask)))
        return self.towards(self._target, time_s)


class Reciting(_Turning):
    """Goes once through turns that were asked for another time, then looks straight."""

    def __init__(self, hand: Hand, random: Generator, turns: Sequence[Ask]) -> None:
        super().__init__(hand, random)
        self._script: list[tuple[float, Float64Array]] = []
        time_s = random.uniform(0.5, 2.0)
        for turn in turns:
            self._script.append((time_s, self.rotation(turn)))
            time_s += random.uniform(0.8, 2.0)
            self._script.append((time_s, np.zeros(3)))
            time_s += random.uniform(0.8, 2.0)

    def __call__(self, asked: str, time_s: float) -> Placement:
        del asked
        past = [target for since_s, target in self._script if since_s <= time_s]
        return self.towards(past[-1] if past else np.zeros(3), time_s)


# -------------------------------------------------------------------- what the camera sees


class Scene(Protocol):
    """Draws what is before the camera at a time."""

    def __call__(self, canvas: ImageBgr, asked: str, time_s: float) -> None: ...


class Solid:
    """A head that turns."""

    def __init__(self, of: Portrait, motion: Motion, depth: float, camera: Camera) -> None:
        self._surface = head(of, depth)
        self._motion = motion
        self._camera = camera

    def __call__(self, canvas: ImageBgr, asked: str, time_s: float) -> None:
        draw(canvas, self._surface, self._motion(asked, time_s), self._camera)


class Print:
    """A print in somebody's hands, bent about the axis that it is turned about.

    size:          how large the face is on it, 1 as in life.
    resting, most: its curvature at rest and turned by 60 degrees, in 1 / m.
    """

    def __init__(
        self,
        of: Portrait,
        motion: Motion,
        *,
        size: float,
        resting: float,
        most: float,
        camera: Camera,
    ) -> None:
        self._image = of.image
        self._width_m = of.metres_per_px * of.image.shape[1] * size
        self._motion = motion
        self._resting, self._most = resting / size, most / size
        self._camera = camera
        self._axis_deg = 0.0

    def __call__(self, canvas: ImageBgr, asked: str, time_s: float) -> None:
        place = self._motion(asked, time_s)
        turned = min(1.0, max(abs(place.yaw_deg), abs(place.pitch_deg)) / _MOST_DEG)
        curvature = self._resting + (self._most - self._resting) * turned
        if turned > _LEVEL:
            self._axis_deg = 90.0 if abs(place.pitch_deg) > abs(place.yaw_deg) else 0.0
        bend_m = 1 / curvature if curvature else float("inf")
        draw(canvas, sheet(self._image, self._width_m, bend_m, self._axis_deg), place, self._camera)


class Screen:
    """A screen that shows another scene: its dots, its tones, its refresh, and a reflection."""

    def __init__(self, shows: Scene, backdrop: ImageBgr, motion: Motion, random: Generator) -> None:
        self._shows = shows
        self._motion = motion
        width, height = _SCREEN_PX
        self._backdrop = np.asarray(cv2.resize(backdrop, (width, height)), np.uint8)
        # Faces on it are about as large as in life.
        self._width_m = width / _FILMED_BY.focal_px * _FILMED_M * random.uniform(*_SIZES)
        self._gamma = np.float32(random.uniform(0.8, 1.4))
        self._bands = random.uniform(0.0, 0.08)
        self._band_px, self._band_hz = random.uniform(20, 100), random.uniform(-3, 3)
        self._dots = _dots(random.uniform(0.05, 0.4))
        self._glare = _glare(random)

    def __call__(self, canvas: ImageBgr, asked: str, time_s: float) -> None:
        shown = self._backdrop.copy()
        self._shows(shown, asked, time_s)
        waves = np.arange(len(shown)) / self._band_px + self._band_hz * time_s
        bands = 1 + self._bands * np.sin(2 * np.pi * waves).astype(np.float32)
        light = (shown.astype(np.float32) / 255) ** self._gamma * bands[:, None, None]
        light = cv2.resize(light, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
        picture = cv2.convertScaleAbs(light * self._dots + self._glare, alpha=255)
        surface = sheet(np.asarray(picture, np.uint8), self._width_m, float("inf"), 0.0)
        draw(canvas, surface, self._motion(asked, time_s), CAMERA)


def _dots(strength: float) -> Float32Array:
    """The red, green and blue dots of a screen, of mean brightness 1."""
    width, height = _SCREEN_PX
    cell = np.full((3, 3, 3), 1 - strength, np.float32)
    for column, channel in enumerate((2, 1, 0)):
        cell[:2, column, channel] = 1.0
    return np.tile(cell / cell.mean(), (height, width, 1))


def _glare(random: Generator) -> Float32Array:
    """A window or lamp that a screen mirrors."""
    width, height = 3 * _SCREEN_PX[0], 3 * _SCREEN_PX[1]
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    cx, cy, size = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.05, 0.3)
    blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size * size))
    return (random.uniform(0, 0.25) * blob).astype(np.float32)[..., None]


# --------------------------------------------------------------------------------- clips


class Clip:
    """A camera that sees one made-up person or attack, and a guide that it hears.

    A FrameSource and a Guide. The same seed gives the same clip if the same is asked. Ends after
    `seconds`.
    """

    def __init__(self, kind: Kind, of: Portrait, seed: int, *, turns: int, seconds: float) -> None:
        self.origin = FrameOrigin.LIVE
        self.description = kind
        self.undecodable = 0
        self._random = np.random.default_rng(seed)
        self._backdrop = _backdrop(of.image, self._random)
        self._scene = _scene(kind, of, self._backdrop, turns, self._random)
        self._asked: str = Ask.STRAIGHT
        self._frames = 0
        self._last = int(seconds * FRAMES_PER_S)

    def open(self) -> None:
        """Nothing to do."""

    def read(self) -> Frame | None:
        if self._frames >= self._last:
            return None
        self._frames += 1
        time_s = self._frames / FRAMES_PER_S
        canvas = self._backdrop.copy()
        self._scene(canvas, self._asked, time_s)
        grain = self._random.standard_normal((*canvas.shape[:2], 1), np.float32)
        image = np.clip(canvas + np.float32(_NOISE) * grain, 0, 255).astype(np.uint8)
        return Frame(image, time_s, self._frames, self.origin)

    def close(self) -> None:
        """Nothing to do."""

    def ask(self, ask: str) -> None:
        self._asked = ask

    def hint(self, text: str) -> None:
        """Attackers and made-up people do not take hints."""

    def progress(self, done: int, total: int) -> None:
        """Nobody looks at it."""


def _still(asked: str, time_s: float) -> Placement:
    del asked, time_s
    return Placement(0.0, 0.0, 0.0, (0.0, 0.0, _FILMED_M))


class _Resting(_Turning):
    """Held as still as hands can."""

    def __call__(self, asked: str, time_s: float) -> Placement:
        del asked
        return self.towards(np.zeros(3), time_s)


_PRINTS: Final[dict[Kind, type[_Resting | Wandering | Obeying]]] = {
    Kind.STILL: _Resting,
    Kind.MOVED: Wandering,
    Kind.TURNED_AS_ASKED: Obeying,
    Kind.BENT_AS_ASKED: Obeying,
}


def _depth(random: Generator) -> float:
    return float(random.uniform(*_DEPTHS))


def _curvatures(kind: Kind, random: Generator) -> tuple[float, float]:
    """Of a print at rest and turned, in 1 / m. Some are bent all the time, some by the turn."""
    if kind in (Kind.STILL, Kind.TURNED_AS_ASKED):
        return 0.0, 0.0
    least, most = np.log(_BENDS_M)
    bent = float(np.exp(-random.uniform(least, most)))
    return (bent if random.random() < 0.5 else 0.0), bent


def _backdrop(image: ImageBgr, random: Generator) -> ImageBgr:
    """A room out of focus, with no face in it: a patchwork in the portrait's colours."""
    patches = image.reshape(-1, 3)[random.integers(0, image.size // 3, (2, 3))]
    size = (CAMERA.width_px, CAMERA.height_px)
    return np.asarray(cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _scene(kind: Kind, of: Portrait, backdrop: ImageBgr, turns: int, random: Generator) -> Scene:
    if kind is Kind.HEAD:
        return Solid(of, Obeying(_NECK, random), _depth(random), CAMERA)
    if kind in _PRINTS:
        resting, most = _curvatures(kind, random)
        size = random.uniform(*_SIZES)
        return Print(
            of, _PRINTS[kind](_PRINT, random), size=size, resting=resting, most=most, camera=CAMERA
        )
    if kind is Kind.SCREEN:
        still = Print(of, _still, size=1.0, resting=0.0, most=0.0, camera=_FILMED_BY)
        return Screen(still, backdrop, Obeying(_PRINT, random), random)
    acts: Motion
    if kind is Kind.VIDEO:
        acts = Wandering(_NECK, random)
    elif kind is Kind.EARLIER_CHALLENGE:
        lots = Random(int(random.integers(2**31)))  # noqa: S311 - of a made-up clip
        acts = Reciting(_NECK, random, draw_turns(lots, turns))
    else:
        acts = Obeying(_NECK, random)
    film = Solid(of, acts, _depth(random), _FILMED_BY)
    return Screen(film, backdrop, Wandering(_HELD, random), random)
