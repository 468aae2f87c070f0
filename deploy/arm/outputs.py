"""What the pipeline makes of the demo's pictures, as numbers that another machine can compare.

    python deploy/arm/outputs.py OUT.json

Every picture is searched by both detectors, and two are held before the camera for five frames with
one person enrolled. A drawn gallery is searched in int8. Tiles are as large as they may be, because
emulated ones take seconds each.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.adapters.int8_index import Int8Index
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import make_config
from edge_app.core.decode import suppress
from edge_app.core.gallery import Gallery
from edge_app.core.scan import Region
from edge_app.pipeline import Pipeline, State
from edge_app.records import Box, Detection, Frame, FrameOrigin, ImageBgr
from tests.people import NOW, enrolment, faces, gallery_of
from tests.support import MEDIA, picture

ENROLLED = "enrolled-1.jpg"
SHOWN = ("enrolled-3.jpg", "stranger-1.jpg")
FRAMES = 5
FRAME_S = 0.15
CONFIG = make_config({"scan": {"tile": 1.0}})


def main() -> None:
    pipeline = Pipeline(make_rules(CONFIG), load_models(CONFIG), NullStopwatch())
    pictures = {name: picture(MEDIA / name) for name in (ENROLLED, *SHOWN)}
    result: dict[str, Any] = {name: read(pipeline, image) for name, image in pictures.items()}
    template = np.asarray(result[ENROLLED]["embedding"], np.float32)
    gallery = gallery_of([enrolment(1, [template], demo=True)])
    for name in SHOWN:
        result[name]["decided"] = decided(pipeline, pictures[name], gallery)
    rows, _ = Int8Index(faces(2000)).search(faces(1, seed=1)[0], 20)
    outputs = {"machine": platform.machine(), "pictures": result, "rows": rows.tolist()}
    Path(sys.argv[1]).write_text(json.dumps(outputs), "utf-8")


def read(pipeline: Pipeline, image: ImageBgr) -> dict[str, Any]:
    """Every detection, and of the best one the landmarks and the embedding."""
    height, width = image.shape[:2]
    whole = Box(0, 0, width, height)
    detections: list[Detection] = []
    for detector in (CONFIG.scan.follow_detector, CONFIG.scan.tile_detector):
        detections += pipeline.detect_in(image, Region(whole, detector))
    detections = suppress(detections, CONFIG.look.max_detection_overlap)
    face, mesh = pipeline.aligned(image, detections[0])
    return {
        "boxes_px": [[d.box_px.x0, d.box_px.y0, d.box_px.x1, d.box_px.y1] for d in detections],
        "scores": [d.score for d in detections],
        "mesh_px": mesh.points_px[:, :2].tolist(),
        "presence": mesh.presence,
        "embedding": pipeline.embed(face).tolist(),
        "decided": [],
    }


def decided(pipeline: Pipeline, image: ImageBgr, gallery: Gallery) -> list[list[str]]:
    """Who is named in each frame."""
    state = State(make_rules(CONFIG))
    named = []
    for number in range(FRAMES):
        frame = Frame(image, number * FRAME_S, number, FrameOrigin.REPLAY)
        result = pipeline.process(frame, state, gallery, NOW)
        named.append([person.person_id for person in result.recognised])
    return named


if __name__ == "__main__":
    main()
