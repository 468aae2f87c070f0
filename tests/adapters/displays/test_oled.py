"""What the small display shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luma.core.device import dummy  # type: ignore[import-untyped]
from PIL import Image, ImageChops

from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import HEIGHT_PX, WIDTH_PX, OledDisplay, draw_view
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

FONTS = FontSet()
LEFT, AHEAD, RIGHT = Direction
NOBODY = HudView((), "")


def line(
    name: str = "Anna", relation: str = "", where: Direction = LEFT, *, unsure: bool = False
) -> HudLine:
    return HudLine(name, relation, where, unsure)


def drawn(*lines: HudLine, status: str = "") -> Image.Image:
    return draw_view(HudView(lines, status), FONTS, "en")


def ink(image: Image.Image, box: tuple[int, int, int, int] | None = None) -> int:
    """Count the white pixels, of the whole or of a part."""
    return image.crop(box or (0, 0, WIDTH_PX, HEIGHT_PX)).convert("L").histogram()[255]


# --- the picture --------------------------------------------------------------------------


def test_nobody_and_no_status_is_black() -> None:
    image = drawn()
    assert (image.size, image.mode) == ((128, 64), "1")
    assert ink(image) == 0


@pytest.mark.parametrize(
    ("where", "inked", "empty"),
    [
        (LEFT, (0, 0, 13, 64), (115, 0, 128, 64)),
        (AHEAD, (0, 0, 13, 64), (115, 0, 128, 64)),
        (RIGHT, (115, 0, 128, 64), (0, 0, 13, 64)),
    ],
)
def test_the_arrow_is_on_the_side_of_the_person(
    where: Direction, inked: tuple[int, int, int, int], empty: tuple[int, int, int, int]
) -> None:
    image = drawn(line(where=where))
    assert ink(image, inked) > 50
    assert ink(image, empty) == 0


def test_the_arrows_differ_in_shape() -> None:
    left, ahead = drawn(line(where=LEFT)), drawn(line(where=AHEAD))
    assert ImageChops.logical_xor(left.crop((0, 0, 13, 64)), ahead.crop((0, 0, 13, 64))).getbbox()


def test_a_short_name_is_large_and_a_relation_is_smaller() -> None:
    box = drawn(line("ANNA")).crop((14, 0, 128, 64)).getbbox()
    assert box is not None
    assert box[3] - box[1] >= 20
    with_relation = drawn(line("ANNA", "SON")).crop((14, 48, 128, 64)).getbbox()
    assert with_relation is not None
    assert 8 <= with_relation[3] - with_relation[1] <= 14


def test_unsure_looks_different() -> None:
    for lines in ([line()], [line(), line("Bo")], [line(), line("Bo"), line("Cy")]):
        unsure = [HudLine(one.name, one.relation, one.direction, unsure=True) for one in lines]
        assert drawn(*lines).tobytes() != drawn(*unsure).tobytes()


def test_the_status_is_a_bright_bar_at_the_bottom_and_moves_people_up() -> None:
    image = drawn(line("ANNA"), status="camera lost")
    assert ink(image, (0, 51, 128, 64)) > 128 * 13 / 2
    assert ink(image, (14, 49, 128, 51)) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_person_has_a_row_of_their_own(count: int) -> None:
    image = drawn(*[line("Anna", "friend") for _ in range(count)])
    for row in range(count):
        assert ink(image, (14, 64 * row // count, 128, 64 * (row + 1) // count)) > 20


def test_more_than_three_people_are_cut_to_three() -> None:
    lines = [line(name) for name in ("A", "B", "C", "D", "E")]
    assert drawn(*lines).tobytes() == drawn(*lines[:3]).tobytes()


LONG = "Maximilian-Alexander Freiherr von und zu Hohenstein-Gontard"


@pytest.mark.parametrize("where", list(Direction))
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("unsure", [False, True])
def test_long_texts_stay_inside_their_column(where: Direction, count: int, unsure: bool) -> None:
    image = drawn(
        *[line(LONG, LONG, where, unsure=unsure) for _ in range(count)], status=LONG
    ).crop((0, 0, 128, 51))
    other_edge = (127, 0, 128, 51) if where is not RIGHT else (0, 0, 1, 51)
    assert ink(image, other_edge) == 0, "text was clipped at the edge"
    gap = (13, 0, 15, 51) if where is not RIGHT else (113, 0, 115, 51)
    assert ink(image, gap) == 0, "text runs into the arrow"


def test_a_text_one_letter_too_long_is_cut_with_an_ellipsis_not_clipped() -> None:
    text = "probably, neighbour from the fourth floor Wolfgang Amadeus Mozart"
    for length in range(1, len(text)):
        for one in (line(text[:length]), line("Anna", text[:length])):
            for where, edge in ((LEFT, (127, 0, 128, 64)), (RIGHT, (0, 0, 1, 64))):
                image = drawn(HudLine(one.name, one.relation, where, unsure=False))
                assert ink(image, edge) == 0, text[:length]


@settings(deadline=None, max_examples=60)
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
)
def test_any_text_can_be_drawn(lines: list[HudLine], status: str) -> None:
    assert drawn(*lines, status=status).size == (128, 64)


# --- OLED ---------------------------------------------------------------------------------


class LooseCable(dummy):  # type: ignore[misc]
    """A luma device that can stop answering."""

    broken = False

    def display(self, image: Image.Image) -> None:
        if self.broken:
            raise OSError(121, "Remote I/O error")
        super().display(image)


def device(**options: Any) -> LooseCable:
    return LooseCable(**{"width": 128, "height": 64, "mode": "1", **options})


@pytest.mark.parametrize("mode", ["1", "RGB"])
def test_the_oled_shows_the_drawn_view(mode: str) -> None:
    screen = device(mode=mode)
    oled = OledDisplay(screen, fonts=FONTS, language="en")
    oled.show(HudView((line(),), ""))
    assert screen.image.convert("1").tobytes() == drawn(line()).tobytes()
    oled.close()
    assert ink(screen.image.convert("1")) == 0, "no name stays on a display that was closed"


def test_a_display_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="128 x 32 pixels"):
        OledDisplay(device(height=32), fonts=FONTS, language="en")


def test_a_display_that_does_not_answer_is_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    screen = device()
    oled = OledDisplay(screen, fonts=FONTS, language="en")
    screen.broken = True
    for _ in range(3):
        oled.show(HudView((line(),), ""))
    assert len(caplog.records) == 1
    assert "check its cable" in caplog.text
    assert "Anna" not in caplog.text
    screen.broken = False
    oled.show(HudView((line(),), ""))
    assert ink(screen.image) > 0
    screen.broken = True
    oled.show(NOBODY)
    assert len(caplog.records) == 2


def test_an_unknown_language_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="no language"):
        OledDisplay(device(), fonts=FONTS, language="xx")
