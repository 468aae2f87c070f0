"""What the doctor says of the pins, on gpiozero's mock of the header."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

import edge_app.app
import edge_app.doctor
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.doctor import Finding, Health, examine
from tests.adapters.cameras.conftest import HEAD, Server, jpeg, part, say

ALL = {"indicator": "GPIO17", "shutter": "GPIO22", "button": "GPIO27", "motor": "GPIO18"}


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> MockFactory:
    pins = MockFactory()
    for module in (edge_app.app, edge_app.doctor):
        monkeypatch.setattr(module, "header", lambda: pins)
    return pins


def hold(pins: MockFactory, pin: str) -> None:
    """A contact to ground, which is stronger than the pull-up."""
    pins.pin(pin)._get_state = lambda: False


def findings(tmp_path: Path, camera: str, **pins: str) -> dict[str, Finding]:
    config, home = make_config({"pins": pins}), Home(tmp_path / "home", None)
    clock = SystemClock()
    found = examine(config, home, camera=camera, broker_url="", clock=clock)
    return {finding.part: finding for finding in found}


def test_all_that_works_is_said_to(tmp_path: Path, pins: MockFactory) -> None:
    hold(pins, "GPIO22")
    server = Server()
    server.start(say(HEAD + part(jpeg(90)) * 2))
    try:
        found = findings(tmp_path, server.url, **ALL)
    finally:
        server.stop()
    assert [found[part].health for part in ("indicator", "pins", "camera")] == [Health.WELL] * 3
    assert found["pins"].detail == (
        "the privacy switch on GPIO22 uncovers the camera; the button on GPIO27 is not pressed; "
        "the motor on GPIO18 should have tapped twice"
    )
    assert [bool(state.state) for state in pins.pin("GPIO18").states] == [0, 1, 0, 1, 0]
    assert not pins.pin("GPIO17").state


def test_a_covered_camera_is_left_alone(tmp_path: Path, pins: MockFactory) -> None:
    found = findings(tmp_path, "0", shutter="GPIO22")
    assert "covers the camera" in found["pins"].detail
    assert found["camera"].health is Health.NOT_USED
    assert "uncover it" in found["camera"].detail


def test_a_button_that_is_held_is_a_warning(tmp_path: Path, pins: MockFactory) -> None:
    hold(pins, "GPIO27")
    found = findings(tmp_path, "picture.jpg", button="GPIO27")
    assert (found["pins"].health, "is held" in found["pins"].detail) == (Health.WARNING, True)


def test_a_light_that_stays_dark_is_a_fault(tmp_path: Path, pins: MockFactory) -> None:
    pins.pin("GPIO17")._set_state = lambda _value: None
    found = findings(tmp_path, "0", indicator="GPIO17")
    assert found["indicator"].health is Health.FAULT
    assert found["camera"].health is Health.FAULT


def test_without_pins_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert findings(tmp_path, "picture.jpg")["pins"].health is Health.NOT_USED


def test_pins_without_a_header_are_a_fault(tmp_path: Path) -> None:
    found = findings(tmp_path, "0", **ALL)
    for part_name in ("indicator", "pins", "camera"):
        assert found[part_name].health is Health.FAULT
        assert "they need a Raspberry Pi" in found[part_name].detail
