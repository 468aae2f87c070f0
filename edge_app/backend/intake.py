"""What a message over MQTT is to the backend, before anything of it is kept."""

from __future__ import annotations

import re
from typing import Final

from edge_app.adapters.events import departure_from_cloudevent, from_cloudevent
from edge_app.errors import DeliveryError
from edge_app.records import NODE_NAME_PATTERN, Alert, Departure

_TOPIC: Final = re.compile(
    rf"familiar/v1/({NODE_NAME_PATTERN})/({NODE_NAME_PATTERN})/event/(match|departure)"
)
_LARGEST: Final = 2**63 - 1  # what both databases have room for


def read_message(topic: str, payload: bytes) -> Alert | Departure:
    """What a device says on this topic.

    Raises:
        DeliveryError: no such event, not of the device whose topic this is, or with numbers that
            no device counts up to. The text holds nothing of its content.
    """
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise DeliveryError("an event came on a topic that has none")
    site, device, kind = found.groups()
    event = from_cloudevent(payload) if kind == "match" else departure_from_cloudevent(payload)
    # The broker lets a device use its own topics only: the topic is true, the payload is a claim.
    if (site, device) != (event.site, event.device):
        raise DeliveryError("an event is not of the device whose topic it came on")
    if (
        isinstance(event, Alert)
        and max(event.sequence, event.gallery_generation, event.tracklet_frames) > _LARGEST
    ):
        raise DeliveryError("an event counts further than any device does")
    return event
