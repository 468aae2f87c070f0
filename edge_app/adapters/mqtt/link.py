"""One connection to an MQTT broker: MQTT 5, falling back to 3.1.1 where a broker refuses 5."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, DisconnectFlags, MQTTMessage, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_app.errors import ConfigError, DeliveryError

ONLINE: Final = b'{"state":"online"}'
OFFLINE: Final = b'{"state":"offline"}'

JSON: Final = "application/json"
_URL_HELP: Final = "write it as mqtt://host:1883 or mqtts://user:password@host:8883"
_CERTIFICATE_HELP: Final = (
    ": it may have been removed, or the broker's revocation list may have ended;"
    " ask the operator for `familiar broker status`"
)
_UNSUPPORTED_PROTOCOL: Final = 132
_RECEIVE_MAXIMUM: Final = 65_535  # MQTT 5, section 3.2.2.3.3: what an absent property means
_LARGEST_PACKET_BYTES: Final = 65_536  # nothing of ours is as large; paho would take 256 MB
_PROTOCOL_NAMES: Final = {
    MQTTProtocolVersion.MQTTv5: "MQTT 5",
    MQTTProtocolVersion.MQTTv311: "MQTT 3.1.1",
}


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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish with QoS 1. MQTT 3.1.1 knows topic, payload and retain, and no more.

    expiry_s:       how long the broker may keep it for somebody; None: for ever.
    response_topic: where an answer is expected.
    correlation:    what tells the answer from others.
    """

    topic: str
    payload: bytes = field(repr=False)
    retain: bool = False
    content_type: str = JSON
    expiry_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came. response_topic and correlation: as in `Outgoing`.

    message_id: what the broker is told when it is taken; 0 for QoS 0, of which it wants to hear
        nothing.
    retained:   it was said before we subscribed.
    """

    topic: str
    payload: bytes = field(repr=False)
    response_topic: str | None
    correlation: bytes | None = field(repr=False)
    message_id: int = 0
    retained: bool = False


@dataclass(frozen=True, slots=True)
class DurableSession:
    """A device's: the broker remembers it for a while, and says `OFFLINE` for it."""

    expiry_s: int
    will_topic: str
    will_delay_s: int


@dataclass(frozen=True, slots=True)
class Taking:
    """A backend's session: a message counts as delivered when `Link.take` says so, not before.

    expiry_s:    how long the broker keeps the session, and what comes for it, while it is away.
    most_untaken: most messages sent to it and not yet taken, 1 to 65,535.
    """

    expiry_s: int
    most_untaken: int


@dataclass(frozen=True, slots=True)
class Connector:
    """Everything needed to connect, as often as it takes.

    durable, taking: at most one of both; without, the session ends with the connection, and what
        comes counts as delivered at once.
    """

    address: BrokerAddress
    tls_context: ssl.SSLContext | None
    client_id: str
    link: LinkSettings
    durable: DurableSession | None
    taking: Taking | None = None

    def connect(self, *, spoke_5: bool = False) -> Link:
        """Connect with MQTT 5, or with 3.1.1 if the broker knows no other.

        spoke_5: this broker has answered MQTT 5 before. Its silence is then the network's.

        Raises:
            DeliveryError: refused, unreachable, not trusted, or no MQTT broker.
        """
        try:
            return Link(self, MQTTProtocolVersion.MQTTv5)
        except _SilenceError:
            if spoke_5:
                raise
        except _ProtocolRefusedError:
            pass
        return Link(self, MQTTProtocolVersion.MQTTv311)


class _ProtocolRefusedError(DeliveryError):
    """The broker refuses this version of MQTT."""


class _SilenceError(DeliveryError):
    """It hangs up or says nothing: it does not understand MQTT 5, or the network is half open."""


