"""Where frames come from: what the user named, and the frame source for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from edge_app.adapters.cameras.mjpeg_http import MjpegHttpCamera
from edge_app.adapters.cameras.picamera import Picamera2Camera
from edge_app.adapters.cameras.picture import PictureLimits
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.cameras.replay import ReplayCamera, StillTiming
from edge_app.adapters.cameras.v4l2 import V4l2Camera
from edge_app.adapters.indicator import IndicatedCamera
from edge_app.errors import CameraError
from edge_app.ports import Clock, FrameSource, Indicator, Shutter

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


class SourceKind(StrEnum):
    REPLAY = "replay"
    V4L2 = "v4l2"
    MJPEG_HTTP = "mjpeg_http"
    PICAMERA2 = "picamera2"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A frame source as the user named it.

    address: a path, a device path or a URL, which may hold a password; empty for picamera2.
    """

    kind: SourceKind
    address: str = field(repr=False)

    @property
    def is_live(self) -> bool:
        return self.kind is not SourceKind.REPLAY


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What the cameras are asked for, and allowed.

    width_px, height_px, fps: the mode asked of a live camera.
    timeout_s:      a live camera that gives no picture for so long has vanished.
    max_jpeg_bytes: longest picture taken from a network camera.
    pictures:       limits of pictures and videos; `max_pixels` holds for network cameras too.
    stills:         how long a replay shows each picture.
    backoff:        how a vanished live camera is tried again.
    """

    width_px: int
    height_px: int
    fps: int
    timeout_s: float
    max_jpeg_bytes: int
    pictures: PictureLimits
    stills: StillTiming
    backoff: Backoff


def parse_source(text: str) -> SourceSpec:
    """What a `--source` or `--camera` means. Raises CameraError on a name that means nothing.

    N, v4l2:N, v4l2:PATH or /dev/... is a V4L2 camera, http(s)://... an MJPEG stream,
    picamera2 the Raspberry Pi's camera, anything else the path of a replay.
    """
    if not text:
        raise CameraError("a source has an empty name; give a path, a camera number or an address")
    if text == "picamera2":
        return SourceSpec(SourceKind.PICAMERA2, "")
    device = text.removeprefix("v4l2:")
    if device.isascii() and device.isdigit():
        return SourceSpec(SourceKind.V4L2, f"/dev/video{int(device)}")
    if device.startswith("/dev/"):
        return SourceSpec(SourceKind.V4L2, device)
    if device != text:
        raise CameraError(
            "after v4l2: goes a camera's number or its path under /dev, for example v4l2:0"
        )
    scheme = _SCHEME.match(text)
    if scheme is None:
        return SourceSpec(SourceKind.REPLAY, text)
    if scheme[1].lower() not in ("http", "https"):
        raise CameraError(
            f"sources of the form {scheme[1]}:// are not supported; give the camera's "
            "MJPEG address (http://...)"
        )
    return SourceSpec(SourceKind.MJPEG_HTTP, text)


def make_source(
    specs: Sequence[SourceSpec],
    *,
    settings: CameraSettings,
    indicator: Indicator,
    shutter: Shutter | None,
    clock: Clock,
    realtime: bool,
    stop_event: threading.Event,
    waits_covered: bool,
) -> ReplayCamera | ReopeningCamera:
    """The frame source for one live camera, or for one or more replays; not opened yet.

    A live camera shows its indicator, is closed while its shutter covers it, and is reopened when
    it vanishes, until `stop_event` is set. `realtime` is for replays; for `waits_covered`, see
    `ReopeningCamera`. Raises CameraError.
    """
    if not specs:
        raise CameraError("no source is given; name a picture, a folder, a video or a camera")
    if not any(spec.is_live for spec in specs):
        return ReplayCamera(
            paths=[Path(spec.address) for spec in specs],
            timing=settings.stills,
            limits=settings.pictures,
            clock=clock,
            realtime=realtime,
        )
    if len(specs) > 1:
        raise CameraError("a live camera must be the only source; give one camera or only files")
    camera = IndicatedCamera(inner=_live(specs[0], settings, clock), indicator=indicator)
    return ReopeningCamera(
        inner=camera,
        backoff=settings.backoff,
        clock=clock,
        stop_event=stop_event,
        shutter=shutter,
        waits_covered=waits_covered,
    )


def _live(spec: SourceSpec, settings: CameraSettings, clock: Clock) -> FrameSource:
    if spec.kind is SourceKind.MJPEG_HTTP:
        return MjpegHttpCamera(
            url=spec.address,
            timeout_s=settings.timeout_s,
            max_frame_bytes=settings.max_jpeg_bytes,
            max_pixels=settings.pictures.max_pixels,
            clock=clock,
        )
    if spec.kind is SourceKind.PICAMERA2:
        return Picamera2Camera(
            width_px=settings.width_px,
            height_px=settings.height_px,
            fps=settings.fps,
            timeout_s=settings.timeout_s,
            clock=clock,
        )
    return V4l2Camera(
        device=spec.address,
        width_px=settings.width_px,
        height_px=settings.height_px,
        fps=settings.fps,
        timeout_s=settings.timeout_s,
        clock=clock,
    )
