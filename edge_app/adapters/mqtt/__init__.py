"""MQTT: what a device delivers and answers, and what other programs do at the broker."""

from edge_app.adapters.mqtt.client import check_broker, listen
from edge_app.adapters.mqtt.link import (
    OFFLINE,
    ONLINE,
    BrokerAddress,
    LinkSettings,
    TlsFiles,
    parse_broker_url,
)
from edge_app.adapters.mqtt.publisher import LinkStatus, MqttPublisher, PublisherSettings
from edge_app.adapters.mqtt.topics import MATCHES_OF_ALL_DEVICES, Topics

__all__ = [
    "MATCHES_OF_ALL_DEVICES",
    "OFFLINE",
    "ONLINE",
    "BrokerAddress",
    "LinkSettings",
    "LinkStatus",
    "MqttPublisher",
    "PublisherSettings",
    "TlsFiles",
    "Topics",
    "check_broker",
    "listen",
    "parse_broker_url",
]
