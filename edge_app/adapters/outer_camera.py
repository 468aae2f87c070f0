"""What cameras around cameras have in common."""

from __future__ import annotations

from edge_app.ports import FrameSource
from edge_app.records import Frame, FrameOrigin


class OuterCamera:
    """A `FrameSource` around another one, which does whatever a subclass does not do itself."""

    def __init__(self, inner: FrameSource) -> None:
        self._inner = inner

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
        return self._inner.read()

    def close(self) -> None:
        self._inner.close()
