"""A replay that tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable

from edge_app.adapters.cameras.replay import ReplayCamera
from edge_app.records import Frame, FrameOrigin


class TimedReplay:
    """A `FrameSource`. `come` is called with whole seconds that were played, and of how many."""

    def __init__(self, inner: ReplayCamera, come: Callable[[int, int], None]) -> None:
        self._inner = inner
        self._come = come
        self._told_s = -1

    @property
    def origin(self) -> FrameOrigin:
        return self._inner.origin

    @property
    def description(self) -> str:
        return self._inner.description

    @property
    def undecodable(self) -> int:
        return self._inner.undecodable

    def open(self) -> None:
        self._inner.open()

    def read(self) -> Frame | None:
        frame = self._inner.read()
        length_s = self._inner.length_s
        if frame is not None and length_s is not None and int(frame.time_s) != self._told_s:
            self._told_s = int(frame.time_s)
            self._come(self._told_s, max(self._told_s, round(length_s)))
        return frame

    def close(self) -> None:
        self._inner.close()
