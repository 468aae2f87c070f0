from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.consent import ConsentFault, IntendedUse, check, tombstone_ids
from edge_app.core.roster import (
    Register,
    Roster,
    decode_register,
    encode_register,
    fault_of,
    joined,
    register,
)
from edge_app.errors import GalleryError
from edge_app.records import (
    CollectionMethod,
    ConsentState,
    Enrolment,
    EventType,
    LawfulBasis,
    Purpose,
)
from tests.people import MODEL_SHA256, NOW, USE, enrolment, faces, record

FACES = faces(40)
STATIONS = USE.trusted_stations
DAY_S = 86_400


def registered(people: list[Enrolment]) -> Register:
    return register(people, STATIONS)


def faults(
    people: Register, use: IntendedUse, tombstones: frozenset[str], days: float
) -> list[ConsentFault | None]:
    codes = people.faults(
        purpose=use.purpose,
        model_sha256=use.model_sha256,
        stations=use.trusted_stations,
        tombstones=tombstones,
        now=NOW + timedelta(days=days),
    )
    return [fault_of(code) if code else None for code in codes.tolist()]


# ------------------------------------------------------------------- the same verdicts

CHANGES = {
    "purpose": st.sampled_from(Purpose),
    "model_sha256": st.sampled_from([MODEL_SHA256, "0" * 64]),
    "event_state": st.sampled_from(ConsentState),
    "event_type": st.sampled_from(EventType),
    "erasure_confirmed_generation": st.sampled_from([None, 3]),
    "lawful_basis": st.sampled_from(LawfulBasis),
    "collection_method": st.sampled_from(CollectionMethod),
    "demo": st.booleans(),
    "retention_s": st.sampled_from([DAY_S, 3 * DAY_S, 100 * DAY_S]),
    "validity_duration_s": st.sampled_from([DAY_S, 3 * DAY_S, 100 * DAY_S]),
    "event_time": st.sampled_from([NOW + timedelta(days=d) for d in (-200, -2, -1, 0, 2)]),
}


@st.composite
def somebody(draw: st.DrawFn, number: int) -> Enrolment:
    """Nearly always something is wrong with them, often several things."""
    from dataclasses import replace

    changed = draw(st.sets(st.sampled_from(sorted(CHANGES)), max_size=3))
    person = enrolment(
        number, FACES[number : number + 2], **{name: draw(CHANGES[name]) for name in changed}
    )
    match draw(st.integers(0, 9)):
        case 0:
            return replace(person, consent=replace(person.consent, signature=b"\1" * 64))
        case 1:
            return replace(person, consent=replace(person.consent, station_id="00" * 32))
        case 2:
            return replace(person, templates=person.templates[:1])
        case 3:
            other = replace(person.consent.record, jurisdiction="elsewhere")
            return replace(person, consent=replace(person.consent, record=other))
    return person


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_verdict_over_columns_is_that_over_records(data: st.DataObject) -> None:
    people = [data.draw(somebody(n)) for n in range(data.draw(st.integers(0, 6)))]
    gone = data.draw(st.sets(st.integers(0, 6)))
    tombstones = frozenset(
        data.draw(st.sampled_from(sorted(tombstone_ids(record(n, FACES[:1]))))) for n in gone
    )
    purpose, days = data.draw(st.sampled_from(Purpose)), data.draw(st.sampled_from([-1, 0, 1, 50]))
    trusted = data.draw(st.sampled_from([STATIONS, {}]))
    use = IntendedUse(purpose, MODEL_SHA256, trusted)
    expected = [
        check(p, use, tombstones=tombstones, now=NOW + timedelta(days=days)) for p in people
    ]
    found = faults(registered(people), use, tombstones, days)
    if trusted:
        assert found == expected
    else:
        # Who was written down as a forgery is one, whether its station is trusted now or not.
        assert [f is None for f in found] == [f is None for f in expected]


def test_a_station_unknown_then_is_never_trusted_later() -> None:
    people = register([enrolment(1, FACES[:1])], {})
    assert not people.verified
    assert faults(people, USE, frozenset(), 0) == [ConsentFault.UNKNOWN_STATION]
    assert registered([enrolment(1, FACES[:1])]).verified


# ---------------------------------------------------------------------- rows and texts


def test_nobody() -> None:
    people = registered([])
    assert (len(people), people.verified, list(people.roster)) == (0, True, [])
    assert faults(people, USE, frozenset({"ab" * 32}), 0) == []
    assert people.roster.rows_of("person-1") == []
    assert len(joined([])) == len(joined([people, people])) == 0
    assert len(decode_register(encode_register(people))) == 0


def test_people_are_found_whatever_was_taken_and_joined() -> None:
    parts = [registered([enrolment(n, FACES[n : n + 1 + n % 3])]) for n in range(8)]
    people = joined(parts)
    taken = people.take(np.array([6, 1, 4]))
    names = [m.name for m in taken.roster]
    assert names == ["Name 6", "Name 1", "Name 4"]
    assert taken.roster.rows_of("person-1") == [1]
    assert taken.roster.rows_of("person-2") == []
    assert taken.roster.person_of_template().tolist() == [0, 1, 1, 2, 2]
    assert np.array_equal(
        taken.roster.template_ids, people.roster.take(np.array([6, 1, 4])).template_ids
    )
    assert b"Name 2" not in taken.roster.texts


def test_what_was_written_is_read() -> None:
    people = registered([enrolment(n, FACES[n : n + 2], demo=n == 3) for n in range(5)])
    read = decode_register(encode_register(people))
    assert list(read.roster) == list(people.roster)
    assert faults(read, USE, frozenset(), 0) == [None] * 5
    assert np.array_equal(read.roster.template_ids, people.roster.template_ids)


def test_columns_cut_off_anywhere_are_refused() -> None:
    data = encode_register(registered([enrolment(1, FACES[:2])]))
    for length in range(len(data)):
        with pytest.raises(GalleryError, match="cut off"):
            decode_register(data[:length])
    with pytest.raises(GalleryError, match="cut off"):
        decode_register(data + b"\0")


def test_a_tombstone_that_begins_alike_is_somebody_elses() -> None:
    roster = registered([enrolment(1, FACES[:1]), enrolment(2, FACES[1:2])]).roster
    own = sorted(tombstone_ids(record(2, FACES[1:2])))
    alike = own[0][:16] + "f" * 48
    assert roster.departed(frozenset({alike})).tolist() == []
    assert roster.departed(frozenset({alike, own[1]})).tolist() == [1]
    assert roster.tombstones_of(1) == frozenset(own)


def test_a_name_too_long_for_its_column_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(GalleryError, match="too long"):
        registered([replace(enrolment(1, FACES[:1]), name="x" * 70_000)])


def test_the_clock_decides_to_the_second() -> None:
    roster = registered([enrolment(1, FACES[:1], validity_duration_s=DAY_S)]).roster
    begin = NOW - timedelta(days=1)
    for s, valid in ((-0.5, False), (0, True), (DAY_S - 0.5, True), (DAY_S, False)):
        assert roster.is_valid(0, begin + timedelta(seconds=s)) is valid


def test_an_empty_roster_shows_nothing() -> None:
    assert (len(Roster.empty()), Roster.empty().templates) == (0, 0)
