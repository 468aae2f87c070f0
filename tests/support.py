"""Small things that several tests share."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edge_app.pipeline import Pipeline
from edge_app.records import Float32Array, ImageBgr

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / "build" / "media"


def picture(path: Path) -> ImageBgr:
    """A picture, scaled to at most 1080 px high."""
    image = cv2.imread(str(path))
    assert image is not None, path
    scale = min(1.0, 1080 / image.shape[0])
    resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def embedding_of(pipeline: Pipeline, image: ImageBgr) -> Float32Array:
    """The unit-length embedding of the only face in a picture."""
    face, _ = pipeline.aligned(image, pipeline.detect_whole(image)[0])
    return pipeline.embed(face)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes fail, as on a broken or full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def catches(pid: int, signal_number: signal.Signals) -> bool:
    """Whether a process has a handler for it by now: else it would die of it."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal_number - 1) & 1)
