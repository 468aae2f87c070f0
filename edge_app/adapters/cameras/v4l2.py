"""USB and other Video4Linux cameras."""

from __future__ import annotations

import logging
import math
import os
import stat
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_app.adapters.cameras.opencv import open_capture
from edge_app.adapters.cameras.picture import worth_logging
from edge_app.errors import CameraError
from edge_app.ports import Clock
from edge_app.records import Frame, FrameOrigin

_log: Final = logging.getLogger(__name__)


class V4l2Camera:
    """A `FrameSource` over a V4L2 device, through OpenCV.

    device:     its path: /dev/videoN, or /dev/v4l/by-id/NAME, which stays when N changes.
    width_px, height_px, fps: what is asked of the camera; it may give the nearest it has.
    timeout_s:  the camera has vanished when no picture that can be decoded came for so long.
    """

    def __init__(
        self,
        *,
        device: str,
        width_px: int,
        height_px: int,
        fps: int,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._device = Path(device)
        self._mode = (
            # Uncompressed 1080p does not fit through USB 2: most cameras give 5 frames a second.
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
            (cv2.CAP_PROP_FRAME_WIDTH, width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, height_px),
            (cv2.CAP_PROP_FPS, fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),  # an older frame is never worth waiting for
        )
        self._timeout_s = timeout_s
        self._clock = clock
        self._capture: cv2.VideoCapture | None = None
        self._sequence = 0
        self._undecodable = 0

    @property
    def origin(self) -> FrameOrigin:
        return FrameOrigin.LIVE

    @property
    def description(self) -> str:
        return f"camera {self._device}"

    @property
    def undecodable(self) -> int:
        return self._undecodable

    def open(self) -> None:
        self.close()
        self._sequence = 0
        self._check_device()
        # OpenCV takes the time it waits for a frame, in whole seconds, from the environment.
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(math.ceil(self._timeout_s))
        capture = open_capture(str(self._device), cv2.CAP_V4L2, self._mode)
        if not capture.isOpened() or not capture.grab():
            capture.release()
            raise CameraError(
                f"{self.description} gives no picture; close the other programs that use it "
                "(`fuser -v /dev/video*` names them), or plug it in again"
            )
        self._capture = capture

    def read(self) -> Frame | None:
        if self._capture is None:
            raise CameraError(f"{self.description} is not open")
        deadline_s = self._clock.monotonic_s() + self._timeout_s
        while self._clock.monotonic_s() < deadline_s and self._capture.grab():
            time_s = self._clock.monotonic_s()
            sequence = self._sequence
            self._sequence += 1
            decoded, image = self._capture.retrieve()
            if decoded:
                return Frame(np.asarray(image, np.uint8), time_s, sequence, FrameOrigin.LIVE)
            self._undecodable += 1
            if worth_logging(self._undecodable):
                _log.warning("%s: %d pictures undecodable", self.description, self._undecodable)
        raise CameraError(f"{self.description} gives no more pictures; check its cable")

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _check_device(self) -> None:
        try:
            mode = self._device.stat().st_mode
        except OSError as error:
            present = ", ".join(str(p) for p in sorted(Path("/dev").glob("video*"))) or "none"
            raise CameraError(
                f"there is no {self.description}; plug it in or choose another (present: {present})"
            ) from error
        if not stat.S_ISCHR(mode):
            raise CameraError(f"{self._device} is not a camera; choose a /dev/video device")
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise CameraError(
                f"{self.description} may not be used by this user; add the user to the group video"
            )
