"""What a device says of itself: whole, signed and bound to its place, or refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.acknowledge import (
    MAX_ACKNOWLEDGMENT_BYTES,
    decode_acknowledgment,
    encode_acknowledgment,
    sign_acknowledgment,
    verify_acknowledgment,
)
from edge_app.errors import GalleryError

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
DEVICE = "ab" * 32
NOW = datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=UTC)


def signed(**changes: Any) -> bytes:
    stated = {"fleet": "harbour", "device_id": DEVICE, "generation": 7, "time": NOW, **changes}
    return sign_acknowledgment(KEY, **stated)


def verify(data: bytes, **changes: Any) -> None:
    expected = {"signing_key": PUBLIC, "fleet": "harbour", "device_id": DEVICE, **changes}
    verify_acknowledgment(decode_acknowledgment(data), **expected)


def test_it_comes_back_as_it_was_said() -> None:
    data = signed()
    verify(data)
    found = decode_acknowledgment(data)
    assert encode_acknowledgment(found) == data
    assert (found.statement.generation, found.statement.time) == (7, NOW.replace(microsecond=0))
    assert len(data) < MAX_ACKNOWLEDGMENT_BYTES / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"fleet": "Not A Name"},
        {"fleet": ""},
        {"device_id": "ab"},
        {"device_id": "../../" + "a" * 58},
        {"generation": 0},
        {"generation": 2**53},
        {"generation": -1},
    ],
    ids=str,
)
def test_what_is_out_of_range_is_not_said(changes: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="cannot be used"):
        signed(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_key": Ed25519PrivateKey.generate().public_key().public_bytes_raw()},
        {"signing_key": b"short"},
        {"fleet": "other"},
        {"device_id": "cd" * 32},
    ],
    ids=lambda c: next(iter(c)),
)
def test_it_is_of_one_device_and_fleet(changes: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="cannot be used"):
        verify(signed(), **changes)


def test_another_statement_under_the_same_signature_is_refused() -> None:
    found = decode_acknowledgment(signed())
    for changes in ({"generation": 8}, {"time": datetime(2030, 1, 1, tzinfo=UTC)}):
        forged = replace(found, statement=replace(found.statement, **changes))
        with pytest.raises(GalleryError, match="signature"):
            verify(encode_acknowledgment(forged))


def test_cut_off_or_altered_anywhere_it_is_refused() -> None:
    data = signed()
    for length in range(len(data)):
        with pytest.raises(GalleryError):
            decode_acknowledgment(data[:length])
    for place in range(len(data)):
        with pytest.raises(GalleryError):
            verify(data[:place] + bytes([data[place] ^ 0x01]) + data[place + 1 :])


@given(st.binary(max_size=2_000))
def test_no_bytes_are_taken_for_one(data: bytes) -> None:
    with pytest.raises(GalleryError):
        decode_acknowledgment(data)


@pytest.mark.parametrize(
    "data",
    [b"[" * 1_000, b"{" * 1_000, b" " * MAX_ACKNOWLEDGMENT_BYTES + b"{}", signed() + b"\n"],
    ids=["deep list", "deep object", "too long", "another spelling"],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(GalleryError):
        decode_acknowledgment(data)
