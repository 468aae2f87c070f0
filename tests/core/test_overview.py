"""What others see of a fleet: whole, verified and judged by the reader's clock, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core import overview as module
from edge_app.core.acknowledge import (
    Erasure,
    Receipt,
    decode_acknowledgment,
    sign_acknowledgment,
    verify_acknowledgment,
)
from edge_app.core.overview import (
    EXPIRES_SOON,
    MADE_EVERY,
    DepartureEntry,
    DeviceEntry,
    ExpiryEntry,
    Leaving,
    Overview,
    PersonEntry,
    PersonState,
    StationEntry,
    consent_state,
    decode_overview,
    encode_evidence,
    encode_overview,
    erasure_evidence,
    expires_soon,
    is_old,
    is_stale,
)
from edge_app.errors import GalleryError
from edge_app.records import Purpose

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 6)]
EMPTY = Overview(
    format=1,
    fleet="harbour",
    purpose=Purpose.ASSIST,
    generation=0,
    published=None,
    made=NOW,
    lease_s=86_400,
    fresh_until=NOW + DAY,
    expiries=(),
    waiting=0,
    refused=0,
    people=(),
    devices=(),
    stations=(),
    departures=(),
)


def someone(number: int = 0, **changes: Any) -> PersonEntry:
    entry = PersonEntry(f"{number:032x}", 1, "ab" * 32, NOW + 300 * DAY, NOW + 365 * DAY, None)
    return replace(entry, **changes)


def device(number: int, generation: int | None, removed: int | None = None) -> DeviceEntry:
    key, said = KEYS[number], None
    device_id = f"{number:064x}"
    if generation is not None:
        sent = sign_acknowledgment(
            key, fleet="harbour", device_id=device_id, generation=generation, time=NOW
        )
        said = Receipt(NOW, decode_acknowledgment(sent))
    public = key.public_key().public_bytes_raw().hex()
    return DeviceEntry(f"gate-{number}", device_id, public, removed, said)


GONE = DepartureEntry(
    "0123456789ab", 2, Erasure(generation=5, devices=3, acknowledged=1, removed=1)
)
FULL = replace(
    EMPTY,
    generation=7,
    published=NOW,
    expiries=(ExpiryEntry("timestamp", NOW + DAY),),
    people=(someone(0), someone(1, leaving=Leaving.WITHDRAWN)),
    devices=(device(0, 5), device(1, 4), device(2, None), device(3, 4, removed=4)),
    stations=(StationEntry("desk", "ab" * 32, trusted=True),),
    departures=(GONE,),
)


@pytest.mark.parametrize("overview", [EMPTY, FULL], ids=["empty", "full"])
def test_it_comes_back_as_it_was(overview: Overview) -> None:
    data = encode_overview(overview)
    assert decode_overview(data) == overview
    assert encode_overview(decode_overview(data)) == data


# --------------------------------------------------------------- by the reader's own clock


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PersonState.VALID),
        ({"valid_until": NOW + EXPIRES_SOON + SECOND}, PersonState.VALID),
        ({"valid_until": NOW + EXPIRES_SOON}, PersonState.EXPIRING),
        ({"valid_until": NOW + SECOND}, PersonState.EXPIRING),
        ({"ends": NOW + DAY}, PersonState.EXPIRING),  # devices stop at whichever comes first
        ({"valid_until": NOW}, PersonState.EXPIRED),
        ({"ends": NOW}, PersonState.RETENTION_ENDED),
        ({"ends": NOW, "valid_until": NOW - DAY}, PersonState.RETENTION_ENDED),
        ({"leaving": Leaving.WITHDRAWN}, PersonState.WITHDRAWN),
        ({"leaving": Leaving.UNTRUSTED_STATION, "ends": NOW}, PersonState.UNTRUSTED_STATION),
    ],
    ids=str,
)
def test_a_consent_stands_where_the_clock_says(
    changes: dict[str, Any], expected: PersonState
) -> None:
    assert consent_state(someone(**changes), NOW) is expected


def test_an_old_file_makes_no_consent_valid() -> None:
    found = decode_overview(encode_overview(FULL)).people[0]
    states = [consent_state(found, NOW + n * DAY) for n in (0, 280, 300, 365)]
    assert states == [
        PersonState.VALID,
        PersonState.EXPIRING,
        PersonState.EXPIRED,
        PersonState.RETENTION_ENDED,
    ]


def test_every_reason_to_leave_is_a_state() -> None:
    for leaving in Leaving:
        assert consent_state(someone(leaving=leaving), NOW).value == leaving.value


def test_a_device_is_stale_after_the_lease() -> None:
    current, late, removed = device(0, 7), device(1, 6), device(3, 4, removed=4)
    at_the_end = NOW + DAY
    for entry, expected in ((current, False), (late, True), (device(2, None), True)):
        assert not is_stale(FULL, entry, at_the_end)
        assert is_stale(FULL, entry, at_the_end + SECOND) is expected
    assert not is_stale(FULL, removed, NOW + 400 * DAY)
    assert not is_stale(EMPTY, late, NOW + 400 * DAY)  # nothing to acknowledge


def test_the_timestamp_is_due_within_half_a_lease_and_the_rest_within_a_month() -> None:
    for role, early in (("timestamp", DAY / 2), ("root", EXPIRES_SOON)):
        expiry = ExpiryEntry(role, NOW + 100 * DAY)
        assert not expires_soon(FULL, expiry, expiry.expires - early - SECOND)
        assert expires_soon(FULL, expiry, expiry.expires - early)


def test_a_file_that_nobody_keeps_up_is_old() -> None:
    assert not is_old(FULL, NOW + 2 * MADE_EVERY)
    assert is_old(FULL, NOW + 2 * MADE_EVERY + SECOND)
    assert not is_old(FULL, NOW - DAY)


# ---------------------------------------------------------------------------------- evidence


def names(entries: tuple[DeviceEntry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def test_evidence_names_who_said_so_who_did_not_and_who_cannot_be_asked() -> None:
    found = erasure_evidence(FULL, GONE)
    assert (found.fleet, found.digest, found.generation) == ("harbour", GONE.digest, 5)
    assert names(found.erased) == ["gate-0"]
    assert names(found.pending) == ["gate-1", "gate-2"]
    assert names(found.unreachable) == ["gate-3"]


def test_a_device_removed_before_the_person_came_is_no_part_of_it() -> None:
    never_had_them = replace(GONE, since=5)
    assert erasure_evidence(FULL, never_had_them).unreachable == ()


def test_a_removed_device_that_had_said_so_before_is_evidence() -> None:
    overview = replace(FULL, devices=(device(3, 6, removed=6),))
    found = erasure_evidence(overview, GONE)
    assert (names(found.erased), found.pending, found.unreachable) == (["gate-3"], (), ())


def test_evidence_of_nobody() -> None:
    found = erasure_evidence(replace(FULL, devices=()), GONE)
    assert (found.erased, found.pending, found.unreachable) == ((), (), ())


def test_evidence_is_verified_with_the_devices_keys_alone() -> None:
    handed_out = json.loads(encode_evidence(erasure_evidence(FULL, GONE)))
    (entry,) = handed_out["erased"]
    signed = json.dumps(entry["said"]["signed"], sort_keys=True, separators=(",", ":")).encode()
    verify_acknowledgment(
        decode_acknowledgment(signed),
        signing_key=KEYS[0].public_key().public_bytes_raw(),
        fleet="harbour",
        device_id=entry["device_id"],
    )
    assert entry["said"]["signed"]["statement"]["generation"] >= handed_out["generation"]


# ------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"fleet": "Not A Name"},
        {"generation": 0},
        {"published": None},
        {"lease_s": 0},
        {"lease_s": 2**53 - 1},
        {"waiting": -1},
        {"made": NOW.replace(microsecond=1)},
        {"made": NOW.replace(tzinfo=None)},
        {"people": (someone(1), someone(0))},
        {"people": (someone(1), someone(1))},
        {"people": (someone(record_id=""),)},
        {"people": (someone(since=0),)},
        {"people": (someone(since=8),)},
        {"people": (someone(station_id="desk"),)},
        {"stations": FULL.stations * 2},
        {"stations": (StationEntry("desk", "AB" * 32, trusted=True),)},
        {"devices": FULL.devices[:1] * 2},
        {"devices": (replace(FULL.devices[0], device_id="../../x"),)},
        {"devices": (replace(FULL.devices[0], signing_key="ab"),)},
        {"devices": (device(0, 5, removed=8),)},
        {"departures": (replace(GONE, digest="ab" * 32),)},  # whole, and not its beginning
        {"departures": (replace(GONE, digest="0123456789a"),)},
        {"departures": (replace(GONE, since=5),)},
        {"departures": (replace(GONE, erasure=replace(GONE.erasure, generation=8)),)},
        {"departures": (replace(GONE, erasure=replace(GONE.erasure, acknowledged=4)),)},
    ],
    ids=str,
)
def test_what_cannot_be_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="the overview cannot be used"):
        encode_overview(replace(FULL, **changes))


def forged(where: str, value: Any) -> bytes:
    """A device's word, changed and written in canonical form."""
    plain = json.loads(encode_overview(FULL))
    said = plain["devices"][0]["said"]["signed"]
    (said if where == "signature" else said["statement"])[where] = value
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("generation", 7),
        ("time", "2026-11-23T12:00:01Z"),
        ("fleet", "other"),
        ("device_id", "ab" * 32),
        ("signature", "ab" * 64),
        ("signature", "not hex"),
    ],
)
def test_a_devices_word_that_was_altered_is_refused(where: str, value: Any) -> None:
    assert decode_overview(forged("generation", 5)) == FULL
    with pytest.raises(GalleryError, match="cannot be used"):
        decode_overview(forged(where, value))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_half_a_file_is_refused(cut: int) -> None:
    with pytest.raises(GalleryError, match="cannot be used"):
        decode_overview(encode_overview(FULL)[:cut])


