"""What the small display shows."""

from __future__ import annotations

import errno
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luma.core.device import dummy  # type: ignore[import-untyped]
from PIL import Image, ImageChops

from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import (
    HEIGHT_PX,
    WIDTH_PX,
    OledDisplay,
    OledWiring,
    draw_view,
    open_oled,
)
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

FONTS = FontSet()
LEFT, AHEAD, RIGHT = Direction
NOBODY = HudView((), "")


def line(
    name: str = "Anna", relation: str = "", where: Direction = LEFT, *, unsure: bool = False
) -> HudLine:
    return HudLine(name, relation, where, unsure)


def drawn(*lines: HudLine, status: str = "", fault: bool = False) -> Image.Image:
    return draw_view(HudView(lines, status, fault), FONTS, "en")


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


def test_a_fault_is_a_bright_bar_at_the_bottom_and_moves_people_up() -> None:
    image = drawn(line("ANNA"), status="camera lost", fault=True)
    assert ink(image, (0, 51, 128, 64)) > 128 * 13 / 2
    assert ink(image, (14, 49, 128, 51)) == 0


def test_what_is_only_worth_knowing_is_no_bar() -> None:
    image = drawn(line("ANNA"), status="no sound")
    assert 20 < ink(image, (0, 51, 128, 64)) < 128 * 13 / 4


def test_a_status_alone_is_large_and_in_the_middle() -> None:
    box = drawn(status="camera lost").getbbox()
    assert box is not None
    assert box[3] - box[1] >= 14
    assert abs((box[1] + box[3]) / 2 - 32) <= 4
    assert ink(drawn(status="camera lost", fault=True)) > 128 * 20
    assert ink(drawn(status=LONG, fault=True), (0, 0, 2, 64)) > 0


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


# --- the real driver, on an imitated controller ------------------------------------------


class Ssd1306:
    """What the controller's data sheet says of the commands luma sends: the memory it shows.

    Memory is written in horizontal addressing mode between the columns and pages set before.
    """

    _ARGUMENTS: ClassVar[dict[int, int]] = {
        0x20: 1, 0x21: 2, 0x22: 2, 0x81: 1, 0x8D: 1, 0xA8: 1, 0xD3: 1, 0xD5: 1, 0xD9: 1,
        0xDA: 1, 0xDB: 1,
    }  # fmt: skip

    def __init__(self) -> None:
        self.memory = np.zeros((8, 128), np.uint8)
        self._on = False
        self.mode = 0
        self.columns, self.pages = [0, 127], [0, 7]
        self.column, self.page = 0, 0

    def command(self, *codes: int) -> None:
        queue = list(codes)
        while queue:
            code = queue.pop(0)
            arguments = [queue.pop(0) for _ in range(self._ARGUMENTS.get(code, 0))]
            if code in {0xAE, 0xAF}:
                self._on = code == 0xAF
            elif code == 0x20:
                self.mode = arguments[0]
            elif code == 0x21:
                self.columns, self.column = arguments, arguments[0]
            elif code == 0x22:
                self.pages, self.page = arguments, arguments[0]

    def is_on(self) -> bool:
        return self._on

    def data(self, written: Sequence[int]) -> None:
        assert self.mode == 0, "horizontal addressing"
        for byte in written:
            self.memory[self.page, self.column] = byte
            self.column += 1
            if self.column > self.columns[1]:
                self.column = self.columns[0]
                self.page = self.pages[0] if self.page == self.pages[1] else self.page + 1

    def picture(self) -> Image.Image:
        """Each byte is a column of eight pixels, the lowest bit on top."""
        bits = np.unpackbits(self.memory[:, :, None], axis=2, bitorder="little")
        return Image.fromarray(bits.transpose(0, 2, 1).reshape(64, 128) * 255).convert("1")


LUMA_ON_PILLOW_13 = pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")

WIRING = OledWiring(
    controller="ssd1306",
    bus="i2c",
    i2c_bus=1,
    i2c_address=0x3C,
    spi_bus=0,
    spi_device=0,
    spi_data_pin=24,
    spi_reset_pin=25,
    upside_down=False,
)


class I2cBus:
    """smbus2's, with one controller on it."""

    chip: Ssd1306

    def __init__(self, port: int) -> None:
        self.port = port

    def write_i2c_block_data(self, address: int, register: int, values: list[int]) -> None:
        self._answer(address)
        assert register == 0x00
        self.chip.command(*values)

    def i2c_rdwr(self, message: Any) -> None:
        self._answer(message.addr)
        control, *written = list(message)
        assert control == 0x40
        self.chip.data(written)

    def close(self) -> None: ...

    @staticmethod
    def _answer(address: int) -> None:
        if address != 0x3C:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")


