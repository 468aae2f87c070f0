"""The operator's overview as a file, for readers that may not enter the operator's folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

from edge_app.adapters.durable import exclusive, file_state, write_durably
from edge_app.core.overview import MADE_EVERY
from edge_app.errors import ConfigError, EdgeAppError
from edge_app.ports import Clock
from edge_app.publisher.folder import BOOK_NAME, OperatorFolder

_log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 3.0
_REST: Final = 9
"""A large fleet's is looked at less often: working takes a tenth of one core at most."""

_MODE: Final = 0o640
"""The reader is another user, in the group of the folder that the file is in."""

_State = dict[Path, tuple[int, int, int]]


class OverviewFile:
    """One overview, written as often as what is in it changes."""

    def __init__(
        self, folder: OperatorFolder, path: Path, make: Callable[[], bytes], clock: Clock
    ) -> None:
        """Name the operator's folder, the file, and what makes its content.

        Raises:
            ConfigError: there is no folder for it, or it is the operator's.
        """
        if not path.parent.is_dir():
            raise ConfigError(
                f"{path.parent} is no folder; make it, with the group of those who read the file"
            )
        if path.resolve().is_relative_to(folder.folder.resolve()):
            raise ConfigError(
                f"{folder.folder} holds the operator's keys, and its repository is everybody's; "
                "name a file outside of it with --to"
            )
        self._folder = folder
        self._path = path
        self._make = make
        self._clock = clock

    def write(self) -> None:
        """Write it now. Raises what making it raises, and StorageError."""
        content = self._make()
        with exclusive(self._path.parent):
            write_durably(self._path, content, mode=_MODE)

    def keep_up(self, ended: Event, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        """Write it now, whenever something changes, and every `MADE_EVERY`, until `ended` is set.

        The first has to succeed and raises as `write` does. Later failures are logged once, and
        tried again.
        """
        began_s = time.thread_time()
        state, fault = self._state(), ""
        self.write()
        written_s = self._clock.monotonic_s()
        while not ended.wait(max(look_every_s, _REST * (time.thread_time() - began_s))):
            began_s = time.thread_time()
            before, state = state, self._state()
            overdue = self._clock.monotonic_s() - written_s >= MADE_EVERY.total_seconds()
            there = self._path.exists() and not fault
            if state == before and there and not overdue:
                continue
            fault = self._try(fault)
            if not fault:
                written_s = self._clock.monotonic_s()

    def _try(self, before: str) -> str:
        """Why it could not be written; empty if it was. before: the same of the last time."""
        try:
            self.write()
        except EdgeAppError as error:
            if str(error) != before:
                _log.error("%s", error)
            return str(error)
        if before:
            _log.warning("the overview is written again")
        return ""

    def _state(self) -> _State:
        folder = self._folder
        paths = [
            folder.folder / BOOK_NAME,
            folder.repository / "metadata" / "timestamp.json",
            folder.inbox,  # of a folder: whether a name came or went
            folder.refused,
            *folder.acknowledged.glob("*.json"),
        ]
        return {path: file_state(path) for path in paths}