def test_keys_that_are_unknown_missing_or_doubled_are_refused() -> None:
    data = encode_overview(FULL)
    for bad in (
        data.replace(b'"fleet":"harbour","form', b'"fleet":"harbour","fleet":"harbour","form'),
        data.replace(b'"waiting":0', b'"waiting":0,"x":1'),
        data.replace(b',"waiting":0', b""),
        data.replace(b'"waiting":0', b'"waiting":false'),
        data + b"\n",
    ):
        assert bad != data
        with pytest.raises(GalleryError, match="cannot be used"):
            decode_overview(bad)


def test_too_much_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_overview(FULL)
    monkeypatch.setattr(module, "MAX_OVERVIEW_BYTES", len(data) - 1)
    with pytest.raises(GalleryError, match="at most"):
        encode_overview(FULL)
    with pytest.raises(GalleryError, match="at most"):
        decode_overview(data)


TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0))
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PEOPLE = st.builds(
    PersonEntry,
    record_id=TEXT.filter(bool),
    since=st.integers(1, 7),
    station_id=DIGESTS,
    valid_until=TIMES,
    ends=TIMES,
    leaving=st.sampled_from([None, *Leaving]),
)
STATIONS = st.builds(StationEntry, name=TEXT, station_id=DIGESTS, trusted=st.booleans())


