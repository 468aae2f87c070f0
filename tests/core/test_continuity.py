from pathlib import Path

import numpy as np

from edge_app.core.continuity import sketch
from edge_app.pipeline import Pipeline
from edge_app.records import Float32Array
from tests.support import picture


def of(pipeline: Pipeline, path: Path) -> Float32Array:
    image = picture(path)
    return sketch(pipeline.aligned(image, pipeline.detect_whole(image)[0])[0])


def test_a_flat_face_is_like_nothing() -> None:
    flat = sketch(np.full((112, 112, 3), 90, np.uint8))
    assert float(flat @ flat) == 0


def test_light_does_not_change_a_sketch() -> None:
    face = np.random.default_rng(0).integers(80, 200, (112, 112, 3), dtype=np.uint8)
    assert float(sketch(face) @ sketch(face // 2 + 20)) > 0.99


def test_another_person_changes_it(pipeline: Pipeline, media: Path) -> None:
    enrolled = of(pipeline, media / "enrolled-3.jpg")
    for name in ("stranger-1.jpg", "stranger-2.png"):
        assert float(enrolled @ of(pipeline, media / name)) < 0.85
