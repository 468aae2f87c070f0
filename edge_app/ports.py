"""What the pipeline and the application expect of the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_app.records import (
    Alert,
    ClockState,
    Frame,
    FrameOrigin,
    HudView,
    Touch,
    Utterance,
)


class FrameSource(Protocol):
    """A camera. `read` blocks until the next frame and returns None at the end of a replay.

    Raises CameraError when it cannot be opened or has vanished. A picture that cannot be
    decoded is skipped and counted in `undecodable`, never raised.
    """

    @property
    def origin(self) -> FrameOrigin: ...

    @property
    def description(self) -> str: ...

    @property
    def undecodable(self) -> int: ...

    def open(self) -> None: ...

    def read(self) -> Frame | None: ...

    def close(self) -> None: ...


class TensorModel(Protocol):
    """A neural network with one input tensor.

    The call takes exactly the input shape and dtype of the model's manifest entry and
    returns the outputs in the manifest's order, as copies. Raises ModelError otherwise.
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]: ...


class Indicator(Protocol):
    """The light that tells bystanders the camera is open (P7). Raises IndicatorError."""

    def turn_on(self) -> None: ...

    def turn_off(self) -> None: ...


class Shutter(Protocol):
    """The wearer's privacy switch. True whenever it cannot be told. For any thread."""

    @property
    def covered(self) -> bool: ...


class Display(Protocol):
    """Shows the wearer who is there. Called once per change, not once per frame."""

    def show(self, view: HudView) -> None: ...

    def close(self) -> None: ...


class Speaker(Protocol):
    """Says a recognised person's name into the wearer's ear. A plain text sounds in the middle.

    silent: what is said cannot be heard.
    """

    @property
    def silent(self) -> bool: ...

    def say(self, speech: str | Sequence[Utterance]) -> None: ...

    def close(self) -> None: ...


class Haptic(Protocol):
    """Taps the wearer. Never waits."""

    def play(self, touch: Touch) -> None: ...

    def close(self) -> None: ...


class AlertSink(Protocol):
    """Takes responsibility for an alert: when `put` returns, the alert is durable (P10)."""

    def put(self, alert: Alert) -> None: ...

    def close(self) -> None: ...


class Clock(Protocol):
    """Wall and monotonic time, injectable so that replays and tests own it."""

    def now(self) -> datetime: ...

    def monotonic_s(self) -> float: ...

    def state(self) -> ClockState: ...

    def sleep(self, seconds: float) -> None: ...


class Stopwatch(Protocol):
    """Measures the pipeline's stages: the time since the last call belongs to `stage`."""

    def lap(self, stage: str) -> None: ...
