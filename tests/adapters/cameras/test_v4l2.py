"""V4L2 cameras. There is no device here: errors are real, pictures come from a real video."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.adapters.cameras import v4l2
from edge_app.adapters.cameras.v4l2 import V4l2Camera
from edge_app.adapters.clock import ManualClock
from edge_app.errors import CameraError
from edge_app.records import FrameOrigin


def camera(device: str, clock: ManualClock | None = None) -> V4l2Camera:
    return V4l2Camera(
        device=device,
        width_px=1280,
        height_px=720,
        fps=30,
        timeout_s=2.0,
        clock=clock or ManualClock(datetime(2026, 1, 1, tzinfo=UTC)),
    )


def refused(device: str) -> str:
    with pytest.raises(CameraError) as caught:
        camera(device).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_device_is_one_error() -> None:
    assert "there is no camera /dev/video77; plug it in or choose another" in refused(
        "/dev/video77"
    )


def test_a_file_is_not_a_camera(tmp_path: Path) -> None:
    path = tmp_path / "video0"
    path.touch()
    assert "is not a camera" in refused(str(path))


def test_a_device_that_is_no_camera_gives_no_picture() -> None:
    assert "camera /dev/null gives no picture" in refused("/dev/null")


def test_a_device_of_somebody_else_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "add the user to the group video" in refused("/dev/null")


def test_opencv_prints_nothing_of_its_own() -> None:
    """In a process of its own, as OpenCV's log level is the process's."""
    script = (
        "from tests.adapters.cameras.test_v4l2 import camera\n"
        "from edge_app.errors import CameraError\n"
        "for device in ('/dev/null', '/dev/video77'):\n"
        "    try:\n"
        "        camera(device).open()\n"
        "    except CameraError as error:\n"
        "        print(error)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


class Capture:
    """OpenCV's own capture on a video, which sometimes fails to decode what it grabbed."""

    def __init__(self, path: Path, undecodable: set[int]) -> None:
        self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._undecodable = undecodable
        self._grabbed = -1

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._video.isOpened()

    def grab(self) -> bool:
        self._grabbed += 1
        return self._video.grab()

    def retrieve(self) -> tuple[bool, object]:
        if self._grabbed in self._undecodable:
            return False, None
        return self._video.retrieve()

    def release(self) -> None:
        self._video.release()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, 25, (160, 120))
    for grey in (0, 50, 100, 150, 200):
        writer.write(np.full((120, 160, 3), grey, np.uint8))
    writer.release()
    return path


def test_frames_are_live_numbered_and_stamped(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def open_capture(*arguments: object) -> Capture:
        asked.extend(arguments)
        return Capture(film, {2})

    monkeypatch.setattr(v4l2, "open_capture", open_capture)
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(100)
    source = camera("/dev/null", clock)
    source.open()
    assert asked[:2] == ["/dev/null", cv2.CAP_V4L2]
    assert (cv2.CAP_PROP_FRAME_WIDTH, 1280) in asked[2]  # type: ignore[operator]
    assert (cv2.CAP_PROP_FRAME_HEIGHT, 720) in asked[2]  # type: ignore[operator]
    # Opening took the first picture to see that one comes, and the third cannot be decoded.
    frames = [source.read() for _ in range(3)]
    assert [frame.sequence for frame in frames if frame] == [0, 2, 3]
    assert [round(frame.image_bgr.mean()) for frame in frames if frame] == [50, 150, 200]
    assert {frame.time_s for frame in frames if frame} == {100.0}
    assert {frame.origin for frame in frames if frame} == {FrameOrigin.LIVE}
    assert source.undecodable == 1
    with pytest.raises(CameraError, match="gives no more pictures; check its cable"):
        source.read()
    source.close()
    source.close()
    with pytest.raises(CameraError, match="is not open"):
        source.read()


def test_a_camera_that_only_gives_rubbish_has_vanished(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))

    class Rubbish(Capture):
        def grab(self) -> bool:
            clock.advance(0.5)
            return True

        def retrieve(self) -> tuple[bool, object]:
            return False, None

    monkeypatch.setattr(v4l2, "open_capture", lambda *_: Rubbish(film, set()))
    source = camera("/dev/null", clock)
    source.open()
    with pytest.raises(CameraError, match="gives no more pictures"):
        source.read()
    assert source.undecodable == 4
    source.close()
