"""The wiring page, against gpiozero's own tables of the boards it names."""

from __future__ import annotations

import re
import tomllib

import pytest
from gpiozero.pins.mock import MockFactory

from edge_app.config import make_config
from tests.support import ROOT

PAGE = (ROOT / "docs/wiring.md").read_text(encoding="utf-8")
SETUPS = (ROOT / "docs/setups.svg").read_text(encoding="utf-8")
DRAWING = (ROOT / "docs/wiring.svg").read_text(encoding="utf-8")
BOARDS = {"c04170": "5B", "902120": "Zero2W"}


@pytest.mark.parametrize("revision", BOARDS)
def test_each_pin_has_its_name_on_the_header(revision: str) -> None:
    board = MockFactory(revision).board_info
    assert board.model == BOARDS[revision]
    header = board.headers["J8"].pins
    named = set(re.findall(r"pin (\d+), (GPIO\d+|GND|3V3)", PAGE))
    assert len(named) == 7
    for number, name in named:
        assert header[int(number)].name == name


def test_the_drawing_names_the_same_pins() -> None:
    for number, name in set(re.findall(r"pin (\d+), (GPIO\d+|GND|3V3)", PAGE)):
        assert f"pin {number}" in DRAWING
        assert name in DRAWING


def test_the_configuration_on_the_page_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    pins = make_config(tomllib.loads(block)).pins
    for line in block.splitlines():
        if found := re.match(r'\w+ += "(GPIO\d+)" +# pin (\d+)', line):
            assert f"pin {found[2]}, {found[1]}" in PAGE
    assert "" not in (pins.indicator, pins.button, pins.shutter, pins.motor)


def test_the_set_ups_can_be_configured_and_wired() -> None:
    named = re.findall(r"((?:camera|hud)\.[a-z_.]+) = (\"[^\"]+\"|\d+)", SETUPS)
    assert len(named) == 9
    for key, value in named:
        make_config(tomllib.loads(f"{key} = {value}"))
    for revision in BOARDS:
        header = MockFactory(revision).board_info.headers["J8"].pins
        for pin, name in ((3, "GPIO2"), (5, "GPIO3"), (1, "3V3"), (6, "GND"), (16, "GPIO23")):
            assert re.search(rf"pin {pin}\b", SETUPS)
            assert header[pin].name == name
