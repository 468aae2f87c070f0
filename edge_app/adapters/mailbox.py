"""Between the camera's thread and the pipeline's: one frame, the newest."""

from __future__ import annotations

import logging
import threading
from typing import Final

from edge_app.adapters.outer_camera import OuterCamera
from edge_app.ports import FrameSource
from edge_app.records import Frame

_log: Final = logging.getLogger(__name__)


class Mailbox:
    """Holds at most one frame. One thread puts, one gets.

    A live mailbox never makes the camera wait: a newer frame replaces one that was not
    taken, which counts as dropped. A lossless one makes `put` wait until the frame before
    was taken: it is for replays that run as fast as they are read.
    """

    def __init__(self, *, lossless: bool) -> None:
        self._lossless = lossless
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._closed = False
        self._error: Exception | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def ended(self) -> bool:
        """True once it is closed, empty, and without an error that `get` has still to raise."""
        with self._changed:
            return self._closed and self._frame is None and self._error is None

    def put(self, frame: Frame) -> bool:
        """False if the mailbox is closed and the frame was not taken over."""
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._frame is None or self._closed)
            if self._closed:
                return False
            if self._frame is not None:
                self._dropped += 1
            self._frame = frame
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> Frame | None:
        """The newest frame; None if none came in time or none will come (see `ended`).

        Raises the error that the mailbox was closed with, after the last frame was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout_s)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def close(self, error: Exception | None = None) -> None:
        """Wakes both sides. A frame that was put can still be taken. The first close counts."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
                self._changed.notify_all()


class LatestFrames(OuterCamera):
    """A `FrameSource` that always gives the newest frame of a live camera, and skips the rest.

    For readers that are slower than the camera: without it the frames that pile up in between
    would be read later and later.
    """

    def __init__(self, inner: FrameSource) -> None:
        super().__init__(inner)
        self._mailbox = Mailbox(lossless=False)
        self._thread = CameraThread(
            source=inner, mailbox=self._mailbox, stop_event=threading.Event()
        )

    def open(self) -> None:
        """Once. Raises what the camera's `open` raises."""
        self._thread.start()

    def read(self) -> Frame | None:
        """Raises what the camera's `read` raised."""
        while not self._mailbox.ended:
            frame = self._mailbox.get(timeout_s=1.0)
            if frame is not None:
                return frame
        return None

    def close(self) -> None:
        self._thread.stop(timeout_s=5.0)


class CameraThread:
    """Pumps a frame source into a mailbox, and closes both at the end.

    `stop_event` is the one that a `ReopeningCamera` inside the source waits on.
    """

    def __init__(
        self, *, source: FrameSource, mailbox: Mailbox, stop_event: threading.Event
    ) -> None:
        self._source = source
        self._mailbox = mailbox
        self._stop_event = stop_event
        # A daemon, so that a camera driver that never returns cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        """Opens the source here, so that a camera that cannot be opened is an error at once.

        Raises what the source's `open` raises. Errors after that reach the mailbox's reader.
        """
        self._source.open()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ends the thread; the source is closed when this returns, if it did not hang."""
        self._stop_event.set()
        self._mailbox.close()
        if self._thread.ident is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _log.warning("%s did not stop within %g s", self._source.description, timeout_s)

    def _run(self) -> None:
        error = None
        try:
            try:
                self._pump()
            finally:
                self._source.close()
        except Exception as caught:  # noqa: BLE001 - carried over to the reader, who raises it
            error = caught
        self._mailbox.close(error)

    def _pump(self) -> None:
        while not self._stop_event.is_set():
            frame = self._source.read()
            if frame is None or not self._mailbox.put(frame):
                return
