"""What an operator lets others see of a fleet, for pages that hold none of its keys.

Canonical JSON (`core/canonical.py`) in one file: pseudonyms of consents and their dates, devices
with what they said, and how far departures have come. No name, template or code is in it, and no
whole digest of a code.

The file states what was so when it was `made`. What follows from the time is worked out by whoever
reads it, by their own clock, so that an old file does not call an ended consent valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from edge_app.core.acknowledge import Erasure, Receipt, verify_acknowledgment
from edge_app.core.canonical import from_json, to_json
from edge_app.errors import GalleryError
from edge_app.records import NODE_NAME_PATTERN, Purpose

MAX_OVERVIEW_BYTES: Final = 64 * 2**20
"""Enough for 200,000 people."""

EXPIRES_SOON: Final = timedelta(days=30)

MADE_EVERY: Final = timedelta(minutes=10)
"""A file that is kept up is written anew at least this often."""

SHOWN_DIGITS: Final = 12
"""Of a code's digest; they tell departures apart, and stand for no code."""

_FORMAT: Final = 1
_YEAR_S: Final = 366 * 86_400
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN: Final = re.compile(rf"[0-9a-f]{{{SHOWN_DIGITS}}}")
_FLEET: Final = re.compile(NODE_NAME_PATTERN)


class Leaving(StrEnum):
    """Why the next publication leaves somebody out, whatever the time.

    WITHDRAWN:         their revocation waits in the inbox.
    UNTRUSTED_STATION: the station that enrolled them was removed.
    """

    WITHDRAWN = "withdrawn"
    UNTRUSTED_STATION = "untrusted_station"


class PersonState(StrEnum):
    """Where somebody enrolled stands; the first that holds, from the bottom up.

    VALID:    devices may recognise them.
    EXPIRING: the same, and not for longer than `EXPIRES_SOON`.
    EXPIRED:  no device recognises them any more; they are kept until retention ends.
    RETENTION_ENDED, UNTRUSTED_STATION, WITHDRAWN: the next publication leaves them out.
    """

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    RETENTION_ENDED = "retention_ended"
    UNTRUSTED_STATION = "untrusted_station"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class PersonEntry:
    """Somebody in the gallery, by their consent.

    record_id:   as in alerts.
    since:       the first generation with them.
    valid_until: when the consent ends.
    ends:        when retention ends.
    """

    record_id: str
    since: int
    station_id: str
    valid_until: datetime
    ends: datetime
    leaving: Leaving | None

    @property
    def until(self) -> datetime:
        """When devices stop to recognise them."""
        return min(self.valid_until, self.ends)


@dataclass(frozen=True, slots=True)
class StationEntry:
    """trusted: or it was removed."""

    name: str
    station_id: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device of the fleet, or one that was.

    signing_key: Ed25519, public, raw, in hex: what it said is verified with it.
    removed:     the newest generation when it was removed; None: it belongs to the fleet.
    said:        its newest statement of what it holds; None: it never made one.
    """

    name: str
    device_id: str
    signing_key: str
    removed: int | None
    said: Receipt | None

    @property
    def acknowledged(self) -> int | None:
        """The generation it said it holds, and nothing older."""
        return self.said.signed.statement.generation if self.said else None


@dataclass(frozen=True, slots=True)
class DepartureEntry:
    """Somebody who left.

    digest: the first `SHOWN_DIGITS` of their code's.
    since:  the first generation with them; 0 if the fleet never had them.
    """

    digest: str
    since: int
    erasure: Erasure


@dataclass(frozen=True, slots=True)
class ExpiryEntry:
    """Of the metadata of a role: `root`, `targets`, `snapshot` or `timestamp`."""

    role: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """A fleet at one moment.

    published:   when the newest generation was made; None before the first.
    made:        when this was written.
    lease_s:     how long devices match after they last heard of the repository.
    fresh_until: devices stop to match then, unless the operator renews or publishes before.
    waiting:     files in the inbox; refused: those that were set aside.
    people:      by `record_id`.
    devices:     of the fleet, then those that were removed.
    """

    format: int
    fleet: str
    purpose: Purpose
    generation: int
    published: datetime | None
    made: datetime
    lease_s: int
    fresh_until: datetime
    expiries: tuple[ExpiryEntry, ...]
    waiting: int
    refused: int
    people: tuple[PersonEntry, ...]
    devices: tuple[DeviceEntry, ...]
    stations: tuple[StationEntry, ...]
    departures: tuple[DepartureEntry, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows how far one departure has come.

    digest:      as of the departure.
    generation:  the first one without the person.
    made:        when the overview was written.
    erased:      devices that said that they hold nothing older; removed ones among them.
    pending:     devices of the fleet that did not say so yet.
    unreachable: removed devices that may have had the person and never said so; they cannot be
        asked any more.
    """

    format: int
    fleet: str
    digest: str
    generation: int
    made: datetime
    erased: tuple[DeviceEntry, ...]
    pending: tuple[DeviceEntry, ...]
    unreachable: tuple[DeviceEntry, ...]


# --------------------------------------------------------------------- what follows from it


def consent_state(person: PersonEntry, now: datetime) -> PersonState:
    """Where a person stands. now: aware."""
    if person.leaving is not None:
        return PersonState(person.leaving.value)
    if person.ends <= now:
        return PersonState.RETENTION_ENDED
    if person.until <= now:
        return PersonState.EXPIRED
    if person.until - now <= EXPIRES_SOON:
        return PersonState.EXPIRING
    return PersonState.VALID


