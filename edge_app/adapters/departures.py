"""Tells whoever stores a device's alerts that somebody of whom there were any has left (P3)."""

from __future__ import annotations

import secrets
from collections.abc import Set as AbstractSet

from edge_app.adapters.events import departure_to_cloudevent, new_alert_id
from edge_app.adapters.mqtt import Topics
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.told import REMEMBERED, Told
from edge_app.ports import Clock
from edge_app.records import ClockState, Departure


class Departures:
    """Between the tombstones of a device and its outbox."""

    def __init__(self, told: Told, outbox: Outbox, *, topics: Topics, clock: Clock) -> None:
        """Both files stay open."""
        self._told = told
        self._outbox = outbox
        self._topics = topics
        self._clock = clock
        self._seen: AbstractSet[str] = frozenset()

    def expect(self, subject_ref: str, tombstones: AbstractSet[str]) -> None:
        """An alert of somebody goes out: to be called before it does.

        tombstones: the digests that bar this person. Raises StorageError.
        """
        self._told.remember(subject_ref, tombstones, now=self._clock.now())

    def follow(self, tombstones: AbstractSet[str]) -> None:
        """Have it told who left, each once or, after a crash, once more. Raises StorageError."""
        if tombstones == self._seen:
            return
        now = self._clock.now()
        if self._clock.state() is ClockState.SYNCHRONISED:  # what a wrong one drops is gone
            self._told.drop_outdated(now)
        for subject_ref in self._told.departed(tombstones):
            departure = Departure(
                new_alert_id(int(now.timestamp() * 1000), secrets.token_bytes(10)),
                self._topics.site,
                self._topics.device,
                subject_ref,
                now,
                now + REMEMBERED,
            )
            payload = departure_to_cloudevent(departure)
            self._outbox.put(
                departure.departure_id, self._topics.departure, payload, departure.expiry_time
            )
            self._told.forget(subject_ref)
        self._seen = frozenset(tombstones)
