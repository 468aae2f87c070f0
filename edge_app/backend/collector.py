"""Takes alerts, departures and devices' states from the broker into the database.

A message counts as delivered when its row is committed and at no other time: a process that is
killed in between gets it again, and the store knows it by then. Several instances with one database
share the messages (MQTT 5 shared subscription), each with a session of its own at the broker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Final

from edge_app.adapters.mqtt import (
    DEPARTURES_OF_ALL_DEVICES,
    MATCHES_OF_ALL_DEVICES,
    STATES_OF_ALL_DEVICES,
    Connector,
    Incoming,
    Link,
)
from edge_app.adapters.service_manager import ServiceManager
from edge_app.backend.database import Database
from edge_app.backend.intake import read_message
from edge_app.backend.metrics import Metrics
from edge_app.backend.retention import Retention
from edge_app.backend.states import is_state, keep_state, note_collecting, read_state
from edge_app.backend.store import STAYS_OUT, EncounterStore
from edge_app.errors import DeliveryError, StorageError
from edge_app.ports import Clock
from edge_app.records import Alert, ClockState, Departure

_log = logging.getLogger(__name__)

TELLS_S: Final = 10.0
"""How often an instance that has the broker says so in the database."""

_POLL_S: Final = 0.2
_MOST_AT_ONCE: Final = 1_000
_QUIET_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """The pauses lie between two attempts to connect."""

    instance: str
    connect_timeout_s: float
    backoff_min_s: float
    backoff_max_s: float


class Collector:
    """One instance. `run` once, in one thread."""

    def __init__(
        self,
        connector: Connector,
        database: Database,
        store: EncounterStore,
        retention: Retention,
        metrics: Metrics,
        *,
        settings: CollectorSettings,
        clock: Clock,
        manager: ServiceManager,
    ) -> None:
        """connector: one that takes messages one by one. manager: told how it goes."""
        self._connector = connector
        self._database = database
        self._store = store
        self._retention = retention
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._manager = manager
        self._random = SystemRandom()
        self._failures = 0
        self._failure = ""
        self._was_ready = False
        self._told_s = float("-inf")

    def run(self, stop: threading.Event, on_ready: Callable[[], None]) -> None:
        """Collect until `stop` is set, through every outage of broker and database.

        on_ready: called when the subscription first stands: no alert after this is missed. The
        broker keeps the session, and what comes meanwhile, for the next start.

        Raises:
            ConfigError: the topic filter cannot be used.
        """
        while not stop.is_set():
            try:
                self._collect(stop, on_ready)
            except (DeliveryError, StorageError) as error:
                self._metrics.failures.inc()
                self._metrics.connected.set(0)
                if str(error) != self._failure:  # an outage that goes on is told of once
                    _log.warning("backend: %s", error)
                self._failure = str(error)
                self._pause(stop, self._failure)

    def retire(self) -> None:
        """Take what the broker still keeps for this instance, and have it keep nothing more.

        Raises:
            DeliveryError: the broker is not reached, or lost; to be tried again.
            StorageError: the same for the database.
        """
        link = self._connect()
        try:
            for shared in self._shared_topics():
                link.unsubscribe(shared)
            came_s = self._clock.monotonic_s()
            while self._clock.monotonic_s() - came_s < _QUIET_S:
                if self._take(link):
                    came_s = self._clock.monotonic_s()
            link.end_session()
        finally:
            link.drop()

    def _connect(self) -> Link:
        link = self._connector.connect()
        if not link.is_v5:
            link.drop()
            raise DeliveryError(
                f"{self._connector.address} speaks MQTT 3.1.1 only, and a backend needs the "
                "shared subscriptions of MQTT 5; use another broker"
            )
        return link

    def _shared_topics(self) -> list[str]:
        # mosquitto lets any client join a group whose name it knows, and what it then may not read
        # is lost. So the name is a secret, that of the database.
        topics = (MATCHES_OF_ALL_DEVICES, DEPARTURES_OF_ALL_DEVICES)
        return [f"$share/{self._database.name}/{topic}" for topic in topics]

    def _collect(self, stop: threading.Event, on_ready: Callable[[], None]) -> None:
        link = self._connect()
        try:
            for shared in self._shared_topics():
                link.subscribe(shared, self._settings.connect_timeout_s)
            # Each instance hears every state. QoS 0: while it is away, none of them is kept for it
            # in the place of an alert. A broker that keeps this to itself does not hold up alerts.
            link.ask_for(STATES_OF_ALL_DEVICES, qos=0)
            self._metrics.connected.set(1)
            self._failure = ""
            if not self._was_ready:
                self._was_ready = True
                on_ready()
            _log.info("backend: connected, %s at %s", link.protocol_name, self._connector.address)
            while not stop.is_set():
                self._manager.alive("collecting")
                self._retention.purge_if_due()
                self._tell_if_due()
                self._take(link)
            link.disconnect()
            self._metrics.connected.set(0)
        finally:
            link.drop()

    def _tell_if_due(self) -> None:
        """Whoever watches the encounters has to know that there is somebody who collects them."""
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s < TELLS_S:
            return
        with self._database.writing() as execute:
            note_collecting(execute, self._settings.instance, now=self._clock.now())
        self._told_s = now_s

    def _take(self, link: Link) -> int:
        """Store what has come in one transaction, then tell the broker; returns how much."""
        link.pump(_POLL_S)
        come = 0
        while come < len(link.received) < _MOST_AT_ONCE:
            come = len(link.received)
            link.pump(0)
        batch = list(link.received)
        link.received.clear()
        if not batch:
            return 0
        states = [message for message in batch if is_state(message)]
        events = self._events([message for message in batch if not is_state(message)])
        self._note(states)
        self._forget([event for event in events if isinstance(event, Departure)])
        self._keep([event for event in events if isinstance(event, Alert)])
        self._failures = 0
        for message in batch:
            link.take(message)
        return len(batch)

    def _events(self, batch: Sequence[Incoming]) -> list[Alert | Departure]:
        """What of a batch is one; the rest is counted, and nothing of it is told."""
        self._metrics.received.inc(len(batch))
        events = []
        for message in batch:
            try:
                events.append(read_message(message.topic, message.payload))
            except DeliveryError as error:
                self._metrics.invalid.inc()
                _log.info("backend: a message is dropped: %s", error)
        return events

    def _note(self, messages: Sequence[Incoming]) -> None:
        self._metrics.states.inc(len(messages))
        states = []
        for message in messages:
            try:
                states.append(read_state(message))
            except DeliveryError as error:
                self._metrics.invalid.inc()
                _log.info("backend: a message is dropped: %s", error)
        if states:
            with self._database.writing() as execute:
                for said in states:
                    keep_state(execute, said, now=self._clock.now())

    def _forget(self, departures: Sequence[Departure]) -> None:
        if departures:
            left = [departure.subject_ref for departure in departures]
            deleted = self._store.forget(left, until=self._clock.now() + STAYS_OUT)
            self._metrics.departures.inc(len(left))
            self._metrics.forgotten.inc(deleted)

    def _is_in_time(self, alert: Alert) -> bool:
        # A device whose clock is wrong cannot say when its alert ends. The broker ages it.
        trusted = alert.clock_state is ClockState.SYNCHRONISED
        return not trusted or alert.expiry_time > self._clock.now()

    def _keep(self, come: Sequence[Alert]) -> None:
        alerts = [alert for alert in come if self._is_in_time(alert)]
        self._metrics.expired.inc(len(come) - len(alerts))
        if not alerts:
            return
        kept = self._store.keep(alerts, now=self._clock.now())
        self._metrics.stored.inc(len(kept.stored))
        self._metrics.duplicates.inc(kept.duplicates)
        self._metrics.barred.inc(kept.barred)
        now = self._clock.now()
        for alert in kept.stored:
            if alert.clock_state is ClockState.SYNCHRONISED:
                self._metrics.lag.observe(max(0.0, (now - alert.time).total_seconds()))

    def _pause(self, stop: threading.Event, why: str) -> None:
        longest_s = min(
            self._settings.backoff_max_s, self._settings.backoff_min_s * 2.0**self._failures
        )
        self._failures = min(self._failures + 1, 30)
        until_s = self._clock.monotonic_s() + self._random.uniform(
            self._settings.backoff_min_s, max(longest_s, self._settings.backoff_min_s)
        )
        while not stop.is_set() and self._clock.monotonic_s() < until_s:
            self._manager.alive(why)
            with suppress(StorageError):  # told of already, and tried again in a moment
                self._retention.purge_if_due()
            stop.wait(min(1.0, max(0.0, until_s - self._clock.monotonic_s())))