def is_stale(overview: Overview, device: DeviceEntry, now: datetime) -> bool:
    """Whether a device of the fleet has not acknowledged the newest generation within the lease,
    in which it must have fetched it or stopped to match."""
    if overview.published is None or device.removed is not None:
        return False
    overdue = now - overview.published > timedelta(seconds=overview.lease_s)
    return overdue and device.acknowledged != overview.generation


def expires_soon(overview: Overview, expiry: ExpiryEntry, now: datetime) -> bool:
    """Whether a role's metadata ends within `EXPIRES_SOON`; a timestamp's: half a lease."""
    half_lease = timedelta(seconds=overview.lease_s) / 2
    soon = half_lease if expiry.role == "timestamp" else EXPIRES_SOON
    return expiry.expires - now <= soon


def is_old(overview: Overview, now: datetime) -> bool:
    """Whether nobody keeps the file up: two times in which it had to be written were missed."""
    return now - overview.made > 2 * MADE_EVERY


def erasure_evidence(overview: Overview, departure: DepartureEntry) -> Evidence:
    """Which devices said that they hold nothing of a departure's person, and which did not."""
    generation = departure.erasure.generation

    def there(device: DeviceEntry) -> bool:
        return device.acknowledged is not None and device.acknowledged >= generation

    silent = [device for device in overview.devices if not there(device)]
    return Evidence(
        format=_FORMAT,
        fleet=overview.fleet,
        digest=departure.digest,
        generation=generation,
        made=overview.made,
        erased=tuple(filter(there, overview.devices)),
        pending=tuple(device for device in silent if device.removed is None),
        # One that was removed before the person came never had them.
        unreachable=tuple(
            device
            for device in silent
            if device.removed is not None and device.removed >= departure.since
        ),
    )


# ---------------------------------------------------------------------------------- as bytes


def encode_overview(overview: Overview) -> bytes:
    """Its canonical bytes. Raises GalleryError if a value is out of range, or it is too large."""
    data = to_json(overview, _malformed)
    _require_sound(overview)
    _require(len(data) <= MAX_OVERVIEW_BYTES, "record", f"of at most {MAX_OVERVIEW_BYTES} bytes")
    return data


def decode_overview(data: bytes) -> Overview:
    """The overview whose canonical bytes these are; every device's statement in it is verified.

    Raises:
        GalleryError: anything else, or too large.
    """
    _require(len(data) <= MAX_OVERVIEW_BYTES, "record", f"of at most {MAX_OVERVIEW_BYTES} bytes")
    overview = from_json(data, Overview, _malformed)
    _require_sound(overview)
    for device in overview.devices:
        if device.said is not None:
            verify_acknowledgment(
                device.said.signed,
                signing_key=bytes.fromhex(device.signing_key),
                fleet=overview.fleet,
                device_id=device.device_id,
            )
    return overview


def encode_evidence(evidence: Evidence) -> bytes:
    """Canonical JSON to hand out: whoever has the devices' keys can verify what is in `erased`."""
    return to_json(evidence, _malformed)


def _require_sound(overview: Overview) -> None:
    newest = overview.generation
    _require(overview.format == _FORMAT, "format", f"{_FORMAT}")
    _require(_FLEET.fullmatch(overview.fleet) is not None, "fleet", "a name of a-z, 0-9 and -")
    _require(0 < overview.lease_s <= _YEAR_S, "lease_s", "from a second to a year")
    _require((newest == 0) == (overview.published is None), "published", "of the generation")
    ids = [person.record_id for person in overview.people]
    _require(ids == sorted(set(ids)) and "" not in ids, "people", "each once, by record_id")
    _require(all(0 < p.since <= newest for p in overview.people), "since", "a generation")
    _require_digests("station_id", [person.station_id for person in overview.people])
    _require_digests("station_id", [station.station_id for station in overview.stations])
    _require_distinct("stations", [station.station_id for station in overview.stations])
    _require_digests("device_id", [device.device_id for device in overview.devices])
    _require_distinct("devices", [device.device_id for device in overview.devices])
    _require_digests("signing_key", [device.signing_key for device in overview.devices])
    for device in overview.devices:
        # What it said may be newer: the book may have been restored from a backup.
        _require(device.removed is None or device.removed <= newest, "removed", "a generation")
    for gone in overview.departures:
        come = gone.erasure
        _require(_SHOWN.fullmatch(gone.digest) is not None, "digest", f"{SHOWN_DIGITS} hex digits")
        _require(gone.since < come.generation <= newest, "departures", "of a generation")
        _require(come.acknowledged <= come.devices, "acknowledged", "of the devices")


def _require_digests(where: str, values: list[str]) -> None:
    _require(all(map(_DIGEST.fullmatch, values)), where, "32 bytes in hex")


def _require_distinct(where: str, values: list[str]) -> None:
    _require(len(set(values)) == len(values), where, "each once")


def _require(condition: bool, where: str, expected: str) -> None:
    if not condition:
        raise _malformed(where, expected)


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(
        f"the overview cannot be used: {where} is not {expected}; let `familiar operator overview` "
        "write it anew"
    )
