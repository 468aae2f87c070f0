"""What a device can be asked to do over MQTT 5, and what it answers: `cmd/request`, `reply/{id}`.

There is one request: `{"request": "revoke", "code": "..."}`. Whoever presents a code is answered
the same, whether anybody has it: the answer tells nothing of who is enrolled.

A code cannot be guessed: it has 120 random bits, and a device takes one request a second. One
guess a second meets one of 50,000 people's codes after 2**104 seconds on average; the universe
is 2**59 seconds old.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from edge_app.core.revocation import normalise_code
from edge_app.errors import DeliveryError

MAX_REQUEST_BYTES: Final = 1_024
MAX_REPLY_BYTES: Final = 1_024
_FORM: Final = 'send {"request": "revoke", "code": "..."} with the code on the receipt'


class Status(StrEnum):
    """How a request ended.

    LEFT:        whoever holds the code is out, if anybody does.
    MALFORMED:   not a request, or not a code.
    BUSY:        too many requests; try again later.
    FAILED:      the device could not store it.
    UNSUPPORTED: the request named no place for the answer that the device may use.
    """

    LEFT = "left"
    MALFORMED = "malformed"
    BUSY = "busy"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Reply:
    """detail: one line for people; it never repeats the request."""

    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class RevokeRequest:
    """Let the holder of a code leave. code: normalised."""

    code: str = field(repr=False)


def encode_request(request: RevokeRequest) -> bytes:
    return json.dumps({"request": "revoke", "code": request.code}).encode()


def decode_request(payload: bytes) -> RevokeRequest:
    """Read a request.

    Raises:
        DeliveryError: not a request.
        ConsentError: not a revocation code. Neither message repeats any of it.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise DeliveryError(f"a request has {MAX_REQUEST_BYTES} bytes at most; {_FORM}")
    fields = _object(payload)
    if fields is None or set(fields) != {"request", "code"} or fields["request"] != "revoke":
        raise DeliveryError(f"this is not a request; {_FORM}")
    if not isinstance(fields["code"], str):
        raise DeliveryError(f"the code is not a text; {_FORM}")
    return RevokeRequest(normalise_code(fields["code"]))


def encode_reply(reply: Reply) -> bytes:
    return json.dumps({"status": reply.status.value, "detail": reply.detail}).encode()


def decode_reply(payload: bytes) -> Reply:
    """Read an answer. Raises DeliveryError."""
    fields = _object(payload) if len(payload) <= MAX_REPLY_BYTES else None
    if fields is None or set(fields) != {"status", "detail"}:
        raise DeliveryError("the device's answer cannot be read; is it of this version?")
    status, detail = fields["status"], fields["detail"]
    if status not in list(Status) or not isinstance(detail, str) or not detail.isprintable():
        raise DeliveryError("the device's answer cannot be read; is it of this version?")
    return Reply(Status(status), detail)


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
