"""The collector in a thread, on a real mosquitto: what it takes, what it drops, what it counts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.events import departure_to_cloudevent, new_alert_id, to_cloudevent
from edge_app.adapters.mqtt import (
    OFFLINE,
    Connector,
    Outgoing,
    Taking,
    TlsFiles,
    Topics,
    tell_all,
    tls_context,
)
from edge_app.adapters.service_manager import ServiceManager
from edge_app.backend.collector import Collector, CollectorSettings
from edge_app.backend.database import Database
from edge_app.backend.metrics import Metrics
from edge_app.backend.retention import Retention
from edge_app.backend.states import DeviceStates, device_states
from edge_app.backend.store import EncounterStore, Kept
from edge_app.errors import DeliveryError, StorageError
from edge_app.publisher.broker import BrokerFolder
from edge_app.publisher.certificates import Role
from edge_app.records import Alert, ClockState, Departure, Purpose
from tests.adapters.test_mqtt import LINK, DemoBroker, until
from tests.backends import alerts, publish, stored_ids
from tests.brokers import FleetMosquitto, Mosquitto
from tests.publisher.test_broker import NOW, Site, until_pumped
from tests.support import ROOT

SETTINGS = CollectorSettings("one", 5.0, 0.02, 0.1)
YEAR = timedelta(days=365)
NO_PURGE = dict.fromkeys(Purpose, timedelta(days=7))


@dataclass
class Running:
    """A collector in a thread."""

    broker: Mosquitto | DemoBroker
    home: Path
    stack: ExitStack
    store: EncounterStore | None = None
    metrics: Metrics = field(default_factory=Metrics)
    stop: Callable[[], None] = field(init=False)

    def start(
        self,
        limits: dict[Purpose, timedelta] = NO_PURGE,
        *,
        tls: TlsFiles | None = None,
        wait: bool = True,
    ) -> None:
        clock, stop, ready = SystemClock(), threading.Event(), threading.Event()
        database = Database("", self.home)
        store = self.store or EncounterStore(database)
        self.stack.callback(database.close)
        self.stack.callback(store.close)
        collector = Collector(
            Connector(
                self.broker.address, tls_context(self.broker.address, tls), "familiar-one", LINK,
                durable=None, taking=Taking(60, 100),
            ),
            database,
            store,
            Retention(
                database, store, self.metrics, limits=limits, audit_for=YEAR, interval_s=0.05,
                clock=clock,
            ),
            self.metrics,
            settings=SETTINGS,
            clock=clock,
            manager=ServiceManager(None),
        )  # fmt: skip
        thread = threading.Thread(target=collector.run, args=(stop, ready.set))
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(60)

        self.stack.callback(end)
        self.stop = end
        if wait:
            assert ready.wait(30)

    def counted(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"familiar_backend_{name}")
        assert value is not None, name
        return value


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as started:
        yield started


@pytest.fixture
def running(tmp_path: Path, broker: Mosquitto) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(broker, tmp_path / "home", stack)


@pytest.fixture
def send(broker: Mosquitto) -> Iterator[Callable[[str, bytes, int], None]]:
    """Publish anything: (topic, payload, QoS)."""
    client = Client(CallbackAPIVersion.VERSION2, "anybody", protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(broker.address.username, broker.address.password)
    client.connect(broker.address.host, broker.address.port)
    client.loop_start()

    def publish_one(topic: str, payload: bytes, qos: int) -> None:
        client.publish(topic, payload, qos=qos).wait_for_publish(30)

    yield publish_one
    client.disconnect()
    client.loop_stop()


def topic(one: Alert) -> str:
    return f"familiar/v1/{one.site}/{one.device}/event/match"


def test_hostile_messages_are_counted_dropped_and_never_quoted(
    running: Running,
    send: Callable[[str, bytes, int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    running.start()
    one, two = alerts(2)
    as_other = to_cloudevent(one).replace(b"glasses-0", b"glasses-9")
    for payload in (b"", b"Zebedee Quux", b"[" * 16_000, b"x" * 20_000, as_other):
        send(topic(one), payload, 1)
    send(topic(one), b"x" * 1_000_000, 1)  # the broker does not even hand it on
    send(topic(one), to_cloudevent(one), 0)
    send(topic(two), to_cloudevent(two), 2)
    until(lambda: running.counted("stored_total") == 2, "what is right is stored")
    assert running.counted("invalid_total") == 5
    assert running.counted("received_total") == 7
    assert running.counted("failures_total") == 0
    assert stored_ids(running.home) == [one.alert_id, two.alert_id]
    assert "Zebedee" not in caplog.text
    assert one.subject_ref not in caplog.text


def test_an_alert_after_its_time_is_not_stored(running: Running, broker: Mosquitto) -> None:
    running.start()
    late, unsure, last = alerts(3)
    hour = timedelta(hours=1)
    late = replace(late, time=late.time - 2 * hour, expiry_time=late.time - hour)
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    unsure = replace(
        unsure, time=long_ago, expiry_time=long_ago + hour, clock_state=ClockState.UNSYNCHRONISED
    )
    publish(broker, [late, unsure, last])
    until(lambda: running.counted("stored_total") == 2, "the others are stored")
    assert running.counted("expired_total") == 1
    assert stored_ids(running.home) == [unsure.alert_id, last.alert_id]
    assert running.counted("lag_seconds_count") == 1


def test_whoever_left_is_deleted_and_stays_out(
    running: Running, broker: Mosquitto, send: Callable[[str, bytes, int], None]
) -> None:
    running.start()
    publish(broker, alerts(10))
    until(lambda: running.counted("stored_total") == 10, "all are stored")
    now = datetime.now(UTC)
    one = Departure(
        new_alert_id(1, bytes(10)), "home", "glasses-1", "1" * 32, now, now + timedelta(days=8)
    )
    for topic, device in (("glasses-9", "glasses-1"), ("glasses-1", "glasses-1")):
        payload = departure_to_cloudevent(replace(one, device=device))
        send(f"familiar/v1/home/{topic}/event/departure", payload, 1)
    until(lambda: running.counted("departures_total") == 1, "it is heard")
    assert running.counted("forgotten_total") == 2
    assert running.counted("invalid_total") == 1
    publish(broker, alerts(10, begin=10))
    until(lambda: running.counted("barred_total") == 2, "no more of them is stored")
    until(lambda: len(stored_ids(running.home)) == 16, "and all of the others")


def test_a_fleets_broker_lets_a_backend_share_and_a_device_not(tmp_path: Path) -> None:
    """With the certificates and the rules that are deployed."""
    mosquitto = FleetMosquitto(tmp_path / "mosquitto")
    authority = BrokerFolder(tmp_path / "operator")
    authority.init("broker.example", mosquitto.served, now=NOW)
    with mosquitto, ExitStack() as stack:
        site = Site(mosquitto, authority, stack)
        backend = Running(mosquitto, tmp_path / "backend", stack)
        backend.start(tls=site.files("backend-1", Role.BACKEND))
        spy = Running(mosquitto, tmp_path / "spy", stack)
        spy.start(tls=site.files("home/spy"), wait=False)
        (one,) = alerts(1)
        device = site.connect(f"{one.site}/{one.device}")
        with suppress(DeliveryError):  # what it would have to guess
            site.connect("home/thief").subscribe("$share/familiar/familiar/v1/+/+/event/match", 5)
        for _ in range(3):  # one would be enough for them, if they had a share
            device.publish(Outgoing(topic(one), to_cloudevent(one)))
        until_pumped(device, lambda: len(device.acknowledged) == 3)
        until(lambda: backend.counted("duplicates_total") == 2, "the backend has all of it")
        assert backend.counted("received_total") == 3
        assert backend.counted("stored_total") == 1
        assert spy.counted("received_total") == 0


def test_duplicates_are_counted(running: Running, broker: Mosquitto) -> None:
    running.start()
    one, two = alerts(2)
    publish(broker, [one, one, two, one])
    until(lambda: running.counted("received_total") == 4, "all came")
    until(lambda: running.counted("duplicates_total") == 2, "two are known")
    assert running.counted("stored_total") == 2


def test_what_the_database_did_not_take_comes_again(running: Running, broker: Mosquitto) -> None:
    class Failing(EncounterStore):
        """A disk that is full twice."""

        failures = 2

        def keep(self, alerts: Sequence[Alert], *, now: datetime) -> Kept:
            if self.failures:
                self.failures -= 1
                raise StorageError("the disk is full")
            return super().keep(alerts, now=now)

    running.store = Failing(Database("", running.home))
    running.start()
    sent = alerts(50)
    publish(broker, sent)
    until(lambda: running.counted("stored_total") == 50, "all are stored")
    assert stored_ids(running.home) == [one.alert_id for one in sent]
    assert running.counted("failures_total") == 2
    assert running.counted("connected") == 1


def test_retention_goes_on_while_the_broker_is_away(running: Running, broker: Mosquitto) -> None:
    with closing(EncounterStore(Database("", running.home))) as store:
        store.keep(alerts(3), now=datetime.now(UTC) - timedelta(days=8))
    broker.stop()
    running.start(wait=False)
    until(lambda: not stored_ids(running.home), "what is over is deleted")
    purged = running.metrics.purged.labels("assist")
    until(lambda: purged._value.get() == 3, "and counted")


def test_a_broker_that_knows_only_mqtt_3_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = DemoBroker()
    broker.start()
    with ExitStack() as stack:
        stack.callback(broker.stop)
        Running(broker, tmp_path, stack).start(wait=False)
        until(lambda: "MQTT 3.1.1 only" in caplog.text, "it is said")


# --- what devices say of themselves ----------------------------------------------------------

HEALTH = (ROOT / "deploy" / "schemas" / "examples" / "health-v1-running.json").read_bytes()


def say(broker: Mosquitto, topic: str, *payloads: bytes) -> None:
    """As devices do; when this returns, the broker has heard it."""
    messages = [Outgoing(topic, payload, retain=True) for payload in payloads]
    tell_all(broker.address, tls=None, messages=messages, client_id="device", link=LINK)


def states(home: Path) -> tuple[DeviceStates, ...]:
    with closing(Database("", home)) as database, database.reading() as execute:
        return device_states(execute)


def test_states_are_heard_whenever_they_were_said(running: Running, broker: Mosquitto) -> None:
    topics = Topics("riverside", "glasses-1")
    say(broker, topics.health, HEALTH)
    running.start()
    until(lambda: states(running.home), "what was said before is heard")
    say(broker, topics.availability, OFFLINE)
    until(lambda: states(running.home)[0].availability is not None, "and what is said now")
    (one,) = states(running.home)
    assert (one.site, one.device) == ("riverside", "glasses-1")
    assert one.health is not None
    assert one.health.state == "running"
    assert one.availability is not None
    assert one.availability.state == "offline"
    say(broker, topics.health, b"")
    until(lambda: states(running.home)[0].health is None, "and what is taken back")


def test_a_state_that_is_none_holds_up_nothing(running: Running, broker: Mosquitto) -> None:
    running.start()
    for topic in ("health", "availability", "mood"):
        say(broker, f"familiar/v1/riverside/glasses-1/state/{topic}", b"{" + bytes(3_000))
    publish(broker, alerts(2))
    until(lambda: running.counted("stored_total") == 2, "alerts are stored")
    until(lambda: running.counted("invalid_total") == 3, "what is none is counted")
    assert states(running.home) == ()


def test_states_take_no_room_of_an_instance_that_is_away(
    running: Running, broker: Mosquitto
) -> None:
    running.start()
    running.stop()
    for number in range(3):
        say(broker, Topics("riverside", f"gate-{number}").health, *[HEALTH] * 500)
    publish(broker, alerts(10))
    running.start()
    until(lambda: running.counted("stored_total") == 10, "no alert is pushed out")
    until(lambda: len(states(running.home)) == 3, "the newest states are heard")
