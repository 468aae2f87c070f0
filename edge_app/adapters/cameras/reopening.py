"""A camera that comes back."""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass, replace
from typing import Final

from edge_app.adapters.outer_camera import OuterCamera
from edge_app.errors import CameraError
from edge_app.ports import Clock, FrameSource, Shutter
from edge_app.records import Frame

_log: Final = logging.getLogger(__name__)

_SLICE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a lost camera is tried again.

    first_s:   before the first try, in seconds.
    factor:    each wait is so many times the one before.
    longest_s: but never longer than this, in seconds.
    jitter:    0 to 1: the share of each wait that is random, so that devices which lost the
               same network camera do not all come back at once.
    """

    first_s: float
    factor: float
    longest_s: float
    jitter: float


class ReopeningCamera(OuterCamera):
    """A `FrameSource` that reopens the live camera inside whenever it vanishes, for ever.

    `read` then blocks until a frame comes, or returns None soon after `stop_event` was set.
    Only the first `open` may fail: a camera that never was there is most often misspelt.
    Sequence numbers continue over reopenings. `close` belongs to the thread that reads;
    other threads set `stop_event`.

    While its shutter covers it, the camera inside is closed and stays so, and `read` blocks. A
    picture that was being taken when the shutter closed is thrown away.

    Only CameraError counts as lost: an IndicatorError from an `IndicatedCamera` inside goes
    through, because a light that fails is not waited out (P7).
    """

    def __init__(
        self,
        *,
        inner: FrameSource,
        backoff: Backoff,
        clock: Clock,
        stop_event: threading.Event,
        shutter: Shutter | None = None,
        waits_covered: bool = True,
    ) -> None:
        """shutter:       None if the device has none.
        waits_covered: whether `open` returns with the camera inside closed while it is covered;
                       else that is a CameraError, for those who would wait for nothing.
        """
        super().__init__(inner)
        self._shutter = shutter
        self._waits_covered = waits_covered
        self._is_open = False
        self._backoff = backoff
        self._clock = clock
        self._stop_event = stop_event
        self._random = random.SystemRandom()
        self._lost = False
        self._reopenings = 0
        self._failures = 0
        self._sequence_offset = 0
        self._next_sequence = 0

    @property
    def lost(self) -> bool:
        """Whether the camera is away at this moment. May be read from any thread."""
        return self._lost

    @property
    def is_open(self) -> bool:
        """Whether the camera inside is open at this moment. May be read from any thread."""
        return self._is_open

    @property
    def covered(self) -> bool:
        """Whether the shutter covers the camera now. May be read from any thread."""
        return self._shutter is not None and self._shutter.covered

    @property
    def reopenings(self) -> int:
        """How often the camera was lost and found again."""
        return self._reopenings

    def open(self) -> None:
        if not self.covered:
            self._open()
        elif not self._waits_covered:
            raise CameraError(
                f"{self.description} is covered by its privacy switch; uncover it, then try again"
            )

    def read(self) -> Frame | None:
        while not self._stop_event.is_set():
            if self.covered:
                self._release()
                self._clock.sleep(_SLICE_S)
                continue
            try:
                if not self._is_open:
                    self._open()
                frame = self._inner.read()
            except CameraError as error:
                self._lose(error)
                self._wait()
            else:
                self._find()
                if frame is None:
                    return None
                if not self.covered:
                    return self._renumbered(frame)
        return None

    def close(self) -> None:
        self._inner.close()
        self._is_open = False

    def _open(self) -> None:
        self._inner.open()
        self._is_open = True

    def _release(self) -> None:
        if self._is_open:
            self.close()
            self._sequence_offset = self._next_sequence

    def _lose(self, error: CameraError) -> None:
        self.close()
        if not self._lost:
            _log.warning("camera lost, trying to reopen it: %s", error)
        self._lost = True
        self._failures += 1
        self._sequence_offset = self._next_sequence

    def _find(self) -> None:
        # A camera that opens but gives no picture is still lost: hence only now.
        if self._lost:
            _log.warning("camera found again after %d tries", self._failures)
            self._reopenings += 1
        self._lost = False
        self._failures = 0

    def _renumbered(self, frame: Frame) -> Frame:
        sequence = self._sequence_offset + frame.sequence
        self._next_sequence = sequence + 1
        return replace(frame, sequence=sequence)

    def _wait(self) -> None:
        until_s = self._clock.monotonic_s() + self._delay_s()
        while not self._stop_event.is_set():
            remaining_s = until_s - self._clock.monotonic_s()
            if remaining_s <= 0:
                return
            self._clock.sleep(min(_SLICE_S, remaining_s))

    def _delay_s(self) -> float:
        backoff = self._backoff
        # Capped, because a power of a large number of failures overflows.
        growth = backoff.factor ** min(self._failures - 1, 64)
        delay_s = min(backoff.first_s * growth, backoff.longest_s)
        return delay_s * (1.0 - backoff.jitter * self._random.random())
