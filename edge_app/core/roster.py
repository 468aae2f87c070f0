"""People as columns: what a device needs of 50,000 of them, without parsing anybody's record.

A consent is parsed and its signature checked once, by `register`, when the person comes into a
store. What it said is kept as numbers, and `gallery.admit` judges all of them at once, at every
load: station, purpose, embedder, tombstones, time. Names and ids are UTF-8 in one block of bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Final, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from edge_app.core.consent import ConsentFault, lasting_fault, tombstone_ids
from edge_app.errors import GalleryError
from edge_app.records import ConsentRecord, Enrolment, Purpose

Rows = NDArray[np.intp]

_MEMBER: Final = np.dtype(
    [
        ("text_begin", "<u8"),
        ("text_bytes", "<u2", (4,)),  # person id, record id, name, relation
        ("id_digest", "<u8"),
        ("valid_from_s", "<i8"),
        ("valid_until_s", "<i8"),
        ("departures", "u1", (2, 32)),
        ("templates", "<u2"),
        ("demo", "?"),
    ]
)
_STANDING: Final = np.dtype(
    [
        ("station", "u1", (32,)),
        ("model", "u1", (32,)),
        ("retained_until_s", "<i8"),
        ("purpose", "u1"),
        ("fault", "u1"),
    ]
)
_FAULTS: Final = tuple(ConsentFault)
_PURPOSES: Final = tuple(Purpose)
_HEAD: Final = struct.Struct("<III")  # people, templates, bytes of text
_ID_BYTES: Final = 32
_NO_FAULT: Final = 0


@dataclass(frozen=True, slots=True)
class Member:
    """What is needed of a recognised person."""

    person_id: str
    record_id: str
    name: str = field(repr=False)
    relation: str = field(repr=False)
    demo: bool


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """People in rows, whose templates follow each other in the same order.

    template_ids: shape (templates, 32), uint8: the SHA-256 of each, as signed.
    """

    columns: NDArray[Any] = field(repr=False)
    texts: bytes = field(repr=False)
    template_ids: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def empty(cls) -> Roster:
        return cls(np.empty(0, _MEMBER), b"", np.empty((0, _ID_BYTES), np.uint8))

    def __len__(self) -> int:
        """Number of people."""
        return len(self.columns)

    @property
    def templates(self) -> int:
        return len(self.template_ids)

    @property
    def demo(self) -> NDArray[np.bool_]:
        """Shape (people,): who was enrolled from pictures."""
        return np.asarray(self.columns["demo"])

    def member(self, row: SupportsIndex) -> Member:
        column = self.columns[row]
        begin = int(column["text_begin"])
        texts = []
        for length in column["text_bytes"].tolist():
            texts.append(self.texts[begin : begin + length].decode())
            begin += length
        person_id, record_id, name, relation = texts
        return Member(person_id, record_id, name, relation, bool(column["demo"]))

    def __iter__(self) -> Iterator[Member]:
        return map(self.member, range(len(self)))

    def person_id(self, row: SupportsIndex) -> str:
        column = self.columns[row]
        begin = int(column["text_begin"])
        return self.texts[begin : begin + int(column["text_bytes"][0])].decode()

    def rows_of(self, person_id: str) -> list[int]:
        """Where a person is; more than one row only if the roster is not sound."""
        likely = np.flatnonzero(self.columns["id_digest"] == np.uint64(_id_digest(person_id)))
        return [int(row) for row in likely if self.person_id(row) == person_id]

    def take(self, rows: Rows) -> Roster:
        """These people, in this order. The texts are shared."""
        return Roster(self.columns[rows], self.texts, self.template_ids[self.template_rows(rows)])

    def template_rows(self, rows: Rows) -> Rows:
        """Which templates are these people's, in their order."""
        counts = self.columns["templates"].astype(np.intp)
        return _ranges((np.cumsum(counts) - counts)[rows], counts[rows])

    def person_of_template(self) -> Rows:
        """Shape (templates,): whose row each template belongs to."""
        return np.repeat(np.arange(len(self)), self.columns["templates"])

    def is_valid(self, row: SupportsIndex, now: datetime) -> bool:
        """Whether the clock, aware, speaks for a person; as `consent.time_fault`."""
        column = self.columns[row]
        return bool(column["valid_from_s"] <= now.timestamp() < column["valid_until_s"])

    def tombstones_of(self, row: SupportsIndex) -> frozenset[str]:
        """The digests that bar a person, as `consent.tombstone_ids`."""
        return frozenset(digest.tobytes().hex() for digest in self.columns[row]["departures"])

    def departed(self, tombstones: AbstractSet[str]) -> Rows:
        """The rows of whoever left, in order. tombstones: as `consent.tombstone_ids` makes them."""
        if not tombstones or not len(self):
            return np.empty(0, np.intp)
        wanted = {bytes.fromhex(digest) for digest in tombstones}
        # Eight bytes sort out nearly everybody; the rest is compared whole.
        heads = np.array([int.from_bytes(digest[:8], "little") for digest in wanted], "<u8")
        digests = np.ascontiguousarray(self.columns["departures"])
        likely = np.isin(digests.view("<u8")[:, :, 0], heads).any(axis=1)
        rows = [
            row
            for row in np.flatnonzero(likely)
            if any(digest.tobytes() in wanted for digest in digests[row])
        ]
        return np.array(rows, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """A roster with what decides whether its people may be used at all; row by row."""

    roster: Roster
    standing: NDArray[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.roster)

    @property
    def verified(self) -> bool:
        """Whether every signature could be checked: no station was unknown then."""
        unknown = _code(ConsentFault.UNKNOWN_STATION)
        return not bool((self.standing["fault"] == unknown).any())

    def take(self, rows: Rows) -> Register:
        """These people, in this order, with texts of their own."""
        columns, texts = _compact(self.roster, rows)
        ids = self.roster.template_ids[self.roster.template_rows(rows)]
        return Register(Roster(columns, texts, ids), self.standing[rows])

    def outdated(self, now: datetime) -> Rows:
        """The rows of whose retention period has ended. now: aware."""
        return np.flatnonzero(self.standing["retained_until_s"] <= now.timestamp())

    def faults(
        self,
        *,
        purpose: Purpose,
        model_sha256: str,
        stations: Iterable[str],
        tombstones: AbstractSet[str],
        now: datetime,
    ) -> NDArray[np.uint8]:
        """For each row 0, or a number that `fault_of` names: the same as `consent.check` says.

        stations: ids of those that are trusted now; now: aware.
        """
        columns, standing = self.roster.columns, self.standing
        now_s = now.timestamp()
        trusted = np.zeros(len(self), bool)
        for station in stations:
            trusted |= _equal(standing["station"], station)
        revoked = np.zeros(len(self), bool)
        revoked[self.roster.departed(tombstones)] = True
        lasting = standing["fault"]
        ended = np.isin(lasting, [_code(f) for f in _STATES])
        by_precedence = (
            (~trusted, ConsentFault.UNKNOWN_STATION),
            ((lasting != _NO_FAULT) & ~ended, lasting),
            (standing["purpose"] != _PURPOSES.index(purpose), ConsentFault.WRONG_PURPOSE),
            (~_equal(standing["model"], model_sha256), ConsentFault.WRONG_MODEL),
            (revoked, ConsentFault.REVOKED),
            (ended, lasting),
            (columns["valid_from_s"] > now_s, ConsentFault.NOT_YET_VALID),
            (columns["valid_until_s"] <= now_s, ConsentFault.EXPIRED),
        )
        found = np.zeros(len(self), np.uint8)
        for condition, fault in reversed(by_precedence):
            code = _code(fault) if isinstance(fault, ConsentFault) else fault[condition]
            found[condition] = code
        return found


_STATES: Final = (ConsentFault.WITHDRAWN, ConsentFault.ERASED, ConsentFault.EXPIRED)
"""Faults that a record's own state brings, whatever the clock says."""


def fault_of(code: int) -> ConsentFault:
    """The fault that a number of `Register.faults` stands for."""
    return _FAULTS[code - 1]


def register(
    people: Sequence[Enrolment],
    stations: Mapping[str, bytes],
    messages: Sequence[bytes | None] | None = None,
) -> Register:
    """Check these people's consents once and for all, and write down what they say.

    stations: id -> raw Ed25519 public key. Whoever is not to be used for a lasting reason is
    written down with it.
    messages: the records' canonical bytes, of which they were decoded; None: not at hand.

    Raises:
        GalleryError: a name or an id is too long.
    """
    signed = messages or [None] * len(people)
    faults = [
        lasting_fault(person, stations, message=message)
        for person, message in zip(people, signed, strict=True)
    ]
    columns, standing = np.zeros(len(people), _MEMBER), np.zeros(len(people), _STANDING)
    texts = [_texts(person) for person in people]
    lengths = np.array([list(map(len, parts)) for parts in texts], np.int64).reshape(-1, 4)
    if lengths.max(initial=0) > np.iinfo(np.uint16).max:
        raise GalleryError("a person's name or id is too long; enrol them again")
    columns["text_begin"] = np.cumsum(lengths.sum(axis=1)) - lengths.sum(axis=1)
    columns["text_bytes"] = lengths
    columns["id_digest"] = [_id_digest(person.person_id) for person in people]
    columns["templates"] = [len(person.templates) for person in people]
    standing["fault"] = [_NO_FAULT if fault is None else _code(fault) for fault in faults]
    known = [row for row, person in enumerate(people) if person.consent.station_id in stations]
    standing["station"][known] = _digests(people[row].consent.station_id for row in known)
    sound = [row for row, fault in enumerate(faults) if fault is None or fault in _STATES]
    _note_records(columns, standing, sound, [people[row].consent.record for row in sound])
    ids = _digests(t.template_id for person in people for t in person.templates)
    return Register(Roster(columns, b"".join(chain.from_iterable(texts)), ids), standing)


def _texts(person: Enrolment) -> tuple[bytes, bytes, bytes, bytes]:
    record_id = person.consent.record.record_id
    return (
        person.person_id.encode(),
        record_id.encode(),
        person.name.encode(),
        person.relation.encode(),
    )


def _note_records(
    columns: NDArray[Any], standing: NDArray[Any], rows: list[int], records: list[ConsentRecord]
) -> None:
    given_s = np.array([int(r.event_time.timestamp()) for r in records], np.int64)
    kept_s = np.array([r.retention_s for r in records], np.int64)
    valid_s = np.array([r.validity_duration_s for r in records], np.int64)
    columns["valid_from_s"][rows] = given_s
    columns["valid_until_s"][rows] = given_s + np.minimum(kept_s, valid_s)
    columns["demo"][rows] = [record.demo for record in records]
    departures = _digests(d for record in records for d in sorted(tombstone_ids(record)))
    columns["departures"][rows] = departures.reshape(-1, 2, _ID_BYTES)
    standing["model"][rows] = _digests(record.model_sha256 for record in records)
    standing["retained_until_s"][rows] = given_s + kept_s
    standing["purpose"][rows] = [_PURPOSES.index(record.purpose) for record in records]


def joined(registers: Sequence[Register]) -> Register:
    """All of them, one after the other."""
    rosters = [part.roster for part in registers]
    shifts = np.cumsum([0, *(len(roster.texts) for roster in rosters)])
    columns = [roster.columns.copy() for roster in rosters]
    for part, shift in zip(columns, shifts, strict=False):
        part["text_begin"] += np.uint64(shift)
    roster = Roster(
        np.concatenate([np.empty(0, _MEMBER), *columns]),
        b"".join(roster.texts for roster in rosters),
        np.concatenate([Roster.empty().template_ids, *(r.template_ids for r in rosters)]),
    )
    standing = [part.standing for part in registers]
    return Register(roster, np.concatenate([np.empty(0, _STANDING), *standing]))


def encode_register(value: Register) -> bytes:
    """Its bytes, for a store that authenticates them: people, templates, bytes of text, columns."""
    roster = value.roster
    return b"".join(
        (
            _HEAD.pack(len(roster), roster.templates, len(roster.texts)),
            roster.columns.tobytes(),
            value.standing.tobytes(),
            roster.template_ids.tobytes(),
            roster.texts,
        )
    )


def decode_register(data: bytes) -> Register:
    """The register of `encode_register`. Its arrays share the memory of `data`.

    Raises:
        GalleryError: another length than it says.
    """
    if len(data) < _HEAD.size:
        raise _malformed()
    people, templates, text_bytes = _HEAD.unpack_from(data)
    sizes = (people * _MEMBER.itemsize, people * _STANDING.itemsize, templates * _ID_BYTES)
    if len(data) != _HEAD.size + sum(sizes) + text_bytes:
        raise _malformed()
    begins = np.cumsum([_HEAD.size, *sizes]).tolist()
    columns = np.frombuffer(data, _MEMBER, people, begins[0])
    standing = np.frombuffer(data, _STANDING, people, begins[1])
    ids = np.frombuffer(data, np.uint8, sizes[2], begins[2]).reshape(-1, _ID_BYTES)
    return Register(Roster(columns, data[begins[3] :], ids), standing)


def _compact(roster: Roster, rows: Rows) -> tuple[NDArray[Any], bytes]:
    columns, texts = roster.columns[rows], bytearray()
    for column in columns:
        begin, length = int(column["text_begin"]), int(column["text_bytes"].sum())
        column["text_begin"] = len(texts)
        texts += roster.texts[begin : begin + length]
    return columns, bytes(texts)


def _ranges(begins: Rows, counts: Rows) -> Rows:
    """begins[0], begins[0] + 1, ... counts[0] of them, then those from begins[1]."""
    starts = np.cumsum(counts) - counts
    return np.repeat(begins - starts, counts) + np.arange(int(counts.sum()))


def _equal(digests: NDArray[Any], digest: str) -> NDArray[np.bool_]:
    return np.asarray((digests == _digest(digest)).all(axis=1))


def _digests(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Shape (n, 32)."""
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, _ID_BYTES)


def _digest(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


def _id_digest(person_id: str) -> int:
    return int.from_bytes(hashlib.sha256(person_id.encode()).digest()[:8], "little")


def _code(fault: ConsentFault) -> int:
    return _FAULTS.index(fault) + 1


def _malformed() -> GalleryError:
    return GalleryError("the people's columns are cut off; restore the gallery's newest copy")
