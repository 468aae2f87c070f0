"""The camera of a browser that shows the station's page: pictures come in one by one, as JPEG."""

from __future__ import annotations

from typing import Final

from edge_app.adapters.cameras.picture import decode_jpeg
from edge_app.adapters.mailbox import Mailbox
from edge_app.errors import CameraError
from edge_app.ports import Clock
from edge_app.records import Frame, FrameOrigin

_ENOUGH: Final = 12
"""Pictures of a demo, which nobody guides: they hardly change while they are shown."""


class BrowserCamera:
    """A `FrameSource` that is filled from another thread. Holds one picture, the newest.

    Use an instance once. Whoever holds the browser can make it send anything, so what it sends is
    live in an operator's hands only (docs/adr/0023); in a demo it is a replay, and ends by itself.

    demo:       frames are replayed ones, and a few are enough.
    timeout_s:  the camera has vanished when no picture that can be decoded came for so long.
    min_side_px: smallest width and height; less cannot show a face, and is skipped.
    max_pixels: largest width times height; larger pictures are skipped undecoded.
    """

    def __init__(
        self, *, demo: bool, timeout_s: float, min_side_px: int, max_pixels: int, clock: Clock
    ) -> None:
        self._origin = FrameOrigin.REPLAY if demo else FrameOrigin.LIVE
        self._timeout_s = timeout_s
        self._min_side_px = min_side_px
        self._max_pixels = max_pixels
        self._clock = clock
        self._mailbox = Mailbox(lossless=False)
        self._sequence = 0
        self._undecodable = 0
        self._read = 0

    @property
    def origin(self) -> FrameOrigin:
        return self._origin

    @property
    def description(self) -> str:
        return "the browser's camera"

    @property
    def undecodable(self) -> int:
        return self._undecodable

    def put(self, jpeg: bytes) -> bool:
        """Take a picture from the browser; False if it is none, of another size, or too late."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        image = decode_jpeg(jpeg, self._max_pixels)
        if image is None or min(image.shape[:2]) < self._min_side_px:
            self._undecodable += 1
            return False
        frame = Frame(image, self._clock.monotonic_s(), sequence, self._origin)
        return self._mailbox.put(frame)

    def open(self) -> None:
        """The browser opens it."""

    def read(self) -> Frame | None:
        """None once it is closed; waits for a picture of the browser otherwise.

        Raises:
            CameraError: none came in time.
        """
        if self._origin is FrameOrigin.REPLAY and self._read == _ENOUGH:
            return None
        frame = self._mailbox.get(self._timeout_s)
        if frame is None and not self._mailbox.ended:
            raise CameraError("the browser sends no more pictures; start again")
        self._read += 1
        return frame

    def close(self) -> None:
        self._mailbox.close()

    def stop(self) -> None:
        """Make the next `read` the last: it returns None. From any thread."""
        self._mailbox.close()
