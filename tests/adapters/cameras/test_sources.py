"""From what the user typed to a frame source."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.cameras import (
    CameraSettings,
    SourceKind,
    SourceSpec,
    make_source,
    parse_source,
)
from edge_app.adapters.cameras.picture import PictureLimits
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.cameras.replay import ReplayCamera, StillTiming
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.indicator import LedIndicator, NoIndicator
from edge_app.errors import CameraError, IndicatorError
from edge_app.ports import Indicator
from edge_app.records import FrameOrigin

SETTINGS = CameraSettings(
    width_px=1280,
    height_px=720,
    fps=30,
    timeout_s=2.0,
    max_jpeg_bytes=1_000_000,
    pictures=PictureLimits(64, 1_000_000, 1920, 1080),
    stills=StillTiming(still_s=1.0, fps=10.0),
    backoff=Backoff(first_s=0.1, factor=2.0, longest_s=1.0, jitter=0.2),
)


def made(*texts: str, indicator: Indicator | None = None) -> ReplayCamera | ReopeningCamera:
    return make_source(
        [parse_source(text) for text in texts],
        settings=SETTINGS,
        indicator=indicator or NoIndicator(),
        shutter=None,
        clock=SystemClock(),
        realtime=False,
        stop_event=threading.Event(),
        waits_covered=False,
    )


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("0", SourceKind.V4L2, "/dev/video0"),
        ("007", SourceKind.V4L2, "/dev/video7"),
        ("v4l2:2", SourceKind.V4L2, "/dev/video2"),
        ("v4l2:/dev/v4l/by-id/usb-x", SourceKind.V4L2, "/dev/v4l/by-id/usb-x"),
        ("/dev/video3", SourceKind.V4L2, "/dev/video3"),
        ("picamera2", SourceKind.PICAMERA2, ""),
        ("http://camera/stream", SourceKind.MJPEG_HTTP, "http://camera/stream"),
        ("HTTPS://camera/", SourceKind.MJPEG_HTTP, "HTTPS://camera/"),
        ("film.avi", SourceKind.REPLAY, "film.avi"),
        ("/home/me/photos", SourceKind.REPLAY, "/home/me/photos"),
        ("./0", SourceKind.REPLAY, "./0"),
        ("²", SourceKind.REPLAY, "²"),
        ("-1", SourceKind.REPLAY, "-1"),
        ("C:film.avi", SourceKind.REPLAY, "C:film.avi"),
    ],
)
def test_every_form_of_a_name(text: str, kind: SourceKind, address: str) -> None:
    spec = parse_source(text)
    assert spec == SourceSpec(kind, address)
    assert spec.is_live is (kind is not SourceKind.REPLAY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty name"),
        ("v4l2:", "camera's number"),
        ("v4l2:front", "camera's number"),
        ("v4l2:http://x", "camera's number"),
        ("rtsp://camera/1", "rtsp:// are not supported"),
        ("file:///etc/passwd", "file:// are not supported"),
    ],
)
def test_a_name_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        parse_source(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_source_or_an_error(text: str) -> None:
    try:
        parse_source(text)
    except CameraError:
        return


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_source("http://me:secret@camera/"))


def test_files_are_replayed_without_a_light() -> None:
    source = made("a.jpg", "b.avi")
    assert isinstance(source, ReplayCamera)
    assert source.origin is FrameOrigin.REPLAY


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("0", "camera /dev/video0"),
        ("http://me:secret@camera/stream", "camera http://camera/stream"),
        ("picamera2", "Raspberry Pi camera"),
    ],
)
def test_cameras_are_live_and_reopened(text: str, description: str) -> None:
    source = made(text)
    assert isinstance(source, ReopeningCamera)
    assert source.origin is FrameOrigin.LIVE
    assert source.description == description


@pytest.mark.parametrize("text", ["/dev/video77", "http://127.0.0.1:1/", "picamera2"])
def test_no_live_camera_opens_without_its_light(text: str, tmp_path: Path) -> None:
    """P7, through the whole of what the application builds."""
    source = made(text, indicator=LedIndicator(tmp_path / "none"))
    with pytest.raises(IndicatorError):
        source.open()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((), "no source is given"),
        (("0", "1"), "must be the only source"),
        (("a.jpg", "0"), "must be the only source"),
        (("http://camera/a b",), "is not of the form"),
    ],
)
def test_combinations_that_cannot_be_are_refused(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        made(*texts)
