"""P7: the light is on while the camera is, and without the light there is no camera."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.indicator import IndicatedCamera, LedIndicator, NoIndicator
from edge_app.errors import CameraError, IndicatorError
from edge_app.records import Frame, FrameOrigin

FRAME = Frame(np.zeros((1, 1, 3), np.uint8), 0.0, 0, FrameOrigin.LIVE)


@pytest.fixture
def led(tmp_path: Path) -> Path:
    """A folder like /sys/class/leds/camera, of plain files."""
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "brightness").write_text("0\n")
    (folder / "max_brightness").write_text("255\n")
    (folder / "trigger").write_text("none [heartbeat] mmc0\n")
    return folder


class Recorder:
    """A camera and a light that write down what is asked of them, with a ! if it failed."""

    origin = FrameOrigin.LIVE
    description = "recorder"
    undecodable = 7

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}

    def call(self, name: str) -> None:
        error = self.failing.get(name)
        self.calls.append(name if error is None else f"{name}!")
        if error is not None:
            raise error

    def open(self) -> None:
        self.call("open")

    def read(self) -> Frame:
        self.call("read")
        return FRAME

    def close(self) -> None:
        self.call("close")

    def turn_on(self) -> None:
        self.call("on")

    def turn_off(self) -> None:
        self.call("off")


def indicated(both: Recorder) -> IndicatedCamera:
    return IndicatedCamera(inner=both, indicator=both)


def brightness(led: Path) -> str:
    return (led / "brightness").read_text()


def test_the_light_goes_to_its_full_brightness_and_back(led: Path) -> None:
    light = LedIndicator(led)
    light.turn_on()
    light.turn_on()
    assert brightness(led) == "255"
    light.turn_off()
    assert brightness(led) == "0"


def test_a_trigger_that_would_drive_the_light_is_removed(led: Path) -> None:
    LedIndicator(led).turn_on()
    assert (led / "trigger").read_text() == "none"


def remove(name: str) -> Callable[[Path], None]:
    return lambda led: (led / name).unlink()


def fill(name: str, text: str) -> Callable[[Path], None]:
    def apply(led: Path) -> None:
        (led / name).write_text(text)

    return apply


def link(name: str, target: str) -> Callable[[Path], None]:
    def apply(led: Path) -> None:
        (led / name).unlink()
        (led / name).symlink_to(target)

    return apply


def make_folder(name: str) -> Callable[[Path], None]:
    def apply(led: Path) -> None:
        (led / name).unlink()
        (led / name).mkdir()

    return apply


FAULTS = {
    "no brightness": remove("brightness"),
    "no max_brightness": remove("max_brightness"),
    "no trigger": remove("trigger"),
    "empty max_brightness": fill("max_brightness", ""),
    "words for max_brightness": fill("max_brightness", "bright"),
    "bytes for max_brightness": lambda led: (led / "max_brightness").write_bytes(b"\xff\xfe"),
    "no light at all": fill("max_brightness", "0"),
    "negative light": fill("max_brightness", "-1"),
    "writing fails": link("brightness", "/dev/full"),
    "reads back nothing": link("brightness", "/dev/null"),
    "a folder for a file": make_folder("brightness"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_light_that_cannot_be_driven_keeps_the_camera_closed(
    led: Path, fault: Callable[[Path], None]
) -> None:
    fault(led)
    camera = Recorder()
    with pytest.raises(IndicatorError, match=r"cannot be driven .*; check its name") as caught:
        IndicatedCamera(inner=camera, indicator=LedIndicator(led)).open()
    assert camera.calls == []
    assert "\n" not in str(caught.value)


def test_a_missing_light_keeps_the_camera_closed_and_is_not_made_up(tmp_path: Path) -> None:
    camera = Recorder()
    with pytest.raises(IndicatorError):
        IndicatedCamera(inner=camera, indicator=LedIndicator(tmp_path)).open()
    assert camera.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_light_that_this_user_may_not_write_keeps_the_camera_closed(
    led: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    camera = Recorder()
    with pytest.raises(IndicatorError, match="Permission denied"):
        IndicatedCamera(inner=camera, indicator=LedIndicator(led)).open()
    assert camera.calls == []


def test_a_light_that_stays_dark_keeps_the_camera_closed(
    led: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write succeeds and has no effect, as with a light whose wire is held down."""
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda _path, _flags: real_open(os.devnull, os.O_WRONLY))
    camera = Recorder()
    with pytest.raises(IndicatorError, match="brightness stays 0 after 255 was written"):
        IndicatedCamera(inner=camera, indicator=LedIndicator(led)).open()
    assert camera.calls == []


def test_the_light_comes_before_the_camera_and_goes_after_it() -> None:
    both = Recorder()
    camera = indicated(both)
    camera.open()
    assert camera.read() is FRAME
    camera.close()
    assert both.calls == ["on", "open", "on", "read", "close", "off"]


def test_a_camera_that_fails_to_open_leaves_the_light_off() -> None:
    both = Recorder()
    both.failing["open"] = CameraError("no such camera")
    with pytest.raises(CameraError, match="no such camera"):
        indicated(both).open()
    assert both.calls == ["on", "open!", "off"]


def test_a_light_that_fails_meanwhile_closes_the_camera_before_another_frame() -> None:
    both = Recorder()
    camera = indicated(both)
    camera.open()
    both.failing["on"] = IndicatorError("went dark")
    with pytest.raises(IndicatorError, match="went dark"):
        camera.read()
    assert both.calls == ["on", "open", "on!", "close"]


def test_a_light_that_was_switched_off_meanwhile_is_on_for_the_next_frame(led: Path) -> None:
    camera = IndicatedCamera(inner=Recorder(), indicator=LedIndicator(led))
    camera.open()
    (led / "brightness").write_text("0")
    camera.read()
    assert brightness(led) == "255"


def test_the_light_goes_off_even_if_the_camera_fails_to_close() -> None:
    both = Recorder()
    camera = indicated(both)
    camera.open()
    both.failing["close"] = CameraError("stuck")
    with pytest.raises(CameraError, match="stuck"):
        camera.close()
    assert both.calls[-2:] == ["close!", "off"]


@given(st.lists(st.tuples(st.sampled_from(["open", "read", "close"]), st.integers(0, 3))))
def test_whatever_fails_the_camera_is_never_on_without_the_light(
    steps: list[tuple[str, int]],
) -> None:
    """Drives the wrapper through random calls and faults, and replays what it did."""
    faults: list[dict[str, Exception]] = [
        {},
        {"on": IndicatorError("dark")},
        {"open": CameraError("gone")},
        {"read": CameraError("gone")},
    ]
    both = Recorder()
    camera = indicated(both)
    for name, fault in steps:
        both.failing = faults[fault]
        try:
            getattr(camera, name)()
        except (CameraError, IndicatorError):
            camera.close()
    light = False
    for call in both.calls:
        light = call == "on" if call in ("on", "on!", "off") else light
        assert light or call.rstrip("!") not in ("open", "read")


def test_the_wrapper_passes_on_what_the_camera_says() -> None:
    camera = indicated(Recorder())
    assert (camera.origin, camera.description, camera.undecodable) == (
        FrameOrigin.LIVE,
        "recorder",
        7,
    )


def test_no_indicator_lets_the_camera_open() -> None:
    both = Recorder()
    camera = IndicatedCamera(inner=both, indicator=NoIndicator())
    camera.open()
    camera.read()
    camera.close()
    assert both.calls == ["open", "read", "close"]
