"""P2: no template is used without a valid consent record, at load and at match time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.core.consent import ConsentFault, check, sign, tombstone_ids
from edge_app.core.match import match
from edge_app.records import (
    CollectionMethod,
    ConsentState,
    Enrolment,
    EventType,
    FrameOrigin,
    LawfulBasis,
    Purpose,
    Template,
)
from tests.people import NOW, USE, admitted, enrolment, faces, gallery_of, probe, record

FACES = faces(3)
STRANGER_STATION = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
DAY_S = 86_400


def with_consent(**changes: Any) -> Enrolment:
    return enrolment(1, FACES[:2], **changes)


def altered_after_signing(**changes: Any) -> Enrolment:
    person = with_consent()
    changed = replace(person.consent.record, **changes)
    return replace(person, consent=replace(person.consent, record=changed))


def with_signature(signature: bytes) -> Enrolment:
    person = with_consent()
    return replace(person, consent=replace(person.consent, signature=signature))


def signed_by_a_stranger() -> Enrolment:
    return replace(with_consent(), consent=sign(record(1, FACES[:2]), STRANGER_STATION))


def signed_by_a_stranger_in_our_name() -> Enrolment:
    person = with_consent()
    forged = sign(person.consent.record, STRANGER_STATION).signature
    return replace(person, consent=replace(person.consent, signature=forged))


def with_swapped_face(*, keep_id: bool) -> Enrolment:
    person = with_consent()
    first, second = person.templates
    other = replace(first, embedding=FACES[2])
    if not keep_id:
        other = enrolment(2, FACES[2:]).templates[0]
    return replace(person, templates=(other, second))


def with_templates(*positions: int) -> Enrolment:
    person = with_consent()
    return replace(person, templates=tuple(person.templates[p] for p in positions))


def with_relabelled_template() -> Enrolment:
    person = with_consent()
    first, second = person.templates
    return replace(person, templates=(Template("00" * 32, first.embedding), second))


UNUSABLE = {
    "unsigned": (with_signature(b""), ConsentFault.NOT_SIGNED),
    "signature cut off": (with_signature(b"\x01" * 63), ConsentFault.NOT_SIGNED),
    "signature of something else": (with_signature(b"\x01" * 64), ConsentFault.NOT_SIGNED),
    "signed by an unknown station": (signed_by_a_stranger(), ConsentFault.UNKNOWN_STATION),
    "signed by another in our name": (
        signed_by_a_stranger_in_our_name(),
        ConsentFault.NOT_SIGNED,
    ),
    "purpose changed after signing": (
        altered_after_signing(purpose=Purpose.CARE),
        ConsentFault.NOT_SIGNED,
    ),
    "lengthened after signing": (
        altered_after_signing(validity_duration_s=9 * 365 * DAY_S),
        ConsentFault.NOT_SIGNED,
    ),
    "demo flag dropped after signing": (
        replace(
            with_consent(demo=True),
            consent=replace(with_consent(demo=True).consent, record=record(1, FACES[:2])),
        ),
        ConsentFault.NOT_SIGNED,
    ),
    "malformed": (altered_after_signing(retention_s=1.5), ConsentFault.MALFORMED),
    "another purpose": (with_consent(purpose=Purpose.ENTRY), ConsentFault.WRONG_PURPOSE),
    "another model": (with_consent(model_sha256="ef" * 32), ConsentFault.WRONG_MODEL),
    "expired this second": (
        with_consent(validity_duration_s=DAY_S),
        ConsentFault.EXPIRED,
    ),
    "retention ended": (with_consent(retention_s=DAY_S), ConsentFault.EXPIRED),
    "state expired": (with_consent(event_state=ConsentState.EXPIRED), ConsentFault.EXPIRED),
    "clock before the consent": (
        with_consent(event_time=NOW + timedelta(seconds=1)),
        ConsentFault.NOT_YET_VALID,
    ),
    "withdrawn": (with_consent(event_state=ConsentState.WITHDRAWN), ConsentFault.WITHDRAWN),
    "a withdrawal, called active": (
        with_consent(event_type=EventType.WITHDRAWN),
        ConsentFault.WITHDRAWN,
    ),
    "erased": (with_consent(event_state=ConsentState.ERASED), ConsentFault.ERASED),
    "erasure confirmed": (with_consent(erasure_confirmed_generation=3), ConsentFault.ERASED),
    "face swapped, id kept": (with_swapped_face(keep_id=True), ConsentFault.TEMPLATES_DIFFER),
    "face swapped, id too": (with_swapped_face(keep_id=False), ConsentFault.TEMPLATES_DIFFER),
    "template missing": (with_templates(0), ConsentFault.TEMPLATES_DIFFER),
    "no templates": (with_templates(), ConsentFault.TEMPLATES_DIFFER),
    "template twice": (with_templates(0, 1, 1), ConsentFault.TEMPLATES_DIFFER),
    "template relabelled": (with_relabelled_template(), ConsentFault.TEMPLATES_DIFFER),
    "representative outside care": (
        with_consent(lawful_basis=LawfulBasis.LEGAL_REPRESENTATIVE),
        ConsentFault.BASIS_NOT_ALLOWED,
    ),
    "demo called live": (
        with_consent(demo=True, collection_method=CollectionMethod.LIVE_GUIDED_CAPTURE),
        ConsentFault.MISLABELLED_DEMO,
    ),
    "live called demo": (
        with_consent(collection_method=CollectionMethod.DEMO_REPLAY),
        ConsentFault.MISLABELLED_DEMO,
    ),
}


@pytest.mark.parametrize(("person", "fault"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_person_is_left_out_with_the_reason(
    person: Enrolment, fault: ConsentFault
) -> None:
    assert check(person, USE, tombstones=frozenset(), now=NOW) is fault
    assert admitted([person]).left_out == {fault: 1}
    for origin in FrameOrigin:
        assert match(probe(FACES[0], origin), gallery_of([person]), NOW, 5) == ()


@pytest.mark.parametrize("digest", sorted(tombstone_ids(record(1, FACES[:2]))))
def test_each_tombstone_alone_bars_the_person(digest: str) -> None:
    tombstones = frozenset({digest})
    assert check(with_consent(), USE, tombstones=tombstones, now=NOW) is ConsentFault.REVOKED
    gallery = gallery_of([with_consent()], tombstones=tombstones)
    assert match(probe(FACES[0]), gallery, NOW, 5) == ()


def test_valid_person_is_found_and_somebody_elses_tombstone_changes_nothing() -> None:
    tombstones = tombstone_ids(record(2, FACES[2:]))
    assert check(with_consent(), USE, tombstones=tombstones, now=NOW) is None
    gallery = gallery_of([with_consent()], tombstones=tombstones)
    assert [c.person_id for c in match(probe(FACES[0]), gallery, NOW, 5)] == ["person-1"]


def test_representative_may_consent_to_care() -> None:
    use = replace(USE, purpose=Purpose.CARE)
    person = with_consent(purpose=Purpose.CARE, lawful_basis=LawfulBasis.LEGAL_REPRESENTATIVE)
    assert check(person, use, tombstones=frozenset(), now=NOW) is None


@pytest.mark.parametrize(
    ("age", "found"),
    [
        (timedelta(seconds=-1), False),
        (timedelta(0), True),
        (timedelta(days=365, seconds=-1), True),
        (timedelta(days=365), False),
    ],
)
def test_clock_is_asked_again_at_every_match(age: timedelta, *, found: bool) -> None:
    person = with_consent()
    gallery = gallery_of([person])
    now = person.consent.record.event_time + age
    assert bool(match(probe(FACES[0]), gallery, now, 5)) is found
    assert gallery.is_usable("person-1", FrameOrigin.LIVE, now) is found


def test_person_masked_between_two_frames_is_matched_no_more() -> None:
    gallery = gallery_of([with_consent()])
    masked = gallery.without(["person-1"])
    assert masked.live.index is gallery.live.index
    assert match(probe(FACES[0]), masked, NOW, 5) == ()
    assert not masked.is_usable("person-1", FrameOrigin.LIVE, NOW)
    assert masked.member("person-1") is None
    assert match(probe(FACES[0]), gallery, NOW, 5)
