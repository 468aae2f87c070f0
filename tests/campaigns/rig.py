"""What the delivery campaigns share: a device, a backend that watches, and the count at the end."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.adapters.events import from_cloudevent, new_alert_id
from edge_app.adapters.mqtt import (
    BrokerAddress,
    LinkSettings,
    MqttPublisher,
    PublisherSettings,
    Topics,
)
from edge_app.adapters.outbox import Outbox, OutboxCounts
from edge_app.adapters.sinks import OutboxSink
from edge_app.errors import StorageError
from edge_app.ports import Clock
from edge_app.records import Alert
from tests.support import ROOT

TOPICS: Final = Topics("home", "glasses-1")
BOOT_ID: Final = "0123456789abcdef0123456789abcdef"
LINK: Final = LinkSettings(connect_timeout_s=0.5, keepalive_s=30)
SETTINGS: Final = PublisherSettings(
    max_inflight=20,
    ack_timeout_s=0.4,
    hold_s=0.1,
    poll_interval_s=0.01,
    backoff_min_s=0.02,
    backoff_max_s=0.2,
    session_expiry_s=3600,
    will_delay_s=0,
)
BROKER_LINES: Final = "autosave_interval 1\nmax_queued_messages 0\n"
LIFETIME_S: Final = 3600.0
SHORT_LIFETIME_S: Final = 3.0
"""Of every tenth alert: some of them expire on the way."""

_BROKERS_SECOND: Final = timedelta(seconds=1)
"""mosquitto counts in whole seconds, and hands on what has expired for up to one more."""
OUTBOX: Final = "outbox.sqlite"
_WITNESS_S: Final = 10.0
"""For the last arrivals."""
_PATIENCE_S: Final = 120.0
_EXAMPLE: Final = from_cloudevent(
    (ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json").read_bytes()
)


@dataclass(frozen=True, slots=True)
class Decided:
    """An alert whose `put` returned."""

    alert_id: str
    expiry_time: datetime


def make_alert(number: int, now: datetime, lifetime_s: float) -> Alert:
    """Numbers in a row belong to four encounters side by side, of five alerts each."""
    encounter = number // 20 * 4 + number % 4
    return replace(
        _EXAMPLE,
        alert_id=new_alert_id(int(now.timestamp() * 1000), secrets.token_bytes(10)),
        site=TOPICS.site,
        device=TOPICS.device,
        subject_ref=f"{encounter:032x}",
        boot_id=BOOT_ID,
        sequence=number,
        time=now,
        expiry_time=now + timedelta(seconds=lifetime_s),
    )


def lifetime_s(number: int) -> float:
    return SHORT_LIFETIME_S if number % 10 == 9 else LIFETIME_S


def open_outbox(folder: Path, clock: Clock, max_alerts: int = 100_000) -> Outbox:
    return Outbox(
        folder / OUTBOX,
        key=bytes(32),
        max_alerts=max_alerts,
        boot_id=BOOT_ID,
        clock=clock,
    )


def make_publisher(
    outbox: Outbox, address: BrokerAddress, settings: PublisherSettings
) -> MqttPublisher:
    return MqttPublisher(
        outbox, address=address, tls=None, topics=TOPICS, link=LINK, settings=settings
    )


@dataclass
class Ends:
    """What is known of a device's alerts afterwards.

    refused: alerts that could not be stored, and so were not decided: `put` said so.
    """

    folder: Path
    decided: list[Decided] = field(default_factory=list)
    refused: int = 0
    counts: OutboxCounts = field(default_factory=lambda: OutboxCounts(0, 0, 0, 0))


class Device:
    """An outbox with a publisher, and a thread that decides alerts."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        address: BrokerAddress,
        settings: PublisherSettings = SETTINGS,
        max_alerts: int = 100_000,
    ) -> None:
        folder.mkdir()
        self.ends = Ends(folder)
        self._clock = clock
        self._outbox = open_outbox(folder, clock, max_alerts)
        self._sink = OutboxSink(self._outbox, topic=TOPICS.match)
        self._publisher = make_publisher(self._outbox, address, settings)

    def decide(self, number: int, lifetime_s: float) -> None:
        alert = make_alert(number, self._clock.now(), lifetime_s)
        try:
            self._sink.put(alert)
        except StorageError:
            self.ends.refused += 1
        else:
            self.ends.decided.append(Decided(alert.alert_id, alert.expiry_time))

    def log_bytes(self) -> int:
        """Of the outbox's log on disk, which is what every alert is written to first."""
        return (self.ends.folder / f"{OUTBOX}-wal").stat().st_size

    @contextmanager
    def at_work(self, pause_s: float | None) -> Iterator[None]:
        """Publishes, and decides an alert after every pause; None: only what is asked for.

        At the end, waits until everything was delivered or has expired.
        """
        end = threading.Event()

        def work() -> None:
            for number in itertools.count():
                if end.wait(pause_s):
                    return
                self.decide(number, lifetime_s(number))

        thread = threading.Thread(target=work)
        self._publisher.start()
        if pause_s is not None:
            thread.start()
        try:
            yield
            end.set()
            until(lambda: self._outbox.counts().pending == 0, "the outbox is empty")
        finally:
            end.set()
            if pause_s is not None:
                thread.join()
            self._publisher.close(0.0)
            self.ends.counts = self._outbox.counts()
            self._outbox.close()


