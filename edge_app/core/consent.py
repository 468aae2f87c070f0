"""Consent as bytes, as a state, and as a verdict: may this template be used now? (P2)

A record has exactly one form as bytes (`core/canonical.py`), and `decode` accepts no other, so a
signature covers one meaning only.

The signature binds templates by content: a template's id is the digest of its embedding, and
the ids are part of the record. Exchanging a template under a valid signature changes its id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from edge_app.core.canonical import from_json, to_json
from edge_app.errors import ConsentError
from edge_app.records import (
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Enrolment,
    EventType,
    Float32Array,
    LawfulBasis,
    Purpose,
    SignedConsent,
)

SCHEMA_VERSION: Final = "ISO/IEC TS 27560:2023 familiar/1"
"""Part of the signed bytes, so that no other document of a station reads as a consent record."""

MAX_DURATION_S: Final = 100 * 366 * 86_400
_SIGNATURE_BYTES: Final = 64
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ConsentFault(StrEnum):
    """Why a template may not be used. Only counts of these leave the device."""

    MALFORMED = "malformed"
    UNKNOWN_STATION = "unknown_station"
    NOT_SIGNED = "not_signed"
    TEMPLATES_DIFFER = "templates_differ"
    MISLABELLED_DEMO = "mislabelled_demo"
    BASIS_NOT_ALLOWED = "basis_not_allowed"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_MODEL = "wrong_model"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"
    ERASED = "erased"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


class ConsentEvent(StrEnum):
    """What can happen to a consent that was given."""

    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """What one device would use templates for.

    trusted_stations: station id -> raw Ed25519 public key (32 bytes) of every enrolment
                      station that the operator delegated to.
    """

    purpose: Purpose
    model_sha256: str
    trusted_stations: Mapping[str, bytes]


# ------------------------------------------------------------------------------ verdicts


def check(
    enrolment: Enrolment, use: IntendedUse, *, tombstones: AbstractSet[str], now: datetime
) -> ConsentFault | None:
    """The first reason why this person's templates may not be used now; None if they may.

    tombstones: digests as `tombstone_ids` makes them.
    now:        aware, UTC.

    Authenticity comes first: nothing that an unsigned record says is worth reporting.
    """
    return (
        _signature_fault(enrolment.consent, use.trusted_stations)
        or _content_fault(enrolment)
        or _use_fault(enrolment.consent.record, use)
        or _standing_fault(enrolment.consent.record, tombstones, now)
    )


def lasting_fault(
    enrolment: Enrolment, stations: Mapping[str, bytes], *, message: bytes | None
) -> ConsentFault | None:
    """The part of `check` that time, tombstones and the device's use do not change.

    stations: id -> raw Ed25519 public key.
    message:  the canonical bytes that the record was decoded from; None: not at hand.
    """
    return (
        _signature_fault(enrolment.consent, stations, message)
        or _content_fault(enrolment)
        or _STATE_FAULTS[_recorded_state(enrolment.consent.record)]
    )


def time_fault(record: ConsentRecord, now: datetime) -> ConsentFault | None:
    """What the clock alone says against a record; cheap enough for every match.

    Both the consent's validity and the retention period end the use. A clock that stands
    before the consent was given is wrong, and proves nothing about its end either.
    """
    age_s = (now - record.event_time).total_seconds()
    if age_s < 0:
        return ConsentFault.NOT_YET_VALID
    if age_s >= min(record.validity_duration_s, record.retention_s):
        return ConsentFault.EXPIRED
    return None


def _signature_fault(
    consent: SignedConsent, trusted_stations: Mapping[str, bytes], message: bytes | None = None
) -> ConsentFault | None:
    public_key = trusted_stations.get(consent.station_id)
    if public_key is None:
        return ConsentFault.UNKNOWN_STATION
    try:
        message = message or encode(consent.record)
    except ConsentError:
        return ConsentFault.MALFORMED
    # libsodium takes 0.056 ms where OpenSSL takes 0.097, and galleries hold 50,000. It reads
    # signature and message as one: another length would shift the border between them.
    if len(consent.signature) != _SIGNATURE_BYTES:
        return ConsentFault.NOT_SIGNED
    try:
        crypto_sign_open(consent.signature + message, public_key)
    except BadSignatureError:
        return ConsentFault.NOT_SIGNED
    return None


def _content_fault(enrolment: Enrolment) -> ConsentFault | None:
    record = enrolment.consent.record
    if tuple(template_id(t.embedding) for t in enrolment.templates) != record.template_ids:
        return ConsentFault.TEMPLATES_DIFFER
    if tuple(t.template_id for t in enrolment.templates) != record.template_ids:
        return ConsentFault.TEMPLATES_DIFFER
    if record.demo != (record.collection_method is CollectionMethod.DEMO_REPLAY):
        return ConsentFault.MISLABELLED_DEMO
    represented = record.lawful_basis is LawfulBasis.LEGAL_REPRESENTATIVE
    if represented and record.purpose is not Purpose.CARE:
        return ConsentFault.BASIS_NOT_ALLOWED
    return None


def _use_fault(record: ConsentRecord, use: IntendedUse) -> ConsentFault | None:
    if record.purpose is not use.purpose:
        return ConsentFault.WRONG_PURPOSE
    if record.model_sha256 != use.model_sha256:
        return ConsentFault.WRONG_MODEL
    return None


def _standing_fault(
    record: ConsentRecord, tombstones: AbstractSet[str], now: datetime
) -> ConsentFault | None:
    if not tombstones.isdisjoint(tombstone_ids(record)):
        return ConsentFault.REVOKED
    return _STATE_FAULTS[standing(record, now)] or time_fault(record, now)


# -------------------------------------------------------------------------------- states

_STATE_FAULTS: Final[Mapping[ConsentState, ConsentFault | None]] = {
    ConsentState.ACTIVE: None,
    ConsentState.WITHDRAWN: ConsentFault.WITHDRAWN,
    ConsentState.EXPIRED: ConsentFault.EXPIRED,
    ConsentState.ERASED: ConsentFault.ERASED,
}

_TRANSITIONS: Final[Mapping[tuple[ConsentState, ConsentEvent], ConsentState]] = {
    (ConsentState.ACTIVE, ConsentEvent.WITHDRAW): ConsentState.WITHDRAWN,
    (ConsentState.ACTIVE, ConsentEvent.EXPIRE): ConsentState.EXPIRED,
    (ConsentState.ACTIVE, ConsentEvent.ERASE): ConsentState.ERASED,
    (ConsentState.EXPIRED, ConsentEvent.WITHDRAW): ConsentState.WITHDRAWN,
    (ConsentState.EXPIRED, ConsentEvent.ERASE): ConsentState.ERASED,
    (ConsentState.WITHDRAWN, ConsentEvent.ERASE): ConsentState.ERASED,
}


def transition(state: ConsentState, event: ConsentEvent) -> ConsentState:
    """The state after an event. Events that say nothing new leave the state as it is.

    No event leads back to ACTIVE: whoever agrees again gives a new consent, with a record,
    templates and a revocation code of its own.
    """
    return _TRANSITIONS.get((state, event), state)


def standing(record: ConsentRecord, now: datetime) -> ConsentState:
    """Where a consent stands now, by its record and the clock."""
    state = _recorded_state(record)
    if time_fault(record, now) is ConsentFault.EXPIRED:
        state = transition(state, ConsentEvent.EXPIRE)
    return state


def _recorded_state(record: ConsentRecord) -> ConsentState:
    state = record.event_state
    if record.event_type is EventType.WITHDRAWN:
        state = transition(state, ConsentEvent.WITHDRAW)
    if record.erasure_confirmed_generation is not None:
        state = transition(state, ConsentEvent.ERASE)
    return state


# ------------------------------------------------------------------- digests and signing


def template_id(embedding: Float32Array) -> str:
    """Hex SHA-256 of an embedding, shape (dim,), as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(embedding, dtype="<f4").data).hexdigest()