@pytest.fixture
def i2c(monkeypatch: pytest.MonkeyPatch) -> Ssd1306:
    I2cBus.chip = Ssd1306()
    monkeypatch.setattr("smbus2.SMBus", I2cBus)
    return I2cBus.chip


@pytest.fixture
def spi(monkeypatch: pytest.MonkeyPatch) -> Ssd1306:
    """A controller behind spidev and RPi.GPIO: D/C tells commands from data."""
    chip = Ssd1306()
    levels: dict[int, int] = {}

    class Bus:
        def open(self, port: int, device: int) -> None:
            if device != 0:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        def writebytes(self, written: list[int]) -> None:
            assert levels[25] == 1, "the controller is held in reset"
            if levels[24]:
                chip.data(written)
            else:
                chip.command(*written)

        def close(self) -> None: ...

    pins = types.ModuleType("RPi.GPIO")
    for name, value in {
        "LOW": 0,
        "HIGH": 1,
        "OUT": 0,
        "BCM": 11,
        "setmode": lambda _mode: None,
        "setup": lambda pin, _way: levels.setdefault(pin, 0),
        "output": levels.__setitem__,
        "cleanup": lambda *_pins: None,
    }.items():
        setattr(pins, name, value)
    package = types.ModuleType("RPi")
    package.GPIO = pins  # type: ignore[attr-defined]
    bus = types.ModuleType("spidev")
    bus.SpiDev = Bus  # type: ignore[attr-defined]
    for name, module in {"RPi": package, "RPi.GPIO": pins, "spidev": bus}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return chip


@LUMA_ON_PILLOW_13
@pytest.mark.parametrize("controller", ["ssd1306", "ssd1309"])
@pytest.mark.parametrize("bus", ["i2c", "spi"])
def test_the_controllers_memory_is_the_drawn_view(
    request: pytest.FixtureRequest, controller: Any, bus: Any
) -> None:
    chip: Ssd1306 = request.getfixturevalue(bus)
    oled = OledDisplay(
        open_oled(replace(WIRING, bus=bus, controller=controller)), fonts=FONTS, language="en"
    )
    assert chip.is_on()
    for lines in ((line("Anna", "colleague"), line("Bo", where=RIGHT)), (line("Cy"),), ()):
        oled.show(HudView(lines, ""))
        assert chip.picture().tobytes() == drawn(*lines).tobytes()
    oled.show(HudView((line(),), ""))
    oled.close()
    assert not chip.is_on(), "no name stays on a display that was closed"
    assert not chip.memory.any()


@LUMA_ON_PILLOW_13
def test_a_display_can_be_mounted_upside_down(i2c: Ssd1306) -> None:
    oled = OledDisplay(open_oled(replace(WIRING, upside_down=True)), fonts=FONTS, language="en")
    oled.show(HudView((line(),), ""))
    turned = i2c.picture().transpose(Image.Transpose.ROTATE_180)
    assert turned.tobytes() == drawn(line()).tobytes()


def test_a_bus_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"/dev/i2c-63, address 0x3c .* enable I2C"):
        open_oled(replace(WIRING, i2c_bus=63))


def test_a_bus_without_a_display(i2c: Ssd1306) -> None:
    with pytest.raises(ConfigError, match=r"no display answers .*0x3d"):
        open_oled(replace(WIRING, i2c_address=0x3D))


def test_an_spi_that_is_not_there(spi: Ssd1306) -> None:
    with pytest.raises(ConfigError, match=r"no display answers at /dev/spidev0\.1"):
        open_oled(replace(WIRING, bus="spi", spi_device=1))


def test_a_bus_that_may_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_port: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/dev/i2c-1")

    monkeypatch.setattr("smbus2.SMBus", refused)
    with pytest.raises(ConfigError, match="add it to the group i2c"):
        open_oled(WIRING)


@pytest.mark.parametrize(
    ("bus", "missing", "extra"), [("i2c", "luma.oled", "oled"), ("spi", "spidev", "oled-spi")]
)
def test_a_library_that_is_not_installed(
    spi: Ssd1306, monkeypatch: pytest.MonkeyPatch, bus: Any, missing: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf"familiar-edge\[{extra}\]"):
        open_oled(replace(WIRING, bus=bus))
