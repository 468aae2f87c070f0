"""Runs a command for every event, one after the other and beside the network.

A command that hangs is killed, one that fails is told of, and neither stops the listening.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Final, Self

from edge_app.errors import ConfigError

_log = logging.getLogger(__name__)

_WAITING: Final = 1_000
_STANDARD_ERROR: Final = 2


def parse_command(text: str) -> tuple[str, ...]:
    """Split a command into its words as a shell would, and do nothing else of a shell.

    Raises:
        ConfigError: no command, or no such program.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"the command cannot be read ({error}); quote it correctly") from error
    if not words:
        raise ConfigError("the command is empty; name a program")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"there is no program {words[0]!r}; give its path")
    return words


class EventCommand:
    """A command, in a thread of its own.

    Leaving the context waits for what was given to it; by Ctrl-C, for what it works on.
    """

    def __init__(self, words: tuple[str, ...], *, timeout_s: float) -> None:
        """words: as `parse_command` returns them. timeout_s: for one event."""
        self._words = words
        self._timeout_s = timeout_s
        self._waiting: Queue[str | None] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="event-command", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is KeyboardInterrupt:
            with suppress(Empty):
                while True:
                    self._waiting.get_nowait()
        self._waiting.put(None)
        self._thread.join()

    def give(self, event: str) -> None:
        """Have the command run with this line on its standard input; returns at once."""
        try:
            self._waiting.put_nowait(event)
        except Full:
            _log.warning("--exec: an event is left out: %d wait for the command", _WAITING)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._run_once(event)
            except OSError as error:
                _log.warning("--exec: the command cannot be run: %s", error.strerror or error)

    def _run_once(self, event: str) -> None:
        # Its output would stand among the events. It leads a group, so that all of it can end.
        process = subprocess.Popen(  # noqa: S603 - no shell, and the user's own command
            self._words,
            stdin=subprocess.PIPE,
            stdout=_STANDARD_ERROR,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            process.communicate(event + "\n", timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            _log.warning("--exec: the command took more than %g s and was ended", self._timeout_s)
            return
        if process.returncode:
            _log.warning("--exec: the command failed with status %d", process.returncode)
