"""What a device says of itself after an installation, so that erasure can be confirmed.

Canonical JSON (`core/canonical.py`) of the statement and its signature: Ed25519 by the device's
signing key over `familiar acknowledgment 1`, a zero byte, and the canonical JSON of the statement.

The generation is the number against replay: a device never goes back to an older one, so whoever
keeps the highest per device learns nothing wrong from a statement that is sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_app.core.canonical import from_json, to_json
from edge_app.errors import GalleryError
from edge_app.records import NODE_NAME_PATTERN

MAX_ACKNOWLEDGMENT_BYTES: Final = 1_024
_FORMAT: Final = 1
_CONTEXT: Final = b"familiar acknowledgment 1\0"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")
_FLEET: Final = re.compile(NODE_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Acknowledgment:
    """This device holds this generation of its fleet, and has deleted every older one.

    time: of saying so, by the device's own clock; nothing is judged by it.
    """

    format: int
    fleet: str
    device_id: str
    generation: int
    time: datetime


@dataclass(frozen=True, slots=True)
class SignedAcknowledgment:
    """signature: in hex."""

    statement: Acknowledgment
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """received: by the operator's clock; the statement's own time is the device's."""

    received: datetime
    signed: SignedAcknowledgment


@dataclass(frozen=True, slots=True)
class Erasure:
    """How far somebody's departure from a fleet has come.

    generation:   the first one without them.
    devices:      of the fleet now.
    acknowledged: of those, how many hold that generation or a newer one, and nothing older.
    removed:      devices that left the fleet after the person came, and never said so; they
                  cannot be asked any more.
    """

    generation: int
    devices: int
    acknowledged: int
    removed: int


def sign_acknowledgment(
    key: Ed25519PrivateKey, *, fleet: str, device_id: str, generation: int, time: datetime
) -> bytes:
    """The bytes to send. time: aware, UTC.

    Raises:
        GalleryError: a value is out of range.
    """
    whole = time.replace(microsecond=0)
    statement = Acknowledgment(_FORMAT, fleet, device_id, generation, whole)
    signed = SignedAcknowledgment(statement, key.sign(_message(statement)).hex())
    _require_sound(signed)
    return to_json(signed, _malformed)


def decode_acknowledgment(data: bytes) -> SignedAcknowledgment:
    """What was sent; who signed it is not verified yet.

    Raises:
        GalleryError: malformed, or not in canonical form.
    """
    if len(data) > MAX_ACKNOWLEDGMENT_BYTES:
        raise _malformed("record", f"of at most {MAX_ACKNOWLEDGMENT_BYTES} bytes")
    signed = from_json(data, SignedAcknowledgment, _malformed)
    _require_sound(signed)
    return signed


def encode_acknowledgment(signed: SignedAcknowledgment) -> bytes:
    """The bytes as they were sent."""
    return to_json(signed, _malformed)


def verify_acknowledgment(
    signed: SignedAcknowledgment, *, signing_key: bytes, fleet: str, device_id: str
) -> None:
    """Pass if this device of this fleet said so.

    signing_key: the device's raw Ed25519 public key.

    Raises:
        GalleryError: it did not.
    """
    _require_sound(signed)
    statement = signed.statement
    if (statement.fleet, statement.device_id) != (fleet, device_id):
        raise _malformed("fleet or device_id", "the one that was expected")
    try:
        key = Ed25519PublicKey.from_public_bytes(signing_key)
        key.verify(bytes.fromhex(signed.signature), _message(statement))
    except (InvalidSignature, ValueError) as error:
        raise _malformed("signature", "that device's") from error


def _message(statement: Acknowledgment) -> bytes:
    return _CONTEXT + to_json(statement, _malformed)


def _require_sound(signed: SignedAcknowledgment) -> None:
    def require(condition: bool, where: str, expected: str) -> None:
        if not condition:
            raise _malformed(where, expected)

    statement = signed.statement
    require(statement.format == _FORMAT, "format", f"{_FORMAT}")
    named = _FLEET.fullmatch(statement.fleet) is not None
    require(named, "fleet", "a name of a-z, 0-9 and -")
    require(_DIGEST.fullmatch(statement.device_id) is not None, "device_id", "SHA-256 in hex")
    require(statement.generation > 0, "generation", "at least 1")
    require(_SIGNATURE.fullmatch(signed.signature) is not None, "signature", "64 bytes in hex")


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(
        f"the acknowledgment cannot be used: {where} is not {expected}; let the device sync again"
    )
