"""Wall and monotonic time: the system's, and one that tests and replays set by hand."""

from __future__ import annotations

import ctypes
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from edge_app.records import ClockState

TIMESYNCD_STAMP: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it at its first synchronisation after boot."""

_TIME_ERROR: Final = 5
_STRUCT_TIMEX_ROOM: Final = 512


class SystemClock:
    """The machine's clocks; a `Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def state(self) -> ClockState:
        """SYNCHRONISED when timesyncd's stamp or the kernel's NTP state says so.

        Both are asked: chrony and ntpd leave no stamp, and a service under systemd's
        `ProtectClock=yes` may not ask the kernel.
        """
        if TIMESYNCD_STAMP.exists() or _kernel_is_synchronised():
            return ClockState.SYNCHRONISED
        return ClockState.UNSYNCHRONISED

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class ManualClock:
    """A `Clock` that stands still until it is told to move; `sleep` moves it and returns at once.

    Safe to share between threads. `state_now` may be set at any time.
    """

    def __init__(self, start: datetime, state: ClockState = ClockState.SYNCHRONISED) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._lock = threading.Lock()
        self.state_now = state

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def state(self) -> ClockState:
        return self.state_now

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward."""
        with self._lock:
            self._elapsed_s += seconds


def _kernel_is_synchronised() -> bool:
    """adjtimex(2) with `modes` 0 changes nothing and returns TIME_ERROR while unsynchronised,
    or -1 where the system call is not allowed."""
    status = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT_TIMEX_ROOM))
    return 0 <= int(status) < _TIME_ERROR
