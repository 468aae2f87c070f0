import numpy as np
import pytest

from edge_app.evaluation.encounters import FPS, HEIGHT_PX, WIDTH_PX, Look, Stage, look
from edge_app.records import FaceMesh, Float32Array, ImageBgr


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(seed=1)


def plain(colour: tuple[int, int, int], width: int = 150, height: int = 150) -> ImageBgr:
    return np.full((height, width, 3), colour, np.uint8)


def mesh(x0: float, y0: float, x1: float, y1: float) -> FaceMesh:
    corners = np.array([[x0, y0, 0], [x1, y1, 0]], np.float32)
    return FaceMesh(np.resize(corners, (468, 3)), 0.9)


def play(stage: Stage, *looks: Look, seed: int = 1) -> list[ImageBgr]:
    return list(stage.play(looks, np.random.default_rng(seed)))


def shown_size(found: Look) -> tuple[float, float]:
    share: Float32Array = found.share[:, :, 0]
    return float((share[96] > 0.5).sum()), float((share[:, 96] > 0.5).sum())


def test_one_look_lasts_two_seconds_and_five_four(stage: Stage) -> None:
    one = look(plain((0, 0, 200)), None)
    assert len(play(stage, one)) == round(2 * FPS)
    frames = play(stage, *[one] * 5)
    assert len(frames) == round(4 * FPS)
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {
        ((HEIGHT_PX, WIDTH_PX, 3), "uint8")
    }


def test_the_same_seed_plays_the_same_encounter(stage: Stage) -> None:
    one = look(plain((0, 0, 200)), None)
    first, again = play(stage, one), play(Stage(seed=1), one)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], play(stage, one, seed=2)[0])


def test_somebody_comes_nearer_and_every_look_is_shown(stage: Stage) -> None:
    red, blue = look(plain((0, 0, 255)), None), look(plain((255, 0, 0)), None)
    frames = [frame.astype(int) for frame in play(stage, red, blue)]
    reds = [int((f[:, :, 2] - f[:, :, 0] > 90).sum()) for f in frames]
    blues = [int((f[:, :, 0] - f[:, :, 2] > 90).sum()) for f in frames]
    assert reds[0] > 500
    assert blues[0] < 50
    assert reds[-1] < 50
    assert blues[-1] > 1.8 * reds[0]


def test_faces_come_to_one_size_whatever_the_pictures_is() -> None:
    small = look(plain((9, 9, 9)), mesh(40, 40, 110, 110))
    large = look(plain((9, 9, 9), 1500, 1500), mesh(400, 400, 1100, 1100))
    assert shown_size(small) == pytest.approx(shown_size(large), abs=2)
    assert shown_size(small)[0] == pytest.approx(2 * 0.8 * 90 * 0.94, abs=6)


def test_a_face_at_the_edge_shows_nothing_from_outside_its_picture() -> None:
    found = look(plain((9, 9, 9)), mesh(0, 40, 70, 110))
    assert shown_size(found)[0] < 95
    assert found.share.max() == 1.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (20, 4000)])
def test_strange_pictures_are_shown_somehow(stage: Stage, shape: tuple[int, int]) -> None:
    height, width = shape
    for found in (
        look(plain((9, 9, 9), width, height), None),
        look(plain((9, 9, 9), width, height), mesh(-50, -50, -50, -50)),
    ):
        assert np.isfinite(found.image).all()
        assert len(play(stage, found)) == round(2 * FPS)
