"""The Raspberry Pi's camera modules, through picamera2 (an optional extra)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from edge_app.errors import CameraError
from edge_app.ports import Clock
from edge_app.records import Frame, FrameOrigin


class Picamera2Camera:
    """A `FrameSource` over the Pi's first camera.

    width_px, height_px, fps: what the camera is set to.
    timeout_s: the camera has vanished when no picture came for so long.
    """

    def __init__(
        self, *, width_px: int, height_px: int, fps: int, timeout_s: float, clock: Clock
    ) -> None:
        self._size_px = (width_px, height_px)
        self._fps = fps
        self._timeout_s = timeout_s
        self._clock = clock
        self._camera: Any = None  # picamera2 is not there to be typed where this is checked
        self._sequence = 0

    @property
    def origin(self) -> FrameOrigin:
        return FrameOrigin.LIVE

    @property
    def description(self) -> str:
        return "Raspberry Pi camera"

    @property
    def undecodable(self) -> int:
        return 0  # its pictures were never encoded

    def open(self) -> None:
        self.close()
        self._sequence = 0
        library = _picamera2()
        try:
            self._camera = library.Picamera2()
            self._camera.configure(
                self._camera.create_video_configuration(
                    # libcamera names formats from the highest byte: in memory this is B, G, R.
                    main={"format": "RGB888", "size": self._size_px},
                    controls={"FrameRate": self._fps},
                )
            )
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.close()
            raise CameraError(
                "the Raspberry Pi camera cannot be opened; check its ribbon cable and that "
                "`rpicam-hello --list-cameras` shows it, and close other programs that use it"
            ) from error

    def read(self) -> Frame | None:
        if self._camera is None:
            raise CameraError(f"{self.description} is not open")
        try:
            image = self._camera.capture_array("main", wait=self._timeout_s)
        except (RuntimeError, OSError) as error:  # TimeoutError is an OSError
            raise CameraError(
                f"{self.description} gives no more pictures; check its cable"
            ) from error
        time_s = self._clock.monotonic_s()
        sequence = self._sequence
        self._sequence += 1
        return Frame(np.ascontiguousarray(image, np.uint8), time_s, sequence, FrameOrigin.LIVE)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
        self._camera = None


def _picamera2() -> Any:
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise CameraError(
            "picamera2 is not installed; on Raspberry Pi OS: `sudo apt install python3-libcamera "
            "libcap-dev`, then `pip install familiar-edge[picamera2]` into an environment made "
            "with --system-site-packages"
        ) from error