def tombstone_ids(record: ConsentRecord) -> frozenset[str]:
    """The digests of which any one among the tombstones bars this record for ever.

    One stands for the record, for removal on the device; one is the digest of the revocation
    code. Both come from random values, so a list of tombstones tells nothing of people.
    """
    of_record = hashlib.sha256(b"familiar record\0" + record.record_id.encode()).hexdigest()
    return frozenset({of_record, record.revocation_sha256})


def station_id(public_key: bytes) -> str:
    """Hex SHA-256 of a station's raw Ed25519 public key."""
    return hashlib.sha256(public_key).hexdigest()


def sign(record: ConsentRecord, station: Ed25519PrivateKey) -> SignedConsent:
    """The record with the station's signature over its canonical bytes.

    Raises:
        ConsentError: the record is malformed.
    """
    public_key = station.public_key().public_bytes_raw()
    return SignedConsent(record, station_id(public_key), station.sign(encode(record)))


# ----------------------------------------------------------------------- canonical bytes


def encode(record: ConsentRecord) -> bytes:
    """The canonical bytes of a record.

    Raises:
        ConsentError: a field is of the wrong type or out of range, or a time is not UTC.
    """
    data = to_json(record, _malformed)
    _require_sound(record)
    return data


def decode(data: bytes) -> ConsentRecord:
    """The record whose canonical bytes these are.

    Raises:
        ConsentError: anything else: keys missing, unknown or doubled, values of another type,
            or the same values written in another way.
    """
    record = from_json(data, ConsentRecord, _malformed)
    _require_sound(record)
    return record


def _malformed(where: str, expected: str) -> ConsentError:
    return ConsentError(
        f"the consent record is malformed: {where} is not {expected}; enrol the person again"
    )


def _require(condition: bool, where: str, expected: str) -> None:
    if not condition:
        raise _malformed(where, expected)


def _require_sound(record: ConsentRecord) -> None:
    """Rules that types do not express."""
    _require(record.schema_version == SCHEMA_VERSION, "schema_version", f"{SCHEMA_VERSION!r}")
    digests = {
        "privacy_notice.text_sha256": (record.privacy_notice.text_sha256,),
        "model_sha256": (record.model_sha256,),
        "revocation_sha256": (record.revocation_sha256,),
        "template_ids": record.template_ids,
    }
    for name, values in digests.items():
        _require(all(map(_DIGEST.fullmatch, values)), name, "SHA-256 in lower-case hex")
    distinct = len(set(record.template_ids)) == len(record.template_ids) > 0
    _require(distinct, "template_ids", "a list of one or more different ids")
    _require(bool(record.pii_controllers), "pii_controllers", "a list of one or more")
    for name, text in (
        ("record_id", record.record_id),
        ("pii_principal_id", record.pii_principal_id),
        ("withdrawal_method", record.withdrawal_method),
    ):
        _require(bool(text), name, "filled in")
    for name, duration_s in (
        ("retention_s", record.retention_s),
        ("validity_duration_s", record.validity_duration_s),
    ):
        _require(0 < duration_s <= MAX_DURATION_S, name, "between one second and a century")
