import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.scan import Scanner, ScanPlan
from edge_app.records import Box

PLAN = ScanPlan(
    tile_detector="blazeface_back",
    follow_detector="blazeface_short",
    columns=3,
    rows=2,
    overlap=0.25,
    tiles_per_frame=1,
    follow_margin=2.0,
    motion_luma=20,
    motion_boost=8.0,
)
BLACK = np.zeros((1080, 1920, 3), np.uint8)


def test_the_first_frame_is_searched_whole() -> None:
    regions = Scanner(PLAN).regions(BLACK, [])
    assert len(regions) == 7
    assert regions[-1].box_px == Box(0, 0, 1920, 1080)


def test_a_still_scene_is_searched_whole_within_seven_frames() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    searched = {region for _ in range(7) for region in scanner.regions(BLACK, [])}
    assert len(searched) == 7


def test_movement_is_looked_at_first_and_starves_nobody() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    searched = []
    for i in range(60):
        image = BLACK.copy()
        image[700:1000, 1600:1900] = 255 * (i % 2)
        searched += scanner.regions(image, [])
    waits = [searched[i:].index(tile) for i in range(25) for tile in set(searched)]
    assert max(waits) <= 30  # a second at 30 frames a second, however much moves elsewhere
    moving = sum(r.box_px.x0 > 1000 and r.box_px.y0 > 300 for r in searched)
    assert moving > 20
    assert len(set(searched)) == 7


def test_known_faces_are_always_looked_at() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    regions = scanner.regions(BLACK, [Box(100, 100, 200, 200), Box(5000, 0, 5100, 90)])
    assert [r.detector for r in regions] == ["blazeface_short", "blazeface_back"]
    assert regions[0].box_px == Box(50, 50, 250, 250)


def test_a_new_frame_size_starts_anew() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    assert len(scanner.regions(np.zeros((480, 640, 3), np.uint8), [])) == 7


@settings(max_examples=30)
@given(
    st.integers(8, 2000), st.integers(8, 1200), st.lists(st.tuples(*[st.floats(-500, 2500)] * 4))
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
