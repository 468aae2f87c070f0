"""Delivers alerts from the outbox to an MQTT broker, and keeps the device's retained states there.

Matches go out with QoS 1, never retained, and leave the outbox when the broker has acknowledged
them and then stayed for a while. Brokers acknowledge what they have in memory, and write it to
disk later: one that is killed in between loses it, and gets it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from secrets import SystemRandom
from typing import Final

from edge_app.adapters.events import CONTENT_TYPE
from edge_app.adapters.mqtt.link import (
    OFFLINE,
    ONLINE,
    BrokerAddress,
    Connector,
    DurableSession,
    Incoming,
    Link,
    LinkSettings,
    Outgoing,
    TlsFiles,
    tls_context,
)
from edge_app.adapters.mqtt.topics import Topics
from edge_app.adapters.outbox import Outbox, PendingAlert
from edge_app.errors import DeliveryError, EdgeAppError, StorageError

_log = logging.getLogger(__name__)

_CONNECTED: Final = "connected"
_CLOSED: Final = "closed"
_MOST_REPLIES: Final = 32
_ALLOW: Final = "allow this device to publish to its own topics"

OnCommand = Callable[[Incoming, Callable[[Outgoing], None]], None]
"""Takes a command and the way to answer, which any thread may use; returns at once."""


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How alerts are delivered.

    max_inflight:     most alerts sent and not yet acknowledged; 1 or more.
    ack_timeout_s:    longest wait for an acknowledgement before connecting anew.
    hold_s:           how long an acknowledged alert is kept, and sent again if the connection is
                      lost meanwhile; more than the broker takes to write it to disk.
    poll_interval_s:  longest time a new alert waits before it is sent.
    backoff_min_s:    shortest pause between two attempts to connect.
    backoff_max_s:    longest such pause.
    session_expiry_s: how long an MQTT 5 broker remembers the device; not below will_delay_s.
    will_delay_s:     how long a device may be away before an MQTT 5 broker calls it offline.
    """

    max_inflight: int
    ack_timeout_s: float
    hold_s: float
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
        on_command: OnCommand | None = None,
    ) -> None:
        """Prepare; `start` connects. The outbox stays open after `close`.

        on_command: is given what comes on `topics.commands`; None: nothing is subscribed to.

        Raises:
            ConfigError: the TLS files cannot be used.
        """
        self._outbox = outbox
        self._address = address
        self._topics = topics
        self._settings = settings
        self._connector = Connector(
            address=address,
            tls_context=tls_context(address, tls),
            client_id=topics.client_id,
            link=link,
            durable=DurableSession(
                expiry_s=settings.session_expiry_s,
                will_topic=topics.availability,
                will_delay_s=settings.will_delay_s,
            ),
        )
        self._on_command = on_command
        self._replies: deque[Outgoing] = deque(maxlen=_MOST_REPLIES)
        self._states = _RetainedStates()
        self._states.set(topics.availability, ONLINE)
        self._random = SystemRandom()
        self._failures = 0
        self._spoke_5 = False
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
        link = self._connector.connect(spoke_5=self._spoke_5)
        try:
            self._failures = 0
            self._spoke_5 = link.is_v5
            self._set_status(connected=True, detail=f"{link.protocol_name} at {self._address}")
            if self._on_command is not None:
                link.ask_for(self._topics.commands)
            self._states.begin()
            self._outbox.forget_acknowledged()
            window = _Window(
                self._outbox,
                self._states,
                self._replies,
                link,
                self._settings,
                match_topic=self._topics.match,
            )
            while not self._finished():
                window.fill()
                link.pump(self._settings.poll_interval_s)
                window.settle()
                window.release(0.0 if self._closing.is_set() else self._settings.hold_s)
                self._hear(link)
            self._say_goodbye(link)
        finally:
            link.drop()

    def _hear(self, link: Link) -> None:
        """Hand on the commands that came. A broker that grants none still gets the alerts."""
        if any(reason.is_failure for reason in link.subscribed):
            link.subscribed.clear()
            _log.warning("mqtt: the broker lets this device read no commands; allow it to")
        while link.received and self._on_command is not None:
            self._on_command(link.received.popleft(), self._replies.append)

    def _say_goodbye(self, link: Link) -> None:
        message_id = link.publish(_state(self._topics.availability, OFFLINE))
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

    def next(self) -> Outgoing | None:
        """What to send now; None if there is nothing."""
        with self._lock:
            if not self._unsent:
                return None
            topic = self._unsent.popleft()
            return _state(topic, self._payloads[topic])


