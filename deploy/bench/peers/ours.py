"""This program's part of bench-peers: composes the scene, and measures itself on it.

    python ours.py compose SCENE_FOLDER
    python ours.py measure SCENE_FOLDER

A 1080p frame with one face of 120 px; another picture of that person is enrolled, among 50,000.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edge_app.adapters.index import IndexKind, IndexSettings, build_index
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config
from edge_app.core.scan import Scanner
from edge_app.evaluation.scenes import HEIGHT_PX, WIDTH_PX, Portrait, background, paste
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr
from tests.people import faces
from tests.support import MEDIA, embedding_of, picture

ROUNDS = 15
ENROLLED = 50_000
FACE_PX = 120.0


def compose(pipeline: Pipeline, folder: Path) -> None:
    """Every peer reads the same pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    image = picture(MEDIA / "enrolled-3.jpg")
    _, mesh = pipeline.aligned(image, pipeline.detect_whole(image)[0])
    frame = background(np.random.default_rng(1))
    portrait = Portrait(image, mesh.points_px[:, :2])
    paste(frame, portrait, (WIDTH_PX / 2, HEIGHT_PX / 2), FACE_PX, 0.0)
    enrolled = picture(MEDIA / "enrolled-1.jpg")
    cv2.imwrite(str(folder / "frame.png"), frame)
    cv2.imwrite(str(folder / "enrolled.png"), enrolled)
    np.save(folder / "frame.npy", np.ascontiguousarray(frame[:, :, ::-1]))
    for name, pixels in (("frame", frame), ("enrolled", enrolled)):
        (folder / f"{name}.rgb").write_bytes(np.ascontiguousarray(pixels[:, :, ::-1]).tobytes())
        shape = {"height": pixels.shape[0], "width": pixels.shape[1]}
        (folder / f"{name}.json").write_text(json.dumps(shape), "utf-8")


def measure(pipeline: Pipeline, folder: Path) -> dict[str, object]:
    """A cold frame, as the first of a run: the whole is searched for faces, as the device does.

    One frame is not enough for the device to name anybody, so the gallery is asked here.
    """
    frame = _read(folder / "frame.png")
    gallery = faces(ENROLLED)
    gallery[0] = embedding_of(pipeline, _read(folder / "enrolled.png"))
    index = build_index(gallery, IndexKind.AUTO, IndexSettings(**Config().index.model_dump()))
    times_ms = []
    found = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        best = []
        for region in Scanner(Config().scan).regions(frame, ()):
            for detection in pipeline.detect_in(frame, region):
                face, mesh = pipeline.aligned(frame, detection)
                if mesh.presence >= Config().quality.min_presence:
                    best.append(int(index.search(pipeline.embed(face), 1)[0][0]))
        times_ms.append(1000 * (time.perf_counter() - began_s))
        found.append(0 in best)
    return {"name": "Familiar, cold frame", "times_ms": times_ms, "found": all(found)}


def _read(path: Path) -> ImageBgr:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def main() -> None:
    pipeline = Pipeline(make_rules(Config()), load_models(Config()), NullStopwatch())
    if sys.argv[1] == "compose":
        compose(pipeline, Path(sys.argv[2]))
    else:
        print(json.dumps(measure(pipeline, Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
