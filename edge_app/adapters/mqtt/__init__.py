"""MQTT: what a device delivers and answers, and what other programs do at the broker."""

from edge_app.adapters.mqtt.client import ask, check_broker, listen, tell_all
from edge_app.adapters.mqtt.commands import Commands
from edge_app.adapters.mqtt.link import (
    OFFLINE,
    ONLINE,
    BrokerAddress,
    Connector,
    Incoming,
    Link,
    LinkSettings,
    Outgoing,
    Taking,
    TlsFiles,
    parse_broker_url,
    tls_context,
)
from edge_app.adapters.mqtt.publisher import (
    LinkStatus,
    MqttPublisher,
    OnCommand,
    PublisherSettings,
)
from edge_app.adapters.mqtt.topics import (
    DEPARTURES_OF_ALL_DEVICES,
    MATCHES_OF_ALL_DEVICES,
    STATES_OF_ALL_DEVICES,
    Topics,
)

__all__ = [
    "DEPARTURES_OF_ALL_DEVICES",
    "MATCHES_OF_ALL_DEVICES",
    "OFFLINE",
    "ONLINE",
    "STATES_OF_ALL_DEVICES",
    "BrokerAddress",
    "Commands",
    "Connector",
    "Incoming",
    "Link",
    "LinkSettings",
    "LinkStatus",
    "MqttPublisher",
    "OnCommand",
    "Outgoing",
    "PublisherSettings",
    "Taking",
    "TlsFiles",
    "Topics",
    "ask",
    "check_broker",
    "listen",
    "parse_broker_url",
    "tell_all",
    "tls_context",
]
