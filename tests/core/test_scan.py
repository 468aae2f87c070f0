from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.config import Config
from edge_app.core.governor import Effort
from edge_app.core.scan import Region, Scanner, frame_regions, still_regions
from edge_app.records import Box, ImageBgr

PLAN = Config().scan
BLACK = np.zeros((1080, 1920, 3), np.uint8)
WHOLE = Box(0, 0, 1920, 1080)


def scene(*bright: tuple[int, int, int, int]) -> ImageBgr:
    """Black, but for rectangles (x, y, width, height)."""
    image = BLACK.copy()
    for x, y, width, height in bright:
        image[y : y + height, x : x + width] = 200
    return image


def warmed_up(image: ImageBgr) -> Scanner:
    """A scanner that has searched every region of this scene, and found nothing new since."""
    scanner = Scanner(PLAN)
    for _ in range(2 * PLAN.still_frames):
        scanner.regions(image, [])
    return scanner


def test_a_still_picture_is_searched_in_sixteen_regions() -> None:
    whole, *tiles = still_regions(1920, 1080, PLAN)
    assert whole == Region(WHOLE, "blazeface_back", min_width_px=97.5, brightened=True)
    assert len(tiles) == 15
    assert {round(r.min_width_px, 3) for r in tiles} == {23.4}
    assert {round(r.box_px.width, 6) for r in tiles} == {460.8}
    assert {round(r.box_px.height, 6) for r in tiles} == {460.8}
    assert {round(r.max_width_px, 3) for r in tiles} == {152.064}
    assert all(r.brightened for r in tiles)
    assert len(still_regions(1080, 1920, PLAN)) == 16


def test_a_camera_is_searched_in_ten_regions() -> None:
    whole, *tiles = frame_regions(1920, 1080, PLAN)
    assert whole == Region(WHOLE, "blazeface_wide", 78.0, min_score=PLAN.min_scan_score)
    assert len(tiles) == 9
    assert {round(r.min_width_px, 2) for r in tiles} == {28.86}
    assert {round(r.max_width_px, 2) for r in tiles} == {234.43}
    # What one tile is too narrow for lies whole in its neighbour, or is wide enough for the whole.
    columns = sorted({(r.box_px.x0, r.box_px.x1) for r in tiles})
    rows = sorted({(r.box_px.y0, r.box_px.y1) for r in tiles})
    for (_, end), (begin, _) in [*pairwise(columns), *pairwise(rows)]:
        assert end - begin > whole.min_width_px


def test_a_picture_no_larger_than_a_tile_is_one_region() -> None:
    for height, width in ((150, 150), (256, 256), (48, 200), (1, 1)):
        (region,) = still_regions(width, height, PLAN)
        assert region.box_px == Box(0, 0, width, height)
        assert region.max_width_px == np.inf


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (192, 320), (480, 640), (1920, 1080)])
def test_the_first_frame_is_searched_once_as_a_whole(shape: tuple[int, int]) -> None:
    (region,) = Scanner(PLAN).regions(np.zeros((*shape, 3), np.uint8), [])
    assert region.box_px == Box(0, 0, shape[1], shape[0])


def test_a_new_scene_is_searched_everywhere_within_six_frames() -> None:
    scanner = Scanner(PLAN)
    searched = [scanner.regions(BLACK, []) for _ in range(6)]
    assert max(map(len, searched)) == PLAN.tiles_per_frame == 2
    assert {r for regions in searched for r in regions} == set(frame_regions(1920, 1080, PLAN))


def test_where_nothing_moves_one_region_in_four_frames_is_searched() -> None:
    scanner = warmed_up(BLACK)
    searched = [scanner.regions(BLACK, []) for _ in range(40)]
    assert sorted(map(len, searched)) == [0] * 30 + [1] * 10
    assert len({r for regions in searched for r in regions}) == 10


def test_with_less_effort_half_as_much_is_searched() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    searched = [scanner.regions(BLACK, [], [], Effort.FEWER_REGIONS) for _ in range(90)]
    assert max(map(len, searched)) == 1
    everywhere = set(frame_regions(1920, 1080, PLAN))
    assert {r for regions in searched[:11] for r in regions} == everywhere
    assert sum(map(len, searched[18:])) == 72 // (2 * PLAN.still_frames)


