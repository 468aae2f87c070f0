"""What `deploy/asyncapi.yaml` says of each topic, to hold captured messages against it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from paho.mqtt.client import MQTTMessage

from edge_app.records import NODE_NAME_PATTERN
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
DOCUMENT: dict[str, Any] = yaml.safe_load((DEPLOY / "asyncapi.yaml").read_text())


@dataclass(frozen=True, slots=True)
class Channel:
    """retain: what the operation's binding says."""

    name: str
    pattern: re.Pattern[str]
    validator: Draft202012Validator
    content_type: str
    retain: bool


def resolve(reference: str) -> Any:
    """What a `$ref` of the document means. Raises KeyError, OSError."""
    file, _, path = reference.partition("#")
    value = json.loads((DEPLOY / file).read_text()) if file else DOCUMENT
    for part in path.split("/")[1:]:
        value = value[part]
    return value


def _channel(name: str, operation: dict[str, Any]) -> Channel:
    channel = DOCUMENT["channels"][name]
    (message,) = (resolve(entry["$ref"]) for entry in channel["messages"].values())
    schema = message["payload"]["schema"]
    schema = resolve(schema["$ref"]) if "$ref" in schema else schema
    Draft202012Validator.check_schema(schema)
    pattern = re.sub(r"\\{[a-z]+\\}", NODE_NAME_PATTERN, re.escape(channel["address"]))
    return Channel(
        name,
        re.compile(pattern),
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER),
        message.get("contentType", DOCUMENT["defaultContentType"]),
        operation.get("bindings", {}).get("mqtt", {}).get("retain", False),
    )


def channels() -> list[Channel]:
    """All of them."""
    operations = {
        entry["channel"]["$ref"].rpartition("/")[2]: entry
        for entry in DOCUMENT["operations"].values()
    }
    return [_channel(name, operations.get(name, {})) for name in DOCUMENT["channels"]]


def require_described(message: MQTTMessage) -> str:
    """Hold a message that came over MQTT 5 against the document; returns its channel's name."""
    (channel,) = (c for c in channels() if c.pattern.fullmatch(message.topic))
    channel.validator.validate(json.loads(message.payload))
    assert message.qos == 1
    properties: Any = message.properties
    assert properties.ContentType == channel.content_type, message.topic
    assert properties.PayloadFormatIndicator == 1
    return channel.name
