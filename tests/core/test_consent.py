import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.consent import (
    MAX_DURATION_S,
    SCHEMA_VERSION,
    ConsentEvent,
    ConsentFault,
    check,
    decode,
    encode,
    lasting_fault,
    sign,
    standing,
    template_id,
    time_fault,
    tombstone_ids,
    transition,
)
from edge_app.errors import ConsentError
from edge_app.records import (
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Controller,
    EventType,
    LawfulBasis,
    PrivacyNotice,
    Purpose,
)
from tests.people import NOW, STATION, USE, enrolment, faces, record

RECORD = record(1, faces(2))

texts = st.text(max_size=20)
filled = st.text(min_size=1, max_size=20)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
durations = st.integers(1, MAX_DURATION_S)
records = st.builds(
    ConsentRecord,
    schema_version=st.just(SCHEMA_VERSION),
    record_id=filled,
    pii_principal_id=filled,
    privacy_notice=st.builds(PrivacyNotice, texts, texts, digests),
    purpose=st.sampled_from(Purpose),
    pii_information=st.lists(texts, max_size=3).map(tuple),
    pii_controllers=st.lists(
        st.builds(Controller, texts, texts, texts, texts), min_size=1, max_size=2
    ).map(tuple),
    storage_locations=st.lists(texts, max_size=2).map(tuple),
    retention_s=durations,
    jurisdiction=texts,
    withdrawal_method=filled,
    event_time=st.datetimes(timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0)),
    validity_duration_s=durations,
    event_type=st.sampled_from(EventType),
    event_state=st.sampled_from(ConsentState),
    lawful_basis=st.sampled_from(LawfulBasis),
    collection_method=st.sampled_from(CollectionMethod),
    model_sha256=digests,
    template_ids=st.lists(digests, min_size=1, max_size=3, unique=True).map(tuple),
    revocation_sha256=digests,
    demo=st.booleans(),
    erasure_confirmed_generation=st.none() | st.integers(0, 2**53 - 1),
)


@given(records)
def test_round_trip(original: ConsentRecord) -> None:
    assert decode(encode(original)) == original


@given(records, records)
def test_different_records_have_different_bytes(one: ConsentRecord, other: ConsentRecord) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_canonical_form_is_pinned() -> None:
    """These bytes are what signatures cover: changing them voids every signature made."""
    text = encode(record(1, [np.zeros(2, dtype=np.float32)])).decode()
    assert text == (
        '{"collection_method":"live_guided_capture","demo":false,'
        '"erasure_confirmed_generation":null,"event_state":"active",'
        '"event_time":"2026-02-28T12:00:00Z","event_type":"given","jurisdiction":"nowhere",'
        f'"lawful_basis":"explicit_consent","model_sha256":"{"ab" * 32}",'
        '"pii_controllers":[{"address":"1 Test Street","contact":"ada@example.org",'
        '"name":"Ada","party_id":"wearer"}],"pii_information":["name","face templates"],'
        '"pii_principal_id":"person-1","privacy_notice":{"language":"en",'
        f'"notice_id":"familiar-assist-1","text_sha256":"{"cd" * 32}"}},'
        f'"purpose":"assist","record_id":"record-1","retention_s":31622400,'
        f'"revocation_sha256":"{1:064x}",'
        '"schema_version":"ISO/IEC TS 27560:2023 familiar/1",'
        '"storage_locations":["this device"],'
        '"template_ids":["af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"],'
        '"validity_duration_s":31536000,"withdrawal_method":"code"}'
    )


