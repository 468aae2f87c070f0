"""Delivery over MQTT: against mosquitto, against the demo's broker, and against a broker that
plays tricks. Without mosquitto (`sudo apt install mosquitto`) its tests fail; the others,
which include MQTT 5, run with `-k "not mosquitto"`.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_app.adapters.events import from_cloudevent, new_alert_id, to_cloudevent
from edge_app.adapters.mqtt import (
    MATCHES_OF_ALL_DEVICES,
    OFFLINE,
    ONLINE,
    BrokerAddress,
    LinkSettings,
    LinkStatus,
    MqttPublisher,
    PublisherSettings,
    TlsFiles,
    Topics,
    check_broker,
    listen,
    parse_broker_url,
)
from edge_app.adapters.mqtt.link import Connector, DurableSession
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.sinks import OutboxSink
from edge_app.errors import ConfigError, DeliveryError, EdgeAppError
from edge_app.records import Alert, ClockState
from tests.brokers import PASSWORD, Mosquitto, free_port
from tests.support import largest_file

ROOT = Path(__file__).parents[2]
EXAMPLE = from_cloudevent(
    (ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json").read_bytes()
)
TOPICS = Topics("home", "glasses-1")
LINK = LinkSettings(connect_timeout_s=5, keepalive_s=30)
SETTINGS = PublisherSettings(
    max_inflight=5,
    ack_timeout_s=10,
    hold_s=0,
    poll_interval_s=0.02,
    backoff_min_s=0.02,
    backoff_max_s=0.1,
    session_expiry_s=60,
    will_delay_s=0,
)


class ManualClock:
    """The system's time, plus what a test adds."""

    def __init__(self) -> None:
        self.added_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.added_s)

    def monotonic_s(self) -> float:
        return time.monotonic() + self.added_s

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def sleep(self, seconds: float) -> None:
        self.added_s += seconds


def alert(number: int, *, lifetime_s: float = 300) -> Alert:
    now = datetime.now(UTC)
    return replace(
        EXAMPLE,
        alert_id=new_alert_id(1_772_366_400_000 + number, bytes(10)),
        site="home",
        device="glasses-1",
        sequence=number,
        time=now,
        expiry_time=now + timedelta(seconds=lifetime_s),
    )


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition. The bound is for a broken program only; no test measures time."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


@dataclass
class Device:
    """An outbox and the means to publish from it."""

    outbox: Outbox
    clock: ManualClock
    stack: ExitStack
    sink: OutboxSink = field(init=False)

    def __post_init__(self) -> None:
        self.sink = OutboxSink(self.outbox, topic=TOPICS.match)

    def put(self, *numbers: int, lifetime_s: float = 300) -> list[str]:
        alerts = [alert(number, lifetime_s=lifetime_s) for number in numbers]
        for one in alerts:
            self.sink.put(one)
        return [one.alert_id for one in alerts]

    def publisher(
        self,
        address: BrokerAddress,
        *,
        tls: TlsFiles | None = None,
        link: LinkSettings = LINK,
        settings: PublisherSettings = SETTINGS,
    ) -> MqttPublisher:
        publisher = MqttPublisher(
            self.outbox, address=address, tls=tls, topics=TOPICS, link=link, settings=settings
        )
        publisher.start()
        self.stack.callback(publisher.close, 0.0)
        return publisher

    def pending(self) -> int:
        return self.outbox.counts().pending


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    clock = ManualClock()
    with ExitStack() as stack:
        outbox = Outbox(
            tmp_path / "outbox", key=bytes(32), max_alerts=10_000, boot_id="boot", clock=clock
        )
        stack.callback(outbox.close)
        yield Device(outbox, clock, stack)


# --- brokers ------------------------------------------------------------------------------


