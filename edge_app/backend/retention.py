"""Deletes what has been kept for as long as it may be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from edge_app.backend.audit import prune
from edge_app.backend.database import Database
from edge_app.backend.metrics import Metrics
from edge_app.backend.states import drop_silent
from edge_app.backend.store import EncounterStore
from edge_app.ports import Clock
from edge_app.records import Purpose


class Retention:
    """Looks every few seconds, so that each look has little to delete."""

    def __init__(
        self,
        database: Database,
        store: EncounterStore,
        metrics: Metrics,
        *,
        limits: Mapping[Purpose, timedelta],
        audit_for: timedelta,
        interval_s: float,
        clock: Clock,
    ) -> None:
        """limits: how long an encounter is kept, for every purpose; audit_for: the audit trail."""
        self._database = database
        self._store = store
        self._metrics = metrics
        self._limits = limits
        self._audit_for = audit_for
        self._interval_s = interval_s
        self._clock = clock
        self._looked_s = float("-inf")

    def purge_if_due(self) -> None:
        """Delete what is over, unless that was done just now. Raises StorageError."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < self._interval_s:
            return
        now = self._clock.now()
        for purpose, deleted in self._store.purge(self._limits, now=now).items():
            self._metrics.purged.labels(purpose.value).inc(deleted)
        with self._database.writing() as execute:
            drop_silent(execute, now=now)
            prune(execute, before=now - self._audit_for, now=now)
        self._looked_s = now_s
