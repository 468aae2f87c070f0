"""Delivers alerts from the outbox to an MQTT broker, and listens to them.

MQTT 5, falling back to 3.1.1 where a broker refuses 5. Matches go out with QoS 1, never
retained, and leave the outbox when the broker has acknowledged them and at no other time.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from secrets import SystemRandom
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, DisconnectFlags, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_app.adapters.events import CONTENT_TYPE, from_cloudevent
from edge_app.adapters.outbox import Outbox, PendingAlert
from edge_app.errors import ConfigError, DeliveryError, EdgeAppError
from edge_app.records import NODE_NAME_PATTERN

_log = logging.getLogger(__name__)

ONLINE: Final = b'{"state":"online"}'
OFFLINE: Final = b'{"state":"offline"}'

_URL_HELP: Final = "write it as mqtt://host:1883 or mqtts://user:password@host:8883"
_CONNECTED: Final = "connected"
_CLOSED: Final = "closed"
_REMEMBERED_EVENTS: Final = 10_000
_UNSUPPORTED_PROTOCOL: Final = 132
_RECEIVE_MAXIMUM: Final = 65_535  # MQTT 5, section 3.2.2.3.3: what an absent property means
_PROTOCOL_NAMES: Final = {
    MQTTProtocolVersion.MQTTv5: "MQTT 5",
    MQTTProtocolVersion.MQTTv311: "MQTT 3.1.1",
}


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device. Raises ConfigError for a name that would break out of them."""

    site: str
    device: str

    def __post_init__(self) -> None:
        for what, name in (("site", self.site), ("device", self.device)):
            if not re.fullmatch(NODE_NAME_PATTERN, name):
                raise ConfigError(
                    f"{what} {name!r} cannot be part of a topic;"
                    " use 1 to 64 lower-case letters, digits and hyphens"
                )

    @property
    def match(self) -> str:
        """Alerts, never retained."""
        return f"familiar/v1/{self.site}/{self.device}/event/match"

    @property
    def availability(self) -> str:
        """`ONLINE` or `OFFLINE`, retained; the broker itself says the latter as our will."""
        return f"familiar/v1/{self.site}/{self.device}/state/availability"

    @property
    def gallery(self) -> str:
        """What gallery the device matches with, retained."""
        return f"familiar/v1/{self.site}/{self.device}/state/gallery"

    @property
    def health(self) -> str:
        """How the device is, retained."""
        return f"familiar/v1/{self.site}/{self.device}/state/health"

    @property
    def client_id(self) -> str:
        """The MQTT client id: one per device, so that a second copy is noticed."""
        return f"familiar-{self.site}-{self.device}"


