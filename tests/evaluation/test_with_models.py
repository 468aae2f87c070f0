"""The evaluation with the shipped models and the demo portraits: few pictures, real faces."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.commands.evaluate_video import Station, video_command
from edge_app.config import Config
from edge_app.errors import GalleryError
from edge_app.evaluation import detection, scenes, video
from edge_app.evaluation.faces import FaceReader, ReadingRules, read_faces
from edge_app.pipeline import Models, Pipeline, Rules
from edge_app.records import Calibration, Float32Array
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


ENCOUNTERS = {
    "Anna_1.jpg": "enrolled-1.jpg",
    "Anna_2.jpg": "enrolled-2.jpg",
    "Anna_3.jpg": "enrolled-3.jpg",
    "Bea_1.jpg": "stranger-1.jpg",
    "Carl_1.jpg": "stranger-2.png",
}


@pytest.fixture(scope="module")
def people(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person to enrol with two pictures, and two strangers; in small pictures, as LFW's are."""
    folder = tmp_path_factory.mktemp("people")
    for name, portrait in ENCOUNTERS.items():
        image = picture(media / portrait)
        scale = 400 / max(image.shape)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / name), small)
    return folder


def test_encounters_go_through_the_whole_program(people: Path, tmp_path: Path) -> None:
    """As for the user, in two processes."""
    app = typer.Typer()
    app.command()(video_command)
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    named = ["--images", str(people), "--json", str(out), "--enrol-images", "2"]
    CliRunner().invoke(app, [*named, "--report", str(page)], catch_exceptions=False)
    result = json.loads(out.read_text())
    assert (result["encounters"], result["non_mated"], result["gallery"]) == (1, 2, 1)
    assert result["missed_at_false"]["0.003"] == 0.0
    assert result["calibrated"]["25"]["missed"] == 0.0
    assert result["calibrated"]["25"]["false"] == 0.0
    assert result["time_to_name_at_false"]["0.003"]["p50_s"] < 1.5
    assert "Anna_3.jpg" in page.read_text()


@pytest.fixture
def setting(config: Config, reader: FaceReader, people: Path) -> video.Setting:
    """Anna enrolled in one gallery of two; an empty one beside it."""
    station = Station.of(config)
    galleries, refused = video.enrol_people(
        reader, people, {"Anna": ("Anna_1.jpg", "Anna_2.jpg")}, station.enrol
    )
    assert not refused
    return video.Setting(
        load=lambda: (make_rules(config), load_models(config)),
        reading=ReadingRules(
            scan=config.scan,
            max_detection_overlap=config.look.max_detection_overlap,
            min_presence=config.quality.min_presence,
        ),
        galleries=(*galleries, ()),
        use=station.use,
        calibration=Calibration(0.5, 0.003, 25, station.use.model_sha256),
        thresholds=(0.2, 0.45, 0.5, 0.55, 1.0),
        images=people,
        seed=1,
    )


def test_an_encounter_with_two_galleries(setting: video.Setting) -> None:
    device = video.Device(setting)
    own = device.meet(video.Encounter(0, "Anna", ("Anna_3.jpg",), 0))
    assert own.frames == 18
    assert own.detected >= 16
    assert (own.right_frame[:4] > 0).all()
    assert own.right_frame[4] == video.NEVER
    assert not own.wrong.any()
    elsewhere = device.meet(video.Encounter(0, "Anna", ("Anna_3.jpg",), 1))
    assert (elsewhere.right_frame == video.NEVER).all()
    assert elsewhere.taken_for == "Anna"


def test_runs_that_were_left_out_would_have_named_nobody(
    setting: video.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was left out of the networks' runs changes nothing."""
    coming = [
        video.Encounter(0, "Anna", ("Anna_3.jpg",), 0),
        video.Encounter(1, "Bea", ("Bea_1.jpg", "Carl_1.jpg"), None),
    ]
    shortened = [video.Device(setting).meet(encounter) for encounter in coming]
    plain = video.Device(setting)
    monkeypatch.setattr(plain, "_program", _Plain(*setting.load()))
    for encounter, expected in zip(coming, shortened, strict=True):
        outcome = plain.meet(encounter)
        assert outcome.right_frame.tolist() == expected.right_frame.tolist()
        assert outcome.wrong.tolist() == expected.wrong.tolist()
        assert outcome.rejections == expected.rejections


class _Plain(Pipeline):
    """Forgets everything, and has a face that could be anybody's."""

    def __init__(self, rules: Rules, models: Models) -> None:
        super().__init__(rules, models, NullStopwatch())

    def forget(self) -> None:
        pass

    @property
    def embeddings(self) -> list[Float32Array]:
        return [np.full(192, 99, np.float32)]


def test_galleries_of_an_evaluation_hold_demo_templates_only(setting: video.Setting) -> None:
    gallery = video.Device(setting)._galleries[0]
    assert len(gallery.live.index) == 0
    assert len(gallery.demo.index) == 1
    crowd = replace(setting, galleries=(setting.galleries[0] * 26,))
    with pytest.raises(GalleryError):
        video.Device(crowd)
