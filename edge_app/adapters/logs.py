"""How log lines are written: for people, for programs, and for the journal of systemd.

What is logged never holds personal data; that is up to who logs, and held by the tests of P1.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from edge_app.adapters.output import visible

_PRIORITIES: Final = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
"""Of syslog, by the level (sd-daemon(3))."""


class TextLines(logging.Formatter):
    """A line for people. Control characters are escaped: a message may quote a stranger."""

    def format(self, record: logging.LogRecord) -> str:
        message = visible(record.getMessage())
        line = f"familiar: {record.levelname} {record.name}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """A JSON object on a line: time (UTC), level, logger, message; traceback after an exception."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class _ForJournal(logging.Formatter):
    """Each line begins with its priority, as the journal reads it."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).splitlines())


def set_up_logs(
    stream: TextIO,
    *,
    form: Literal["text", "json"],
    level: Literal["error", "warning", "info"],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Once, at the start of the program. Logs that somebody has set up before stay as they are.

    environment: tells by JOURNAL_STREAM whether the stream is the journal (systemd.exec(5)).
    """
    formatter = JsonLines() if form == "json" else TextLines()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_ForJournal(formatter) if _is_journal(stream, environment) else formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def read_by_programs() -> bool:
    """Whether a program reads the logs; then errors that end this one belong there, too."""
    return any(
        isinstance(handler.formatter, JsonLines | _ForJournal)
        for handler in logging.getLogger().handlers
    )


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file at all, or a closed one
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
