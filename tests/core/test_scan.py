import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.scan import Region, Scanner, ScanPlan
from edge_app.records import Box

PLAN = ScanPlan(
    tile_detector="blazeface_back",
    follow_detector="blazeface_short",
    tile=0.24,
    overlap=0.2,
    max_tile_face=0.33,
    min_input_px=13.0,
    tiles_per_frame=1,
    follow_margin=2.0,
    motion_luma=20,
    motion_boost=2.5,
)
BLACK = np.zeros((1080, 1920, 3), np.uint8)


def test_the_first_frame_is_searched_whole() -> None:
    regions = Scanner(PLAN).regions(BLACK, [])
    assert len(regions) == 16
    assert regions[-1] == Region(
        Box(0, 0, 1920, 1080), "blazeface_back", min_width_px=97.5, brightened=True
    )
    assert {round(r.min_width_px, 3) for r in regions[:-1]} == {23.4}
    assert {round(r.box_px.width, 6) for r in regions[:-1]} == {460.8}
    assert {round(r.box_px.height, 6) for r in regions[:-1]} == {460.8}
    assert {round(r.max_width_px, 3) for r in regions[:-1]} == {152.064}


def test_a_picture_no_larger_than_a_tile_is_one_region() -> None:
    for height, width in ((150, 150), (256, 256), (48, 200), (1, 1)):
        (region,) = Scanner(PLAN).regions(np.zeros((height, width, 3), np.uint8), [])
        assert region.box_px == Box(0, 0, width, height)
        assert region.max_width_px == np.inf


def test_a_frame_on_its_side_is_cut_as_finely() -> None:
    assert len(Scanner(PLAN).regions(np.zeros((1920, 1080, 3), np.uint8), [])) == 16


def test_a_still_scene_is_searched_whole_within_sixteen_frames() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    searched = {region for _ in range(16) for region in scanner.regions(BLACK, [])}
    assert len(searched) == 16


def test_movement_is_looked_at_first_and_starves_nobody() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    searched = []
    for i in range(90):
        image = BLACK.copy()
        image[700:1000, 1600:1900] = 255 * (i % 2)
        searched += scanner.regions(image, [])
    waits = [searched[i:].index(tile) for i in range(50) for tile in set(searched)]
    assert max(waits) <= 30  # a second at 30 frames a second, however much moves elsewhere
    still = Box(0, 0, 460.8, 460.8)
    moving = max(r.box_px.x0 + r.box_px.y0 for r in searched)
    often = [r for r in searched if r.box_px.x0 + r.box_px.y0 == moving]
    assert len(often) >= 2 * sum(r.box_px == still for r in searched)
    assert len(set(searched)) == 16


def test_known_faces_are_always_looked_at() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    regions = scanner.regions(BLACK, [Box(100, 100, 200, 200), Box(5000, 0, 5100, 90)])
    assert [r.detector for r in regions] == ["blazeface_short", "blazeface_back"]
    assert regions[0] == Region(Box(50, 50, 250, 250), "blazeface_short", min_width_px=50)


def test_a_new_frame_size_starts_anew() -> None:
    scanner = Scanner(PLAN)
    scanner.regions(BLACK, [])
    assert len(scanner.regions(np.zeros((480, 640, 3), np.uint8), [])) == 10


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
