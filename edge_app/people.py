"""What an owner does with the people in this home's gallery: list, export, remove, revoke."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_app.app import Home, embedder_sha256, intended_use
from edge_app.config import Config
from edge_app.core.consent import check, encode
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import GalleryError
from edge_app.ports import Clock
from edge_app.records import Enrolment

Progress = Callable[[str, int, int], None]
"""Is told what is done, how many of it, and of how many."""


def _unwatched(_what: str, _done: int, _of: int) -> None:
    pass


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


def list_people(
    config: Config, home: Home, clock: Clock, progress: Progress = _unwatched
) -> list[Person]:
    """Everyone in the store, those who may not be matched last. Raises GalleryError."""
    everyone, fault = _read(home, progress), _faults(config, home, clock)
    people = []
    for number, enrolment in enumerate(everyone, 1):
        people.append(_person(enrolment, fault(enrolment)))
        if not number % _TELL_EVERY or number == len(everyone):
            progress("Checking consents", number, len(everyone))
    return sorted(people, key=lambda p: (p.fault != "", p.name))


_TELL_EVERY = 100


def export_person(
    config: Config, home: Home, person_id: str, clock: Clock, progress: Progress = _unwatched
) -> str:
    """What is stored of one person, as JSON, for that person, whether they are matched or not.

    Templates are named by their hashes: their numbers never leave the device (P5). Raises
    GalleryError if nobody has this id.
    """
    for enrolment in _read(home, progress):
        if enrolment.person_id == person_id:
            return record_json(enrolment, _faults(config, home, clock)(enrolment))
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
    for enrolment in _read(home, _unwatched):
        if enrolment.consent.record.revocation_sha256 == digest:
            return enrolment, _faults(config, home, clock)(enrolment)
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


def _read(home: Home, progress: Progress) -> tuple[Enrolment, ...]:
    return home.store().everyone(lambda done, of: progress("Reading people", done, of))


def _faults(config: Config, home: Home, clock: Clock) -> Callable[[Enrolment], str]:
    """Tells of a person why they are not matched, or an empty text."""
    use = intended_use(config, home, embedder_sha256(config))
    tombstones, now = home.store().tombstones(), clock.now()

    def fault(person: Enrolment) -> str:
        found = check(person, use, tombstones=tombstones, now=now)
        return "" if found is None else found.value

    return fault


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
