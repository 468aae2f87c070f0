"""What a message over MQTT is to the backend, before anything of it is kept."""

from __future__ import annotations

import re
from typing import Final

from edge_app.adapters.events import from_cloudevent
from edge_app.errors import DeliveryError
from edge_app.records import NODE_NAME_PATTERN, Alert

_MATCH_TOPIC: Final = re.compile(
    rf"familiar/v1/({NODE_NAME_PATTERN})/({NODE_NAME_PATTERN})/event/match"
)
_LARGEST: Final = 2**63 - 1  # what both databases have room for


def read_match(topic: str, payload: bytes) -> Alert:
    """The alert in a message.

    Raises:
        DeliveryError: not a match event, not of the device whose topic this is, or with numbers
            that no device counts up to. The text holds nothing of its content.
    """
    alert = from_cloudevent(payload)
    found = _MATCH_TOPIC.fullmatch(topic)
    # The broker lets a device use its own topics only: the topic is true, the payload is a claim.
    if found is None or found.groups() != (alert.site, alert.device):
        raise DeliveryError("a match event is not of the device whose topic it came on")
    if max(alert.sequence, alert.gallery_generation, alert.tracklet_frames) > _LARGEST:
        raise DeliveryError("a match event counts further than any device does")
    return alert
