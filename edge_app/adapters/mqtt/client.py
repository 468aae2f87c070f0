"""What programs other than a device do at a broker: listen to events, ask devices, give hints."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from secrets import token_bytes, token_hex
from typing import Any, Final

from edge_app.adapters.events import from_cloudevent
from edge_app.adapters.mqtt.link import (
    BrokerAddress,
    Connector,
    Link,
    LinkSettings,
    Outgoing,
    TlsFiles,
    tls_context,
)
from edge_app.adapters.mqtt.topics import Topics
from edge_app.errors import DeliveryError

_log = logging.getLogger(__name__)

_REMEMBERED_EVENTS: Final = 10_000
_NO_SUBSCRIBERS: Final = 16


def listen(
    address: BrokerAddress,
    *,
    tls: TlsFiles | None,
    topic_filter: str,
    client_id: str,
    link: LinkSettings,
    wanted: Callable[[dict[str, Any]], bool],
    count: int | None,
    timeout_s: float | None,
    on_ready: Callable[[], None],
) -> Iterator[str]:
    """Yield every match event as one JSON line, without duplicates (same source and id).

    topic_filter: e.g. `MATCHES_OF_ALL_DEVICES`.
    wanted:       which events to yield.
    count:        end after so many events; None: no limit.
    timeout_s:    end after so long; None: never.
    on_ready:     called once when the subscription stands: no event after this is missed.

    Raises:
        ConfigError: the filter or the TLS files cannot be used.
        DeliveryError: the broker refuses, or the connection is lost.
    """
    deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
    try:
        connection.subscribe(topic_filter, link.connect_timeout_s)
        on_ready()
        yielded = 0
        seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        while count is None or yielded < count:
            if connection.received:
                line = _new_event(connection.received.popleft().payload, seen, wanted)
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


def ask(
    address: BrokerAddress,
    *,
    tls: TlsFiles | None,
    topics: Topics,
    payload: bytes,
    client_id: str,
    link: LinkSettings,
    timeout_s: float,
) -> bytes:
    """Send a request to a device and return its answer (MQTT 5 request and response).

    timeout_s: for the answer; the broker keeps the request no longer than that either.

    Raises:
        ConfigError: the TLS files cannot be used.
        DeliveryError: the broker refuses or knows no MQTT 5, no such device listens, or it does
            not answer.
    """
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
    try:
        if not connection.is_v5:
            raise DeliveryError(
                f"{address} speaks MQTT 3.1.1 only, and requests need MQTT 5; ask at the device"
            )
        reply_topic, correlation = topics.reply(token_hex(16)), token_bytes(16)
        connection.subscribe(reply_topic, link.connect_timeout_s)
        request = Outgoing(
            topics.request,
            payload,
            expiry_s=ceil(timeout_s),
            response_topic=reply_topic,
            correlation=correlation,
        )
        connection.publish(request)
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            connection.pump(min(left_s, 1.0))
            _require_taken(connection, topics)
            while connection.received:
                answer = connection.received.popleft()
                if answer.correlation == correlation:
                    connection.disconnect()
                    return answer.payload
        raise DeliveryError(
            f"the device {topics.client_id} does not answer; is it on? Try again, or ask elsewhere"
        )
    finally:
        connection.drop()


def _require_taken(connection: Link, topics: Topics) -> None:
    for _, reason in connection.acknowledged:
        if reason == _NO_SUBSCRIBERS:
            raise DeliveryError(
                f"no device {topics.client_id} listens at this broker; correct its name, or the"
                " site in the configuration"
            )
        if reason.is_failure:
            raise DeliveryError(
                f"the broker does not take the request: {reason}; use a client that may ask"
            )


def tell_all(
    address: BrokerAddress,
    *,
    tls: TlsFiles | None,
    messages: Sequence[Outgoing],
    client_id: str,
    link: LinkSettings,
) -> None:
    """Publish some messages; when this returns, the broker has all of them.

    Raises:
        ConfigError: the TLS files cannot be used.
        DeliveryError: the broker refuses, or takes longer than `connect_timeout_s` for one.
    """
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
    try:
        waiting, sent, taken = deque(messages), 0, 0
        deadline_s = time.monotonic() + link.connect_timeout_s
        while taken < len(messages):
            while waiting and sent - taken < connection.receive_maximum:
                connection.publish(waiting.popleft())
                sent += 1
            connection.pump(link.connect_timeout_s)
            acknowledged, connection.acknowledged = connection.acknowledged, []
            refused = [reason for _, reason in acknowledged if reason.is_failure]
            if refused:
                raise DeliveryError(
                    f"the broker refuses a message: {refused[0]}; use a client that may publish it"
                )
            if acknowledged:
                taken += len(acknowledged)
                deadline_s = time.monotonic() + link.connect_timeout_s
            elif time.monotonic() > deadline_s:
                raise DeliveryError("the broker does not acknowledge messages; try again")
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
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
    connection.disconnect()
    connection.drop()
    return f"{connection.protocol_name} at {address}"


def _new_event(
    payload: bytes,
    seen: OrderedDict[tuple[str, str], None],
    wanted: Callable[[dict[str, Any]], bool],
) -> str | None:
    try:
        from_cloudevent(payload)
    except DeliveryError as error:
        _log.warning("mqtt: a message is skipped: %s", error)
        return None
    event = json.loads(payload)
    key = (event["source"], event["id"])
    if key in seen or not wanted(event):
        return None
    seen[key] = None
    if len(seen) > _REMEMBERED_EVENTS:
        seen.popitem(last=False)
    return json.dumps(event, ensure_ascii=False)
