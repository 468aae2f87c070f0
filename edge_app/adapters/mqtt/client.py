"""What programs other than a device do at a broker: listen to events, and check the way there."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from edge_app.adapters.events import from_cloudevent
from edge_app.adapters.mqtt.link import (
    BrokerAddress,
    Connector,
    LinkSettings,
    TlsFiles,
    tls_context,
)
from edge_app.errors import DeliveryError

_log = logging.getLogger(__name__)

_REMEMBERED_EVENTS: Final = 10_000


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
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
    try:
        connection.subscribe(topic_filter, link.connect_timeout_s)
        on_ready()
        yielded = 0
        seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        while count is None or yielded < count:
            if connection.received:
                line = _new_event(connection.received.popleft().payload, seen)
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
    connection = Connector(address, tls_context(address, tls), client_id, link, None).connect()
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
