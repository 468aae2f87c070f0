"""Presents a revocation code to an operator's service."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict
from typing import Final
from urllib.parse import urlsplit

from edge_app.adapters.post import ERASURE_DOOR, JSON, REVOKE_DOOR, Answer, post
from edge_app.core.acknowledge import Erasure
from edge_app.core.revocation import normalise_code
from edge_app.errors import ConfigError, ConsentError, DeliveryError

_DEADLINE_S: Final = 15.0


def send_revocation(url: str, code: str) -> None:
    """Let the holder of a code leave. When this returns, the operator has stored it.

    url: of the service; https, or http on this machine.

    Raises:
        ConfigError: not such an address.
        ConsentError: not a revocation code.
        DeliveryError: the operator was not reached, or did not take it.
    """
    answer = _present(url, REVOKE_DOOR, code)
    if answer.status != 202:
        raise _not_taken(url, answer)


def ask_erasure(url: str, code: str) -> Erasure | None:
    """How far the erasure of a code's holder has come; None if they are not left out yet.

    Raises as `send_revocation` does.
    """
    answer = _present(url, ERASURE_DOOR, code)
    try:
        said = json.loads(answer.body) if answer.status == 200 else None
        if said == {"left_out": False}:
            return None
        if isinstance(said, dict) and said.pop("left_out", None) is True:
            counts = Erasure(**said)
            if all(type(count) is int for count in asdict(counts).values()):
                return counts
    except (ValueError, TypeError, RecursionError):
        pass
    raise _not_taken(url, answer)


def _present(url: str, door: str, code: str) -> Answer:
    body = json.dumps({"code": normalise_code(code)}).encode()
    _require_private(url)
    answer = post(url, door, body, kind=JSON, deadline_s=_DEADLINE_S)
    if answer.status == 400:
        raise ConsentError("the operator does not know such codes; compare it with the receipt")
    return answer


def _not_taken(url: str, answer: Answer) -> DeliveryError:
    return DeliveryError(
        f"the operator at {url} did not take it (HTTP {answer.status}); try again, or present the "
        "code at a device or a station"
    )


def _require_private(url: str) -> None:
    """The code is a secret until it is used: it travels encrypted, or not at all."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_this_machine(parts.hostname or ""):
        return
    raise ConfigError(f"{url} is neither https nor on this machine; a code is sent encrypted only")


def is_this_machine(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
