"""The Pi's camera: the library is truly missing here, and stood in for where it must answer."""

import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_app.adapters.cameras.picamera import Picamera2Camera
from edge_app.adapters.clock import ManualClock
from edge_app.errors import CameraError
from edge_app.records import FrameOrigin


def camera() -> Picamera2Camera:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    return Picamera2Camera(width_px=1280, height_px=720, fps=30, timeout_s=2.0, clock=clock)


class Library(ModuleType):
    """picamera2 as far as it is used; its call signatures are those of picamera2 0.3.38."""

    def __init__(self) -> None:
        super().__init__("picamera2")
        self.calls: list[tuple[str, Any]] = []
        self.errors: dict[str, Exception] = {}
        self.Picamera2 = lambda: Device(self)


class Device:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._note("create", None)

    def create_video_configuration(self, main: Any, controls: Any) -> Any:
        return (main, controls)

    def configure(self, configuration: Any) -> None:
        self._note("configure", configuration)

    def start(self) -> None:
        self._note("start", None)

    def capture_array(self, name: str = "main", wait: float | None = None) -> Any:
        self._note("capture", (name, wait))
        return np.full((720, 1280, 3), (255, 0, 0), np.uint8)

    def close(self) -> None:
        self._note("close", None)

    def _note(self, name: str, argument: Any) -> None:
        self._library.calls.append((name, argument))
        if name in self._library.errors:
            raise self._library.errors[name]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setitem(sys.modules, "picamera2", library)
    return library


def test_without_the_library_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match=r"pip install familiar-edge\[picamera2\]") as caught:
        camera().open()
    assert "libcap" in str(caught.value)
    assert "libcamera" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_are_live_and_in_bgr(library: Library) -> None:
    source = camera()
    source.open()
    frames = [source.read(), source.read()]
    source.close()
    source.close()
    assert library.calls == [
        ("create", None),
        (
            "configure",
            ({"format": "RGB888", "size": (1280, 720)}, {"FrameRate": 30}),
        ),
        ("start", None),
        ("capture", ("main", 2.0)),
        ("capture", ("main", 2.0)),
        ("close", None),
    ]
    assert [frame.sequence for frame in frames if frame] == [0, 1]
    assert {frame.origin for frame in frames if frame} == {FrameOrigin.LIVE}
    assert frames[0] is not None
    assert frames[0].image_bgr[0, 0].tolist() == [255, 0, 0]
    assert source.undecodable == 0


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("create", IndexError("list index out of range")),
        ("create", RuntimeError("Camera __init__ sequence did not complete.")),
        ("configure", RuntimeError("bad configuration")),
        ("start", OSError("busy")),
    ],
)
def test_a_camera_that_cannot_be_opened_is_one_error_and_is_closed(
    library: Library, step: str, error: Exception
) -> None:
    library.errors[step] = error
    with pytest.raises(CameraError, match="check its ribbon cable"):
        camera().open()
    assert step == "create" or library.calls[-1][0] == "close"


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("camera frontend has timed out")])
def test_a_camera_that_falls_silent_has_vanished(library: Library, error: Exception) -> None:
    source = camera()
    source.open()
    library.errors["capture"] = error
    with pytest.raises(CameraError, match="gives no more pictures"):
        source.read()


def test_reading_what_is_not_open_is_an_error() -> None:
    with pytest.raises(CameraError, match="is not open"):
        camera().read()
