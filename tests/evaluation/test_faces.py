from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import MediaError
from edge_app.evaluation.faces import read_faces, with_progress
from edge_app.records import Detection, FaceMesh, Float32Array, ImageBgr
from tests.evaluation.fakes import FakePipeline, detection, reader

IMAGE = np.full((100, 120, 3), 50, np.uint8)


def test_progress_is_for_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert [*with_progress(range(3), "Reading faces")] == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_no_face_is_none_after_both_detectors_looked() -> None:
    pipeline = FakePipeline()
    assert reader(pipeline).portrait(IMAGE) is None
    assert pipeline.searched == ["follow", "tile"]


def test_the_face_nearest_the_centre_is_the_portrait() -> None:
    pipeline = FakePipeline({"follow": [detection(20, 20, 30, 0.99), detection(62, 48, 30, 0.6)]})
    reading = reader(pipeline).portrait(IMAGE)
    assert reading is not None
    assert reading.detection.box_px.centre == (62.0, 48.0)
    assert pipeline.searched == ["follow"]


def test_a_detection_that_the_mesh_denies_is_no_face() -> None:
    pipeline = FakePipeline(
        {"follow": [detection(60, 50, 30)], "tile": [detection(30, 50, 30)]}, presence={60: 0.4}
    )
    reading = reader(pipeline).portrait(IMAGE)
    assert reading is not None
    assert reading.detection.box_px.centre == (30.0, 50.0)


def test_detections_of_one_face_are_one() -> None:
    pipeline = FakePipeline({"follow": [detection(60, 50, 30, 0.9), detection(62, 50, 30, 0.9)]})
    reading = reader(pipeline).portrait(IMAGE)
    assert reading is not None
    assert reading.detection.box_px.centre == pytest.approx((61, 50))


def test_a_scene_is_all_confirmed_faces() -> None:
    pipeline = FakePipeline(
        whole=[detection(20, 20, 30), detection(60, 50, 30)], presence={20: 0.1}
    )
    assert len(reader(pipeline).scene(IMAGE)) == 1
    assert reader(FakePipeline()).scene(IMAGE) == []


class _LeftOrRight(FakePipeline):
    """Its embedding tells on which side a face is lighter."""

    def aligned(self, image: ImageBgr, found: Detection) -> tuple[ImageBgr, FaceMesh]:
        face, mesh = super().aligned(image, found)
        face[:, :56] = 255
        return face, mesh

    def embed(self, face: ImageBgr) -> Float32Array:
        return np.array([1, 0] if face[0, 0, 0] == 255 else [0, 1], np.float32)


def test_templates_are_taken_with_their_mirror_image_and_probes_without(tmp_path: Path) -> None:
    for name in ("probe.png", "template.png"):
        cv2.imwrite(str(tmp_path / name), IMAGE)
    faces = reader(_LeftOrRight({"follow": [detection(60, 50, 30)]}))
    table = read_faces(
        faces, tmp_path, ["probe.png", "template.png"], enrolled=frozenset({"template.png"})
    )
    assert table.embeddings == pytest.approx(np.array([[1, 0], [0.5**0.5, 0.5**0.5]]))


def test_a_folder_is_read_and_what_could_not_be_is_counted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((100, 120, 3), (0, 0, 200), np.uint8))
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((100, 120, 3), (200, 0, 0), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    pipeline = FakePipeline({"follow": [detection(60, 50, 30)]})
    table = read_faces(reader(pipeline), tmp_path, ["blue.png", "broken.png", "red.png"])
    assert table.names == ("blue.png", "red.png")
    assert table.embeddings.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert table.undecodable == ("broken.png",)
    nobody = read_faces(reader(FakePipeline()), tmp_path, ["red.png"])
    assert nobody.embeddings.size == 0
    assert nobody.unread == ("red.png",)
    with pytest.raises(MediaError):
        read_faces(reader(pipeline), tmp_path, ["absent.png"])
