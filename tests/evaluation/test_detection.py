import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import MediaError
from edge_app.evaluation.detection import (
    FRAMES_WATCHED,
    TARGET_BINS_PX,
    WIDTH_BINS_PX,
    SceneOutcome,
    assign,
    run,
    search,
    summarise,
)
from edge_app.evaluation.scenes import MAX_FACE_PX, MIN_FACE_PX, TrueFace, Truth, Wear, encode_truth
from edge_app.records import Box
from tests.evaluation.fakes import PLAN, FakePipeline, detection, reader

WEAR = Wear(1.0, 0.0, 0.0)


def face(x: float, y: float, side: float) -> TrueFace:
    return TrueFace(box(x, y, side), side, 0.0)


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


def outcome(scene: Truth, *found: bool, false: int = 0) -> SceneOutcome:
    """in_time: all; unconfirmed: one more than confirmed."""
    return SceneOutcome(scene, found, (True,) * len(found), false, false + 1, 0)


def test_faces_fall_into_bins() -> None:
    faces = (face(50, 50, 34), face(200, 50, 45.9), face(400, 100, 120))
    scene = Truth("a.jpg", faces, Wear(0.5, 1.2, 0.0))
    result = summarise([outcome(scene, True, False, True, false=2)], undecodable=1)
    counts = {bin_.name: (bin_.faces, bin_.found) for bin_ in result.bins if bin_.faces}
    assert counts == {"34-46": (2, 1), "102-138": (1, 1)}
    assert len(result.bins) == len(WIDTH_BINS_PX) - 1
    assert result.bins[0].recall is None
    assert result.bins[1].found_in_time == 2
    worn = {
        wear: {bin_.name: (bin_.faces, bin_.found) for bin_ in bins if bin_.faces}
        for wear, bins in result.wear.items()
    }
    assert worn == {
        "gain": {"0.5-0.75": (2, 1)},
        "blur_px": {"1-1.51": (2, 1)},
        "noise_luma": {"0-2.5": (2, 1)},
        "tilt_deg": {"0-8": (2, 1)},
    }
    content = result.to_json()
    assert content["false_detections_per_frame"] == 2.0
    assert content["false_before_mesh_per_frame"] == 3.0
    assert content["recall_at_width_px"]["40"]["recall"] == 0.5
    assert content["recall_at_width_px"]["40"]["recall_within_0.5_s"] == 1.0
    assert content["recall_at_width_px"]["60"]["recall"] is None
    assert content["recall_by_face_width_px"]["34-46"] == content["recall_at_width_px"]["40"]
    assert result.worst == (("a.jpg", 1, 2),)


def test_every_target_is_a_bin_and_every_scene_fits() -> None:
    assert set(TARGET_BINS_PX.values()) <= set(pairwise(WIDTH_BINS_PX))
    for width, (low, high) in TARGET_BINS_PX.items():
        assert (low, high) == (round(0.85 * width), round(1.15 * width))
    assert WIDTH_BINS_PX[0] == MIN_FACE_PX
    assert WIDTH_BINS_PX[-1] > MAX_FACE_PX


def test_nothing_is_found_where_nothing_is_pasted() -> None:
    result = summarise([outcome(Truth("a.jpg", (), WEAR))], undecodable=0)
    assert result.faces == 0
    assert result.to_json()["recall_at_width_px"]["40"]["recall_within_0.5_s"] is None


def test_a_scene_is_searched_at_once_and_as_a_face_that_comes() -> None:
    """The scan of a whole frame misses what the rotation finds, and the other way round."""
    seen, hidden, ghost = detection(50, 50, 40), detection(150, 150, 40), detection(150, 50, 40)
    pipeline = FakePipeline({"scan": [hidden]}, whole=[seen, ghost], presence={150: 0.4})
    scene = Truth("a.jpg", (face(50, 50, 40), face(150, 150, 40)), WEAR)
    image = np.zeros((192, 320, 3), np.uint8)
    result = search(reader(pipeline), scene, image)
    assert (result.found, result.false, result.unconfirmed) == ((True, False), 0, 1)
    assert result.in_time == (False, False)  # FaceMesh rejects it
    assert pipeline.searched == ["scan"] * (FRAMES_WATCHED // PLAN.still_frames)
    pipeline.presence = {}
    result = search(reader(pipeline), scene, image)
    assert (result.found, result.false) == ((True, False), 1)
    assert result.in_time == (False, True)


def test_the_program(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((192, 320, 3), np.uint8))
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
    assert content["recall_by_face_width_px"]["34-46"]["found"] == 1
    truth.write_text(json.dumps(encode_truth(1, scenes[1:])))
    with pytest.raises(MediaError, match="decoded"):
        run(faces, scenes=tmp_path, truth=truth, json_out=tmp_path / "out.json")
