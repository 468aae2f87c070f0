"""What is done to devices over MQTT: a person leaves, an operator hints at a new gallery."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from edge_app.adapters.mqtt import Outgoing, Topics, ask, tell_all
from edge_app.adapters.revocation_client import is_this_machine
from edge_app.app import broker, link_settings
from edge_app.config import Config
from edge_app.core.request import (
    Reply,
    RevokeRequest,
    Status,
    decode_reply,
    encode_request,
)
from edge_app.core.revocation import normalise_code
from edge_app.errors import ConfigError, DeliveryError

ANSWER_TIMEOUT_S: Final = 30.0


def revoke_at_device(config: Config, url: str, device: str, code: str) -> Reply:
    """Let the holder of a code leave one device of this site, over MQTT 5.

    url: of the broker; mqtts, or mqtt on this machine.

    Raises:
        ConfigError: not such an address, or no such name.
        ConsentError: not a revocation code.
        DeliveryError: not reached, or the device could not do it.
    """
    payload = encode_request(RevokeRequest(normalise_code(code)))
    address, tls = broker(config, url)
    if not address.tls and not is_this_machine(address.host):
        raise ConfigError(f"{address} is not encrypted; a code is sent over mqtts:// only")
    answer = ask(
        address,
        tls=tls,
        topics=Topics(config.site, device),
        payload=payload,
        client_id=f"familiar-revoke-{os.getpid()}",
        link=link_settings(config),
        timeout_s=ANSWER_TIMEOUT_S,
    )
    reply = decode_reply(answer)
    if reply.status is not Status.LEFT:
        raise DeliveryError(f"the device answers: {reply.detail}")
    return reply


def hint_gallery_changed(config: Config, url: str, devices: Iterable[str], generation: int) -> int:
    """Tell a site's devices to look for a new gallery; returns how many are told.

    The hint is retained: a device that is off hears it when it comes back. It carries no
    authority: whoever sends it makes devices look, and nothing else.

    Raises ConfigError, DeliveryError.
    """
    payload = b'{"generation": %d}' % generation
    hints = [
        Outgoing(Topics(config.site, name).gallery_changed, payload, retain=True)
        for name in sorted(set(devices))
    ]
    address, tls = broker(config, url)
    tell_all(
        address,
        tls=tls,
        messages=hints,
        client_id=f"familiar-operator-{os.getpid()}",
        link=link_settings(config),
    )
    return len(hints)