def by_record(people: list[PersonEntry]) -> tuple[PersonEntry, ...]:
    return tuple(sorted(people, key=lambda person: person.record_id))


OVERVIEWS = st.builds(
    replace,
    st.just(FULL),
    published=TIMES,
    made=TIMES,
    fresh_until=TIMES,
    lease_s=st.integers(1, 366 * 86_400),
    waiting=st.integers(0, 2**53 - 1),
    expiries=st.lists(st.builds(ExpiryEntry, role=TEXT, expires=TIMES), max_size=4).map(tuple),
    people=st.lists(PEOPLE, max_size=4, unique_by=lambda p: p.record_id).map(by_record),
    stations=st.lists(STATIONS, max_size=3, unique_by=lambda s: s.station_id).map(tuple),
)


@given(OVERVIEWS, TIMES)
def test_whatever_can_be_comes_back_and_can_be_judged_at_any_time(
    overview: Overview, now: datetime
) -> None:
    found = decode_overview(encode_overview(overview))
    assert found == overview
    assert all(consent_state(person, now) in PersonState for person in found.people)
    assert is_stale(found, found.devices[0], now) in (True, False)
    assert is_old(found, now) in (True, False)
    for expiry in found.expiries:
        assert expires_soon(found, expiry, now) in (True, False)


SOUND = encode_overview(FULL)


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused_or_is_another_sound_overview(place: int, bits: int) -> None:
    bad = bytearray(SOUND)
    bad[place] ^= bits
    try:
        found = decode_overview(bytes(bad))
    except GalleryError:
        return
    assert found != FULL
    assert encode_overview(found) == bytes(bad)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(GalleryError):
        decode_overview(data)