BAD_VALUES: dict[str, dict[str, Any]] = {
    "naive time": {"event_time": datetime(2026, 3, 1)},  # noqa: DTZ001 - that is the point
    "time elsewhere": {"event_time": NOW.astimezone(timezone(timedelta(hours=1)))},
    "fraction of a second": {"event_time": NOW.replace(microsecond=1)},
    "time as text": {"event_time": "2026-03-01T12:00:00Z"},
    "float": {"retention_s": 3600.0},
    "bool for a number": {"retention_s": True},
    "number for a bool": {"demo": 0},
    "text for an enum": {"purpose": "assist"},
    "list for a tuple": {"template_ids": list(RECORD.template_ids)},
    "no templates": {"template_ids": ()},
    "template twice": {"template_ids": RECORD.template_ids * 2},
    "short digest": {"model_sha256": "ab" * 31},
    "capital digest": {"revocation_sha256": "AB" * 32},
    "digest and newline": {"model_sha256": "ab" * 32 + "\n"},
    "no controller": {"pii_controllers": ()},
    "no record id": {"record_id": ""},
    "no person": {"pii_principal_id": ""},
    "no way out": {"withdrawal_method": ""},
    "endless": {"validity_duration_s": MAX_DURATION_S + 1},
    "no time at all": {"validity_duration_s": 0},
    "kept for ever": {"retention_s": 2**53 - 1},
    "negative generation": {"erasure_confirmed_generation": -1},
    "huge generation": {"erasure_confirmed_generation": 2**53},
    "another schema": {"schema_version": "2"},
    "lone surrogate": {"jurisdiction": "\ud800"},
    "nothing": {"jurisdiction": None},
}


@pytest.mark.parametrize("change", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_malformed_record_is_neither_encoded_nor_signed(change: dict[str, Any]) -> None:
    with pytest.raises(ConsentError, match="enrol the person again"):
        encode(replace(RECORD, **change))
    with pytest.raises(ConsentError):
        sign(replace(RECORD, **change), STATION)


PLAIN = json.loads(encode(RECORD))


def canonical(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


BAD_BYTES = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"7",
    "no keys": b"{}",
    "not UTF-8": b"\xff" + encode(RECORD),
    "UTF-16": encode(RECORD).decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + encode(RECORD),
    "trailing newline": encode(RECORD) + b"\n",
    "twice": encode(RECORD) * 2,
    "spaces": json.dumps(PLAIN, sort_keys=True).encode(),
    "unsorted": canonical(PLAIN)[:-1] + b',"demo":false}',
    "doubled key": b'{"collection_method":"live_guided_capture",' + encode(RECORD)[1:],
    "unknown key": canonical({**PLAIN, "zz": 1}),
    "missing key": canonical({k: v for k, v in PLAIN.items() if k != "demo"}),
    "unknown key inside": canonical(
        {**PLAIN, "privacy_notice": {**PLAIN["privacy_notice"], "url": ""}}
    ),
    "controller is text": canonical({**PLAIN, "pii_controllers": ["Ada"]}),
    "templates are text": canonical({**PLAIN, "template_ids": "ab"}),
    "unknown purpose": canonical({**PLAIN, "purpose": "other"}),
    "float": canonical({**PLAIN, "retention_s": 3600.0}),
    "exponent": encode(RECORD).replace(b'"retention_s":31622400', b'"retention_s":31622400e0'),
    "not a number": encode(RECORD).replace(b"31622400", b"NaN"),
    "number as text": canonical({**PLAIN, "retention_s": "3600"}),
    "number beyond reading": encode(RECORD).replace(b"31622400", b"9" * 5000),
    "null time": canonical({**PLAIN, "event_time": None}),
    "naive time": canonical({**PLAIN, "event_time": "2026-02-28T12:00:00"}),
    "time with offset": canonical({**PLAIN, "event_time": "2026-02-28T12:00:00+00:00"}),
    "date only": canonical({**PLAIN, "event_time": "2026-02-28"}),
    "week date": canonical({**PLAIN, "event_time": "2026-W09-6T12:00:00Z"}),
    "no time": canonical({**PLAIN, "event_time": "yesterday"}),
    "escaped letter": encode(RECORD).replace(b'"nowhere"', b'"n\\u006fwhere"'),
    "lone surrogate": encode(RECORD).replace(b'"nowhere"', b'"\\ud800"'),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES.keys())
def test_decode_takes_the_canonical_form_only(data: bytes) -> None:
    with pytest.raises(ConsentError, match="enrol the person again"):
        decode(data)


@pytest.mark.parametrize("end", range(0, len(encode(RECORD)), 7))
def test_cut_off_record_is_refused(end: int) -> None:
    with pytest.raises(ConsentError):
        decode(encode(RECORD)[:end])


@given(st.data())
def test_flipping_any_bit_breaks_the_form_or_the_signature(data: st.DataObject) -> None:
    person = enrolment(1, faces(2))
    original = encode(person.consent.record)
    position = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[position // 8] ^= 1 << position % 8
    try:
        altered = decode(bytes(flipped))
    except ConsentError:
        return
    forged = replace(person, consent=replace(person.consent, record=altered))
    assert check(forged, USE, tombstones=frozenset(), now=NOW) is ConsentFault.NOT_SIGNED


# ------------------------------------------------------------------------------- states


@given(
    st.sampled_from([ConsentState.WITHDRAWN, ConsentState.EXPIRED, ConsentState.ERASED]),
    st.lists(st.sampled_from(ConsentEvent), max_size=10),
)
def test_no_path_leads_back_to_active(state: ConsentState, events: list[ConsentEvent]) -> None:
    for event in events:
        state = transition(state, event)
        assert state is not ConsentState.ACTIVE


@given(st.lists(st.sampled_from(ConsentEvent), min_size=1, max_size=10))
def test_first_event_ends_an_active_consent(events: list[ConsentEvent]) -> None:
    state = ConsentState.ACTIVE
    for event in events:
        state = transition(state, event)
    assert state is not ConsentState.ACTIVE


@given(st.sampled_from(ConsentState), st.lists(st.sampled_from(ConsentEvent), max_size=10))
def test_erased_stays_erased(state: ConsentState, events: list[ConsentEvent]) -> None:
    state = transition(state, ConsentEvent.ERASE)
    for event in events:
        state = transition(state, event)
    assert state is ConsentState.ERASED


@pytest.mark.parametrize("state", list(ConsentState))
@pytest.mark.parametrize("event", list(ConsentEvent))
def test_events_can_be_repeated(state: ConsentState, event: ConsentEvent) -> None:
    once = transition(state, event)
    assert transition(once, event) is once


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, ConsentState.ACTIVE),
        ({"validity_duration_s": 60}, ConsentState.EXPIRED),
        ({"event_type": EventType.WITHDRAWN}, ConsentState.WITHDRAWN),
        ({"validity_duration_s": 60, "event_type": EventType.WITHDRAWN}, ConsentState.WITHDRAWN),
        ({"erasure_confirmed_generation": 0}, ConsentState.ERASED),
        (
            {"event_state": ConsentState.WITHDRAWN, "validity_duration_s": 60},
            ConsentState.WITHDRAWN,
        ),
    ],
)
def test_standing(changes: dict[str, Any], state: ConsentState) -> None:
    assert standing(replace(RECORD, **changes), NOW) is state


