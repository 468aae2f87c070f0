import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.errors import ConfigError, MediaError
from edge_app.evaluation import scenes
from edge_app.evaluation.scenes import (
    HEIGHT_PX,
    MIN_FACE_PX,
    WIDTH_PX,
    Portrait,
    TrueFace,
    Truth,
    Wear,
    _room,
    compose,
    encode_truth,
    paste,
    read_truth,
    run,
    usable_portrait,
)
from edge_app.records import Box
from tests.evaluation.fakes import FakePipeline, detection, reader


def portrait(face: int = 255, around: int = 128) -> Portrait:
    """A disc for a face, 40 px wide, in the middle of 80 x 80 px of something else."""
    image = np.full((80, 80, 3), around, np.uint8)
    cv2.circle(image, (40, 40), 20, (face, face, face), -1)
    angles = np.linspace(0, 2 * np.pi, 468, endpoint=False)
    mesh = np.stack([40 + 20 * np.cos(angles), 40 + 20 * np.sin(angles)], axis=1)
    return Portrait(image, mesh.astype(np.float32))


def touching(a: Box, b: Box) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


@settings(max_examples=25, deadline=None)
@given(st.floats(400, 600), st.floats(400, 600), st.floats(30, 480), st.floats(-25, 25))
def test_a_face_lands_where_its_box_says(x: float, y: float, width: float, tilt: float) -> None:
    scene = np.zeros((1000, 1000, 3), np.uint8)
    box = paste(scene, portrait(around=0), (x, y), width, tilt)
    ys, xs = np.nonzero(scene[:, :, 1] > 127)
    tolerance = 1.0 + width / 40  # the disc's own pixels
    assert xs.min() == pytest.approx(box.x0, abs=tolerance)
    assert xs.max() + 1 == pytest.approx(box.x1, abs=tolerance)
    assert ys.min() == pytest.approx(box.y0, abs=tolerance)
    assert ys.max() + 1 == pytest.approx(box.y1, abs=tolerance)
    assert box.width == pytest.approx(width, rel=0.01)


def test_a_positive_tilt_is_clockwise() -> None:
    upright = portrait(face=0, around=0)
    upright.image_bgr[22:30, 37:43] = 255  # a bright brow
    scene = np.zeros((200, 200, 3), np.uint8)
    paste(scene, upright, (100, 100), 40, 25)
    ys, xs = np.nonzero(scene[:, :, 0] > 127)
    assert xs.mean() > 103
    assert ys.mean() < 93


def test_the_corners_of_the_portrait_stay_out() -> None:
    scene = np.zeros((200, 200, 3), np.uint8)
    paste(scene, portrait(), (100, 100), 40, 0)
    assert scene[100, 100].tolist() == [255, 255, 255]
    assert scene[100 - 30, 100 - 30].tolist() == [0, 0, 0]  # inside the portrait, not the ellipse
    assert scene[100, 100 - 28].max() > 0  # what surrounds the face closely comes along


def test_a_face_may_reach_over_the_edge() -> None:
    scene = np.zeros((100, 100, 3), np.uint8)
    paste(scene, portrait(), (2, 98), 40, 0)
    assert scene[97, 2].tolist() == [255, 255, 255]
    assert scene[:50].max() == 0


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000))
def test_scenes_keep_to_their_limits(seed: int) -> None:
    image, faces, wear = compose([portrait()], np.random.default_rng(seed))
    boxes = [face.box_px for face in faces]
    assert image.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert 1 <= len(boxes) <= scenes.MAX_FACES
    for face in faces:
        assert scenes.MIN_FACE_PX <= face.width_px <= scenes.MAX_FACE_PX
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= WIDTH_PX
        assert 0 <= box.y0 < box.y1 <= HEIGHT_PX
        assert not any(touching(box, other) for other in boxes[:i])
    assert 0.25 <= wear.gain <= 1


def test_who_finds_no_room_stands_further_back() -> None:
    """Without it, a third of those who were drawn would find no place."""
    drawn = [int(np.random.default_rng((9, n)).integers(1, 31)) for n in range(3)]
    placed = 0
    for n in range(3):
        random = np.random.default_rng((9, n))
        taken: list[Box] = []
        for _ in range(drawn[n]):
            room = _room(480.0, taken, random)
            if room is not None:
                width, (x, y) = room
                taken.append(Box(x - width / 2, y - width / 2, x + width / 2, y + width / 2))
                assert MIN_FACE_PX <= width <= 480
        placed += len(taken)
        assert all(not touching(a, b) for i, a in enumerate(taken) for b in taken[:i])
    assert placed >= 0.9 * sum(drawn)


def test_the_same_seed_composes_the_same_scene() -> None:
    first = compose([portrait()], np.random.default_rng(5))
    again = compose([portrait()], np.random.default_rng(5))
    other = compose([portrait()], np.random.default_rng(6))
    assert np.array_equal(first[0], again[0])
    assert first[1:] == again[1:]
    assert not np.array_equal(first[0], other[0])


IMAGE = np.full((90, 90, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("pipeline", "usable"),
    [
        (FakePipeline(), False),
        (FakePipeline({"follow": [detection(45, 45, 40)]}), True),
        (FakePipeline({"follow": [detection(15, 45, 40)]}), False),
        (
            FakePipeline(
                {"follow": [detection(45, 45, 40)]},
                whole=[detection(45, 45, 40), detection(10, 10, 9)],
            ),
            False,
        ),
    ],
    ids=["nobody", "one", "cut off", "two"],
)
def test_only_whole_single_faces_are_pasted(pipeline: FakePipeline, usable: bool) -> None:
    assert (usable_portrait(reader(pipeline), IMAGE) is not None) is usable


def test_the_program_writes_scenes_that_a_shorter_run_repeats(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    (tmp_path / "broken.png").write_bytes(b"")
    faces = reader(FakePipeline({"follow": [detection(45, 45, 40)]}))
    two, one = tmp_path / "two", tmp_path / "one"
    truths = run(faces, images=tmp_path, out=two, seed=3, count=2)
    run(faces, images=tmp_path, out=one, seed=3, count=1)
    assert read_truth(two / "truth.json") == truths
    assert (two / "scene_0000.jpg").read_bytes() == (one / "scene_0000.jpg").read_bytes()
    assert (two / "scene_0001.jpg").is_file()
    with pytest.raises(ConfigError, match="--count"):
        run(faces, images=tmp_path, out=one, seed=3, count=0)
    with pytest.raises(MediaError, match="whole face"):
        run(reader(FakePipeline()), images=tmp_path, out=one, seed=3, count=1)


def test_hostile_truth_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    good = encode_truth(1, [Truth("a.jpg", (TrueFace(Box(1, 2, 3, 4), 2.0, -5.0),), Wear(1, 0, 0))])
    text = json.dumps(good)
    path.write_text(text)
    assert read_truth(path)[0].faces == (TrueFace(Box(1, 2, 3, 4), 2.0, -5.0),)
    for bad in (
        "",
        "[]",
        "{}",
        text[:-5],
        text.replace("a.jpg", "../a.jpg"),
        text.replace('"a.jpg"', "7"),
        text.replace('"x0": 1', '"x0": "wide"'),
        text.replace('"x0"', '"left"'),
        text.replace('"tilt_deg"', '"roll_deg"'),
        json.dumps(encode_truth(1, [])),
        json.dumps({**good, "format": 1}),
    ):
        path.write_text(bad)
        with pytest.raises(ConfigError):
            read_truth(path)