class Link:
    """One accepted connection, with a paho client of its own.

    paho keeps what was not acknowledged in memory, even if its send failed, and sends it
    again after a reconnect without looking at its age. So no client connects twice: the
    outbox knows what is still due. paho's callbacks run inside `pump`, in the caller's thread.
    """

    def __init__(self, connector: Connector, protocol: MQTTProtocolVersion) -> None:
        self._address = connector.address
        self._protocol = protocol
        self._is_v5 = protocol == MQTTProtocolVersion.MQTTv5
        self._answer: ReasonCode | None = None
        self._goodbye: str | None = None
        self.receive_maximum = _RECEIVE_MAXIMUM
        self.acknowledged: list[tuple[int, ReasonCode]] = []
        self.subscribed: list[ReasonCode] = []
        self.received: deque[Incoming] = deque()
        self._client = self._make_client(connector)
        try:
            self._open(connector)
        except BaseException:
            self.drop()
            raise

    @property
    def protocol_name(self) -> str:
        return _PROTOCOL_NAMES[self._protocol]

    @property
    def is_v5(self) -> bool:
        return self._is_v5

    def publish(self, message: Outgoing) -> int:
        """Send a message and return its id, which `acknowledged` names later.

        Raises:
            DeliveryError: the connection is lost.
        """
        properties = self._properties(
            PacketTypes.PUBLISH,
            ContentType=message.content_type,
            PayloadFormatIndicator=1,  # UTF-8
            MessageExpiryInterval=message.expiry_s,
            ResponseTopic=message.response_topic,
            CorrelationData=message.correlation,
        )
        info = self._client.publish(
            message.topic, message.payload, qos=1, retain=message.retain, properties=properties
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"connection to {self._address} lost: {error_string(info.rc)}")
        return info.mid

    def ask_for(self, topic_filter: str, *, qos: int = 1) -> None:
        """Ask to subscribe; the answer appears in `subscribed`.

        Raises:
            ConfigError: not a topic filter.
        """
        try:
            self._client.subscribe(topic_filter, qos=qos)
        except ValueError as error:
            raise ConfigError(f"{topic_filter!r} is not a topic filter; correct it") from error

    def subscribe(self, topic_filter: str, timeout_s: float, *, qos: int = 1) -> None:
        """Subscribe. Raises ConfigError for a bad filter, DeliveryError if refused."""
        self.subscribed.clear()
        self.ask_for(topic_filter, qos=qos)
        deadline_s = time.monotonic() + timeout_s
        while not self.subscribed and (left_s := deadline_s - time.monotonic()) > 0:
            self.pump(left_s)
        if not self.subscribed or any(reason.is_failure for reason in self.subscribed):
            raise DeliveryError(
                f"the broker does not grant {topic_filter!r}; allow this user to read it"
            )

    def take(self, message: Incoming) -> None:
        """Tell the broker that this message is taken care of; in the order in which they came.

        Raises:
            DeliveryError: the connection is lost.
        """
        if message.message_id == 0:
            return
        code = self._client.ack(message.message_id, 1)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"connection to {self._address} lost: {error_string(code)}")

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

    def unsubscribe(self, topic_filter: str) -> None:
        """Want no more of this; what the broker keeps for us already still comes."""
        self._client.unsubscribe(topic_filter)

    def end_session(self) -> None:
        """Say goodbye for ever: an MQTT 5 broker forgets our session, and what it kept for us."""
        self._client.disconnect(
            properties=self._properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0)
        )

    def drop(self) -> None:
        """Close the socket, whatever state it is in."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _make_client(self, connector: Connector) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=connector.client_id,
            protocol=self._protocol,
            clean_session=None if self._is_v5 else True,
            reconnect_on_failure=False,
            manual_ack=connector.taking is not None,
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
                    PacketTypes.WILLMESSAGE,
                    WillDelayInterval=connector.durable.will_delay_s,
                    ContentType=JSON,
                    PayloadFormatIndicator=1,
                ),
            )
        client.on_connect = lambda _c, _u, _f, reason, more: self._on_connect(reason, more)
        client.on_disconnect = lambda _c, _u, flags, reason, _p: self._on_disconnect(flags, reason)
        client.on_publish = lambda _c, _u, mid, reason, _p: self.acknowledged.append((mid, reason))
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subscribed.extend(reasons)
        client.on_message = lambda _c, _u, message: self.received.append(_incoming(message))
        return client

    def _connect_arguments(self, connector: Connector) -> dict[str, Any]:
        """For MQTT 5 ask for a session that outlives a short outage: a clean start would end
        it, and the broker would then send our will although we are back."""
        if not self._is_v5:
            return {}
        kept = connector.durable or connector.taking
        properties = self._properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=kept.expiry_s if kept else 0,
            MaximumPacketSize=_LARGEST_PACKET_BYTES,
            ReceiveMaximum=connector.taking.most_untaken if connector.taking else None,
        )
        return {"clean_start": kept is None, "properties": properties}

    def _properties(
        self, packet_type: int, **values: int | str | bytes | None
    ) -> Properties | None:
        if not self._is_v5:
            return None
        properties = Properties(packet_type)  # type: ignore[no-untyped-call]
        for name, value in values.items():
            if value is not None:
                setattr(properties, name, value)
        return properties

    def _open(self, connector: Connector) -> None:
        link = connector.link
        try:
            self._client.connect(
                self._address.host,
                self._address.port,
                link.keepalive_s,
                **self._connect_arguments(connector),
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
        if self._is_v5 and self._answer == _UNSUPPORTED_PROTOCOL:
            raise _ProtocolRefusedError(f"{self._address} does not speak MQTT 5")
        if self._answer is None:
            raise _SilenceError(
                f"{self._address} accepts the connection and gives no MQTT answer;"
                " check the port, mqtt or mqtts, and the client certificate"
                + (_CERTIFICATE_HELP if self._address.tls else "")
            )
        if not self._answer.is_failure:
            return
        raise DeliveryError(
            f"{self._address} refuses the connection: {self._answer};"
            " check user, password and what the broker allows this device"
        )

    def _on_connect(self, reason: ReasonCode, properties: Properties | None) -> None:
        self._answer = reason
        self.receive_maximum = getattr(properties, "ReceiveMaximum", _RECEIVE_MAXIMUM)

    def _on_disconnect(self, flags: DisconnectFlags, reason: ReasonCode) -> None:
        if flags.is_disconnect_packet_from_server:
            self._goodbye = str(reason)


def _incoming(message: MQTTMessage) -> Incoming:
    properties = message.properties
    return Incoming(
        topic=message.topic,
        payload=bytes(message.payload),
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
        message_id=message.mid,
        retained=message.retain,
    )


def tls_context(address: BrokerAddress, files: TlsFiles | None) -> ssl.SSLContext | None:
    """What is checked of the broker and shown to it; None without TLS. Raises ConfigError."""
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
