"""One device's gallery at rest: encrypted, authenticated, and replaced as a whole.

One folder holds `gallery.sealed`. Another beside it, so that an older copy of the first does not
bring these back with it, holds `tombstones` (see there), `floor` (the newest generation that was
ever written), `newest-time`, and `lock`. Numbers in `gallery.sealed` are big-endian:

    magic 8 | store id 16 | key check 16 | generation 8 | nonce 12 | length 8 | nonce 12 |
    length 8 | dim 4 | people, AES-256-GCM | templates, AES-256-GCM

Each segment is authenticated together with its name and the whole header, so segments of
different generations or stores do not mix. The key is derived from the store key and the
store id. Templates are encrypted from sealed memory and decrypted into it (P5). With the people
go the tombstones and the calibration: the threshold of every device with this gallery (P8).

What was confirmed stays: a tombstone is durable before the gallery is rewritten, and the
gallery before the floor. A process killed at any point leaves the old or the new gallery, and
a revocation cut short after its tombstone is completed by `purge`.
"""

from __future__ import annotations

import json
import logging
import secrets
import struct
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.durable import (
    exclusive,
    file_state,
    make_private_folder,
    write_all_durably,
    write_durably,
)
from edge_app.adapters.keys import derive
from edge_app.adapters.sealed import SealedMemory, SealedTemplates, on_rows, seal_templates
from edge_app.adapters.tombstones import Tombstones
from edge_app.core.consent import IntendedUse, check, decode, encode, tombstone_ids
from edge_app.core.gallery import (
    MAX_DEMO_TEMPLATES,
    Admission,
    admit,
    comparisons_per_search,
)
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import (
    ConsentError,
    EnrolmentError,
    GalleryError,
    KeyFileError,
    StorageError,
)
from edge_app.records import Calibration, Enrolment, SignedConsent, Template

_log = logging.getLogger(__name__)

GALLERY_NAME: Final = "gallery.sealed"
TOMBSTONES_NAME: Final = "tombstones"
FLOOR_NAME: Final = "floor"
NEWEST_TIME_NAME: Final = "newest-time"
FLEET_FLOOR_NAME: Final = "fleet-floor"

_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_TIME_STEP: Final = timedelta(hours=1)

_MAGIC: Final = b"FAMGAL\x00\x01"
_TAG_BYTES: Final = 16
_FLOAT_BYTES: Final = 4
_NO_TEMPLATES: Final = Template("", np.empty(0, dtype=np.float32))


class _Header(NamedTuple):
    """The clear part of `gallery.sealed`. Lengths are those of the encrypted segments."""

    magic: bytes
    store_id: bytes
    key_check: bytes
    generation: int
    people_nonce: bytes
    people_length: int
    templates_nonce: bytes
    templates_length: int
    dim: int


_HEADER: Final = struct.Struct(">8s16s16sQ12sQ12sQI")


@dataclass(frozen=True, slots=True)
class FleetState:
    """Which fleet's gallery this is, and the generation that was published."""

    fleet: str
    generation: int


