"""What a frame costs, with nobody, one, four and sixteen people before the camera.

Composed frames of 1920 x 1080 at 30 a second go through the whole program. The people are
portraits, pasted with faces of 120 px; the gallery is empty, so that what costs is the looking:
what a search costs is timed apart, and each vote takes two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.stopwatch import LapStopwatch, NullStopwatch
from edge_app.core.gallery import Gallery
from edge_app.errors import MediaError
from edge_app.evaluation.bench import (
    HEIGHT_PX,
    WIDTH_PX,
    Progress,
    ReplayFigure,
    percentile,
    reference_ms,
)
from edge_app.evaluation.faces import FaceReader, ReadingRules
from edge_app.evaluation.files import list_pictures, read_picture
from edge_app.evaluation.scenes import Portrait, background, paste, usable_portrait
from edge_app.pipeline import Models, Pipeline, Rules, State
from edge_app.ports import TensorModel
from edge_app.records import Frame, FrameOrigin, ImageBgr

FPS: Final = 30.0
FACE_PX: Final = 120.0

_COLUMNS: Final = {0: 1, 1: 1, 4: 2, 16: 4}
"""As many rows, so that nobody hides another."""

_BEGINNINGS: Final = 7
_SETTLING_FRAMES: Final = 30
_NOISE_LUMA: Final = 3.0
_NOISE_FIELDS: Final = 3
_SWAY_PX: Final = 4
_LARGEST_PX: Final = 1080
_NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Replay:
    """faces: 0, 1, 4 or 16. swaying: the camera is worn, and moves by up to 4 px a frame."""

    faces: int
    swaying: bool

    @property
    def name(self) -> str:
        people = {0: "nobody", 1: "1 face"}.get(self.faces, f"{self.faces} faces")
        return f"{people}, {'swaying' if self.swaying else 'still'} camera"


REPLAYS: Final = (
    *(Replay(faces, swaying=False) for faces in _COLUMNS),
    Replay(0, swaying=True),
    Replay(1, swaying=True),
)


_REPLAYING: Final = "Replaying scenes"


class _Clocked:
    """A network that knows its processor time."""

    def __init__(self, model: TensorModel) -> None:
        self._model = model
        self.name, self.sha256 = model.name, model.sha256
        self.ran_ms = 0.0

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        start_ns = time.process_time_ns()
        outputs = self._model(tensor)
        self.ran_ms += (time.process_time_ns() - start_ns) / 1e6
        return outputs


class _Networks:
    """All of the program's networks, clocked."""

    def __init__(self, models: Models) -> None:
        self._detectors = {name: _Clocked(model) for name, model in models.detectors.items()}
        self._mesh, self._embedder = _Clocked(models.mesh), _Clocked(models.embedder)
        self.models = Models(self._detectors, self._mesh, self._embedder)

    @property
    def ran_ms(self) -> float:
        """Since they were made."""
        all_of_them = (*self._detectors.values(), self._mesh, self._embedder)
        return sum(model.ran_ms for model in all_of_them)


def portraits(
    folder: Path,
    rules: Rules,
    models: Models,
    progress: Progress = lambda _what, _done, _of: None,
) -> tuple[Portrait, ...]:
    """The pictures of a folder that show one whole face.

    Raises MediaError if it cannot be read or there is none.
    """
    reading = ReadingRules(rules.scan, rules.max_detection_overlap, rules.quality.min_presence)
    reader = FaceReader(Pipeline(rules, models, NullStopwatch()), models.embedder, reading)
    found = []
    names = list_pictures(folder)
    for done, name in enumerate(names, start=1):
        image = read_picture(folder / name)
        portrait = None if image is None else usable_portrait(reader, _fitted(image))
        if portrait is not None:
            found.append(portrait)
        progress("Reading portraits", done, len(names))
    if not found:
        raise MediaError(f"no picture in {folder} shows one whole face; name a folder of portraits")
    return tuple(found)


