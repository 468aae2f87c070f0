"""A camera whose newest picture the person before it sees, as in a mirror."""

from __future__ import annotations

import threading
from typing import Final

import cv2

from edge_app.adapters.outer_camera import OuterCamera
from edge_app.ports import FrameSource
from edge_app.records import Frame, ImageBgr

_WIDTH_PX: Final = 480
_JPEG_QUALITY: Final = 70


class WatchedCamera(OuterCamera):
    """A `FrameSource` that remembers its latest frame while it is open, and no longer.

    One thread opens, reads and closes; `picture` and `stop` may be called from others.

    stop_event: the one that a `ReopeningCamera` inside waits on.
    """

    def __init__(self, inner: FrameSource, stop_event: threading.Event) -> None:
        super().__init__(inner)
        self._stop_event = stop_event
        self._turn = threading.Lock()
        self._latest: ImageBgr | None = None

    def read(self) -> Frame | None:
        frame = None if self._stop_event.is_set() else super().read()
        with self._turn:
            self._latest = None if frame is None else frame.image_bgr
        return frame

    def close(self) -> None:
        with self._turn:
            self._latest = None
        super().close()

    def stop(self) -> None:
        """Make the next `read` the last: it returns None."""
        self._stop_event.set()

    def picture(self) -> bytes | None:
        """The latest frame as a small JPEG; None if there is none."""
        with self._turn:
            image = self._latest
        if image is None:
            return None
        height, width = image.shape[:2]
        scale = min(1.0, _WIDTH_PX / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return jpeg.tobytes()
