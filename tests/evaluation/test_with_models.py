"""The evaluation with the shipped models and the demo portraits: few pictures, real faces."""

import json
from pathlib import Path

import cv2
import pytest

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config
from edge_app.evaluation import detection, scenes
from edge_app.evaluation.faces import FaceReader, ReadingRules, read_faces
from edge_app.pipeline import Pipeline
from tests.support import picture

PORTRAITS = ("enrolled-1.jpg", "enrolled-2.jpg", "enrolled-3.jpg", "stranger-1.jpg")


@pytest.fixture(scope="module")
def reader(config: Config) -> FaceReader:
    models = load_models(config)
    rules = ReadingRules(
        scan=config.scan,
        max_detection_overlap=config.look.max_detection_overlap,
        min_presence=config.quality.min_presence,
    )
    pipeline = Pipeline(make_rules(config), models, NullStopwatch())
    return FaceReader(pipeline, models.embedder, rules)


@pytest.fixture(scope="module")
def folder(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portraits, no higher than a frame."""
    smaller = tmp_path_factory.mktemp("portraits")
    for name in PORTRAITS:
        cv2.imwrite(str(smaller / name), picture(media / name))
    return smaller


def test_one_person_is_more_like_themselves_than_like_another(
    reader: FaceReader, folder: Path
) -> None:
    table = read_faces(reader, folder, PORTRAITS)
    assert table.names == PORTRAITS
    similarity = table.embeddings @ table.embeddings.T
    assert similarity[:3, :3].min() > 0.6
    assert similarity[:3, 3].max() < 0.4
    assert reader.embedder_name == "mobilefacenet_int8"


def test_faces_pasted_into_scenes_are_found_where_the_truth_says(
    reader: FaceReader, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "MIN_FACE_PX", 100)
    monkeypatch.setattr(scenes, "MAX_FACES", 8)
    scenes.run(reader, images=folder, out=tmp_path, seed=1, count=2)
    truth = tmp_path / "truth.json"
    result = detection.run(reader, scenes=tmp_path, truth=truth, json_out=tmp_path / "out.json")
    assert result.faces >= 2
    assert sum(bin_.found for bin_ in result.bins) == result.faces
    assert json.loads((tmp_path / "out.json").read_text())["frames"] == 2


def test_a_scene_without_light_holds_no_face(reader: FaceReader, folder: Path) -> None:
    image = picture(folder / PORTRAITS[0])
    assert reader.portrait(image) is not None
    assert reader.scene(image // 255) == []
