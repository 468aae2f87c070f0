"""The fleet's formats: whole or refused, and bound to their place."""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.canonical import from_json, to_json
from edge_app.core.keyring import (
    WRAP_BYTES,
    decode_tombstones,
    device_id,
    encode_tombstones,
    encode_wraps,
    find_wrap,
    group_of,
    open_for,
    open_keyring,
    seal_for,
    seal_keyring,
    unwrap,
    wrap,
)
from edge_app.core.manifest import (
    FORMAT,
    Manifest,
    ShardRef,
    StationKey,
    decode_manifest,
    encode_manifest,
)
from edge_app.core.person import pack_people, pack_person, unpack_people, unpack_person
from edge_app.core.shard import (
    open_shard,
    read_header,
    seal_shard,
    shard_of,
    shards_for,
    templates_into,
)
from edge_app.errors import GalleryError, KeyFileError
from edge_app.records import Enrolment, Purpose
from tests.people import CALIBRATION, DIM, MODEL_SHA256, NOW, STATION_KEY, enrolment, faces

KEY = bytes(range(32))
PLACE: dict[str, Any] = {"fleet": "harbour", "number": 3, "key": KEY}
NONCES = (b"a" * 12, b"b" * 12)
MANIFEST = Manifest(
    format=FORMAT,
    fleet="harbour",
    purpose=Purpose.ENTRY,
    generation=7,
    min_generation=7,
    operator_key="0d" * 32,
    model_sha256=MODEL_SHA256,
    calibration=CALIBRATION,
    published=NOW,
    stations=(StationKey("desk", STATION_KEY.hex()),),
    shards=(ShardRef(0, "ef" * 32, 1_234, 2, 2),),
    wrap_groups=1,
    devices=1,
    tombstones=0,
)


def people(count: int) -> list[Enrolment]:
    return [enrolment(n, faces(1 + n % 3, seed=n)) for n in range(count)]


def sealed(count: int, **changes: Any) -> bytes:
    return seal_shard(people(count), **{**PLACE, "generation": 5, "nonces": NONCES, **changes})


def opened(data: bytes, **changes: Any) -> tuple[Enrolment, ...]:
    place = {**PLACE, **changes}
    header = read_header(data)
    raw = bytearray(header.templates * header.dim * 4)
    templates_into(data, memoryview(raw), **place)
    matrix = np.frombuffer(raw, "<f4").reshape(-1, header.dim or DIM)
    return open_shard(data, matrix, **place)


def same(left: Enrolment, right: Enrolment) -> bool:
    return (left.name, left.relation, left.consent) == (
        right.name,
        right.relation,
        right.consent,
    ) and all(
        np.array_equal(a.embedding, b.embedding)
        for a, b in zip(left.templates, right.templates, strict=True)
    )


# -------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_a_shard_comes_back_as_it_was(count: int) -> None:
    found = opened(sealed(count))
    assert len(found) == count
    assert all(same(a, b) for a, b in zip(found, people(count), strict=True))


@pytest.mark.parametrize(
    "changes", [{"fleet": "other"}, {"number": 4}, {"key": bytes(32)}], ids=lambda c: next(iter(c))
)
def test_a_shard_is_bound_to_its_place(changes: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="a shard of the gallery cannot be used"):
        opened(sealed(2), **changes)


def test_a_shard_cut_off_or_altered_anywhere_is_refused() -> None:
    data = sealed(1)
    for length in range(len(data)):
        with pytest.raises(GalleryError):
            opened(data[:length])
    for place in range(len(data)):
        with pytest.raises(GalleryError):
            opened(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])


def test_segments_of_two_shards_do_not_mix() -> None:
    one, two = sealed(1), sealed(1, generation=6)
    half = len(one) - DIM * 4 - 16
    with pytest.raises(GalleryError):
        opened(one[:half] + two[half:])


@given(st.text(max_size=40), st.integers(1, 1_000))
def test_a_person_has_one_shard(person_id: str, shards: int) -> None:
    assert 0 <= shard_of(person_id, shards) < shards


@given(st.integers(0, 300_000), st.integers(0, 12))
def test_the_number_of_shards_fits_and_stays(count: int, power: int) -> None:
    fresh = shards_for(count, 0)
    assert fresh * 128 >= count
    assert fresh == 1 or fresh * 64 < count
    kept = shards_for(count, 2**power)
    assert kept in {fresh, 2**power}
    assert fresh / 2 <= kept <= fresh * 2


# -------------------------------------------------------------------------------- people


def test_a_person_comes_back_as_they_were() -> None:
    assert same(unpack_person(pack_person(people(3)[2])), people(3)[2])


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_a_person(data: bytes) -> None:
    with pytest.raises(GalleryError):
        unpack_person(data)


def test_a_person_cut_off_anywhere_is_refused() -> None:
    data = pack_person(people(1)[0])
    for length in range(0, len(data), 7):
        with pytest.raises(GalleryError):
            unpack_person(data[:length])


def test_a_few_bytes_do_not_fill_the_memory() -> None:
    bomb = zlib.compress(b'{"people":[' + b" " * (65 * 2**20), 9)
    assert len(bomb) < 100_000
    with pytest.raises(GalleryError):
        unpack_people(bomb, np.empty((0, 0), np.float32))


def test_templates_are_neither_missing_nor_left_over() -> None:
    text, matrix = pack_people(people(3))
    for rows in (matrix[:-1], np.vstack((matrix, matrix[:1]))):
        with pytest.raises(GalleryError, match="those of these people"):
            unpack_people(text, rows)


# ------------------------------------------------------------------------------ manifest


