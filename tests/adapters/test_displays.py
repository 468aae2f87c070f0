"""What the displays show, and that no name is left where it does not belong."""

from __future__ import annotations

import io
import os
import pty
import select
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luma.core.device import dummy  # type: ignore[import-untyped]
from PIL import Image, ImageChops

from edge_app.adapters.displays import (
    HEIGHT_PX,
    WIDTH_PX,
    DemoPngDisplay,
    FontSet,
    NullDisplay,
    OledDisplay,
    TerminalDisplay,
    draw_view,
)
from edge_app.errors import ConfigError, StorageError
from edge_app.records import Direction, FrameOrigin, HudLine, HudView

FONTS = FontSet(None)
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


# --- letters the font does not have -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "legible"),
    [
        ("", ""),
        ("Anna", "Anna"),
        ("Åsa Ødegård", "Asa Odegard"),
        ("Éloïse Çelik", "Eloise Celik"),
        ("Łukasz Żółć", "Lukasz Zolc"),
        ("Jürgen Groß", "Jurgen Gross"),
        ("Þórr Æsir", "Thorr AEsir"),
        ("O\u2019Neill", "O\u2019Neill"),
        ("李小龙", "李小龙"),
        ("Ann 李", "Ann 李"),
    ],
)
def test_latin_letters_without_a_glyph_become_their_base_letter(name: str, legible: str) -> None:
    assert FONTS.legible(name) == legible


@pytest.mark.parametrize(
    ("name", "covered"),
    [("Åsa", True), ("李小龙", False), ("Жанна", False), ("", False), ("!", False)],
)
def test_covers(name: str, covered: bool) -> None:
    assert FONTS.covers(name) is covered


def test_a_name_that_cannot_be_read_gives_its_place_to_the_relation() -> None:
    image = drawn(line("李小龙", "TEACHER"))
    swapped = drawn(line("TEACHER", "李小龙"))
    assert image.tobytes() == swapped.tobytes()
    assert ink(drawn(line("李小龙"))) > 100, "a box shows that there is a name"


def test_a_font_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fonts-noto-cjk"):
        FontSet(tmp_path / "missing.ttf")
    garbage = tmp_path / "garbage.ttf"
    garbage.write_bytes(b"no font")
    with pytest.raises(ConfigError):
        FontSet(garbage)


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


def test_an_unknown_language_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no language"):
        OledDisplay(device(), fonts=FONTS, language="xx")
    with pytest.raises(ConfigError, match="no language"):
        TerminalDisplay(io.StringIO(), origin=FrameOrigin.REPLAY, language="xx")


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


# --- PNG, for the demo --------------------------------------------------------------------


def png_display(folder: Path) -> DemoPngDisplay:
    return DemoPngDisplay(folder, origin=FrameOrigin.REPLAY, fonts=FONTS, language="en")


def test_a_live_camera_has_no_png_display(tmp_path: Path) -> None:
    folder = tmp_path / "hud"
    with pytest.raises(ConfigError, match="replays only"):
        DemoPngDisplay(folder, origin=FrameOrigin.LIVE, fonts=FONTS, language="en")
    assert not folder.exists()


def test_each_changed_view_is_saved_once_four_times_as_large(tmp_path: Path) -> None:
    display = png_display(tmp_path / "a" / "hud")
    views = [NOBODY, NOBODY, HudView((line(),), ""), HudView((line(),), ""), NOBODY]
    for view in views:
        display.show(view)
    display.close()
    paths = sorted((tmp_path / "a" / "hud").iterdir())
    assert [path.name for path in paths] == ["hud-0001.png", "hud-0002.png", "hud-0003.png"]
    with Image.open(paths[1]) as saved:
        assert saved.size == (512, 256)
        small = saved.resize((128, 64), Image.Resampling.NEAREST)
        assert small.tobytes() == drawn(line()).tobytes()


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder"):
        png_display(tmp_path / "file" / "hud")
    display = png_display(tmp_path / "hud")
    (tmp_path / "hud" / "hud-0001.png").mkdir()
    with pytest.raises(StorageError, match=r"hud-0001\.png"):
        display.show(NOBODY)


# --- terminal -----------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal: what the program writes, and what a person would have received."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._reader, writer = pty.openpty()
        self.stream: TextIO = os.fdopen(writer, "w", encoding=encoding)

    def received(self) -> str:
        self.stream.flush()
        data = b""
        while select.select([self._reader], [], [], 0)[0]:
            data += os.read(self._reader, 65536)
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        self.stream.close()
        os.close(self._reader)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    created = Terminal()
    yield created
    created.close()


def test_a_terminal_gets_one_coloured_line_that_is_written_over(terminal: Terminal) -> None:
    display = TerminalDisplay(terminal.stream, origin=FrameOrigin.LIVE, language="en")
    display.show(HudView((line("Anna", "colleague"), line("Bo", where=RIGHT, unsure=True)), ""))
    text = terminal.received()
    assert "Anna, colleague, on your left." in text
    assert "Probably Bo, on your right." in text
    assert text.startswith("\r\x1b[2K")
    assert "\x1b[1;32m" in text
    assert "\n" not in text
    display.show(NOBODY)
    assert "nobody recognised" in terminal.received()
    display.close()
    assert terminal.received() == "\r\x1b[2K", "the last line is wiped"


def test_a_line_longer_than_the_terminal_is_cut(terminal: Terminal) -> None:
    display = TerminalDisplay(terminal.stream, origin=FrameOrigin.LIVE, language="en")
    display.show(HudView((line(LONG * 3),), ""))
    text = terminal.received()
    assert "…" in text
    assert "\n" not in text
    assert len(text) < 120


def test_other_streams_get_a_plain_line_per_change() -> None:
    stream = io.StringIO()
    display = TerminalDisplay(stream, origin=FrameOrigin.REPLAY, language="en")
    display.show(NOBODY)
    display.show(NOBODY)
    display.show(HudView((line("Anna [red]", "colleague"),), "camera lost"))
    display.close()
    assert stream.getvalue() == (
        "nobody recognised\nAnna [red], colleague, on your left. (camera lost)\n"
    )


def test_names_of_a_live_camera_are_not_written_to_a_file() -> None:
    with pytest.raises(ConfigError, match="write names to a file"):
        TerminalDisplay(io.StringIO(), origin=FrameOrigin.LIVE, language="en")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_without_the_letters_does_not_crash(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding=encoding) as stream:
        display = TerminalDisplay(stream, origin=FrameOrigin.REPLAY, language="en")
        display.show(HudView((line("李 Anna"),), ""))
        display.close()
    expected = "李 Anna" if encoding == "utf-8" else "? Anna"
    assert path.read_text(encoding=encoding).startswith(expected)


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_broken_stream_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    display = TerminalDisplay(FullDisk(), origin=FrameOrigin.REPLAY, language="en")
    display.show(NOBODY)
    display.show(HudView((line(),), ""))
    display.close()
    assert len(caplog.records) == 1
    assert "Anna" not in caplog.text


def test_the_null_display_shows_nothing() -> None:
    display = NullDisplay()
    display.show(HudView((line(),), ""))
    display.close()
