"""What a colour display shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_app.adapters.displays.colour import draw_colour
from edge_app.adapters.displays.fonts import FontSet
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

FONTS = FontSet()
SIZE = (640, 400)
LEFT, AHEAD, RIGHT = Direction
LONG = "Maximilian-Alexander Freiherr von und zu Hohenstein-Gontard"


def line(
    name: str = "Anna", relation: str = "", where: Direction = LEFT, *, unsure: bool = False
) -> HudLine:
    return HudLine(name, relation, where, unsure)


def drawn(
    *lines: HudLine, status: str = "", fault: bool = False, size: tuple[int, int] = SIZE
) -> Image.Image:
    return draw_colour(HudView(lines, status, fault), size, FONTS, "en")


def lit(image: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Pixels of a part that are not black."""
    return sum(image.crop(box).convert("L").histogram()[16:])


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    """Those that cover more than edges do."""
    counted = image.getcolors(1 << 24)
    assert counted
    return {colour for count, colour in counted if count > 300 and isinstance(colour, tuple)}


def test_nobody_and_no_status_is_black() -> None:
    assert colours(drawn()) == {(0, 0, 0)}


def test_who_is_certain_is_white_and_who_is_not_is_another_colour_and_marked_in_words() -> None:
    sure, unsure = drawn(line()), drawn(line(unsure=True))
    assert (255, 255, 255) in colours(sure)
    assert (255, 255, 255) not in colours(unsure)
    assert lit(unsure, (150, 260, 640, 400)) > lit(sure, (150, 260, 640, 400))


@pytest.mark.parametrize(("where", "side"), [(LEFT, 0), (AHEAD, 0), (RIGHT, 550)])
def test_the_arrow_is_on_the_side_of_the_person(where: Direction, side: int) -> None:
    image = drawn(line(where=where))
    assert lit(image, (side, 0, side + 90, 400)) > 1000
    assert lit(image, (550 - side, 0, 640 - side, 400)) == 0


def test_the_arrows_differ_in_shape() -> None:
    boxes = [drawn(line(where=where)).crop((0, 0, 90, 400)) for where in (LEFT, AHEAD)]
    assert boxes[0].tobytes() != boxes[1].tobytes()


def test_a_short_name_is_large() -> None:
    box = drawn(line("ANNA")).crop((100, 0, 640, 400)).getbbox()
    assert box is not None
    assert box[3] - box[1] >= 90


def test_a_fault_is_red_and_large_when_nobody_is_there() -> None:
    alone, beside = drawn(status="camera lost", fault=True), drawn(line(), status="x", fault=True)
    assert (176, 0, 32) in colours(alone) & colours(beside)
    assert lit(alone, (0, 280, 640, 400)) > 2 * lit(beside, (0, 340, 640, 400))
    assert (176, 0, 32) not in colours(drawn(status="no sound"))


@pytest.mark.parametrize("where", list(Direction))
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [SIZE, (320, 240), (480, 800), (1920, 1080), (96, 64)])
def test_long_texts_stay_inside_at_every_size(
    where: Direction, count: int, size: tuple[int, int]
) -> None:
    people = [line(LONG, LONG, where, unsure=True) for _ in range(count)]
    image = drawn(*people, status=LONG, size=size)
    width, height = size
    for edge in ((0, 0, 1, height), (width - 1, 0, width, height), (0, 0, width, 1)):
        assert lit(image, edge) == 0


def test_no_language_of_that_name() -> None:
    with pytest.raises(ConfigError, match="no language"):
        draw_colour(HudView((), ""), SIZE, FONTS, "xx")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.builds(
            HudLine,
            name=st.text(max_size=40),
            relation=st.text(max_size=40),
            direction=st.sampled_from(Direction),
            unsure=st.booleans(),
        ),
        max_size=5,
    ),
    st.text(max_size=40),
    st.integers(40, 700),
    st.integers(40, 500),
)
def test_anything_can_be_drawn(lines: list[HudLine], status: str, width: int, height: int) -> None:
    assert drawn(*lines, status=status, size=(width, height)).size == (width, height)
