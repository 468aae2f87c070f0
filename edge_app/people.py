"""What an owner does with the people in this home's gallery: list, export, remove, revoke."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_app.app import Home, embedder_sha256, intended_use
from edge_app.config import Config
from edge_app.core.consent import encode
from edge_app.core.gallery import Admission
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
    valid_until: datetime | None
    demo: bool
    fault: str


def list_people(config: Config, home: Home, clock: Clock) -> list[Person]:
    """Everyone in the store, those who may not be matched last. Raises GalleryError."""
    admission = _admission(config, home, clock)
    usable = [_person(enrolment) for enrolment in admission.enrolments]
    left_out = [
        Person(entry.person_id, entry.name, "", "", 0, None, demo=False, fault=entry.fault.value)
        for entry in admission.left_out
    ]
    return sorted(usable, key=lambda p: p.name) + sorted(left_out, key=lambda p: p.name)


def export_person(config: Config, home: Home, person_id: str, clock: Clock) -> str:
    """What is stored of one person, as JSON, for that person.

    Templates are named by their hashes: their numbers never leave the device (P5). Raises
    GalleryError if nobody has this id.
    """
    for enrolment in _admission(config, home, clock).enrolments:
        if enrolment.person_id == person_id:
            content = {
                "name": enrolment.name,
                "relation": enrolment.relation,
                "consent_record": json.loads(encode(enrolment.consent.record)),
                "signed_by_station": enrolment.consent.station_id,
                "signature": enrolment.consent.signature.hex(),
            }
            return json.dumps(content, indent=2, ensure_ascii=False)
    raise GalleryError(f"nobody usable has the id {person_id}; see `familiar people list`")


def _admission(config: Config, home: Home, clock: Clock) -> Admission:
    use = intended_use(config, home, embedder_sha256(config))
    return home.store().load(use, now=clock.now()).admission


def _person(enrolment: Enrolment) -> Person:
    record = enrolment.consent.record
    return Person(
        person_id=enrolment.person_id,
        name=enrolment.name,
        relation=enrolment.relation,
        purpose=record.purpose.value,
        templates=len(enrolment.templates),
        valid_until=record.event_time + timedelta(seconds=record.validity_duration_s),
        demo=record.demo,
        fault="",
    )
