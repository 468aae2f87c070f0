"""Where a decided alert goes: the outbox, standard output, or both."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Sequence
from functools import partial
from typing import TextIO

from edge_app.adapters.events import to_cloudevent
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.output import discard_rest
from edge_app.errors import DeliveryError, EdgeAppError
from edge_app.ports import AlertSink
from edge_app.records import Alert

_READER_PATIENCE_S = 2.0


class OutboxSink:
    """Stores alerts as CloudEvents in the outbox, whence a publisher delivers them."""

    def __init__(self, outbox: Outbox, *, topic: str) -> None:
        """topic: the MQTT topic of this device's matches."""
        self._outbox = outbox
        self._topic = topic

    def put(self, alert: Alert) -> None:
        """Store the alert durably (P10).

        Raises:
            DeliveryError: the alert holds what may not leave the device.
            StorageError: it could not be stored.
        """
        payload = to_cloudevent(alert)
        self._outbox.put(alert.alert_id, self._topic, payload, alert.expiry_time)

    def close(self) -> None:
        """Do nothing: the outbox belongs to whoever opened it, and its publisher is reading."""


class JsonLinesSink:
    """Writes each alert as one JSON line, the same CloudEvent as on MQTT."""

    def __init__(self, stream: TextIO) -> None:
        """stream: usually `sys.stdout`; it stays open."""
        self._stream = stream

    def put(self, alert: Alert) -> None:
        """Write and flush one line.

        Raises:
            DeliveryError: the alert holds what may not leave the device, or the reader has gone.
        """
        line = to_cloudevent(alert).decode()
        try:
            _require_reader(self._stream)
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            discard_rest(self._stream)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DeliveryError(
                f"an alert could not be written to the output ({reason});"
                " keep its reader running, or write to a file on a disk with space"
            ) from error

    def close(self) -> None:
        """Do nothing: every line was flushed."""


class TeeSink:
    """Hands every alert to several sinks, in order: put the durable one first."""

    def __init__(self, sinks: Sequence[AlertSink]) -> None:
        self._sinks = tuple(sinks)

    def put(self, alert: Alert) -> None:
        """Hand the alert to every sink, also after one has failed; raise the first failure."""
        _try_all([partial(sink.put, alert) for sink in self._sinks])

    def close(self) -> None:
        """Close every sink, also after one has failed; raise the first failure."""
        _try_all([sink.close for sink in self._sinks])


def _try_all(actions: Sequence[Callable[[], None]]) -> None:
    failures: list[EdgeAppError] = []
    for action in actions:
        try:
            action()
        except EdgeAppError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _require_reader(stream: TextIO) -> None:
    """Raises TimeoutError where a write would wait for a reader who does not read.

    A pipe that is ready takes at least 4,096 bytes (pipe(7)); an alert is shorter.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return  # not a file: it cannot block
    if not select.select([], [descriptor], [], _READER_PATIENCE_S)[1]:
        raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")