@given(records, st.datetimes(timezones=st.just(UTC)))
def test_time_is_judged_without_overflow(any_record: ConsentRecord, now: datetime) -> None:
    fault = time_fault(any_record, now)
    if now < any_record.event_time:
        assert fault is ConsentFault.NOT_YET_VALID


# ------------------------------------------------------------------------------ digests


def test_template_id_depends_on_the_bytes_and_not_on_their_layout() -> None:
    both = faces(4)
    assert template_id(both[1]) == template_id(both[1].copy())
    assert template_id(both[:, ::2][1]) == template_id(both[1, ::2].copy())
    assert template_id(both[1]) != template_id(both[2])
    nudged = both[1].copy()
    nudged[7] = np.nextafter(nudged[7], np.float32(2))
    assert template_id(nudged) != template_id(both[1])


def test_tombstones_name_record_and_code_and_nothing_readable() -> None:
    ids = tombstone_ids(RECORD)
    assert len(ids) == 2
    assert RECORD.revocation_sha256 in ids
    assert not any(RECORD.record_id in digest for digest in ids)
    assert ids.isdisjoint(tombstone_ids(record(2, faces(2))))


def test_a_byte_that_moves_between_signature_and_record_is_a_forgery() -> None:
    """Both together are the bytes that were signed; the border between them is not where it was."""
    embeddings = faces(1)
    person = enrolment(1, embeddings)
    signed, message = person.consent, encode(person.consent.record)
    for cut in (1, 63, 64):
        moved = replace(signed, signature=signed.signature[:-cut])
        shifted = lasting_fault(
            replace(person, consent=moved),
            USE.trusted_stations,
            message=signed.signature[-cut:] + message,
        )
        assert shifted is ConsentFault.NOT_SIGNED
    longer = replace(signed, signature=signed.signature + message[:1])
    assert (
        lasting_fault(replace(person, consent=longer), USE.trusted_stations, message=message[1:])
        is ConsentFault.NOT_SIGNED
    )
