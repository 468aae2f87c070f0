"""One POST to an operator's service, over and done with after a fixed time."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from edge_app.errors import ConfigError, DeliveryError

REVOKE_DOOR: Final = "revoke"
ERASURE_DOOR: Final = "erasure"
ACKNOWLEDGE_DOOR: Final = "acknowledge"
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
_MAX_ANSWER_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP. body: what came of its first 64 KiB."""

    status: int
    body: bytes = field(repr=False)


def post(url: str, door: str, body: bytes, *, kind: str, deadline_s: float) -> Answer:
    """Send `body` to `<url>/<door>`; redirects are not followed.

    kind:       the body's media type.
    deadline_s: for everything together; a server that drips bytes is hung up on.

    Raises:
        ConfigError: not an http(s) address.
        DeliveryError: not reached, or no whole answer in time.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in {"http", "https"}:
        raise ConfigError(f"{url} is not an http(s) address; name the operator's service")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=deadline_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=deadline_s)
    until_s = time.monotonic() + deadline_s
    late, watchdog = threading.Event(), None
    try:
        path = f"{parts.path.rstrip('/')}/{door}"
        connection.connect()
        # The timeout of a socket begins anew with every byte; this one does not.
        left_s = max(0.0, until_s - time.monotonic())
        watchdog = threading.Timer(left_s, _hang_up, (connection.sock, late))
        watchdog.daemon = True
        watchdog.start()
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = Answer(response.status, response.read(_MAX_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        why = "it took too long" if late.is_set() else error
        raise DeliveryError(f"the operator at {url} is not reached: {why}; try again") from error
    finally:
        if watchdog is not None:
            watchdog.cancel()
        connection.close()
    if late.is_set():
        raise DeliveryError(f"the operator at {url} is not reached: it took too long; try again")
    return answer


def _hang_up(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):  # closed meanwhile
        connection.shutdown(socket.SHUT_RDWR)