MATCHES_OF_ALL_DEVICES: Final = "familiar/v1/+/+/event/match"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and who we are to it. `str` leaves the credentials out."""

    host: str
    port: int
    tls: bool
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for mqtts.

    ca:          whom to trust; None: the system's authorities.
    certificate: this device's client certificate; None: none is shown.
    key:         the certificate's private key; None: it is in the same file.
    """

    ca: Path | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How patient a connection is.

    connect_timeout_s: from the first packet to the broker's answer.
    keepalive_s:       longest silence, whole seconds; the broker gives up after 1.5 times this.
    """

    connect_timeout_s: float
    keepalive_s: int


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How alerts are delivered.

    max_inflight:     most alerts sent and not yet acknowledged; 1 or more.
    ack_timeout_s:    longest wait for an acknowledgement before connecting anew.
    poll_interval_s:  longest time a new alert waits before it is sent.
    backoff_min_s:    shortest pause between two attempts to connect.
    backoff_max_s:    longest such pause.
    session_expiry_s: how long an MQTT 5 broker remembers the device; not below will_delay_s.
    will_delay_s:     how long a device may be away before an MQTT 5 broker calls it offline.
    """

    max_inflight: int
    ack_timeout_s: float
    poll_interval_s: float
    backoff_min_s: float
    backoff_max_s: float
    session_expiry_s: int
    will_delay_s: int


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Whether the broker has accepted us, and in which protocol, or why not."""

    connected: bool
    detail: str


def parse_broker_url(url: str) -> BrokerAddress:
    """Read `mqtt://` or `mqtts://`, user and password percent-encoded.

    Raises:
        ConfigError: not such an address. The message never repeats it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the broker address cannot be read; {_URL_HELP}") from error
    if parts.scheme not in ("mqtt", "mqtts"):
        raise ConfigError(f"the broker address has no scheme that is known; {_URL_HELP}")
    if not host or port == 0:
        raise ConfigError(f"the broker address has no host or no valid port; {_URL_HELP}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"the broker address goes on after the port; {_URL_HELP}")
    if parts.password is not None and not parts.username:
        raise ConfigError(f"the broker address has a password but no user; {_URL_HELP}")
    tls = parts.scheme == "mqtts"
    return BrokerAddress(
        host=host,
        port=port or (8883 if tls else 1883),
        tls=tls,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


class _RetainedStates:
    """The newest payload of each retained topic: set by any thread, sent by the publisher's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payloads: dict[str, bytes] = {}
        self._unsent: deque[str] = deque()

    def set(self, topic: str, payload: bytes) -> None:
        """Have it sent, unless it is what was set last."""
        with self._lock:
            if self._payloads.get(topic) != payload:
                self._payloads[topic] = payload
                if topic not in self._unsent:
                    self._unsent.append(topic)

    def begin(self) -> None:
        """Send all of them once more, in the order in which they first came: a new connection."""
        with self._lock:
            self._unsent = deque(self._payloads)

    def next(self) -> tuple[str, bytes] | None:
        """(topic, payload) to send now; None if there is none."""
        with self._lock:
            if not self._unsent:
                return None
            topic = self._unsent.popleft()
            return topic, self._payloads[topic]


class MqttPublisher:
    """Empties an outbox towards a broker, in a thread of its own.

    The thread connects, reconnects with jittered back-off, and outlives any outage. It is
    the outbox's only reader; the pipeline is its only writer.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        address: BrokerAddress,
        tls: TlsFiles | None,
        topics: Topics,
        link: LinkSettings,
        settings: PublisherSettings,
    ) -> None:
        """Prepare; `start` connects. The outbox stays open after `close`.

        Raises:
            ConfigError: the TLS files cannot be used.
        """
        self._outbox = outbox
        self._address = address
        self._topics = topics
        self._settings = settings
        self._connector = _Connector(
            address=address,
            tls_context=_tls_context(address, tls),
            client_id=topics.client_id,
            link=link,
            durable=_DurableSession(
                expiry_s=settings.session_expiry_s,
                will_topic=topics.availability,
                will_delay_s=settings.will_delay_s,
            ),
        )
        self._states = _RetainedStates()
        self._states.set(topics.availability, ONLINE)
        self._random = SystemRandom()
        self._failures = 0
        self._closing = threading.Event()
        self._drain_until_s = 0.0
        self._status = LinkStatus(connected=False, detail="not started")
        self._reached = "no answer yet"
        self._thread = threading.Thread(target=self._run, name="mqtt-publisher", daemon=True)

    @property
    def status(self) -> LinkStatus:
        """The connection as it is now; may be read from any thread."""
        return self._status

    @property
    def reached(self) -> str:
        """ "connected" if the broker ever accepted us, else why it did not."""
        return self._reached

    @property
    def failed(self) -> bool:
        """Whether the thread ended by itself, which only a defect can make it do."""
        begun = self._thread.ident is not None
        return begun and not self._thread.is_alive() and not self._closing.is_set()

    def set_state(self, topic: str, payload: bytes) -> None:
        """Keep this as the topic's retained state, from now on and after every reconnect.

        From any thread, at any time; a state that is set again unchanged is not sent again.
        States hold no personal data.
        """
        self._states.set(topic, payload)

    def start(self) -> None:
        """Begin to connect and deliver, and return at once."""
        self._thread.start()

    def close(self, drain_timeout_s: float) -> int:
        """Stop, after trying to deliver what is pending for at most that long.

        An attempt to connect that is under way is waited for.
        Returns how many alerts remain in the outbox for the next start.

        Raises:
            StorageError: the outbox cannot be read.
        """
        self._drain_until_s = time.monotonic() + drain_timeout_s
        self._closing.set()
        self._thread.join()
        return self._outbox.counts().pending

    def _run(self) -> None:
        while not self._finished():
            try:
                self._deliver()
            except EdgeAppError as error:
                self._set_status(connected=False, detail=str(error))
                self._pause()
            except Exception:
                self._set_status(connected=False, detail="stopped by a defect")
                raise
        self._set_status(connected=False, detail=_CLOSED)

    def _finished(self) -> bool:
        if not self._closing.is_set():
            return False
        return time.monotonic() >= self._drain_until_s or self._outbox.counts().pending == 0

    def _pause(self) -> None:
        """Wait before the next attempt; `close` cuts the wait short, and then bounds it."""
        longest_s = min(
            self._settings.backoff_max_s, self._settings.backoff_min_s * 2.0**self._failures
        )
        pause_s = self._random.uniform(self._settings.backoff_min_s, longest_s)
        self._failures = min(self._failures + 1, 30)
        if not self._closing.is_set():
            self._closing.wait(pause_s)
            self._failures = 0 if self._closing.is_set() else self._failures
        else:
            time.sleep(max(0.0, min(pause_s, self._drain_until_s - time.monotonic())))

    def _deliver(self) -> None:
        """Connect and deliver until `close` is done; every other end is a DeliveryError."""
        link = self._connector.connect()
        try:
            self._failures = 0
            self._set_status(connected=True, detail=f"{link.protocol_name} at {self._address}")
            self._states.begin()
            window = _Window(self._outbox, self._states, link, self._settings)
            while not self._finished():
                window.fill()
                link.pump(self._settings.poll_interval_s)
                window.settle()
            self._say_goodbye(link)
        finally:
            link.drop()

    def _say_goodbye(self, link: _Link) -> None:
        message_id = link.publish_state(self._topics.availability, OFFLINE)
        while time.monotonic() < self._drain_until_s and message_id not in (
            acknowledged for acknowledged, _ in link.acknowledged
        ):
            link.pump(self._settings.poll_interval_s)
        link.disconnect()

    def _set_status(self, *, connected: bool, detail: str) -> None:
        status = LinkStatus(connected=connected, detail=detail)
        if connected:
            self._reached = _CONNECTED
        elif self._reached != _CONNECTED and detail != _CLOSED:
            self._reached = detail
        if status != self._status:  # a broker that stays away is reported once
            log = _log.info if connected or self._closing.is_set() else _log.warning
            log("mqtt: %s%s", "connected, " if connected else "", detail)
        self._status = status


class _Window:
    """What is on its way over one connection: sent, and not yet acknowledged."""

    def __init__(
        self, outbox: Outbox, states: _RetainedStates, link: _Link, settings: PublisherSettings
    ) -> None:
        self._outbox = outbox
        self._states = states
        self._link = link
        self._size = min(settings.max_inflight, link.receive_maximum)
        self._ack_timeout_s = settings.ack_timeout_s
        self._sent: dict[int, tuple[str | None, float]] = {}
        """Message id -> (alert id, or None for a state; when it was sent)."""
        self._position = 0

    def fill(self) -> None:
        """Send new states, then the next alerts; the outbox has dropped what just expired."""
        while len(self._sent) < self._size and (state := self._states.next()) is not None:
            self._sent[self._link.publish_state(*state)] = (None, time.monotonic())
        free = self._size - len(self._sent)
        if free < 1:
            return
        for alert in self._outbox.next(after=self._position, limit=free):
            message_id = self._link.publish_alert(alert)
            self._sent[message_id] = (alert.alert_id, time.monotonic())
            self._position = alert.position

    def settle(self) -> None:
        """Take acknowledged alerts out of the outbox."""
        acknowledged, self._link.acknowledged = self._link.acknowledged, []
        refused = [reason for _, reason in acknowledged if reason.is_failure]
        settled = [
            self._sent.pop(message_id)[0]
            for message_id, reason in acknowledged
            if message_id in self._sent and not reason.is_failure
        ]
        delivered = [alert_id for alert_id in settled if alert_id is not None]
        if delivered:
            self._outbox.mark_delivered(delivered)
        if refused:
            raise DeliveryError(
                f"the broker refuses a message: {refused[0]};"
                " allow this device to publish to its own topics"
            )
        oldest_s = next((sent_s for _, sent_s in self._sent.values()), None)
        if oldest_s is not None and time.monotonic() - oldest_s > self._ack_timeout_s:
            raise DeliveryError("the broker does not acknowledge messages; connecting anew")


@dataclass(frozen=True, slots=True)
class _DurableSession:
    expiry_s: int
    will_topic: str
    will_delay_s: int


@dataclass(frozen=True, slots=True)
class _Connector:
    """Everything needed to connect, as often as it takes."""

    address: BrokerAddress
    tls_context: ssl.SSLContext | None
    client_id: str
    link: LinkSettings
    durable: _DurableSession | None

    def connect(self) -> _Link:
        """Connect with MQTT 5, or with 3.1.1 if the broker knows no other.

        Raises:
            DeliveryError: refused, unreachable, not trusted, or no MQTT broker.
        """
        try:
            return _Link(self, MQTTProtocolVersion.MQTTv5)
        except _ProtocolRefusedError:
            return _Link(self, MQTTProtocolVersion.MQTTv311)


class _ProtocolRefusedError(DeliveryError):
    """The broker refuses this version of MQTT, or does not understand it."""


class _Link:
    """One accepted connection, with a paho client of its own.

    paho keeps what was not acknowledged in memory, even if its send failed, and sends it
    again after a reconnect without looking at its age. So no client connects twice: the
    outbox knows what is still due. paho's callbacks run inside `pump`, in the caller's thread.
    """

    def __init__(self, connector: _Connector, protocol: MQTTProtocolVersion) -> None:
        self._address = connector.address
        self._protocol = protocol
        self._is_v5 = protocol == MQTTProtocolVersion.MQTTv5
        self._answer: ReasonCode | None = None
        self._goodbye: str | None = None
        self.receive_maximum = _RECEIVE_MAXIMUM
        self.acknowledged: list[tuple[int, ReasonCode]] = []
        self.subscribed: list[ReasonCode] = []
        self.received: deque[bytes] = deque()
        self._client = self._make_client(connector)
        try:
            self._open(connector)
        except BaseException:
            self.drop()
            raise

    @property
    def protocol_name(self) -> str:
        return _PROTOCOL_NAMES[self._protocol]

    def publish_alert(self, alert: PendingAlert) -> int:
        """Send one alert and return its message id. Raises DeliveryError."""
        properties = self._properties(
            PacketTypes.PUBLISH,
            ContentType=CONTENT_TYPE,
            PayloadFormatIndicator=1,  # UTF-8
            MessageExpiryInterval=ceil(alert.remaining_s),
        )
        return self._publish(alert.topic, alert.payload, retain=False, properties=properties)

    def publish_state(self, topic: str, payload: bytes) -> int:
        """Send a retained state of the device and return its message id. Raises DeliveryError."""
        properties = self._properties(
            PacketTypes.PUBLISH, ContentType="application/json", PayloadFormatIndicator=1
        )
        return self._publish(topic, payload, retain=True, properties=properties)

    def subscribe(self, topic_filter: str, timeout_s: float) -> None:
        """Subscribe with QoS 1. Raises ConfigError for a bad filter, DeliveryError if refused."""
        try:
            self._client.subscribe(topic_filter, qos=1)
        except ValueError as error:
            raise ConfigError(f"{topic_filter!r} is not a topic filter; correct it") from error
        deadline_s = time.monotonic() + timeout_s
        while not self.subscribed and (left_s := deadline_s - time.monotonic()) > 0:
            self.pump(left_s)
        if not self.subscribed or any(reason.is_failure for reason in self.subscribed):
            raise DeliveryError(
                f"the broker does not grant {topic_filter!r}; allow this user to read it"
            )

    def pump(self, timeout_s: float) -> None:
        """Wait for the network at most that long and handle what came.

        Raises:
            DeliveryError: the connection is lost; the text says what is known of the reason.
        """
        code = self._client.loop(timeout_s)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            reason = self._goodbye or error_string(code)
            raise DeliveryError(f"connection to {self._address} lost: {reason.rstrip('.')}")

    def disconnect(self) -> None:
        """Say goodbye, so that the broker does not send our will."""
        self._client.disconnect()

    def drop(self) -> None:
        """Close the socket, whatever state it is in."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _make_client(self, connector: _Connector) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=connector.client_id,
            protocol=self._protocol,
            clean_session=None if self._is_v5 else True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = connector.link.connect_timeout_s
        client.max_inflight_messages_set(0)  # our window is the limit
        if connector.address.username is not None:
            client.username_pw_set(connector.address.username, connector.address.password)
        if connector.tls_context is not None:
            client.tls_set_context(connector.tls_context)
        if connector.durable is not None:
            client.will_set(
                connector.durable.will_topic,
                OFFLINE,
                qos=1,
                retain=True,
                properties=self._properties(
                    PacketTypes.WILLMESSAGE, WillDelayInterval=connector.durable.will_delay_s
                ),
            )
        client.on_connect = lambda _c, _u, _f, reason, more: self._on_connect(reason, more)
        client.on_disconnect = lambda _c, _u, flags, reason, _p: self._on_disconnect(flags, reason)
        client.on_publish = lambda _c, _u, mid, reason, _p: self.acknowledged.append((mid, reason))
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subscribed.extend(reasons)
        client.on_message = lambda _c, _u, message: self.received.append(bytes(message.payload))
        return client

    def _connect_arguments(self, durable: _DurableSession | None) -> dict[str, Any]:
        """For MQTT 5 ask for a session that outlives a short outage: a clean start would end
        it, and the broker would then send our will although we are back."""
        if not self._is_v5:
            return {}
        expiry_s = durable.expiry_s if durable else 0
        properties = self._properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry_s)
        return {"clean_start": durable is None, "properties": properties}

    def _properties(self, packet_type: int, **values: int | str) -> Properties | None:
        if not self._is_v5:
            return None
        properties = Properties(packet_type)  # type: ignore[no-untyped-call]
        for name, value in values.items():
            setattr(properties, name, value)
        return properties

    def _open(self, connector: _Connector) -> None:
        link = connector.link
        try:
            self._client.connect(
                self._address.host,
                self._address.port,
                link.keepalive_s,
                **self._connect_arguments(connector.durable),
            )
        except (OSError, ValueError) as error:
            raise DeliveryError(f"{self._address}: {_explain(error)}") from error
        deadline_s = time.monotonic() + link.connect_timeout_s
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while self._answer is None and code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            code = self._client.loop(left_s)
        self._judge_answer()

    def _judge_answer(self) -> None:
        # Brokers that know only 3.1.1 refuse 5, hang up, or are lost in its longer CONNECT.
        if self._is_v5 and (self._answer is None or self._answer == _UNSUPPORTED_PROTOCOL):
            raise _ProtocolRefusedError(f"{self._address} does not speak MQTT 5")
        if self._answer is None:
            raise DeliveryError(
                f"{self._address} accepts the connection and gives no MQTT answer;"
                " check the port, mqtt or mqtts, and the client certificate"
            )
        if not self._answer.is_failure:
            return
        raise DeliveryError(
            f"{self._address} refuses the connection: {self._answer};"
            " check user, password and what the broker allows this device"
        )

    def _publish(
        self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None
    ) -> int:
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"connection to {self._address} lost: {error_string(info.rc)}")
        return info.mid

    def _on_connect(self, reason: ReasonCode, properties: Properties | None) -> None:
        self._answer = reason
        self.receive_maximum = getattr(properties, "ReceiveMaximum", _RECEIVE_MAXIMUM)

    def _on_disconnect(self, flags: DisconnectFlags, reason: ReasonCode) -> None:
        if flags.is_disconnect_packet_from_server:
            self._goodbye = str(reason)


def listen(
    address: BrokerAddress,
    *,
    tls: TlsFiles | None,
    topic_filter: str,
    client_id: str,
    link: LinkSettings,
    count: int | None,
    timeout_s: float | None,
    on_ready: Callable[[], None],
) -> Iterator[str]:
    """Yield every match event as one JSON line, without duplicates (same source and id).

    topic_filter: e.g. `MATCHES_OF_ALL_DEVICES`.
    count:        end after so many events; None: no limit.
    timeout_s:    end after so long; None: never.
    on_ready:     called once when the subscription stands: no event after this is missed.

    Raises:
        ConfigError: the filter or the TLS files cannot be used.
        DeliveryError: the broker refuses, or the connection is lost.
    """
    deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    connection = _Connector(address, _tls_context(address, tls), client_id, link, None).connect()
    try:
        connection.subscribe(topic_filter, link.connect_timeout_s)
        on_ready()
        yielded = 0
        seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        while count is None or yielded < count:
            if connection.received:
                line = _new_event(connection.received.popleft(), seen)
                if line is not None:
                    yielded += 1
                    yield line
                continue
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            connection.pump(min(left_s, 1.0))
        connection.disconnect()
    finally:
        connection.drop()


def check_broker(
    address: BrokerAddress, *, tls: TlsFiles | None, client_id: str, link: LinkSettings
) -> str:
    """Connect once and return what the broker speaks, e.g. "MQTT 5 at mqtt://hub:1883".

    client_id: not the device's own, or the check would cut off a running device.

    Raises:
        ConfigError: the TLS files cannot be used.
        DeliveryError: refused, unreachable, not trusted, or no MQTT broker.
    """
    connection = _Connector(address, _tls_context(address, tls), client_id, link, None).connect()
    connection.disconnect()
    connection.drop()
    return f"{connection.protocol_name} at {address}"


def _new_event(payload: bytes, seen: OrderedDict[tuple[str, str], None]) -> str | None:
    try:
        from_cloudevent(payload)
    except DeliveryError as error:
        _log.warning("mqtt: a message is skipped: %s", error)
        return None
    event = json.loads(payload)
    key = (event["source"], event["id"])
    if key in seen:
        return None
    seen[key] = None
    if len(seen) > _REMEMBERED_EVENTS:
        seen.popitem(last=False)
    return json.dumps(event, ensure_ascii=False)


def _tls_context(address: BrokerAddress, files: TlsFiles | None) -> ssl.SSLContext | None:
    if not address.tls:
        if files is not None:
            raise ConfigError("TLS files are given for a plain mqtt:// broker; write mqtts://")
        return None
    try:
        context = ssl.create_default_context(cafile=files.ca if files else None)
        context.sslsocket_class = _TidySocket
        if files is not None and files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"the broker's TLS files cannot be used ({error.strerror or error});"
            " give readable PEM files, and the key that fits the certificate"
        ) from error
    return context


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho forgets it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _explain(error: OSError | ValueError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            text = f"certificate not trusted ({error.verify_message}); give the right CA file"
        case ssl.SSLError():
            text = f"no TLS ({error.reason}); check that the port speaks mqtts"
        case ConnectionRefusedError():
            text = "refused, nothing listens there; start the broker or correct the address"
        case ConnectionError():
            text = f"hangs up ({error.strerror}); check the port, mqtt or mqtts"
        case TimeoutError():
            text = "unreachable, no answer in time; check the network and the address"
        case socket.gaierror():
            text = "unreachable, no such host; check the name and the network"
        case OSError():
            text = f"unreachable ({error.strerror or error}); check the network and the address"
        case _:
            text = f"not a usable address ({error}); correct it"
    return text