def test_a_manifest_comes_back_as_it_was() -> None:
    assert decode_manifest(encode_manifest(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"fleet": "Not A Name"},
        {"min_generation": 8},
        {"min_generation": 0},
        {"operator_key": "x"},
        {"model_sha256": "x"},
        {"calibration": replace(CALIBRATION, model_sha256="0" * 64)},
        {"wrap_groups": 0},
        {"stations": (StationKey("desk", "ab"),)},
        {"shards": (ShardRef(1, "ef" * 32, 1, 1, 1),)},
        {"shards": (ShardRef(0, "../../etc", 1, 1, 1),)},
        {"shards": (ShardRef(0, "ef" * 32, 2**40, 1, 1),)},
    ],
    ids=str,
)
def test_a_manifest_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="manifest is malformed"):
        encode_manifest(replace(MANIFEST, **changes))


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_manifest(data: bytes) -> None:
    with pytest.raises(GalleryError):
        decode_manifest(data)


def test_a_manifest_written_another_way_is_refused() -> None:
    data = encode_manifest(MANIFEST)
    for other in (data + b"\n", data.replace(b'":', b'": ', 1), data[:-1], b"[" * 100_000):
        with pytest.raises(GalleryError):
            decode_manifest(other)


# ---------------------------------------------------------------------------------- keys


def test_a_keyring_comes_back_and_is_bound_to_its_generation() -> None:
    keys = {number: secrets.token_bytes(32) for number in range(5)}
    data = seal_keyring(keys, fleet="harbour", generation=7, key=KEY, nonce=b"n" * 12)
    assert open_keyring(data, fleet="harbour", generation=7, key=KEY) == keys
    place: dict[str, Any] = {"fleet": "harbour", "generation": 7, "key": KEY}
    for changes in ({"generation": 8}, {"fleet": "other"}, {"key": bytes(32)}):
        with pytest.raises(GalleryError):
            open_keyring(data, **{**place, **changes})
    for length in range(len(data)):
        with pytest.raises(GalleryError):
            open_keyring(data[:length], fleet="harbour", generation=7, key=KEY)


def test_a_wrap_opens_for_its_device_and_generation_only() -> None:
    mine, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    public = mine.public_key().public_bytes_raw()
    data = wrap(KEY, public, fleet="harbour", generation=7)
    assert len(data) == WRAP_BYTES
    assert unwrap(data, mine, fleet="harbour", generation=7) == KEY
    for key, fleet, generation in (
        (other, "harbour", 7),
        (mine, "other", 7),
        (mine, "harbour", 8),
    ):
        with pytest.raises(KeyFileError):
            unwrap(data, key, fleet=fleet, generation=generation)
    with pytest.raises(KeyFileError):
        unwrap(data[:-1], mine, fleet="harbour", generation=7)


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(min_size=80, max_size=80)))
def test_every_device_finds_its_wrap(wraps: dict[bytes, bytes]) -> None:
    stated = {device.hex(): data for device, data in wraps.items()}
    data = encode_wraps(stated)
    assert all(find_wrap(data, device) == wrapped for device, wrapped in stated.items())
    absent = device_id(b"nobody")
    assert find_wrap(data, absent) is None
    assert 0 <= group_of(absent, 7) < 7
    with pytest.raises(GalleryError):
        find_wrap(data + b"x", absent)


@given(st.frozensets(st.binary(min_size=32, max_size=32).map(bytes.hex)))
def test_tombstones_come_back(digests: frozenset[str]) -> None:
    data = encode_tombstones(digests)
    assert decode_tombstones(data) == digests
    with pytest.raises(GalleryError):
        decode_tombstones(data + b"x")


def test_an_envelope_is_for_one_operator_and_fleet() -> None:
    operator = X25519PrivateKey.generate()
    data = seal_for(operator.public_key().public_bytes_raw(), b"message", fleet="harbour")
    assert open_for(operator, data, fleet="harbour") == b"message"
    for key, text, fleet in (
        (X25519PrivateKey.generate(), data, "harbour"),
        (operator, data, "other"),
        (operator, data[:-1], "harbour"),
        (operator, b"", "harbour"),
    ):
        with pytest.raises(GalleryError, match="sealed to another operator"):
            open_for(key, text, fleet=fleet)


# ----------------------------------------------------------------------------- canonical


@dataclass(frozen=True, slots=True)
class Sample:
    text: str
    number: int
    share: float
    flag: bool
    time: datetime
    items: tuple[str, ...]
    maybe: int | None


def wrong(where: str, expected: str) -> ValueError:
    return ValueError(f"{where}: {expected}")


@given(
    st.builds(
        Sample,
        text=st.text(st.characters(codec="utf-8")),
        number=st.integers(0, 2**53 - 1),
        share=st.floats(allow_nan=False, allow_infinity=False),
        flag=st.booleans(),
        time=st.datetimes(
            min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
            timezones=st.just(UTC),
        ).map(lambda t: t.replace(microsecond=0)),
        items=st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
        maybe=st.none() | st.integers(0, 9),
    )
)
def test_a_record_has_one_spelling(sample: Sample) -> None:
    data = to_json(sample, wrong)
    assert from_json(data, Sample, wrong) == sample
    with pytest.raises(ValueError, match="canonical"):
        from_json(data.replace(b"{", b"{ ", 1), Sample, wrong)


def test_a_fraction_written_another_way_is_refused() -> None:
    sample = Sample("", 0, 0.5, True, NOW, (), None)
    data = to_json(sample, wrong)
    assert b'"share":"0.5"' in data
    for other in (b'"0.50"', b'"5e-1"', b"0.5", b'"nan"'):
        with pytest.raises(ValueError, match=r"."):
            from_json(data.replace(b'"0.5"', other), Sample, wrong)
