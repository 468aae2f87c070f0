"""What an owner does with the people in this home's gallery: list, export, remove, revoke."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_app.app import Home, embedder_sha256, intended_use
from edge_app.config import Config
from edge_app.core.consent import check, encode
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import GalleryError
from edge_app.ports import Clock
from edge_app.records import Enrolment


@dataclass(frozen=True, slots=True)
class Person:
    """One stored person as the owner sees them. `fault`: why they are not matched; or empty."""

    person_id: str
    name: str
    relation: str
    purpose: str
    templates: int
    valid_until: datetime
    demo: bool
    fault: str


def list_people(config: Config, home: Home, clock: Clock) -> list[Person]:
    """Everyone in the store, those who may not be matched last. Raises GalleryError."""
    people = [_person(enrolment, fault) for enrolment, fault in _everyone(config, home, clock)]
    return sorted(people, key=lambda p: (p.fault != "", p.name))


def export_person(config: Config, home: Home, person_id: str, clock: Clock) -> str:
    """What is stored of one person, as JSON, for that person, whether they are matched or not.

    Templates are named by their hashes: their numbers never leave the device (P5). Raises
    GalleryError if nobody has this id.
    """
    for enrolment, fault in _everyone(config, home, clock):
        if enrolment.person_id == person_id:
            return record_json(enrolment, fault)
    raise GalleryError(f"nobody here has the id {person_id}; see `familiar people list`")


def person_with_code(
    config: Config, home: Home, code: str, clock: Clock
) -> tuple[Enrolment, str] | None:
    """Whoever holds this revocation code, and why they are not matched, or an empty text.

    Raises:
        ConsentError: not a revocation code.
        GalleryError: the store cannot be read.
    """
    digest = revocation_sha256(normalise_code(code))
    for enrolment, fault in _everyone(config, home, clock):
        if enrolment.consent.record.revocation_sha256 == digest:
            return enrolment, fault
    return None


def record_json(enrolment: Enrolment, fault: str) -> str:
    """What is stored of a person, without the numbers of their templates (P5)."""
    content = {
        "name": enrolment.name,
        "relation": enrolment.relation,
        "consent_record": json.loads(encode(enrolment.consent.record)),
        "signed_by_station": enrolment.consent.station_id,
        "signature": enrolment.consent.signature.hex(),
        "fault": fault,
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _everyone(config: Config, home: Home, clock: Clock) -> list[tuple[Enrolment, str]]:
    """All stored people, each with why they are not matched, or an empty text."""
    use = intended_use(config, home, embedder_sha256(config))
    store, now = home.store(), clock.now()
    tombstones = store.tombstones()
    faults = ((p, check(p, use, tombstones=tombstones, now=now)) for p in store.everyone())
    return [(person, "" if fault is None else fault.value) for person, fault in faults]


def _person(enrolment: Enrolment, fault: str) -> Person:
    record = enrolment.consent.record
    return Person(
        person_id=enrolment.person_id,
        name=enrolment.name,
        relation=enrolment.relation,
        purpose=record.purpose.value,
        templates=len(enrolment.templates),
        valid_until=record.event_time + timedelta(seconds=record.validity_duration_s),
        demo=record.demo,
        fault=fault,
    )
