"""A replay that tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable

from edge_app.adapters.cameras.replay import ReplayCamera
from edge_app.adapters.outer_camera import OuterCamera
from edge_app.records import Frame


class TimedReplay(OuterCamera):
    """A `FrameSource`. `come` is called with whole seconds that were played, and of how many."""

    def __init__(self, inner: ReplayCamera, come: Callable[[int, int], None]) -> None:
        super().__init__(inner)
        self._replay = inner
        self._come = come
        self._told_s = -1

    def read(self) -> Frame | None:
        frame = self._inner.read()
        length_s = self._replay.length_s
        if frame is not None and length_s is not None and int(frame.time_s) != self._told_s:
            self._told_s = int(frame.time_s)
            self._come(self._told_s, max(self._told_s, round(length_s)))
        return frame