def _fitted(image: ImageBgr) -> ImageBgr:
    scale = min(1.0, _LARGEST_PX / max(image.shape[:2]))
    fitted = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(fitted, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """The program and whoever stands before its camera."""

    rules: Rules
    models: Models
    gallery: Gallery
    people: Sequence[Portrait]

    def run(self, frames: int, progress: Progress) -> tuple[ReplayFigure, ...]:
        """Every replay; `frames` of each are measured."""
        figures: list[ReplayFigure] = []
        for replay in REPLAYS:
            progress(_REPLAYING, len(figures), len(REPLAYS))
            figures.append(self._figure(replay, compose(self.people, replay.faces), frames))
        progress(_REPLAYING, len(REPLAYS), len(REPLAYS))
        return tuple(figures)

    def _figure(self, replay: Replay, scene: ImageBgr, frames: int) -> ReplayFigure:
        before_ms = reference_ms()
        cold_ms, cold_cpu_ms, invokes_ms = self._cold(scene)
        state, stopwatch = State(self.rules), LapStopwatch()
        pipeline = Pipeline(self.rules, self.models, stopwatch)
        wall_ms, cpu_ms = [], []
        for frame in camera(scene, _SETTLING_FRAMES + frames, swaying=replay.swaying):
            stopwatch.start_frame()
            begun_s, cpu_begun_s = time.perf_counter(), time.process_time()
            pipeline.process(frame, state, self.gallery, _NOW)
            cpu_ms.append(1e3 * (time.process_time() - cpu_begun_s))
            wall_ms.append(1e3 * (time.perf_counter() - begun_s))
            stopwatch.end_frame()
        beside_ms = (before_ms + reference_ms()) / 2
        settled_ms = wall_ms[_SETTLING_FRAMES:]
        settled_cpu_ms = float(np.mean(cpu_ms[_SETTLING_FRAMES:]))
        return ReplayFigure(
            name=replay.name,
            faces=replay.faces,
            frames=frames,
            cold_ms=round(cold_ms, 3),
            cold_cpu_ms=round(cold_cpu_ms, 3),
            cold_invokes_ms=round(invokes_ms, 3),
            cold_ratio=round(cold_cpu_ms / beside_ms, 4),
            p50_ms=percentile(settled_ms, 50),
            p95_ms=percentile(settled_ms, 95),
            cpu_ms=round(settled_cpu_ms, 3),
            cpu_ratio=round(settled_cpu_ms / beside_ms, 4),
            dropped=dropped(wall_ms, 1e3 / FPS),
            embedded=state.faces_embedded,
            stages={name: stage.p50_ms for name, stage in stopwatch.report().items()},
        )

    def _cold(self, scene: ImageBgr) -> tuple[float, float, float]:
        """A first frame, by a program that has seen none: medians in ms of the time passed, of
        the processor's time, and of the networks' part of that.

        The networks have run before: what is cold is what the program knows of the scene.
        """
        networks = _Networks(self.models)
        pipeline = Pipeline(self.rules, networks.models, NullStopwatch())
        beginnings = []
        for frame in camera(scene, _BEGINNINGS, swaying=False):
            begun_s, cpu_begun_s, ran_ms = time.perf_counter(), time.process_time(), networks.ran_ms
            pipeline.process(frame, State(self.rules), self.gallery, _NOW)
            cpu_ms = 1e3 * (time.process_time() - cpu_begun_s)
            whole_ms = 1e3 * (time.perf_counter() - begun_s)
            beginnings.append((whole_ms, cpu_ms, networks.ran_ms - ran_ms))
        whole_ms, cpu_ms, invokes_ms = np.median(np.array(beginnings), axis=0)
        return float(whole_ms), float(cpu_ms), float(invokes_ms)


def compose(people: Sequence[Portrait], faces: int) -> ImageBgr:
    """A scene with so many faces in rows and columns, uint8 (1080, 1920, 3)."""
    scene = background(np.random.default_rng(1))
    side = _COLUMNS[faces]
    for number in range(faces):
        row, column = divmod(number, side)
        centre_px = ((column + 0.5) * WIDTH_PX / side, (row + 0.5) * HEIGHT_PX / side)
        paste(scene, people[number % len(people)], centre_px, FACE_PX, 0.0)
    return scene


def camera(scene: ImageBgr, frames: int, *, swaying: bool) -> Iterator[Frame]:
    """Frames of a scene with a sensor's noise, each with another of a few fields of it."""
    random = np.random.default_rng(2)
    fields = [_noise(random, scene.shape) for _ in range(_NOISE_FIELDS)]
    steps = random.integers(-_SWAY_PX, _SWAY_PX + 1, (frames, 2))
    if not swaying:
        steps[:] = 0
    for number, (dx, dy) in enumerate(steps.cumsum(axis=0)):
        brighter, darker = fields[number % _NOISE_FIELDS]
        image = np.roll(scene, (int(dy), int(dx)), (0, 1))
        worn = cv2.subtract(cv2.add(image, brighter), darker)
        yield Frame(np.asarray(worn, np.uint8), number / FPS, number, FrameOrigin.REPLAY)


def _noise(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[ImageBgr, ImageBgr]:
    """What to add and what to take away."""
    drawn = np.rint(random.standard_normal(shape, dtype=np.float32) * np.float32(_NOISE_LUMA))
    return drawn.clip(0).astype(np.uint8), (-drawn).clip(0).astype(np.uint8)


def dropped(frames_ms: Sequence[float], interval_ms: float) -> int:
    """How many frames a camera with a slot for one would have lost, the newest winning.

    frames_ms: how long each took. A frame waits while one before it is worked on, and is lost
    if the next one comes meanwhile.
    """
    lost, free_ms = 0, 0.0
    for number, took_ms in enumerate(frames_ms):
        arrival_ms = number * interval_ms
        start_ms = max(arrival_ms, free_ms)
        if start_ms >= arrival_ms + interval_ms:
            lost += 1
        else:
            free_ms = start_ms + took_ms
    return lost