@dataclass(frozen=True, slots=True, eq=False)
class _Contents:
    """Everything in `gallery.sealed`, usable or not."""

    store_id: bytes = field(repr=False)
    generation: int
    tombstones: frozenset[str] = field(repr=False)
    calibration: Calibration | None
    fleet: FleetState | None
    people: tuple[Enrolment, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class StoredGallery:
    """What a device may use of its store now.

    admission: who may be used, their templates being rows of `templates.matrix`, in order;
               and who was left out, and why.
    calibration: None before the first enrolment.
    """

    generation: int
    calibration: Calibration | None
    admission: Admission
    templates: SealedTemplates


class GalleryStore:
    """The store in one folder. Safe for several processes at once."""

    def __init__(self, folder: Path, key: bytes, *, withdrawn: Path) -> None:
        """Name the folders, which need not exist; key: the 32 bytes of the store key.

        withdrawn: of what must outlive the gallery; not inside `folder`.
        """
        self._folder = folder
        self._withdrawn = withdrawn
        self._key = key
        self._path = folder / GALLERY_NAME
        self._floor_path = withdrawn / FLOOR_NAME
        self._time_path = withdrawn / NEWEST_TIME_NAME
        self._tombstones_path = withdrawn / TOMBSTONES_NAME
        self._fleet_floor_path = withdrawn / FLEET_FLOOR_NAME
        self._tombstones = Tombstones(self._tombstones_path)

    def require_time(self, now: datetime, *, trusted: bool) -> None:
        """Pass unless this device has already seen a later time (P2).

        now: aware, UTC; trusted: the clock is synchronised, so that the time is remembered.

        Raises:
            GalleryError: the clock runs behind, and would bring expired consents back.
            StorageError: the time cannot be written.
        """
        newest = self._newest_time() or now - _TIME_STEP
        if now < newest - _CLOCK_TOLERANCE:
            raise GalleryError(
                f"the clock says {now:%Y-%m-%d %H:%M} UTC, and this device has already seen "
                f"{newest:%Y-%m-%d %H:%M}; set the clock, by which consents are judged"
            )
        if trusted and now >= newest + _TIME_STEP:
            with exclusive(self._withdrawn):
                write_durably(self._time_path, now.isoformat().encode("ascii"))

    def load(self, use: IntendedUse, *, now: datetime) -> StoredGallery:
        """Read, authenticate, and check every consent (P2). An absent store is empty.

        now: aware, UTC.

        Raises:
            KeyFileError: the key is not the one the store was written with.
            GalleryError: the store is damaged, altered, older than one already used, or does
                not fit into memory.
        """
        contents = self._read()
        admission = admit(contents.people, use, tombstones=contents.tombstones, now=now)
        templates = seal_templates(admission.enrolments)
        return StoredGallery(
            contents.fleet.generation if contents.fleet else contents.generation,
            contents.calibration,
            replace(admission, enrolments=templates.enrolments),
            templates,
        )

    def add(
        self, enrolment: Enrolment, use: IntendedUse, *, calibration: Calibration, now: datetime
    ) -> None:
        """Store one more person.

        calibration: of a gallery that has none yet. An older one stays, whether it still holds
        or not: a threshold that rises by itself would miss people for no reason they could see.

        Raises:
            ConsentError: the consent would not be accepted at the next load.
            EnrolmentError: already enrolled, of another embedder than the others, or one demo
                template too many (P4).
            GalleryError: the store cannot be read.
            StorageError: it cannot be written; the old gallery is still there.
        """

        def change(old: _Contents) -> _Contents:
            if old.fleet is not None:
                raise EnrolmentError(
                    f'this gallery is the fleet "{old.fleet.fleet}"\'s; enrol at a station of '
                    "it: `familiar station enrol`"
                )
            fault = check(enrolment, use, tombstones=old.tombstones, now=now)
            if fault is not None:
                raise ConsentError(
                    f"this enrolment would not be accepted ({fault.value}); enrol again with this "
                    "device's purpose, model and station"
                )
            _require_room(old.people, enrolment)
            new = replace(
                old,
                people=(*old.people, enrolment),
                calibration=old.calibration or calibration,
            )
            _warn_if_outgrown(new)
            return new

        self._rewrite(change)

    def install(
        self,
        people: tuple[Enrolment, ...],
        fleet: FleetState,
        *,
        tombstones: frozenset[str],
        calibration: Calibration,
    ) -> None:
        """Let a fleet's generation be this gallery from now on.

        tombstones: of everyone who left the fleet; they are barred here for ever, too.

        Raises:
            GalleryError: the store holds people of its own, another fleet's, or a newer
                generation; or these people are demo ones (P4). Nothing was changed.
            StorageError: it cannot be written; the old gallery is still there.
        """
        if any(person.consent.record.demo for person in people):
            raise GalleryError(
                "this gallery holds demo templates, which are never published; tell the operator"
            )
        with exclusive(self._withdrawn), self._tombstones.room_kept():
            stored = self._read()
            _require_successor(stored, fleet)
            self._require_fleet_floor(fleet)
            barred = stored.tombstones | tombstones
            self._tombstones.add(barred)
            if self.fleet_floor() is None:
                # A fleet's gallery is used with a lease only, from its first moment on.
                self._write_fleet_floor(FleetState(fleet.fleet, 0))
            new = replace(
                stored,
                generation=stored.generation + 1,
                tombstones=barred,
                calibration=calibration,
                fleet=fleet,
            )
            self._write(replace(new, people=tuple(p for p in people if _is_here(p, new))))
            # Last, so that it says what is installed. Until then the gallery guards itself.
            self._write_fleet_floor(fleet)

    def holds(self, fleet: FleetState) -> bool:
        """Whether this generation is installed; told without opening the gallery.

        Raises:
            GalleryError: the record of it was altered.
        """
        return self._path.exists() and self.fleet_floor() == fleet

    def fleet_floor(self) -> FleetState | None:
        """The newest generation of a fleet that was ever installed; 0 if the first was cut off.

        None if this home never belonged to a fleet.

        Raises:
            GalleryError: the file was altered.
        """
        try:
            return FleetState(**json.loads(self._fleet_floor_path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise GalleryError(
                f"cannot read {self._fleet_floor_path}: {error}; restore its newest copy"
            ) from error

    def newest_time(self) -> datetime | None:
        """The latest trusted time this device ever saw. Raises GalleryError."""
        return self._newest_time()

    def tombstones(self) -> frozenset[str]:
        """The digests of everyone who left. Raises GalleryError."""
        return self._tombstones.read()

    def _write_fleet_floor(self, fleet: FleetState) -> None:
        write_durably(self._fleet_floor_path, json.dumps(asdict(fleet)).encode())

    def _require_fleet_floor(self, fleet: FleetState) -> None:
        floor = self.fleet_floor()
        if floor is not None and floor.fleet == fleet.fleet and fleet.generation < floor.generation:
            raise _older(fleet, floor)

    def calibrate(self, calibration: Calibration) -> None:
        """Let every device with this gallery use this threshold from now on.

        Raises:
            GalleryError: the store cannot be read.
            StorageError: it cannot be written.
        """
        self._rewrite(lambda old: replace(old, calibration=calibration))

    def remove(self, person_id: str) -> None:
        """Take a person out for ever, on the device owner's wish.

        Raises:
            GalleryError: nobody has this id, or the store cannot be read.
            StorageError: it cannot be written.
        """
        with exclusive(self._withdrawn):
            people = self._read().people
            digests = {d for p in people if p.person_id == person_id for d in _tombstones_of(p)}
            if not digests:
                raise GalleryError(f"nobody here has the id {person_id}; list the people again")
            self._tombstones.add(digests)
        self._rewrite(_everyone)

    def revoke(self, code: str) -> bool:
        """Let the holder of a revocation code leave, for ever (P3).

        code: as typed. Returns whether the person was in this gallery; if not, a later
        arrival under this code is barred all the same.

        Raises:
            ConsentError: not a revocation code.
            GalleryError: the store cannot be read; the revocation stands nevertheless.
            StorageError: it cannot be written; the message tells what of it.
        """
        digest = revocation_sha256(normalise_code(code))
        with exclusive(self._withdrawn):
            self._tombstones.add({digest})
        try:
            erased = self._rewrite(_everyone)
        except StorageError as error:
            raise StorageError(
                f"this code's holder has left for good, but is not erased yet: {error}"
            ) from error
        return any(person.consent.record.revocation_sha256 == digest for person in erased)

    def purge(self, *, now: datetime) -> int:
        """Erase whoever left and whose retention period ended; returns how many that were.

        now: aware, UTC, of a clock known to be right. What a wrong one erases is gone.

        Raises:
            GalleryError: the store cannot be read.
            StorageError: it cannot be written.
        """

        def change(old: _Contents) -> _Contents:
            return replace(old, people=tuple(p for p in old.people if _is_retained(p, now)))

        return len(self._rewrite(change))

    def fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """Changes whenever any process changes the store; cheap enough to ask every second."""
        return tuple(map(file_state, (self._path, self._tombstones_path)))

    def _rewrite(self, change: Callable[[_Contents], _Contents]) -> tuple[Enrolment, ...]:
        """Write the next generation, unless nothing changes; returns who was erased.

        change: from the contents without those who left, to what shall be stored.
        """
        with exclusive(self._withdrawn), self._tombstones.room_kept():
            stored = self._read()
            old = replace(stored, people=tuple(p for p in stored.people if _is_here(p, stored)))
            new = change(old)
            if (new.people, new.calibration) != (stored.people, stored.calibration):
                # A lost tombstone file comes back from the copy in the gallery.
                self._tombstones.add(stored.tombstones)
                self._write(replace(new, generation=old.generation + 1))
            return tuple(person for person in stored.people if person not in new.people)

    # ------------------------------------------------------------------------- reading

    def _read(self) -> _Contents:
        tombstones, floor = self._tombstones.read(), self._read_floor()
        try:
            data = memoryview(self._path.read_bytes())
        except FileNotFoundError:
            # Without its whole folder it was moved away, to begin anew; who left stays out.
            if floor and self._folder.exists():
                raise GalleryError(
                    f"{self._path} is gone, and it was at generation {floor}; restore its newest "
                    f"copy, or move {self._folder} away and enrol everyone again"
                ) from None
            return _Contents(secrets.token_bytes(16), floor or 0, tombstones, None, None, ())
        except OSError as error:
            raise GalleryError(
                f"cannot read {self._path}: {error.strerror}; check its owner and permissions"
            ) from error
        contents = self._open(data)
        if floor is None:
            raise GalleryError(
                f"{self._floor_path} is missing, and whoever left since this gallery was written "
                f"would come back without it; restore the newest copy of {self._withdrawn}, or "
                f"move {self._folder} away and enrol everyone again"
            )
        if contents.generation < floor:
            raise GalleryError(
                f"{self._path} is at generation {contents.generation}, and this device has used "
                f"{floor}: whoever left in between would come back; restore its newest copy, or "
                f"move {self._folder} away and enrol everyone again"
            )
        return replace(contents, tombstones=contents.tombstones | tombstones)

    def _newest_time(self) -> datetime | None:
        try:
            newest = datetime.fromisoformat(self._time_path.read_text("ascii"))
            if newest.tzinfo is None:
                raise ValueError("a time without its zone")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise GalleryError(
                f"cannot read {self._time_path}: {error}; set the clock right, then remove it"
            ) from error
        return newest

    def _read_floor(self) -> int | None:
        """The newest generation ever written; None if no gallery ever was."""
        try:
            text = self._floor_path.read_bytes()
            if not text.isdigit():
                raise ValueError("not a number")
            return int(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise GalleryError(
                f"cannot read {self._floor_path}: {error}; restore its newest copy"
            ) from error

    def _open(self, data: memoryview) -> _Contents:
        """Authenticate and decrypt a whole file."""
        header = self._header(data)
        cipher, key_check = _cipher(self._key, header.store_id)
        if key_check != header.key_check:
            raise KeyFileError(
                f"the key does not open this gallery: {self._path} was written with another one; "
                "put the right key back, or move the gallery's folder away to begin anew"
            )
        clear = data[: _HEADER.size]
        middle = _HEADER.size + header.people_length
        try:
            people = cipher.decrypt(
                header.people_nonce, data[_HEADER.size : middle], b"people" + clear
            )
            matrix = _decrypt_templates(cipher, header, data[middle:], b"templates" + clear)
        except InvalidTag as error:
            raise self._damaged("its content was altered") from error
        return self._parse(header, people, matrix)

    def _header(self, data: memoryview) -> _Header:
        if len(data) < _HEADER.size:
            raise self._damaged("it is cut off")
        header = _Header(*_HEADER.unpack_from(data))
        if header.magic != _MAGIC:
            raise self._damaged("it is of another format")
        size = _HEADER.size + header.people_length + header.templates_length
        templates_bytes = header.templates_length - _TAG_BYTES
        rows_are_whole = (
            templates_bytes % (_FLOAT_BYTES * header.dim) == 0
            if header.dim
            else templates_bytes == 0
        )
        whole_tags = header.people_length >= _TAG_BYTES and templates_bytes >= 0
        if size != len(data) or not whole_tags or not rows_are_whole:
            raise self._damaged("it is cut off")
        return header

    def _parse(self, header: _Header, people: bytes, matrix: Any) -> _Contents:
        """Only ever called with authentic content: whatever fails here is a version's doing."""
        try:
            content = json.loads(people)
            persons = tuple(_person_from_json(entry) for entry in content["people"])
            if sum(len(person.templates) for person in persons) != len(matrix):
                raise ValueError("templates are missing")
            tombstones = frozenset(content["tombstones"])
            stated = content.get("calibration")
            calibration = None if stated is None else Calibration(**stated)
            member = content.get("fleet")
            fleet = None if member is None else FleetState(**member)
        except (ValueError, KeyError, TypeError, AttributeError, ConsentError) as error:
            raise self._damaged("it was written by another version of Familiar") from error
        rows = on_rows(persons, matrix)
        return _Contents(header.store_id, header.generation, tombstones, calibration, fleet, rows)

    def _damaged(self, how: str) -> GalleryError:
        return GalleryError(
            f"{self._path} cannot be used: {how}; restore its newest copy, or move the gallery's "
            "folder away and enrol again"
        )

    # ------------------------------------------------------------------------- writing

    def _write(self, contents: _Contents) -> None:
        sealed = seal_templates(contents.people)
        content = {
            "people": [_person_to_json(person) for person in contents.people],
            "tombstones": sorted(contents.tombstones),
            "calibration": asdict(contents.calibration) if contents.calibration else None,
            "fleet": asdict(contents.fleet) if contents.fleet else None,
        }
        people = json.dumps(content).encode()
        cipher, key_check = _cipher(self._key, contents.store_id)
        header = _Header(
            _MAGIC,
            contents.store_id,
            key_check,
            contents.generation,
            secrets.token_bytes(12),
            len(people) + _TAG_BYTES,
            secrets.token_bytes(12),
            sealed.matrix.nbytes + _TAG_BYTES,
            sealed.matrix.shape[1],
        )
        clear = _HEADER.pack(*header)
        sealed_people = cipher.encrypt(header.people_nonce, people, b"people" + clear)
        sealed_templates = cipher.encrypt(
            header.templates_nonce,
            sealed.matrix.reshape(-1).view(np.uint8).data,
            b"templates" + clear,
        )
        make_private_folder(self._folder)
        if not self._floor_path.exists():
            write_durably(self._floor_path, b"0")  # a gallery without one is not believed
        write_all_durably(
            {
                self._path: (clear, sealed_people, sealed_templates),
                self._floor_path: (str(contents.generation).encode("ascii"),),
            }
        )


def _cipher(key: bytes, store_id: bytes) -> tuple[AESGCM, bytes]:
    """The store's cipher, and a value that tells a wrong key from a damaged file."""
    material = derive(key, salt=store_id, purpose=b"familiar gallery store 1", length=48)
    return AESGCM(material[:32]), material[32:]


def _decrypt_templates(
    cipher: AESGCM, header: _Header, segment: memoryview, associated: bytes
) -> Any:
    """The templates, shape (n, dim), float32, in sealed memory. Raises InvalidTag."""
    size_bytes = header.templates_length - _TAG_BYTES
    if size_bytes == 0:
        cipher.decrypt(header.templates_nonce, segment, associated)
        return np.empty((0, 0), dtype=np.float32)

    def fill(view: memoryview) -> None:
        cipher.decrypt_into(header.templates_nonce, segment, associated, view)

    return SealedMemory.filled(size_bytes, fill).matrix(header.dim)


def _require_successor(old: _Contents, fleet: FleetState) -> None:
    if old.fleet is None:
        if old.people:
            raise GalleryError(
                "this home has a gallery of its own, and people in it did not agree to a fleet; "
                "name another --home for the fleet's"
            )
        return
    if old.fleet.fleet != fleet.fleet:
        raise GalleryError(
            f'this home belongs to the fleet "{old.fleet.fleet}", and this is "{fleet.fleet}"\'s '
            "gallery; name another --home"
        )
    if fleet.generation < old.fleet.generation:
        raise _older(fleet, old.fleet)


def _older(fleet: FleetState, newest: FleetState) -> GalleryError:
    return GalleryError(
        f"generation {fleet.generation} is older than {newest.generation}, which this device has "
        "used: whoever left in between would come back; tell the operator"
    )


def _everyone(contents: _Contents) -> _Contents:
    return contents


def _tombstones_of(person: Enrolment) -> frozenset[str]:
    return tombstone_ids(person.consent.record)


def _is_here(person: Enrolment, contents: _Contents) -> bool:
    return contents.tombstones.isdisjoint(_tombstones_of(person))


def _is_retained(person: Enrolment, now: datetime) -> bool:
    record = person.consent.record
    return (now - record.event_time).total_seconds() < record.retention_s


def _require_room(people: Iterable[Enrolment], newcomer: Enrolment) -> None:
    demo_templates = len(newcomer.templates) if newcomer.consent.record.demo else 0
    for person in people:
        if person.person_id == newcomer.person_id:
            raise EnrolmentError("this person is enrolled already; remove them first")
        if person.templates[0].embedding.size != newcomer.templates[0].embedding.size:
            raise EnrolmentError(
                "the people here were enrolled with another embedder; remove them, or configure "
                "the one they were enrolled with"
            )
        if person.consent.record.demo:
            demo_templates += len(person.templates)
    if newcomer.consent.record.demo and demo_templates > MAX_DEMO_TEMPLATES:
        raise EnrolmentError(
            f"a gallery holds at most {MAX_DEMO_TEMPLATES} demo templates; remove demo people first"
        )


def _warn_if_outgrown(contents: _Contents) -> None:
    comparisons, calibration = comparisons_per_search(contents.people), contents.calibration
    if calibration is not None and comparisons > calibration.max_templates:
        _log.warning(
            "the gallery compares with %d templates now, and its threshold holds for %d: no device "
            "starts with it before `familiar calibrate`",
            comparisons,
            calibration.max_templates,
        )


def _person_to_json(person: Enrolment) -> dict[str, Any]:
    return {
        "name": person.name,
        "relation": person.relation,
        "consent": encode(person.consent.record).decode(),
        "station_id": person.consent.station_id,
        "signature": person.consent.signature.hex(),
    }


def _person_from_json(entry: dict[str, Any]) -> Enrolment:
    """Without embeddings, which `on_rows` fills in. Raises what a malformed entry causes."""
    record = decode(entry["consent"].encode())
    consent = SignedConsent(record, entry["station_id"], bytes.fromhex(entry["signature"]))
    templates = tuple(replace(_NO_TEMPLATES, template_id=name) for name in record.template_ids)
    return Enrolment(entry["name"], entry["relation"], consent, templates)
