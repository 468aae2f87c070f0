from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.core import align
from edge_app.core.embed import direction
from edge_app.pipeline import Pipeline
from edge_app.records import Box, Detection, FaceMesh, ImageBgr, Landmarks
from tests.support import embedding_of, picture


def test_a_degenerate_mesh_has_no_pose() -> None:
    flat = FaceMesh(np.zeros((468, 3), np.float32), 0.0)
    assert align.head_pose(flat).yaw_deg == 0
    assert align.parallax_pose(flat).yaw_deg == 0


def test_a_detection_without_size_still_gives_a_crop(portrait: ImageBgr) -> None:
    nothing = Detection(Box(5, 5, 5, 5), Landmarks(np.full((6, 2), 5, np.float32)), 0.5)
    tensor, _ = align.mesh_crop(portrait, nothing)
    assert tensor.shape == (1, 192, 192, 3)


def test_one_person_is_near_and_another_is_far(pipeline: Pipeline, media: Path) -> None:
    enrolled = [embedding_of(pipeline, picture(media / f"enrolled-{i}.jpg")) for i in (1, 2, 3)]
    strangers = [
        embedding_of(pipeline, picture(media / name))
        for name in ("stranger-1.jpg", "stranger-2.png")
    ]
    same = [float(enrolled[a] @ enrolled[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    other = [float(e @ s) for e in enrolled for s in strangers]
    assert min(same) > 0.65
    assert max(other) < 0.3


@pytest.mark.parametrize("angle_deg", [-30, -10, 10, 30])
def test_a_leaning_head_is_aligned_upright(
    pipeline: Pipeline, portrait: ImageBgr, angle_deg: int
) -> None:
    height, width = portrait.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 3), angle_deg, 1.0)
    leaning = np.asarray(cv2.warpAffine(portrait, turn, (width, height)), np.uint8)
    upright, tilted = embedding_of(pipeline, portrait), embedding_of(pipeline, leaning)
    assert float(direction(upright) @ direction(tilted)) > 0.9


def test_the_mirror_image_turns_the_other_way(pipeline: Pipeline, media: Path) -> None:
    image = picture(media / "enrolled-2.jpg")
    mirrored = np.ascontiguousarray(image[:, ::-1])
    poses = []
    for each in (image, mirrored):
        _, mesh = pipeline.aligned(each, pipeline.detect_whole(each)[0])
        poses.append((align.head_pose(mesh), align.parallax_pose(mesh)))
    for one, other in zip(*poses, strict=True):
        assert one.yaw_deg < -8  # looks to the viewer's left
        assert one.yaw_deg == pytest.approx(-other.yaw_deg, abs=4)
        assert one.pitch_deg == pytest.approx(other.pitch_deg, abs=4)


def test_a_turned_photograph_shows_no_turn_by_parallax(
    pipeline: Pipeline, portrait: ImageBgr
) -> None:
    """Why the liveness challenge uses `parallax_pose`: paper has no nose."""
    height, width = portrait.shape[:2]
    narrower = np.array([[0.8, 0, width * 0.1], [0, 1, 0]])  # turned by 37 degrees, far away
    turned = np.asarray(cv2.warpAffine(portrait, narrower, (width, height)), np.uint8)
    _, mesh = pipeline.aligned(turned, pipeline.detect_whole(turned)[0])
    assert abs(align.parallax_pose(mesh).yaw_deg) < 10
