"""One enrolled person on the way from the station to the device: consent, signature, templates.

A message of canonical JSON and raw templates. Whoever opens one still has to ask
`consent.check` whether it may be used: what is here says only that the bytes are whole.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_app.core.canonical import from_json, to_json
from edge_app.core.consent import decode, encode
from edge_app.errors import ConsentError, GalleryError
from edge_app.records import Enrolment, Float32Array, SignedConsent, Template

MAX_NAME: Final = 200
"""Characters of a name or a relation."""

MAX_TEMPLATES: Final = 64
"""Templates of one person."""

_MAX_TEXT_BYTES: Final = 64 * 2**20
_LENGTHS: Final = struct.Struct("<III")  # text bytes, packed; templates; their dimension
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class PersonText:
    """A person without templates. consent: the record's canonical bytes, as text."""

    name: str
    relation: str
    consent: str
    station_id: str
    signature: str


@dataclass(frozen=True, slots=True)
class PeopleText:
    people: tuple[PersonText, ...]


def pack_people(people: Sequence[Enrolment]) -> tuple[bytes, Float32Array]:
    """(text, templates): compressed canonical JSON, and the templates' rows in the people's order.

    templates: shape (n, dim), float32; (0, 0) if there are none.
    """
    text = PeopleText(tuple(_text(person) for person in people))
    rows = [template.embedding for person in people for template in person.templates]
    matrix = np.stack(rows).astype("<f4") if rows else np.empty((0, 0), np.float32)
    return zlib.compress(to_json(text, _malformed), 6), matrix


def unpack_people(text: bytes, matrix: Float32Array) -> tuple[Enrolment, ...]:
    """The people whose templates are the rows of `matrix`, in order.

    Raises:
        GalleryError: not such a text, or more or fewer templates than it names.
    """
    return unpack_signed(text, matrix)[0]


def unpack_signed(
    text: bytes, matrix: Float32Array
) -> tuple[tuple[Enrolment, ...], tuple[bytes, ...]]:
    """(people, messages): as `unpack_people`, with the canonical bytes of each one's consent."""
    entries = from_json(_inflate(text), PeopleText, _malformed).people
    rows = iter(matrix)
    try:
        people = tuple(_person(entry, rows) for entry in entries)
    except ConsentError as error:
        raise _malformed("a person", "whole") from error
    if next(rows, None) is not None:
        raise _malformed("the templates", "those of these people")
    return people, tuple(entry.consent.encode() for entry in entries)


def pack_person(person: Enrolment) -> bytes:
    """One person as one message."""
    text, matrix = pack_people((person,))
    return _LENGTHS.pack(len(text), *matrix.shape) + text + matrix.tobytes()


def unpack_person(data: bytes) -> Enrolment:
    """The person in a message.

    Raises:
        GalleryError: not such a message.
    """
    if len(data) < _LENGTHS.size:
        raise _malformed("the message", "whole")
    text_bytes, rows, dim = _LENGTHS.unpack_from(data)
    begin = _LENGTHS.size + text_bytes
    if len(data) != begin + rows * dim * 4 or not 0 < rows <= MAX_TEMPLATES:
        raise _malformed("the message", "whole")
    matrix = np.frombuffer(data, dtype="<f4", offset=begin).reshape(rows, dim)
    people = unpack_people(data[_LENGTHS.size : begin], matrix)
    if len(people) != 1:
        raise _malformed("the message", "of one person")
    return people[0]


def _text(person: Enrolment) -> PersonText:
    consent = person.consent
    return PersonText(
        person.name,
        person.relation,
        encode(consent.record).decode(),
        consent.station_id,
        consent.signature.hex(),
    )


def _person(entry: PersonText, rows: Iterator[Float32Array]) -> Enrolment:
    if max(len(entry.name), len(entry.relation)) > MAX_NAME:
        raise _malformed("a name", f"of at most {MAX_NAME} characters")
    if not _SIGNATURE.fullmatch(entry.signature):
        raise _malformed("a signature", "64 bytes in hex")
    record = decode(entry.consent.encode())
    if len(record.template_ids) > MAX_TEMPLATES:
        raise _malformed("a person", f"of at most {MAX_TEMPLATES} templates")
    consent = SignedConsent(record, entry.station_id, bytes.fromhex(entry.signature))
    templates = tuple(map(Template, record.template_ids, rows))
    if len(templates) < len(record.template_ids):
        raise _malformed("the templates", "those of these people")
    return Enrolment(entry.name, entry.relation, consent, templates)


def _inflate(data: bytes) -> bytes:
    """At most `_MAX_TEXT_BYTES`: a few bytes must not fill the memory."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, _MAX_TEXT_BYTES)
    except zlib.error as error:
        raise _malformed("the text", "compressed") from error
    if not inflater.eof or inflater.unused_data:
        raise _malformed("the text", "whole")
    return text


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(
        f"the people's records are malformed: {where} is not {expected}; fetch them again"
    )
