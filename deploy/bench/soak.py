"""A long run: people come and go, galleries are published and synced, and nothing may grow.

    python deploy/bench/soak.py [FRAMES [OUT.json]]

The whole device program over frames that are replayed as fast as it takes them: one enrolled
person, one stranger, nobody, in turn. Twenty times in a run a person joins or leaves and the device
syncs. Compared are the second tenth (the first warms up) and the last: resident memory, open
descriptors, and p95 of the processor time from frame to frame, which a shared machine disturbs less
than the clock on the wall.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from uuid import UUID

import cv2
import numpy as np

from edge_app.adapters.cameras.scene import Scene, SceneCamera
from edge_app.adapters.speech import NullSpeaker
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import Home, load_models, make_rules
from edge_app.config import Config
from edge_app.core.revocation import revocation_sha256
from edge_app.device import Device, Outputs
from edge_app.pipeline import Pipeline
from edge_app.records import Enrolment, Frame, FrameOrigin, HudView, ImageBgr
from tests.fleets import CLOCK, CONFIG, MODEL, Fleet, code_of, person, served
from tests.people import enrolment
from tests.scenes import FPS, Cast
from tests.support import MEDIA, embedding_of, picture

FRAMES = 200_000
SYNCS = 20
MAX_GROWTH_MB = 2.0
MAX_SLOWER = 1.1
SHRINK = 3
STEP_S = 1 / 30


@dataclass(frozen=True, slots=True)
class Tenth:
    """A tenth of the run: medians of memory and descriptors, p95 of CPU time per frame."""

    rss_mb: float
    descriptors: int
    p95_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Soak:
    """What a run came to. names: how often a name came up on the display."""

    frames: int
    syncs: int
    names: int
    alerts: int
    tenths: tuple[Tenth, ...]

    @property
    def growth_mb(self) -> float:
        return self.tenths[-1].rss_mb - self.tenths[1].rss_mb

    @property
    def more_descriptors(self) -> int:
        return self.tenths[-1].descriptors - self.tenths[1].descriptors

    @property
    def slower(self) -> float:
        return self.tenths[-1].p95_cpu_ms / self.tenths[1].p95_cpu_ms


class Screen:
    """Counts the names that come up."""

    def __init__(self) -> None:
        self.names = 0

    def show(self, view: HudView) -> None:
        self.names += bool(view.lines)

    def close(self) -> None:
        pass


class Street:
    """A camera that plays the same frames over and over, and takes the measurements."""

    origin = FrameOrigin.LIVE
    description = "soak"
    undecodable = 0

    def __init__(self, pictures: list[ImageBgr], frames: int, fleet: Fleet, home: Home, url: str):
        self._pictures = cycle(pictures)
        self._frames = frames
        self._fleet = fleet
        self._home = home
        self._url = url
        self._read = 0
        self._began_s = 0.0
        self.syncs = 0
        self.cpu_s = np.zeros(frames)
        self.rss_mb = np.zeros(frames)
        self.descriptors = np.zeros(frames, np.int64)

    def open(self) -> None:
        self._began_s = time.process_time()

    def close(self) -> None:
        pass

    def read(self) -> Frame | None:
        if self._read == self._frames:
            return None
        self.cpu_s[self._read] = time.process_time() - self._began_s
        self.rss_mb[self._read] = resident_mb()
        self.descriptors[self._read] = sum(1 for _ in Path("/proc/self/fd").iterdir())
        if self._read % max(1, self._frames // SYNCS) == 0:
            self._change()
        self._read += 1
        self._began_s = time.process_time()
        return Frame(next(self._pictures), self._read * STEP_S, self._read, self.origin)

    def _change(self) -> None:
        """Somebody else joins; the one who joined before leaves."""
        self.syncs += 1
        self._fleet.enrol([person(1 + self.syncs)])
        if self.syncs > 1:
            self._fleet.leave(self.syncs)
        self._fleet.publish()
        self._fleet.sync(self._home, self._url)

    def tenths(self) -> tuple[Tenth, ...]:
        return tuple(
            Tenth(
                float(np.median(self.rss_mb[part])),
                int(np.median(self.descriptors[part])),
                float(np.quantile(self.cpu_s[part], 0.95) * 1000),
            )
            for part in np.array_split(np.arange(self._frames), 10)
        )


def soak(frames: int, folder: Path) -> Soak:
    """Run a device over this many frames, with everything it keeps in this folder."""
    pipeline = Pipeline(make_rules(Config()), load_models(Config()), NullStopwatch())
    fleet = Fleet(folder)
    home = fleet.device("glasses")
    with served(fleet.operator.repository) as url:
        fleet.enrol([_enrolled(pipeline)])
        fleet.publish()
        fleet.sync(home, url)
        street = Street(_street(pipeline), frames, fleet, home, url)
        screen = Screen()
        device = Device(
            CONFIG,
            home,
            source=street,
            lossless=True,
            outputs=Outputs(screen, NullSpeaker(), (), ""),
            clock=CLOCK,
            stop=threading.Event(),
        )
        summary = device.run()
    return Soak(summary.frames, street.syncs, screen.names, summary.alerts, street.tenths())


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _enrolled(pipeline: Pipeline) -> Enrolment:
    embeddings = [
        embedding_of(pipeline, picture(MEDIA / name))
        for name in ("enrolled-1.jpg", "enrolled-2.jpg")
    ]
    return enrolment(
        1,
        embeddings,
        record_id=str(UUID(int=1)),
        event_time=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1),
        model_sha256=MODEL,
        revocation_sha256=revocation_sha256(code_of(1)),
    )


def _street(pipeline: Pipeline) -> list[ImageBgr]:
    """Six seconds: the enrolled person, a stranger and nobody, two seconds each."""
    cast = Cast(MEDIA, pipeline)
    actors = (
        cast.walk("enrolled-3.jpg", (0.0, 800, 540, 270), (1.9, 1000, 540, 290)),
        cast.walk("stranger-1.jpg", (2.0, 1100, 520, 270), (3.9, 900, 520, 280)),
    )
    camera = SceneCamera(
        Scene(width_px=1920, height_px=1080, fps=FPS, duration_s=6.0, seed=1, actors=actors)
    )
    camera.open()
    pictures = []
    while (frame := camera.read()) is not None:
        size = (frame.width_px // SHRINK, frame.image_bgr.shape[0] // SHRINK)
        small = cv2.resize(frame.image_bgr, size, interpolation=cv2.INTER_AREA)
        pictures.append(np.asarray(small, np.uint8))
    camera.close()
    return pictures


def main() -> int:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES
    with tempfile.TemporaryDirectory() as folder:
        result = soak(frames, Path(folder))
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps(asdict(result), indent=1) + "\n", "utf-8")
    print(
        f"{result.frames:,} frames, {result.syncs} syncs, {result.names:,} times a name, "
        f"{result.alerts:,} alerts\n"
        f"memory {result.growth_mb:+.2f} MB (at most {MAX_GROWTH_MB:+.0f}), "
        f"descriptors {result.more_descriptors:+d}, p95 x {result.slower:.3f} "
        f"(at most {MAX_SLOWER}), from the second tenth to the last"
    )
    holds = (
        result.growth_mb < MAX_GROWTH_MB
        and result.more_descriptors <= 0
        and result.slower <= MAX_SLOWER
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
