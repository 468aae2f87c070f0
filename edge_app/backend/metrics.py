"""Counts of a backend, for Prometheus. No label names a device or a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from edge_app.errors import ConfigError
from edge_app.records import Purpose

_LAGS_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 3600,
)  # fmt: skip


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.registry = CollectorRegistry()
        self.received = self._counter("received", "Events that came")
        self.invalid = self._counter("invalid", "Messages that were dropped for what they are")
        self.expired = self._counter("expired", "Alerts that came after their time")
        self.duplicates = self._counter("duplicates", "Alerts that were stored already")
        self.barred = self._counter("barred", "Alerts of somebody who left, which were dropped")
        self.stored = self._counter("stored", "Alerts that were stored")
        self.departures = self._counter("departures", "Departures that came")
        self.forgotten = self._counter("forgotten", "Encounters deleted because somebody left")
        self.states = self._counter("states", "States of devices that came")
        self.failures = self._counter("failures", "Times that broker or database was lost")
        self.purged = Counter(
            "familiar_backend_purged",
            "Encounters deleted because their time was over",
            ["purpose"],
            registry=self.registry,
        )
        for purpose in Purpose:
            self.purged.labels(purpose.value)
        self.connected = Gauge(
            "familiar_backend_connected", "Whether the broker is reached", registry=self.registry
        )
        self.lag = Histogram(
            "familiar_backend_lag_seconds",
            "From a decision on a device with a right clock to its stored row",
            buckets=_LAGS_S,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"familiar_backend_{name}", text, registry=self.registry)


@contextmanager
def served(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """Offer them over HTTP at `/metrics`; port 0: nowhere.

    Raises:
        ConfigError: there is no such address, or somebody else has it.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise ConfigError(
            f"backend.metrics_port: {host}:{port} cannot be used ({error.strerror}); name another"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