@dataclass
class Arrivals:
    """What came, in the order in which it came."""

    ids: list[str] = field(default_factory=list)
    late: int = 0
    out_of_order: int = 0
    _seen: set[str] = field(default_factory=set)
    _newest: dict[str, int] = field(default_factory=dict)

    def add(self, payload: bytes, now: datetime) -> None:
        event = json.loads(payload)
        alert_id, encounter, sequence = event["id"], event["subject"], int(event["sequence"])
        if now > datetime.fromisoformat(event["expirytime"]) + _BROKERS_SECOND:
            self.late += 1
        if alert_id not in self._seen and sequence < self._newest.get(encounter, -1):
            self.out_of_order += 1
        self._seen.add(alert_id)
        self._newest[encounter] = max(sequence, self._newest.get(encounter, -1))
        self.ids.append(alert_id)


class Witness:
    """A backend with a session that outlives its connection."""

    def __init__(self, address: BrokerAddress, clock: Clock) -> None:
        self.arrivals = Arrivals()
        self._clock = clock
        self._address = address
        self._ready = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, "witness", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.username_pw_set(address.username, address.password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(TOPICS.match, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.arrivals.add(
            bytes(message.payload), self._clock.now()
        )
        self.come()

    def come(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self._ready.clear()
        self._client.connect(
            self._address.host, self._address.port, clean_start=False, properties=properties
        )
        self._client.loop_start()
        if not self._ready.wait(_PATIENCE_S):
            raise AssertionError("the broker grants no subscription")

    def go(self) -> None:
        """The broker keeps what comes meanwhile."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(self, decided: list[Decided]) -> None:
        """Until all that has not expired is there; for a while."""
        deadline_s = time.monotonic() + _WITNESS_S
        while _missing_in_time(decided, self.arrivals, self._clock.now()):
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the alerts of a campaign.

    decided:      alerts whose `put` returned.
    refused:      alerts whose `put` said that they could not be stored.
    arrived:      of these, at the witness.
    duplicates:   arrivals beyond the first, of the same id.
    expired, forced_out: what the outbox counted.
    lost:         decided and not arrived, before their time was over or without being counted.
    late:         arrivals after the expiry.
    out_of_order: first arrivals after a later alert of the same encounter.
    strange:      ids that arrived and were never decided, beyond one for each kill of a process
                  between storing an alert and saying so.
    readable:     whether an event can be read in the outbox's files.
    """

    faults: int
    decided: int
    refused: int
    arrived: int
    duplicates: int
    expired: int
    forced_out: int
    lost: int
    late: int
    out_of_order: int
    strange: int
    readable: bool

    @property
    def holds(self) -> bool:
        """Whether the promise does."""
        wrong = self.lost + self.late + self.out_of_order + self.strange + self.readable
        return wrong == 0 and self.arrived > 0

    def __str__(self) -> str:
        told = ", ".join(
            f"{getattr(self, one.name)} {one.name.replace('_', ' ')}"
            for one in fields(self)
            if one.name != "readable"
        )
        return told + (", READABLE" if self.readable else "")


def judge(
    faults: int, ends: Ends, arrivals: Arrivals, now: datetime, *, between: int = 0
) -> Result:
    """between: how often a process may have been killed between storing and saying so."""
    counts = ends.counts
    ids, arrived = {one.alert_id for one in ends.decided}, set(arrivals.ids)
    in_time = _missing_in_time(ends.decided, arrivals, now)
    uncounted = len(ids - arrived) - counts.expired - counts.forced_out
    return Result(
        faults=faults,
        decided=len(ids),
        refused=ends.refused,
        arrived=len(ids & arrived),
        duplicates=len(arrivals.ids) - len(arrived),
        expired=counts.expired,
        forced_out=counts.forced_out,
        lost=max(0, in_time - counts.forced_out, uncounted),
        late=arrivals.late,
        out_of_order=arrivals.out_of_order,
        strange=max(0, len(arrived - ids) - between),
        readable=any(b"specversion" in file.read_bytes() for file in ends.folder.glob("outbox*")),
    )


def _missing_in_time(decided: list[Decided], arrivals: Arrivals, now: datetime) -> int:
    arrived = set(arrivals.ids)
    return sum(one.alert_id not in arrived and one.expiry_time > now for one in decided)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition. The bound is for a broken program only."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.005)
