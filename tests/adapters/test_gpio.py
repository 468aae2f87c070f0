"""The header's pins, on gpiozero's mock of them: what works, and that no fault passes for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gpiozero import OutputDevice
from gpiozero.pins.mock import MockFactory

from edge_app.adapters.gpio import PinLight, header
from edge_app.adapters.indicator import IndicatedCamera
from edge_app.errors import ConfigError, IndicatorError, PinError
from tests.adapters.test_indicator import Recorder


@pytest.fixture
def pins() -> MockFactory:
    return MockFactory()


def test_the_light_is_off_until_it_is_turned_on_and_off_after(pins: MockFactory) -> None:
    light = PinLight("GPIO17", pins=pins)
    pin = pins.pin("GPIO17")
    light.turn_off()
    assert (pin.function, pin.state) == ("input", False)
    for _ in range(2):
        light.turn_on()
        light.turn_on()
        assert (pin.function, pin.state) == ("output", True)
        light.turn_off()
        light.turn_off()
        assert (pin.function, pin.state) == ("input", False)


def taken(pins: MockFactory) -> object:
    return OutputDevice("GPIO17", pin_factory=pins)


def stuck(pins: MockFactory) -> object:
    """Held low by a short circuit, whatever it is driven to."""
    pins.pin("GPIO17")._set_state = lambda _value: None
    return None


def dead(pins: MockFactory) -> object:
    def refuse(_value: object) -> None:
        raise OSError(5, "Input/output error")

    pins.pin("GPIO17")._set_state = refuse
    return None


def strange(pins: MockFactory) -> object:
    def refuse(_value: object) -> None:
        raise Exception("GPIO not allocated")

    pins.pin("GPIO17")._set_state = refuse
    return None


@pytest.mark.parametrize("fault", [taken, stuck, dead, strange])
def test_a_light_that_cannot_be_driven_keeps_the_camera_closed(
    pins: MockFactory, fault: Callable[[MockFactory], object]
) -> None:
    """P7."""
    kept = fault(pins)
    camera = Recorder()
    with pytest.raises(IndicatorError, match=r"GPIO17.*; check it") as caught:
        IndicatedCamera(inner=camera, indicator=PinLight("GPIO17", pins=pins)).open()
    assert camera.calls == []
    assert "\n" not in str(caught.value)
    del kept


def test_a_light_that_fails_meanwhile_closes_the_camera(pins: MockFactory) -> None:
    both = Recorder()
    camera = IndicatedCamera(inner=both, indicator=PinLight("GPIO17", pins=pins))
    camera.open()
    camera.read()
    pins.pin("GPIO17")._set_state = lambda value: None
    pins.pin("GPIO17")._state = False
    with pytest.raises(IndicatorError, match="stays dark"):
        camera.read()
    assert both.calls == ["open", "read", "close"]


def test_a_pin_that_the_header_does_not_have(pins: MockFactory) -> None:
    with pytest.raises(IndicatorError, match="GPIO99"):
        PinLight("GPIO99", pins=pins).turn_on()


def test_where_there_is_no_raspberry_pi_the_pins_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the real libraries; and a variable that asks for sham pins changes nothing."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PinError, match=r"cannot be reached .*; they need a Raspberry Pi"):
        header()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["gpiozero.pins.lgpio", "lgpio"])
def test_a_missing_library_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"familiar-edge\[gpio\]"):
        header()
