"""How Home Assistant learns of a device by itself (MQTT discovery of devices).

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json
from typing import Any, Final

from edge_app.adapters.mqtt.topics import Topics
from edge_app.core.health import Condition

_CLOSED: Final = (Condition.CAMERA_COVERED, Condition.CAMERA_LOST)


def discovery_topic(topics: Topics, prefix: str) -> str:
    """Where the payload is retained. prefix: what Home Assistant looks below.

    Site and device are levels of their own: joined by a hyphen, two devices could share a topic.
    """
    return f"{prefix}/device/{topics.site}/{topics.device}/config"


def discovery_payload(topics: Topics, *, version: str) -> bytes:
    """What Home Assistant shows of a device: that somebody was matched, its health, its gallery.

    A match is an event without content. Home Assistant keeps its history for days, and so must
    not get whom it was (P9); it is never a state, which would outlast the moment.
    """
    # The client id with its slash; one of a hyphen could be that of another device.
    identity = f"familiar/{topics.client_id}"
    components = {
        "match": {
            "platform": "event",
            "name": "Match",
            "state_topic": topics.match,
            "event_types": ["match"],
            "value_template": '{"event_type": "match"}',
        },
        "state": {
            **_diagnostic(topics.health, "State", "state"),
            "device_class": "enum",
            "options": [condition.value for condition in Condition],
        },
        "camera": {
            "platform": "binary_sensor",
            "name": "Camera",
            "entity_category": "diagnostic",
            "device_class": "connectivity",
            "state_topic": topics.health,
            "value_template": (
                f"{{{{ 'OFF' if value_json.state in {[c.value for c in _CLOSED]} else 'ON' }}}}"
            ),
        },
        "frame_rate": {
            **_diagnostic(topics.health, "Frame rate", "frames_per_s"),
            "unit_of_measurement": "fps",
            "state_class": "measurement",
        },
        "temperature": {
            **_diagnostic(topics.health, "Temperature", "temperature_c"),
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
        },
        "generation": _diagnostic(topics.gallery, "Gallery generation", "generation"),
        "lease": {
            **_diagnostic(topics.gallery, "Lease until", "lease_until"),
            "device_class": "timestamp",
        },
    }
    return json.dumps(
        {
            "device": {
                "identifiers": [identity],
                "name": f"Familiar {topics.client_id}",
                "sw_version": version,
            },
            "origin": {"name": "Familiar", "sw_version": version},
            "availability_topic": topics.availability,
            "availability_template": "{{ value_json.state }}",
            "qos": 1,
            "components": {
                key: {**component, "unique_id": f"{identity}/{key}"}
                for key, component in components.items()
            },
        },
        ensure_ascii=False,
    ).encode()


def _diagnostic(topic: str, name: str, field: str) -> dict[str, Any]:
    """A sensor of one field of a state; null is unknown there."""
    return {
        "platform": "sensor",
        "name": name,
        "entity_category": "diagnostic",
        "state_topic": topic,
        "value_template": f"{{{{ value_json.{field} }}}}",
    }
