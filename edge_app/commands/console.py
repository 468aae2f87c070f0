"""What every command shares: the terminal, the session, the way of writing results."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edge_app.adapters.cameras import SourceSpec, parse_source
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.output import is_watched
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.acknowledge import Erasure
from edge_app.errors import ConfigError, StorageError


class PlainConsole(Console):
    """Prints text as it is: a name may well be ":smile:" or "[red]".

    The terminal breaks its lines, not we: a path stays in one piece, also in a file.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **how: Any) -> None:
        text = all(isinstance(each, str | Text) for each in objects)
        super().print(*objects, soft_wrap=text if soft_wrap is None else soft_wrap, **how)


out = PlainConsole()
err = PlainConsole(stderr=True)

Source = Annotated[
    list[str] | None,
    typer.Option(
        help="A camera (0, /dev/video0, an MJPEG address, picamera2), or with --demo a picture, "
        "a folder of pictures or a video. May be given several times.",
        metavar="PATH",
    ),
]
# A flag takes no value, so its help names none: metavar "".
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.", metavar="")]


@dataclass(frozen=True, slots=True)
class Session:
    """What the options before the command said."""

    config: Config
    home: Home
    clock: SystemClock


def sources(config: Config, named: Sequence[str] | None, *, demo: bool) -> list[SourceSpec]:
    """The sources that were named, or the configured camera. Raises ConfigError, CameraError."""
    specs = [parse_source(text) for text in named or [config.camera.source]]
    if demo and any(spec.is_live for spec in specs):
        raise ConfigError("--demo replays files: name them with --source, or leave --demo away")
    if not demo and not all(spec.is_live for spec in specs):
        raise ConfigError(
            "a file is replayed in demo mode only, and compared with demo templates only; "
            "add --demo"
        )
    return specs


def count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def erased(come: Erasure) -> str:
    """How far an erasure has come, in a sentence or two."""
    far = f"{come.acknowledged} of {count(come.devices, 'device')}"
    if come.acknowledged == come.devices > 1:
        far = f"all {come.devices} devices"
    gone = f" {count(come.removed, 'device was', 'devices were')} removed and cannot be asked."
    return f"Erased from generation {come.generation} on {far}.{gone if come.removed else ''}"


def in_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=8),  # the longest ask with its hint still fits into 80 columns
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        redirect_stdout=False,
        disable=quiet or not is_watched(sys.stderr),
    )


@contextmanager
def bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar, with the time left, for each thing that takes long; on a terminal only."""
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        redirect_stdout=is_watched(sys.stdout),  # above the bar; what is for a file goes there
        disable=quiet or not is_watched(sys.stderr),
    )
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, of: int) -> None:
        if what not in tasks:
            tasks[what] = shown.add_task(what, total=of)
        shown.update(tasks[what], completed=done)

    with shown:
        yield show


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """Set by SIGINT, SIGTERM or SIGHUP, so that what runs until then ends in order."""
    stop = Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in ending}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=_as_text)


def _as_text(value: object) -> str:
    """Times as RFC 3339 has them, everything else as it prints itself."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_json(value: Any) -> None:
    out.print(_json(value))


def write_json(path: Path, value: Any) -> None:
    try:
        path.write_text(_json(value) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; name another file") from error