class _Window:
    """What is on its way over one connection: sent, or acknowledged and held."""

    def __init__(
        self,
        outbox: Outbox,
        states: _RetainedStates,
        replies: deque[Outgoing],
        link: Link,
        settings: PublisherSettings,
        *,
        match_topic: str,
    ) -> None:
        self._outbox = outbox
        self._match_topic = match_topic
        self._states = states
        self._replies = replies
        self._link = link
        self._size = min(settings.max_inflight, link.receive_maximum)
        self._ack_timeout_s = settings.ack_timeout_s
        self._sent: dict[int, _Sent] = {}
        self._stuck = False
        self._held: deque[_Held] = deque()
        self._refused: set[str] = set()
        self._position = 0

    def fill(self) -> None:
        """Send new states, then alerts, then replies: nobody who asks holds up an alert.

        The outbox has dropped what just expired. What has less than a second left waits for
        the same: MQTT counts whole seconds.
        """
        while self._free > 0 and (state := self._states.next()) is not None:
            self._send(state, None)
        if self._free > 0:
            for alert in self._outbox.next(after=self._position, limit=self._free):
                if alert.remaining_s >= 1:
                    self._send(_alert(alert), alert.alert_id)
                self._position = alert.position
        while self._free > 0 and self._replies:
            self._send(self._replies.popleft(), None)

    def settle(self) -> None:
        """Take note of what was acknowledged.

        A broker that refuses a state, a reply or a departure still gets the alerts. The departure
        stays in the outbox, for the next connection.
        """
        acknowledged, self._link.acknowledged = self._link.acknowledged, []
        settled = [
            (self._sent.pop(message_id), reason)
            for message_id, reason in acknowledged
            if message_id in self._sent
        ]
        delivered = [
            sent.alert_id
            for sent, reason in settled
            if sent.alert_id is not None and not reason.is_failure
        ]
        if delivered:
            self._outbox.note_acknowledged(delivered)
            self._held.append(_Held(tuple(delivered), time.monotonic()))
        for sent, reason in settled:
            if reason.is_failure and sent.topic == self._match_topic:
                raise DeliveryError(f"the broker refuses a message: {reason}; {_ALLOW}")
            if reason.is_failure and sent.topic not in self._refused:
                self._refused.add(sent.topic)
                _log.warning("mqtt: the broker refuses %s: %s; %s", sent.topic, reason, _ALLOW)
        oldest_s = next((sent.time_s for sent in self._sent.values()), None)
        if oldest_s is not None and time.monotonic() - oldest_s > self._ack_timeout_s:
            raise DeliveryError("the broker does not acknowledge messages; connecting anew")

    def release(self, hold_s: float) -> None:
        """Take out of the outbox what was acknowledged at least that long ago.

        Where the disk takes no writes they stay held, and nothing is sent twice for it.
        """
        until_s = time.monotonic() - hold_s
        due = list(takewhile(lambda held: held.acknowledged_s <= until_s, self._held))
        if not due:
            return
        try:
            self._outbox.mark_delivered(alert_id for held in due for alert_id in held.alert_ids)
        except StorageError as error:
            if not self._stuck:
                _log.warning("mqtt: alerts were delivered and stay in the outbox: %s", error)
            self._stuck = True
            return
        self._stuck = False
        for _ in due:
            self._held.popleft()

    @property
    def _free(self) -> int:
        return self._size - len(self._sent)

    def _send(self, message: Outgoing, alert_id: str | None) -> None:
        message_id = self._link.publish(message)
        self._sent[message_id] = _Sent(message.topic, alert_id, time.monotonic())


@dataclass(frozen=True, slots=True)
class _Sent:
    """alert_id: None for what is no alert. time_s: when it was sent."""

    topic: str
    alert_id: str | None
    time_s: float


@dataclass(frozen=True, slots=True)
class _Held:
    """Alerts that were acknowledged together, and when."""

    alert_ids: tuple[str, ...]
    acknowledged_s: float


def _state(topic: str, payload: bytes) -> Outgoing:
    return Outgoing(topic, payload, retain=True)


def _alert(alert: PendingAlert) -> Outgoing:
    return Outgoing(
        alert.topic,
        alert.payload,
        content_type=CONTENT_TYPE,
        expiry_s=int(alert.remaining_s),
    )
