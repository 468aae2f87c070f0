"""Pictures that a browser sends, and the picture that a station shows back."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from edge_app.adapters.cameras.browser import BrowserCamera
from edge_app.adapters.cameras.watched import WatchedCamera
from edge_app.adapters.clock import SystemClock
from edge_app.errors import CameraError
from edge_app.records import Frame, FrameOrigin
from tests.adapters.cameras.conftest import jpeg

GOOD = jpeg(40)


def browser(*, demo: bool = False, timeout_s: float = 20.0) -> BrowserCamera:
    camera = BrowserCamera(
        demo=demo, timeout_s=timeout_s, min_side_px=64, max_pixels=100_000, clock=SystemClock()
    )
    camera.open()
    return camera


def png() -> bytes:
    return cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def huge() -> bytes:
    return cv2.imencode(".jpg", np.zeros((400, 400, 3), np.uint8))[1].tobytes()


def test_a_browser_that_sends_nothing_has_vanished() -> None:
    with pytest.raises(CameraError, match="no more pictures; start again"):
        browser(timeout_s=0.01).read()


def test_the_newest_picture_counts() -> None:
    camera = browser()
    assert camera.put(jpeg(10))
    assert camera.put(jpeg(200))
    frame = camera.read()
    assert frame is not None
    assert frame.origin is camera.origin is FrameOrigin.LIVE
    assert frame.sequence == 1
    assert abs(float(frame.image_bgr.mean()) - 200) < 3


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xd8\xff", GOOD[: len(GOOD) // 2], png(), b"\0" * 100_000, huge(),
        jpeg(9, (1, 1)), jpeg(9, (1500, 63)),
    ],
    ids=["empty", "head", "cut off", "png", "zeros", "too large", "a dot", "a line"],
)  # fmt: skip
def test_what_is_no_picture_is_counted_and_left_out(data: bytes) -> None:
    camera = browser(timeout_s=0.01)
    assert not camera.put(data)
    assert camera.undecodable == 1
    with pytest.raises(CameraError):
        camera.read()


def test_a_demo_is_a_replay_and_ends_by_itself() -> None:
    camera = browser(demo=True)
    frames = []
    while camera.put(GOOD) and (frame := camera.read()) is not None:
        frames.append(frame)
    assert 5 <= len(frames) <= 30
    assert {frame.origin for frame in frames} == {FrameOrigin.REPLAY}


def test_closing_wakes_the_reader_and_refuses_later_pictures() -> None:
    camera = browser()
    read: list[Frame | None] = []
    reader = threading.Thread(target=lambda: read.append(camera.read()))
    reader.start()
    camera.close()
    reader.join(10)
    assert read == [None]
    assert not camera.put(GOOD)


def test_the_mirror_shows_the_latest_frame_while_the_camera_is_open() -> None:
    inner = browser(demo=True)
    camera = WatchedCamera(inner, threading.Event())
    camera.open()
    assert camera.picture() is None
    inner.put(cv2.imencode(".jpg", np.full((90, 960, 3), 70, np.uint8))[1].tobytes())
    frame = camera.read()
    assert frame is not None
    shown = camera.picture()
    assert shown is not None
    image = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (45, 480, 3)
    assert camera.origin is FrameOrigin.REPLAY
    assert (camera.description, camera.undecodable) == (inner.description, 0)
    camera.close()
    assert camera.picture() is None


def test_a_camera_that_is_stopped_shows_nothing_more() -> None:
    inner = browser()
    camera = WatchedCamera(inner, threading.Event())
    inner.put(GOOD)
    assert camera.read() is not None
    inner.put(GOOD)
    camera.stop()
    assert camera.read() is None
    assert camera.picture() is None