def test_noise_is_no_movement() -> None:
    random = np.random.default_rng(0)

    def noisy() -> ImageBgr:
        noise = random.normal(120, 10, (1080, 1920, 1))
        return np.broadcast_to(noise, (1080, 1920, 3)).clip(0, 255).astype(np.uint8)

    scanner = warmed_up(noisy())
    assert sum(len(scanner.regions(noisy(), [])) for _ in range(6)) <= 3


@pytest.mark.parametrize("face_px", [45, 60, 120])
@pytest.mark.parametrize(("x", "y"), [(30, 40), (900, 500), (1750, 900)])
def test_who_comes_into_view_is_looked_for_at_once(x: int, y: int, face_px: int) -> None:
    scanner = warmed_up(BLACK)
    image = scene((x, y, face_px, face_px))
    regions = [r for _ in range(3) for r in scanner.regions(image, [])]
    assert any(
        r.box_px.x0 <= x and r.box_px.y0 <= y
        and x + face_px <= r.box_px.x1 and y + face_px <= r.box_px.y1
        and r.min_width_px <= face_px
        for r in regions
    )  # fmt: skip


def test_who_left_is_news_too_and_then_no_more() -> None:
    scanner = warmed_up(scene((100, 100, 60, 60)))
    corner = frame_regions(1920, 1080, PLAN)[1]
    assert corner in scanner.regions(BLACK, [])
    later = [scanner.regions(BLACK, []) for _ in range(8)]
    assert sum(map(len, later)) <= 2


def test_movement_is_looked_at_first_and_starves_nobody() -> None:
    scanner = Scanner(PLAN)
    flicker = (BLACK, scene((1600, 700, 300, 300)))
    searched = [scanner.regions(flicker[i % 2], []) for i in range(90)]
    everywhere = set(frame_regions(1920, 1080, PLAN))
    for begin in range(1, 90 - 41):  # 1.3 seconds, however much moves elsewhere
        assert {r for regions in searched[begin : begin + 41] for r in regions} == everywhere
    last_tile = frame_regions(1920, 1080, PLAN)[-1]
    assert sum(last_tile in regions for regions in searched) >= 30


def test_the_movement_of_known_people_is_no_news() -> None:
    face = Box(900, 300, 980, 390)
    shift = scene((850, 300, 150, 600))
    for followed, waiting in (([face], []), ([], [face])):
        scanner = warmed_up(BLACK)
        searched = [
            scanner.regions(shift if i % 2 else BLACK, followed, waiting) for i in range(30)
        ]
        scans = [r for regions in searched for r in regions if r.detector == "blazeface_wide"]
        assert len(scans) <= 1 + 30 // PLAN.still_frames
    stranger = scene((850, 300, 150, 600), (200, 300, 60, 60))
    scanner = warmed_up(BLACK)
    assert len(scanner.regions(stranger, [], [face])) == 2


def test_followed_faces_are_looked_at() -> None:
    scanner = warmed_up(BLACK)
    regions = scanner.regions(BLACK, [Box(100, 100, 200, 200), Box(5000, 0, 5100, 90)])
    assert regions[0] == Region(Box(50, 50, 250, 250), "blazeface_short", min_width_px=50)
    assert [r.detector for r in regions].count("blazeface_short") == 1


def test_a_new_frame_size_starts_anew() -> None:
    scanner = warmed_up(BLACK)
    (region,) = scanner.regions(np.zeros((480, 640, 3), np.uint8), [])
    assert region.box_px == Box(0, 0, 640, 480)


@settings(max_examples=30)
@given(
    st.integers(1, 2000), st.integers(1, 1200), st.lists(st.tuples(*[st.floats(-500, 2500)] * 4))
)
def test_every_region_lies_inside_the_frame(
    width: int, height: int, corners: list[tuple[float, float, float, float]]
) -> None:
    scanner = Scanner(PLAN)
    image = np.zeros((height, width, 3), np.uint8)
    known = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    for _ in range(3):
        for region in scanner.regions(image, known):
            box = region.box_px
            assert 0 <= box.x0 < box.x1 <= width + 1e-6
            assert 0 <= box.y0 < box.y1 <= height + 1e-6