class DemoBroker:
    """deploy/demo/broker.py as the demo runs it."""

    protocol = "MQTT 3.1.1"

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "deploy" / "demo" / "broker.py"],
            env={**os.environ, "FAMILIAR_BROKER_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.address = BrokerAddress("127.0.0.1", ready["port"], False, "demo", PASSWORD)

    def stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            output, errors = process.communicate(timeout=30)
            assert (process.returncode, output, errors) == (0, "", "")


@pytest.fixture(params=["mosquitto", "demo_broker"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mosquitto | DemoBroker]:
    started: Mosquitto | DemoBroker
    started = (
        Mosquitto(tmp_path / "mosquitto", "") if request.param == "mosquitto" else DemoBroker()
    )
    started.start()
    yield started
    started.stop()


@pytest.fixture(params=["mosquitto"])  # for the name: it is what -k looks for
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[[str], Mosquitto]]:
    """Make a mosquitto with more lines in its configuration; it is not started yet."""
    with ExitStack() as stack:

        def make(extra: str) -> Mosquitto:
            made = Mosquitto(tmp_path / "mosquitto", extra)
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture
def mosquitto(make_mosquitto: Callable[[str], Mosquitto]) -> Mosquitto:
    """Not started yet."""
    return make_mosquitto("")


class Subscriber:
    """Takes every byte a broker hands out, with a session that outlives the connection."""

    def __init__(self, address: BrokerAddress, protocol: str, topic_filter: str = "#") -> None:
        self.messages: list[MQTTMessage] = []
        self._ready = threading.Event()
        is_v5 = protocol == "MQTT 5"
        version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        self._client = Client(
            CallbackAPIVersion.VERSION2, f"test-{uuid.uuid4()}",
            protocol=version, clean_session=None if is_v5 else False,
        )  # fmt: skip
        self._client.username_pw_set(address.username, address.password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe(topic_filter, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _u, message: self.messages.append(message)
        arguments: dict[str, Any] = {}
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 600
            arguments = {"clean_start": False, "properties": properties}
        self._client.connect(address.host, address.port, **arguments)
        self._client.loop_start()
        assert self._ready.wait(30)

    def ids(self) -> list[str]:
        return [
            json.loads(message.payload)["id"]
            for message in list(self.messages)
            if message.topic == TOPICS.match
        ]

    def on(self, topic: str) -> list[bytes]:
        return [bytes(m.payload) for m in list(self.messages) if m.topic == topic]

    def states(self) -> list[bytes]:
        return self.on(TOPICS.availability)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def subscribed(broker: Mosquitto | DemoBroker) -> Iterator[Subscriber]:
    with closing(Subscriber(broker.address, broker.protocol)) as subscriber:
        yield subscriber


def unpacked(packet_type: int, data: bytes) -> tuple[Any, bytes]:
    """The MQTT 5 properties at the start of `data`, and what comes after them."""
    properties: Any = Properties(packet_type)  # type: ignore[no-untyped-call]
    _, used = properties.unpack(data)
    return properties, data[used:]


@dataclass
class Packet:
    kind: int
    flags: int
    body: bytes


class Peer:
    """One connection to the broker that plays tricks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent = bytearray()

    def read(self) -> Packet:
        """Raises EOFError when the client is gone."""
        first = self._take(1)[0]
        length, shift = 0, 0
        while True:
            byte = self._take(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return Packet(first >> 4, first & 15, self._take(length))

    def read_alert(self) -> tuple[int, Any, dict[str, Any], Packet]:
        """(message id, properties, event, packet) of the next match that is published."""
        while True:
            packet = self.read()
            if packet.kind != 3:
                continue
            size = struct.unpack(">H", packet.body[:2])[0]
            topic, rest = packet.body[2 : 2 + size].decode(), packet.body[2 + size :]
            message_id = struct.unpack(">H", rest[:2])[0]
            properties, payload = unpacked(PacketTypes.PUBLISH, rest[2:])
            if topic == TOPICS.match:
                return message_id, properties, json.loads(payload), packet
            self.ack(message_id)

    def accept(self, properties: bytes = b"\x00") -> None:
        """CONNACK of MQTT 5, success."""
        self.send(b"\x20" + bytes([2 + len(properties)]) + b"\x00\x00" + properties)

    def ack(self, message_id: int, reason: int = 0) -> None:
        self.send(b"\x40\x04" + struct.pack(">HBB", message_id, reason, 0))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.sock.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        self.sent += data
        return data


class TrickBroker:
    """Runs one script per connection, in order; the last one for all that follow."""

    def __init__(self, *scripts: Callable[[Peer], None]) -> None:
        self.peers: list[Peer] = []
        self.failures: list[Exception] = []
        self._scripts = scripts
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        self.address = BrokerAddress("127.0.0.1", port, False, "user", PASSWORD)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            peer = Peer(sock)
            script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
            self.peers.append(peer)
            try:
                script(peer)
            except (EOFError, OSError):
                pass
            except Exception as error:  # noqa: BLE001 (shown to the test by close)
                self.failures.append(error)
            sock.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for peer in self.peers:
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        assert self.failures == []


@pytest.fixture
def trick(device: Device) -> Callable[..., TrickBroker]:
    def make(*scripts: Callable[[Peer], None]) -> TrickBroker:
        made = TrickBroker(*scripts)
        device.stack.callback(made.close)
        return made

    return make


def good(peer: Peer) -> None:
    """A broker that is well: acknowledges everything."""
    assert peer.read().kind == 1
    peer.accept()
    while True:
        peer.ack(peer.read_alert()[0])


def hang_up(peer: Peer) -> None:
    peer.read()


def speak_only_3_1_1(peer: Peer) -> None:
    connect = peer.read()
    assert connect.body[6] == 4
    peer.send(b"\x20\x02\x00\x00")
    while True:
        packet = peer.read()
        if packet.kind == 3:
            size = struct.unpack(">H", packet.body[:2])[0]
            peer.send(b"\x40\x02" + packet.body[2 + size : 4 + size])


# --- delivery, against real brokers -----------------------------------------------------------


def test_alerts_are_delivered_and_nothing_but_availability_is_retained(
    device: Device, broker: Mosquitto | DemoBroker
) -> None:
    ids = device.put(1, 2, 3)
    with subscribed(broker) as subscriber:
        publisher = device.publisher(broker.address)
        ids += device.put(*range(4, 30))
        until(lambda: len(subscriber.ids()) == len(ids), "all alerts arrive")
        assert subscriber.ids() == ids
        assert publisher.status == LinkStatus(True, f"{broker.protocol} at {broker.address}")
        until(lambda: device.pending() == 0, "all alerts are acknowledged")
        assert publisher.close(5) == 0
        until(lambda: subscriber.states() == [ONLINE, OFFLINE], "the device says goodbye")
        received = [m for m in subscriber.messages if m.topic == TOPICS.match]
        assert {(m.qos, m.retain) for m in received} == {(1, False)}
        assert [from_cloudevent(bytes(m.payload)).alert_id for m in received] == ids
    assert publisher.status == LinkStatus(False, "closed")
    assert device.outbox.counts().delivered == len(ids)
    with subscribed(broker) as late:
        until(lambda: set(late.states()) == {OFFLINE}, "the retained state arrives")
        assert late.ids() == []


def test_a_broker_that_is_dead_at_the_start_is_found_when_it_appears(
    device: Device, mosquitto: Mosquitto
) -> None:
    ids = device.put(1, 2)
    publisher = device.publisher(mosquitto.address)
    until(lambda: "refused" in publisher.status.detail, "the publisher notices")
    assert not publisher.status.connected
    mosquitto.start()
    until(lambda: device.pending() == 0, "the alerts are delivered")
    assert device.outbox.counts().delivered == len(ids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_dies_in_mid_stream_loses_nothing(
    device: Device, mosquitto: Mosquitto, number: signal.Signals
) -> None:
    mosquitto.start()
    with subscribed(mosquitto) as subscriber:
        publisher = device.publisher(mosquitto.address)
        until(lambda: publisher.status.connected, "the publisher connects")
        ids = device.put(*range(150))
        mosquitto.stop(number)
        ids += device.put(*range(150, 200))
        until(lambda: not publisher.status.connected, "the publisher notices")
        mosquitto.start()
        ids += device.put(*range(200, 250))
        until(lambda: device.pending() == 0, "everything is delivered")
        assert device.outbox.counts().delivered == len(ids)
        if number == signal.SIGTERM:  # a killed mosquitto forgets what it acknowledged
            until(lambda: set(subscriber.ids()) == set(ids), "everything arrives")
        assert set(subscriber.ids()) <= set(ids)


def test_a_wrong_password_is_reported_as_refused_and_never_as_connected(
    device: Device, broker: Mosquitto | DemoBroker, caplog: pytest.LogCaptureFixture
) -> None:
    device.put(1)
    wrong = replace(broker.address, password="wrong 5e1")  # noqa: S106
    with caplog.at_level(logging.DEBUG), subscribed(broker) as subscriber:
        publisher = device.publisher(wrong)
        until(lambda: "refuses" in publisher.status.detail, "the refusal is reported")
        for _ in range(50):
            assert not publisher.status.connected
            time.sleep(0.01)
        assert "Not authorized" in publisher.status.detail
        assert "check user, password" in publisher.status.detail
        assert publisher.close(0.2) == 1
        assert subscriber.messages == []
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, "said once, not at every attempt"
    assert "wrong 5e1" not in caplog.text


def test_an_expired_alert_is_not_sent(device: Device, broker: Mosquitto | DemoBroker) -> None:
    device.put(1, lifetime_s=60)
    (good_id,) = device.put(2, lifetime_s=600)
    device.clock.sleep(61)
    with subscribed(broker) as subscriber:
        publisher = device.publisher(broker.address)
        until(lambda: device.pending() == 0, "the other alert is delivered")
        publisher.close(5)
        until(lambda: subscriber.states() == [ONLINE, OFFLINE], "the device is done")
        assert subscriber.ids() == [good_id]
    assert device.outbox.counts().expired == 1


def test_mosquitto_hands_on_the_expiry_and_the_content_type(
    device: Device, mosquitto: Mosquitto
) -> None:
    mosquitto.start()
    with subscribed(mosquitto) as subscriber:
        device.put(1, lifetime_s=100)
        device.clock.sleep(40)
        device.publisher(mosquitto.address)
        until(subscriber.ids, "the alert arrives")
        (message,) = [m for m in subscriber.messages if m.topic == TOPICS.match]
        properties: Any = message.properties
        assert 55 <= properties.MessageExpiryInterval <= 60
        assert properties.ContentType == "application/cloudevents+json"
        assert properties.PayloadFormatIndicator == 1


def test_the_broker_says_offline_for_a_device_that_vanishes(
    mosquitto: Mosquitto,
) -> None:
    mosquitto.start()
    with subscribed(mosquitto) as subscriber:
        durable = DurableSession(expiry_s=60, will_topic=TOPICS.availability, will_delay_s=1)
        link = Connector(mosquitto.address, None, TOPICS.client_id, LINK, durable).connect()
        link.drop()
        until(lambda: subscriber.states() == [OFFLINE], "the will is published")
        properties: Any = subscriber.messages[0].properties
        assert properties.ContentType == "application/json"


KILLED = """
import sys
from contextlib import ExitStack
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.adapters.test_mqtt import PASSWORD, BrokerAddress, Device, ManualClock, Outbox

folder, port, user, start = sys.argv[2:]
outbox = Outbox(Path(folder), key=bytes(32), max_alerts=10_000, boot_id="b", clock=ManualClock())
device = Device(outbox, ManualClock(), ExitStack())
device.publisher(BrokerAddress("127.0.0.1", int(port), False, user, PASSWORD))
for number in range(int(start), 1_000_000):
    print(*device.put(number), flush=True)
"""


def test_what_a_killed_process_left_is_delivered_by_the_next(
    tmp_path: Path, broker: Mosquitto | DemoBroker
) -> None:
    path, address = tmp_path / "killed", broker.address
    arguments = [str(ROOT), str(path), str(address.port), str(address.username)]
    returned: list[str] = []
    with subscribed(broker) as subscriber:
        for start in (0, 100_000, 200_000):
            process = subprocess.Popen(
                [sys.executable, "-c", KILLED, *arguments, str(start)],
                stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            assert process.stdout is not None
            returned += [process.stdout.readline().strip() for _ in range(40)]
            process.kill()
            returned += process.communicate()[0].split()
        outbox = Outbox(path, key=bytes(32), max_alerts=10_000, boot_id="b", clock=ManualClock())
        with ExitStack() as stack:
            stack.callback(outbox.close)
            Device(outbox, ManualClock(), stack).publisher(address)
            until(lambda: outbox.counts().pending == 0, "the rest is delivered")
            until(lambda: set(returned) <= set(subscriber.ids()), "every alert arrives")
        extra = set(subscriber.ids()) - set(returned)
        assert len(extra) <= 3, "at most the one under way at each kill"


def test_no_name_embedding_or_image_is_among_the_bytes(
    device: Device, broker: Mosquitto | DemoBroker
) -> None:
    """P9, as captured by a subscriber to everything while the device comes, works and goes."""
    embedding = np.linspace(-1, 1, 192, dtype=np.float32)
    with subscribed(broker) as subscriber:
        publisher = device.publisher(broker.address)
        with pytest.raises(DeliveryError):
            device.sink.put(replace(alert(1), subject_ref="Anna Andersson"))
        with pytest.raises(DeliveryError):
            device.sink.put(
                replace(alert(2), model_id=base64.b64encode(embedding.tobytes()).decode())
            )
        device.put(3, 4)
        until(lambda: len(subscriber.ids()) == 2, "the good alerts arrive")
        publisher.close(5)
        until(lambda: subscriber.states() == [ONLINE, OFFLINE], "the device says goodbye")
        captured = b"\n".join(m.topic.encode() + b" " + m.payload for m in subscriber.messages)
    needles = [b"Anna", b"Andersson", embedding.tobytes()[:16], b"\xff\xd8\xff", b"/9j/"]
    needles.append(base64.b64encode(embedding.tobytes())[:16])
    assert [needle for needle in needles if needle in captured] == []
    allowed = {*json.loads(to_cloudevent(EXAMPLE)), "state"}
    for message in subscriber.messages:
        assert set(json.loads(message.payload)) <= allowed
        assert len(message.payload) < 1500, "an embedding would not fit"


def test_a_broker_that_forbids_publishing_keeps_the_alert_waiting(
    device: Device, tmp_path: Path, make_mosquitto: Callable[[str], Mosquitto]
) -> None:
    (tmp_path / "acl").write_text("user user\ntopic read #\ntopic write other\n")
    strict = make_mosquitto(f"acl_file {tmp_path / 'acl'}\n")
    strict.start()
    device.put(1)
    publisher = device.publisher(strict.address)
    until(lambda: "refuses a message" in publisher.status.detail, "the refusal is reported")
    publisher.close(0)
    assert device.outbox.counts().pending == 1
    assert device.outbox.counts().delivered == 0


def test_a_broker_that_forbids_a_state_gets_the_alerts(
    device: Device,
    tmp_path: Path,
    make_mosquitto: Callable[[str], Mosquitto],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "acl").write_text(f"user user\ntopic read #\ntopic write {TOPICS.match}\n")
    strict = make_mosquitto(f"acl_file {tmp_path / 'acl'}\n")
    strict.start()
    publisher = device.publisher(strict.address)
    for payload in (b"1", b"2"):
        publisher.set_state(TOPICS.gallery, payload)
        until(lambda: f"refuses {TOPICS.gallery}" in caplog.text, "the refusal is reported")
    ids = device.put(*range(50))
    until(lambda: device.pending() == 0, "all alerts are delivered")
    assert device.outbox.counts().delivered == len(ids)
    assert publisher.status.connected
    assert caplog.text.count(f"refuses {TOPICS.gallery}") == 1, "said once"


# --- retained states ----------------------------------------------------------------------


def until_it_ends_with(subscriber: Subscriber, topic: str, payload: bytes) -> None:
    until(lambda: subscriber.on(topic)[-1:] == [payload], f"{payload!r} arrives last")


def test_a_state_is_retained_and_sent_on_change_only(
    device: Device, broker: Mosquitto | DemoBroker
) -> None:
    with subscribed(broker) as subscriber:
        publisher = device.publisher(broker.address)
        for payload, health in ((b"1", b"ill"), (b"1", b"better"), (b"2", b"well")):
            publisher.set_state(TOPICS.gallery, payload)
            publisher.set_state(TOPICS.health, health)
            until_it_ends_with(subscriber, TOPICS.health, health)
        assert subscriber.on(TOPICS.gallery) == [b"1", b"2"]
    with subscribed(broker) as late:
        until(lambda: len(late.messages) >= 3, "what is retained arrives")
        assert {(m.topic, bytes(m.payload), m.retain) for m in late.messages} == {
            (TOPICS.availability, ONLINE, True),
            (TOPICS.gallery, b"2", True),
            (TOPICS.health, b"well", True),
        }


def test_states_set_while_the_broker_is_away_are_sent_when_it_comes(
    device: Device, mosquitto: Mosquitto
) -> None:
    publisher = device.publisher(mosquitto.address)
    publisher.set_state(TOPICS.gallery, b"old")
    until(lambda: "refused" in publisher.status.detail, "the publisher notices")
    publisher.set_state(TOPICS.gallery, b"new")
    mosquitto.start()
    with subscribed(mosquitto) as subscriber:
        until(lambda: subscriber.on(TOPICS.gallery) == [b"new"], "the newest state arrives")
        mosquitto.stop(signal.SIGKILL)  # it forgets what was retained
        until(lambda: not publisher.status.connected, "the publisher notices")
        mosquitto.start()
        until(lambda: subscriber.on(TOPICS.gallery)[1:] == [b"new"], "the state is sent again")
        assert subscriber.states() == [ONLINE] * len(subscriber.states())


def test_states_from_many_threads_end_with_what_was_set_last(
    device: Device, mosquitto: Mosquitto
) -> None:
    mosquitto.start()
    publisher = device.publisher(mosquitto.address)

    def set_many(topic: str) -> None:
        for number in range(300):
            publisher.set_state(topic, b"%d" % number)

    threads = [threading.Thread(target=set_many, args=(f"state/{n}",)) for n in range(4)]
    with subscribed(mosquitto) as subscriber:
        for thread in threads:
            thread.start()
        ids = device.put(*range(20))
        for thread in threads:
            thread.join()
        for n in range(4):
            topic = f"state/{n}"
            until_it_ends_with(subscriber, topic, b"299")
            numbers = [int(payload) for payload in subscriber.on(topic)]
            assert numbers == sorted(numbers)
        until(lambda: subscriber.ids() == ids, "alerts are not held up")


# --- delivery, against a broker that plays tricks (MQTT 5 without mosquitto) -------------------


def test_mqtt_5_asks_for_a_session_a_delayed_will_and_expiry(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read())
        peer.accept()
        seen.append(peer.read_alert())
        peer.ack(seen[1][0])
        peer.read()

    broker = trick(script)
    (wanted,) = device.put(1, lifetime_s=100)
    publisher = device.publisher(
        broker.address, settings=replace(SETTINGS, session_expiry_s=900, will_delay_s=30)
    )
    until(lambda: device.pending() == 0, "the alert is delivered")
    publisher.close(0)
    connect, (_, properties, event, publish) = seen
    version, flags, keepalive = struct.unpack(">BBH", connect.body[6:10])
    assert (version, keepalive) == (5, 30)
    assert flags == 0b11101100, "user, password, retained will with QoS 1, no clean start"
    session, rest = unpacked(PacketTypes.CONNECT, connect.body[10:])
    assert session.SessionExpiryInterval == 900
    assert session.MaximumPacketSize == 65_536
    will, _ = unpacked(PacketTypes.WILLMESSAGE, rest[2 + struct.unpack(">H", rest[:2])[0] :])
    assert will.WillDelayInterval == 30
    assert event["id"] == wanted
    assert publish.flags == 0b0010, "QoS 1, not retained, no duplicate"
    assert 95 <= properties.MessageExpiryInterval <= 100
    assert properties.ContentType == "application/cloudevents+json"


def refuse_5(peer: Peer) -> None:
    assert peer.read().body[6] == 5
    peer.send(b"\x20\x02\x00\x01")


def reset(peer: Peer) -> None:
    peer.sock.recv(5)  # closing with the rest unread resets the connection


def stay_silent(peer: Peer) -> None:
    peer.read()
    peer.read()


@pytest.mark.parametrize("refusal", [refuse_5, hang_up, stay_silent])
def test_a_broker_that_knows_only_3_1_1_is_spoken_to_in_3_1_1(
    device: Device, trick: Callable[..., TrickBroker], refusal: Callable[[Peer], None]
) -> None:
    broker = trick(refusal, speak_only_3_1_1)
    device.put(1, 2)
    publisher = device.publisher(broker.address, link=replace(LINK, connect_timeout_s=0.3))
    until(lambda: device.pending() == 0, "the alerts are delivered")
    assert publisher.status.detail.startswith("MQTT 3.1.1 at")


def test_a_broker_that_spoke_mqtt_5_is_not_taken_for_an_older_one_when_it_is_silent(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    """A network that is half open says nothing either."""

    def answer_once(peer: Peer) -> None:
        peer.read()
        peer.accept()
        peer.read_alert()

    def good_in_5(peer: Peer) -> None:
        assert peer.read().body[6] == 5
        peer.accept()
        while True:
            peer.ack(peer.read_alert()[0])

    device.put(1)
    broker = trick(answer_once, stay_silent, good_in_5)
    link = replace(LINK, connect_timeout_s=0.5)
    publisher = device.publisher(broker.address, link=link)
    until(lambda: device.pending() == 0, "the alert is delivered")
    assert publisher.status.detail.startswith("MQTT 5 at")
    assert len(broker.peers) == 3


def test_a_broker_that_spoke_mqtt_5_and_refuses_it_now_is_spoken_to_in_3_1_1(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    def answer_once(peer: Peer) -> None:
        peer.read()
        peer.accept()
        peer.read_alert()

    device.put(1)
    publisher = device.publisher(trick(answer_once, refuse_5, speak_only_3_1_1).address)
    until(lambda: device.pending() == 0, "the alert is delivered")
    assert publisher.status.detail.startswith("MQTT 3.1.1 at")


def test_never_more_in_flight_than_either_side_allows(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    windows: list[int] = []

    def script(peer: Peer) -> None:
        peer.read()
        peer.accept(b"\x03\x21\x00\x02")  # Receive Maximum: 2
        while True:
            ids = [peer.read_alert()[0]]
            peer.sock.settimeout(0.1)
            with suppress(TimeoutError):
                while True:
                    ids.append(peer.read_alert()[0])
            peer.sock.settimeout(None)
            windows.append(len(ids))
            for message_id in ids:
                peer.ack(message_id)

    device.put(*range(9))
    device.publisher(trick(script).address)
    until(lambda: device.pending() == 0, "all alerts are delivered")
    assert max(windows) == 2


def test_what_is_not_acknowledged_is_sent_again_under_the_same_id(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    unacknowledged: list[str] = []
    again: list[str] = []

    def never_acknowledge(peer: Peer) -> None:
        peer.read()
        peer.accept()
        while True:
            unacknowledged.append(peer.read_alert()[2]["id"])

    def acknowledge(peer: Peer) -> None:
        peer.read()
        peer.accept()
        while True:
            message_id, _, event, _ = peer.read_alert()
            again.append(event["id"])
            peer.ack(message_id)

    ids = device.put(1, 2, 3)
    device.publisher(
        trick(never_acknowledge, acknowledge).address, settings=replace(SETTINGS, ack_timeout_s=0.2)
    )
    until(lambda: device.pending() == 0, "all alerts are delivered")
    assert unacknowledged == again == ids


def test_what_was_acknowledged_just_before_the_connection_was_lost_is_sent_again(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    """A broker that was killed had it in memory only."""
    again: list[str] = []

    def acknowledge_and_die(peer: Peer) -> None:
        peer.read()
        peer.accept()
        for _ in ids:
            peer.ack(peer.read_alert()[0])
        until(lambda: device.outbox._acknowledged == set(ids), "the device knows")

    def acknowledge(peer: Peer) -> None:
        peer.read()
        peer.accept()
        while True:
            message_id, _, event, _ = peer.read_alert()
            again.append(event["id"])
            peer.ack(message_id)

    ids = device.put(1, 2, 3)
    publisher = device.publisher(
        trick(acknowledge_and_die, acknowledge).address, settings=replace(SETTINGS, hold_s=500)
    )
    until(lambda: again == ids, "they are sent again")
    until(lambda: device.outbox._acknowledged == set(ids), "the device knows")
    assert device.outbox.counts().delivered == 0
    assert publisher.close(5) == 0, "who closes waits for no longer"
    assert device.outbox.counts().delivered == 3


def test_a_disk_that_takes_no_writes_makes_no_duplicates(
    device: Device, trick: Callable[..., TrickBroker], caplog: pytest.LogCaptureFixture
) -> None:
    peers: list[Peer] = []
    seen: list[str] = []

    def acknowledge(peer: Peer) -> None:
        peers.append(peer)
        peer.read()
        peer.accept()
        while True:
            message_id, _, event, _ = peer.read_alert()
            seen.append(event["id"])
            peer.ack(message_id)

    ids = device.put(*range(30))
    with largest_file(0):
        device.publisher(trick(acknowledge).address)
        until(lambda: seen == ids, "all are sent")
        until(lambda: "stay in the outbox" in caplog.text, "the fault is told")
    until(lambda: device.pending() == 0, "they leave the outbox when there is room")
    assert (len(peers), seen) == (1, ids)
    assert caplog.text.count("stay in the outbox") == 1


def test_an_alert_with_less_than_a_second_left_is_not_sent(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    """MQTT counts whole seconds: the broker would keep it for too long."""
    seen: list[int] = []

    def acknowledge(peer: Peer) -> None:
        peer.read()
        peer.accept()
        while True:
            message_id, properties, _, _ = peer.read_alert()
            seen.append(properties.MessageExpiryInterval)
            peer.ack(message_id)

    device.put(1, lifetime_s=60)
    device.put(2, lifetime_s=61.5)
    device.clock.sleep(59.5)
    device.publisher(trick(acknowledge).address)
    until(lambda: len(seen) == 1, "the other one is sent")
    device.clock.sleep(0.6)
    until(lambda: device.outbox.counts().expired == 1, "the first is over")
    assert seen == [1]


def test_an_alert_that_expires_while_the_broker_is_away_is_not_sent_again(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    """paho alone would keep it in memory and send it whatever its age."""
    reconnected = threading.Event()
    second: list[str] = []

    def take_and_die(peer: Peer) -> None:
        peer.read()
        peer.accept()
        peer.read_alert()
        device.clock.sleep(61)

    def acknowledge(peer: Peer) -> None:
        peer.read()
        peer.accept()
        reconnected.set()
        while True:
            message_id, _, event, _ = peer.read_alert()
            second.append(event["id"])
            peer.ack(message_id)

    device.put(1, lifetime_s=60)
    (lasting,) = device.put(2, lifetime_s=600)
    device.publisher(trick(take_and_die, acknowledge).address)
    until(lambda: device.pending() == 0, "nothing is pending")
    assert reconnected.is_set()
    assert second == [lasting]
    counts = device.outbox.counts()
    assert (counts.delivered, counts.expired) == (1, 1)


@pytest.mark.parametrize("reason", [0x80, 0x87, 0x97])
def test_an_alert_that_the_broker_refuses_stays_pending(
    device: Device, trick: Callable[..., TrickBroker], reason: int
) -> None:
    def refuse(peer: Peer) -> None:
        peer.read()
        peer.accept()
        peer.ack(peer.read_alert()[0], reason)
        peer.read()

    device.put(1)
    publisher = device.publisher(trick(refuse).address)
    until(lambda: "refuses a message" in publisher.status.detail, "the refusal is reported")
    publisher.close(0)
    assert device.outbox.counts().delivered == 0
    assert device.pending() == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x86, "Bad user name or password"),
        (0x87, "Not authorized"),
        (0x88, "Server unavailable"),
        (0x85, "Client identifier not valid"),
    ],
)
def test_a_refused_connection_names_the_reason(
    device: Device, trick: Callable[..., TrickBroker], code: int, words: str
) -> None:
    def refuse(peer: Peer) -> None:
        peer.read()
        peer.send(b"\x20\x03\x00" + bytes([code]) + b"\x00")
        peer.read()

    publisher = device.publisher(trick(refuse).address)
    until(lambda: words in publisher.status.detail, "the reason is reported")
    assert not publisher.status.connected


def test_a_broker_that_ends_the_connection_names_the_reason(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    def take_over(peer: Peer) -> None:
        peer.read()
        peer.accept()
        peer.read()
        peer.send(b"\xe0\x02\x8e\x00")
        peer.read()

    publisher = device.publisher(trick(take_over, hang_up).address)
    until(lambda: "Session taken over" in publisher.status.detail, "the reason is reported")


GARBAGE = [
    b"\x00" * 64,
    b"\xff" * 64,
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x20\x03\x00\xc8\x00",
    b"\x20\x05\x00\x00\x02\x99\x99",
    b"\x20\x00",
    b"\x20\xff\xff\xff\xff\xff",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: data[:6].hex())
@pytest.mark.parametrize("accepted", [False, True])
def test_garbage_from_a_broker_neither_stops_the_publisher_nor_loses_anything(
    device: Device, trick: Callable[..., TrickBroker], garbage: bytes, accepted: bool
) -> None:
    def misbehave(peer: Peer) -> None:
        peer.read()
        if accepted:
            peer.accept()
        peer.send(garbage)

    broker = trick(misbehave, misbehave, good)
    device.put(1, 2)
    publisher = device.publisher(broker.address, link=replace(LINK, connect_timeout_s=0.3))
    until(lambda: device.pending() == 0, "a broker that is well again gets the alerts")
    assert publisher.status.connected
    assert device.outbox.counts().delivered == 2


def test_a_connection_cut_at_any_byte_of_an_answer_is_survived(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    puback = b"\x40\x04\x00\x02\x00\x00"

    def cut(length: int) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            peer.read()
            peer.accept()
            message_id = peer.read_alert()[0]
            assert message_id == 2
            peer.send(puback[:length])

        return script

    device.put(1)
    device.publisher(trick(*[cut(length) for length in range(len(puback))], good).address)
    until(lambda: device.pending() == 0, "the alert is delivered")
    assert device.outbox.counts().delivered == 1


# --- closing ------------------------------------------------------------------------------


def test_closing_delivers_what_is_pending(device: Device, broker: Mosquitto | DemoBroker) -> None:
    publisher = device.publisher(broker.address)
    until(lambda: publisher.status.connected, "the publisher connects")
    device.put(*range(100))
    assert publisher.close(30) == 0
    assert device.outbox.counts().delivered == 100


def test_closing_without_a_broker_says_what_remains(device: Device) -> None:
    device.put(1, 2, 3)
    publisher = device.publisher(replace(parse_broker_url("mqtt://127.0.0.1"), port=free_port()))
    assert publisher.close(0.3) == 3
    assert publisher.close(0) == 3, "closing twice is harmless"
    assert publisher.status.detail == "closed"


def test_closing_does_not_wait_for_a_broker_that_never_acknowledges(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    def never(peer: Peer) -> None:
        peer.read()
        peer.accept()
        while True:
            peer.read()

    device.put(1)
    publisher = device.publisher(trick(never).address)
    until(lambda: publisher.status.connected, "the publisher connects")
    assert publisher.close(0.2) == 1


def test_closing_reaches_a_broker_that_was_away(
    device: Device, trick: Callable[..., TrickBroker]
) -> None:
    """The pause between attempts is cut short: there may be no other chance."""
    device.put(1)
    publisher = device.publisher(
        trick(hang_up, hang_up, good).address,
        settings=replace(SETTINGS, backoff_min_s=500, backoff_max_s=500),
    )
    until(lambda: "no MQTT answer" in publisher.status.detail, "the first attempt fails")
    assert publisher.close(20) == 0


# --- TLS ----------------------------------------------------------------------------------


@dataclass
class Certificates:
    ca: Path
    server: TlsFiles
    client: TlsFiles
    other_ca: Path


def _certificate(
    folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, TlsFiles]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        # Python 3.13 refuses certificates without these.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                (issuer[1] if issuer else key).public_key()
            ),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=issuer is None, crl_sign=issuer is None,
                content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    signed = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return signed, key, TlsFiles(None, certificate_file, key_file)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    ca, ca_key, _ = _certificate(folder, "ca", None)
    _certificate(folder, "other", None)
    _, _, server = _certificate(folder, "localhost", (ca, ca_key))
    _, _, client = _certificate(folder, "glasses", (ca, ca_key))
    return Certificates(
        folder / "ca.pem", server, replace(client, ca=folder / "ca.pem"), folder / "other.pem"
    )


@pytest.fixture
def tls_broker(make_mosquitto: Callable[[str], Mosquitto], certificates: Certificates) -> Mosquitto:
    made = make_mosquitto(
        f"cafile {certificates.ca}\ncertfile {certificates.server.certificate}\n"
        f"keyfile {certificates.server.key}\nrequire_certificate true\ntls_version tlsv1.3\n"
    )
    made.address = replace(made.address, host="localhost", tls=True)
    made.start()
    return made


def test_alerts_are_delivered_over_tls_with_a_client_certificate(
    device: Device, tls_broker: Mosquitto, certificates: Certificates
) -> None:
    device.put(*range(30))
    publisher = device.publisher(tls_broker.address, tls=certificates.client)
    until(lambda: device.pending() == 0, "the alerts are delivered")
    assert publisher.status.detail.startswith("MQTT 5 at mqtts://localhost:")


def test_tls_failures_are_told_apart(
    device: Device, tls_broker: Mosquitto, certificates: Certificates
) -> None:
    def check(tls: TlsFiles, address: BrokerAddress = tls_broker.address) -> str:
        with pytest.raises(DeliveryError) as caught:
            check_broker(address, tls=tls, client_id="doctor", link=LINK)
        return str(caught.value)

    client = certificates.client
    assert "certificate not trusted" in check(replace(client, ca=certificates.other_ca))
    assert "certificate not trusted" in check(
        client, replace(tls_broker.address, host="127.0.0.1")
    ), "the name in the certificate is checked"
    assert "client certificate" in check(TlsFiles(certificates.ca, None, None))
    plain = replace(tls_broker.address, tls=False)
    with pytest.raises(DeliveryError, match="mqtt or mqtts"):
        check_broker(plain, tls=None, client_id="doctor", link=LINK)


def test_a_plain_port_is_not_taken_for_a_tls_port(
    certificates: Certificates, trick: Callable[..., TrickBroker]
) -> None:
    def answer(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while peer.sock.recv(4096):
            pass

    address = replace(trick(answer).address, tls=True)
    with pytest.raises(DeliveryError, match="no TLS"):
        check_broker(address, tls=certificates.client, client_id="doctor", link=LINK)


def test_tls_files_that_cannot_be_used_are_a_configuration_error(
    certificates: Certificates, tmp_path: Path, device: Device
) -> None:
    address = parse_broker_url("mqtts://localhost:1")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    client = certificates.client
    for files in (
        TlsFiles(tmp_path / "missing.pem", None, None),
        TlsFiles(garbage, None, None),
        replace(client, certificate=garbage),
        replace(client, key=certificates.server.key),
        replace(client, key=None),
    ):
        with pytest.raises(ConfigError, match="TLS files cannot be used"):
            device.publisher(address, tls=files)
    with pytest.raises(ConfigError, match="write mqtts"):
        device.publisher(parse_broker_url("mqtt://localhost:1"), tls=client)


def test_a_departure_that_a_broker_with_old_rules_refuses_holds_up_no_alert(
    device: Device, make_mosquitto: Callable[[str], Mosquitto], tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"user user\ntopic read #\ntopic write {TOPICS.match}\n")
    broker = make_mosquitto(f"acl_file {rules}\n")
    with broker, subscribed(broker) as subscriber:
        expiry = datetime.now(UTC) + timedelta(days=1)
        device.outbox.put("left", TOPICS.departure, b"{}", expiry)
        ids = device.put(1, 2)
        device.publisher(broker.address)
        until(lambda: subscriber.ids() == ids, "the alerts arrive")
        assert subscriber.on(TOPICS.departure) == []
        broker.stop()
        rules.write_text("user user\ntopic readwrite #\n")
        broker.start()
        until(lambda: subscriber.on(TOPICS.departure), "the departure arrives once it may")


# --- listening ----------------------------------------------------------------------------


class Listening:
    """`listen` in a thread."""

    def __init__(self, address: BrokerAddress, **options: Any) -> None:
        self.lines: list[str] = []
        self.error: EdgeAppError | None = None
        self._ready = threading.Event()
        usual = {
            "wanted": lambda _event: True, "count": None, "timeout_s": 30.0,
            "topic_filter": MATCHES_OF_ALL_DEVICES,
        }  # fmt: skip
        self._options: dict[str, Any] = {**usual, **options}
        self._address = address
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for line in listen(
                self._address, tls=None, client_id="listener", link=LINK,
                on_ready=self._ready.set, **self._options,
            ):  # fmt: skip
                self.lines.append(line)
        except EdgeAppError as error:
            self.error = error
        self._ready.set()

    def ready(self) -> Listening:
        assert self._ready.wait(30)
        return self

    def finish(self) -> list[str]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.lines


def test_listen_yields_each_event_once_as_one_line(broker: Mosquitto | DemoBroker) -> None:
    listening = Listening(broker.address, count=3).ready()
    one, two, three = (to_cloudevent(alert(number)) for number in (1, 2, 3))
    pretty = json.dumps(json.loads(two), indent=2).encode()
    other_device = json.dumps({**json.loads(one), "source": "urn:familiar:home:other"}).encode()
    client = Client(CallbackAPIVersion.VERSION2, "sender")
    client.username_pw_set(broker.address.username, broker.address.password)
    client.connect(broker.address.host, broker.address.port)
    client.loop_start()
    for payload in (b"", b"junk", one, one, pretty, b"{}", one, other_device, three):
        client.publish(TOPICS.match, payload, qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    lines = listening.finish()
    assert [json.loads(line) for line in lines] == [
        json.loads(payload) for payload in (one, two, other_device)
    ]
    assert not any("\n" in line for line in lines)


def test_listen_yields_only_what_is_wanted(device: Device, mosquitto: Mosquitto) -> None:
    with mosquitto:
        odd = Listening(mosquitto.address, count=2, wanted=lambda e: int(e["sequence"]) % 2).ready()
        ids = device.put(*range(4))
        device.publisher(mosquitto.address)
        assert [json.loads(line)["id"] for line in odd.finish()] == [ids[1], ids[3]]


def test_listen_hears_a_publisher(device: Device, broker: Mosquitto | DemoBroker) -> None:
    listening = Listening(broker.address, count=20).ready()
    ids = device.put(*range(20))
    device.publisher(broker.address)
    assert [json.loads(line)["id"] for line in listening.finish()] == ids


def test_listen_ends_at_its_time_and_at_once_if_nothing_is_wanted(
    broker: Mosquitto | DemoBroker,
) -> None:
    assert Listening(broker.address, timeout_s=0.1).finish() == []
    assert Listening(broker.address, count=0).finish() == []


def test_listen_reports_refusals_and_losses(
    broker: Mosquitto | DemoBroker, trick: Callable[..., TrickBroker]
) -> None:
    with pytest.raises(DeliveryError, match="refuses the connection"):
        Listening(replace(broker.address, password="wrong")).finish()  # noqa: S106
    with pytest.raises(ConfigError, match="not a topic filter"):
        Listening(broker.address, topic_filter="a/#/b").finish()
    listening = Listening(broker.address).ready()
    broker.stop()
    with pytest.raises(DeliveryError, match="lost"):
        listening.finish()

    def deny(peer: Peer) -> None:
        peer.read()
        peer.accept()
        subscribe = peer.read()
        peer.send(b"\x90\x04" + subscribe.body[:2] + b"\x00\x87")
        peer.read()

    with pytest.raises(DeliveryError, match="does not grant"):
        Listening(trick(deny).address).finish()


# --- checking -----------------------------------------------------------------------------


def test_check_broker_tells_the_protocol(broker: Mosquitto | DemoBroker) -> None:
    told = check_broker(broker.address, tls=None, client_id="doctor", link=LINK)
    assert told == f"{broker.protocol} at mqtt://127.0.0.1:{broker.address.port}"
    assert PASSWORD not in told


def test_check_broker_tells_why_not(
    broker: Mosquitto | DemoBroker, trick: Callable[..., TrickBroker]
) -> None:
    def check(address: BrokerAddress) -> str:
        with pytest.raises(DeliveryError) as caught:
            check_broker(
                address, tls=None, client_id="doctor", link=replace(LINK, connect_timeout_s=1)
            )
        assert "\n" not in str(caught.value)
        return str(caught.value)

    good_address = broker.address
    assert "Not authorized" in check(replace(good_address, password="wrong"))  # noqa: S106
    assert "Not authorized" in check(replace(good_address, username=None, password=None))
    assert "nothing listens there" in check(replace(good_address, port=free_port()))
    assert "no such host" in check(replace(good_address, host="no-such-host.invalid"))
    assert "not a usable address" in check(replace(good_address, host="a" * 70 + ".b"))
    assert "no MQTT answer" in check(trick(hang_up).address)
    assert "no MQTT answer" in check(trick(stay_silent).address)
    assert "hangs up" in check(replace(trick(reset).address, tls=True))


# --- the demo's broker ----------------------------------------------------------------------


def test_the_demo_broker_listens_on_loopback_only_and_needs_the_password() -> None:
    demo = DemoBroker()
    demo.start()
    try:
        port = demo.address.port
        listening = [
            line.split()[1]
            for name in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(name).read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
        assert listening == [f"0100007F:{port:04X}"]
        with pytest.raises(DeliveryError, match="refuses"):
            check_broker(
                replace(demo.address, username=None, password=None),
                tls=None, client_id="anonymous", link=LINK,
            )  # fmt: skip
    finally:
        demo.stop()


def test_the_demo_broker_survives_clients_that_are_not_well() -> None:
    demo = DemoBroker()
    demo.start()
    try:
        for data in (b"", b"\x10", b"\x10\x7f\x00", b"\xff" * 50, b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", demo.address.port)) as sock:
                sock.sendall(data)
        check_broker(demo.address, tls=None, client_id="doctor", link=LINK)
    finally:
        demo.stop()


def test_the_demo_broker_refuses_to_run_without_a_password() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FAMILIAR_BROKER_PASSWORD"}
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "demo" / "broker.py"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "FAMILIAR_BROKER_PASSWORD" in done.stderr


# --- names and addresses ----------------------------------------------------------------------


def test_topics_are_those_of_the_design() -> None:
    assert TOPICS.match == "familiar/v1/home/glasses-1/event/match"
    assert TOPICS.availability == "familiar/v1/home/glasses-1/state/availability"
    assert TOPICS.gallery == "familiar/v1/home/glasses-1/state/gallery"
    assert TOPICS.health == "familiar/v1/home/glasses-1/state/health"
    assert TOPICS.commands == "familiar/v1/home/glasses-1/cmd/+"
    assert TOPICS.gallery_changed == "familiar/v1/home/glasses-1/cmd/gallery-changed"
    assert TOPICS.request == "familiar/v1/home/glasses-1/cmd/request"
    assert TOPICS.reply("a1") == "familiar/v1/home/glasses-1/reply/a1"
    assert TOPICS.client_id == "home/glasses-1"


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "Home", "a b", "å", "x" * 65, "a\n", "a_b"])
def test_names_that_would_break_out_of_a_topic_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="site"):
        Topics(name, "ok")
    with pytest.raises(ConfigError, match="device"):
        Topics("ok", name)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://hub", BrokerAddress("hub", 1883, False, None, None)),
        ("mqtt://hub/", BrokerAddress("hub", 1883, False, None, None)),
        ("mqtts://hub", BrokerAddress("hub", 8883, True, None, None)),
        ("mqtt://hub:99", BrokerAddress("hub", 99, False, None, None)),
        ("mqtt://me@hub", BrokerAddress("hub", 1883, False, "me", None)),
        ("mqtt://me:p%40ss%3A%2F@hub", BrokerAddress("hub", 1883, False, "me", "p@ss:/")),
        ("mqtt://me:@hub", BrokerAddress("hub", 1883, False, "me", "")),
        ("mqtts://[::1]:8884", BrokerAddress("::1", 8884, True, None, None)),
    ],
)
def test_broker_urls(url: str, address: BrokerAddress) -> None:
    assert parse_broker_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "hub", "hub:1883", "http://hub", "mqtt:", "mqtt://", "mqtt://:1883", "mqtt://hub:0",
        "mqtt://hub:65536", "mqtt://hub:x", "mqtt://:hunter2@hub", "mqtt://hub/topic",
        "mqtt://hub?x=1", "mqtt://hub#x", "mqtt://[::1", "tcp://me:hunter2@hub",
        "mqtt://me:hunter2@hub:x",
    ],
)  # fmt: skip
def test_urls_that_are_refused_without_repeating_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="write it as") as caught:
        parse_broker_url(url)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_configuration_error(url: str) -> None:
    for candidate in (url, f"mqtt://{url}"):
        with suppress(ConfigError):
            address = parse_broker_url(candidate)
            assert address.host
            assert 1 <= address.port <= 65535


def test_an_address_shows_no_credentials() -> None:
    address = parse_broker_url("mqtts://me:hunter2@[::1]:8884")
    assert str(address) == "mqtts://[::1]:8884"
    assert "hunter2" not in repr(address)
    assert "me" not in repr(address).replace("BrokerAddress", "")
