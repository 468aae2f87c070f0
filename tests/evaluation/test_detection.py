import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import MediaError
from edge_app.evaluation.detection import WIDTH_BINS_PX, assign, run, summarise
from edge_app.evaluation.scenes import TrueFace, Truth, Wear, encode_truth
from edge_app.records import Box
from tests.evaluation.fakes import FakePipeline, detection, reader

WEAR = Wear(1.0, 0.0, 0.0)


def face(x: float, y: float, side: float) -> TrueFace:
    return TrueFace(box(x, y, side), side)


def box(x: float, y: float, side: float) -> Box:
    return detection(x, y, side).box_px


def test_nothing_found_where_nothing_is() -> None:
    assert assign([], []) == ((), 0)


def test_everything_missed_and_everything_false() -> None:
    assert assign([], [box(50, 50, 20)]) == ((False,), 0)
    assert assign([box(50, 50, 20)], []) == ((), 1)
    assert assign([box(90, 50, 20)], [box(50, 50, 20)]) == ((False,), 1)


def test_a_face_is_found_when_half_of_the_union_is_shared() -> None:
    truth = [Box(0, 0, 30, 10)]
    assert assign([Box(10, 0, 40, 10)], truth) == ((True,), 0)  # 20 of 40
    assert assign([Box(11, 0, 41, 10)], truth) == ((False,), 1)


def test_a_second_detection_of_one_face_is_false() -> None:
    assert assign([box(50, 50, 20), box(51, 50, 20)], [box(50, 50, 20)]) == ((True,), 1)


def test_each_detection_takes_the_face_it_overlaps_most() -> None:
    truth = [box(50, 50, 20), box(55, 50, 20)]
    assert assign([box(54, 50, 20), box(52, 50, 20)], truth) == ((True, True), 0)


def test_widths_fall_into_bins() -> None:
    scene = Truth("a.jpg", (face(50, 50, 35), face(200, 50, 49.9), face(400, 100, 120)), WEAR)
    result = summarise([(scene, (True, False, True), 2)], undecodable=1)
    counts = {bin_.name: (bin_.faces, bin_.found) for bin_ in result.bins if bin_.faces}
    assert counts == {"35-50": (2, 1), "100-150": (1, 1)}
    assert len(result.bins) == len(WIDTH_BINS_PX) - 1
    assert result.bins[0].recall is None
    content = result.to_json()
    assert content["false_detections_per_frame"] == 2.0
    assert content["recall_by_face_width_px"]["35-50"]["recall"] == 0.5
    assert result.worst == (("a.jpg", 1, 2),)


def test_the_program(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 200, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"")
    truth = tmp_path / "truth.json"
    faces = reader(FakePipeline(whole=[detection(50, 50, 40), detection(150, 150, 40)]))
    scenes = [Truth(name, (face(50, 50, 40),), WEAR) for name in ("a.png", "broken.png")]
    truth.write_text(json.dumps(encode_truth(1, scenes)))
    run(faces, scenes=tmp_path, truth=truth, json_out=tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["frames"] == 1
    assert content["undecodable"] == 1
    assert content["false_detections"] == 1
    assert content["recall_by_face_width_px"]["35-50"]["found"] == 1
    truth.write_text(json.dumps(encode_truth(1, scenes[1:])))
    with pytest.raises(MediaError, match="decoded"):
        run(faces, scenes=tmp_path, truth=truth, json_out=tmp_path / "out.json")
