"""Presents a revocation code to an operator's service."""

from __future__ import annotations

import ipaddress
import json
from typing import Final
from urllib.parse import urlsplit

import urllib3

from edge_app.core.revocation import normalise_code
from edge_app.errors import ConfigError, ConsentError, DeliveryError

_TIMEOUT_S: Final = 15.0


def send_revocation(url: str, code: str) -> None:
    """Let the holder of a code leave. When this returns, the operator has stored it.

    url: of the service; https, or http on this machine.

    Raises:
        ConfigError: not such an address.
        ConsentError: not a revocation code.
        DeliveryError: the operator was not reached, or did not take it.
    """
    body = json.dumps({"code": normalise_code(code)})
    _require_private(url)
    try:
        response = urllib3.request(
            "POST",
            url.rstrip("/") + "/revoke",
            body=body,
            headers={"Content-Type": "application/json"},
            timeout=_TIMEOUT_S,
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise DeliveryError(
            f"the operator at {url} is not reached: {error}; try again, or present the code at a "
            "device or a station"
        ) from error
    if response.status == 400:
        raise ConsentError("the operator does not know such codes; compare it with the receipt")
    if response.status != 202:
        raise DeliveryError(
            f"the operator at {url} did not take it (HTTP {response.status}); try again, or "
            "present the code at a device or a station"
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
