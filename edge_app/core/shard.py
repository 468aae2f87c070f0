"""Shards: the people of a fleet's gallery in encrypted pieces, of which only changed ones move.

A file is, with little-endian numbers:

    magic 8 | number 4 | generation 8 | people 4 | templates 4 | dim 4 | nonce 12 | length 4 |
    nonce 12 | length 4 | people, AES-256-GCM | templates, AES-256-GCM

generation: the one it was written for; later ones take it over unchanged. Each segment is
authenticated with its name, the fleet and the whole header, so that segments of different shards,
generations and fleets do not mix. The key is fresh for every version of a shard.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.core.person import MAX_TEMPLATES, pack_people, unpack_signed
from edge_app.errors import GalleryError
from edge_app.records import Enrolment, Float32Array

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_DIM: Final = 4_096
PEOPLE_PER_SHARD: Final = 128
"""About how many: fewer, and a bundle is all headers; more, and one removal moves many."""

_MAGIC: Final = b"FAMSHD\x00\x01"
_TAG_BYTES: Final = 16
_HEADER: Final = struct.Struct("<8sIQIII12sI12sI")


class ShardHeader(NamedTuple):
    """The clear part. Lengths are those of the encrypted segments."""

    magic: bytes
    number: int
    generation: int
    people: int
    templates: int
    dim: int
    people_nonce: bytes
    people_length: int
    templates_nonce: bytes
    templates_length: int


class ShardContents(NamedTuple):
    """messages: the canonical bytes of each consent. text: as `person.pack_people` wrote it."""

    people: tuple[Enrolment, ...]
    messages: tuple[bytes, ...]
    text: bytes


def shard_of(person_id: str, shards: int) -> int:
    """Which of `shards` shards a person is in: told by the id alone, so that people stay put."""
    digest = hashlib.sha256(b"familiar shard\0" + person_id.encode()).digest()
    return int.from_bytes(digest[:8], "little") % shards


def shards_for(people: int, shards: int) -> int:
    """How many shards a gallery should have, a power of two; now it has `shards` (or 0).

    It changes only when it is off by more than two times either way: a change moves everyone.
    """
    best = 1
    while best * PEOPLE_PER_SHARD < people:
        best *= 2
    return shards if shards and best / 2 <= shards <= best * 2 else best


def seal_shard(
    people: Sequence[Enrolment],
    *,
    fleet: str,
    number: int,
    generation: int,
    key: bytes,
    nonces: tuple[bytes, bytes],
) -> bytes:
    """The shard's file. nonces: two different ones of 12 bytes, never used with this key."""
    text, matrix = pack_people(people)
    templates, dim = matrix.shape
    raw = matrix.tobytes()
    header = ShardHeader(
        _MAGIC,
        number,
        generation,
        len(people),
        templates,
        dim,
        nonces[0],
        len(text) + _TAG_BYTES,
        nonces[1],
        len(raw) + _TAG_BYTES,
    )
    cipher = AESGCM(key)
    return b"".join(
        (
            _HEADER.pack(*header),
            cipher.encrypt(nonces[0], text, _bound(b"people", fleet, header)),
            cipher.encrypt(nonces[1], raw, _bound(b"templates", fleet, header)),
        )
    )


def read_header(data: bytes) -> ShardHeader:
    """The clear part of a whole file.

    Raises:
        GalleryError: not a shard, or cut off.
    """
    if len(data) < _HEADER.size:
        raise _damaged("it is cut off")
    header = ShardHeader(*_HEADER.unpack_from(data))
    if header.magic != _MAGIC:
        raise _damaged("it is of another format")
    templates_bytes = header.templates * header.dim * 4
    whole = (
        header.templates_length == templates_bytes + _TAG_BYTES
        and header.people_length > _TAG_BYTES
        and header.dim <= MAX_DIM
        and header.templates <= header.people * MAX_TEMPLATES
        and len(data) == _HEADER.size + header.people_length + header.templates_length
    )
    if not whole:
        raise _damaged("it is cut off")
    return header


def templates_into(data: bytes, view: memoryview, *, fleet: str, number: int, key: bytes) -> None:
    """Decrypt the templates straight into `view`, which is exactly of their size.

    Raises:
        GalleryError: altered, for another place, or another key's.
    """
    header = _header_of(data, number)
    segment = memoryview(data)[_HEADER.size + header.people_length :]
    try:
        AESGCM(key).decrypt_into(
            header.templates_nonce, segment, _bound(b"templates", fleet, header), view
        )
    except InvalidTag as error:
        raise _damaged("its content was altered") from error


def open_shard(
    data: bytes, matrix: Float32Array, *, fleet: str, number: int, key: bytes
) -> tuple[Enrolment, ...]:
    """The people of a shard, whose templates `templates_into` put into `matrix`.

    Raises:
        GalleryError: altered, for another place, another key's, or people are missing.
    """
    return open_contents(data, matrix, fleet=fleet, number=number, key=key).people


def open_contents(
    data: bytes, matrix: Float32Array, *, fleet: str, number: int, key: bytes
) -> ShardContents:
    """As `open_shard`, with the bytes that the people came from."""
    header = _header_of(data, number)
    segment = memoryview(data)[_HEADER.size : _HEADER.size + header.people_length]
    try:
        text = AESGCM(key).decrypt(header.people_nonce, segment, _bound(b"people", fleet, header))
    except InvalidTag as error:
        raise _damaged("its content was altered") from error
    people, messages = unpack_signed(text, matrix)
    if len(people) != header.people:
        raise _damaged("people are missing")
    return ShardContents(people, messages, text)


def _header_of(data: bytes, number: int) -> ShardHeader:
    header = read_header(data)
    if header.number != number:
        raise _damaged(f"it is shard {header.number} in the place of {number}")
    return header


def _bound(segment: bytes, fleet: str, header: ShardHeader) -> bytes:
    return segment + b"\0" + fleet.encode() + b"\0" + _HEADER.pack(*header)


def _damaged(how: str) -> GalleryError:
    return GalleryError(f"a shard of the gallery cannot be used: {how}; fetch it again")
