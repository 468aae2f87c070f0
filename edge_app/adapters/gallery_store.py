"""One device's gallery at rest: encrypted, authenticated, and replaced as a whole.

One folder holds `gallery.sealed`, the index of the blocks that people are kept in (`blocks.py`).
Another beside it, so that an older copy of the first does not bring these back with it, holds
`tombstones` (see there), `floor` (the newest generation that was ever written), `newest-time`,
`fleet-floor` and `lock`. Numbers in `gallery.sealed` are big-endian:

    magic 8 | store id 16 | key check 16 | generation 8 | nonce 12 | length 8 |
    index, AES-256-GCM, authenticated with all that is before it

The index names the blocks, the tombstones and the calibration: the threshold of every device with
this gallery (P8). Keys are derived from the store key and the store id.

A consent's signature is checked when the person comes in; what it allows, at every load (P2).
Templates are decrypted into sealed memory (P5).

What was confirmed stays: a tombstone is durable before the gallery is rewritten, blocks before
the index that names them, and the gallery before the floor. A process killed at any point leaves
the old or the new gallery, and a revocation cut short after its tombstone is completed by `purge`.
"""

from __future__ import annotations

import json
import logging
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.blocks import PEOPLE_PER_BLOCK, BlockMissingError, BlockRef, Blocks
from edge_app.adapters.durable import (
    exclusive,
    file_state,
    make_private_folder,
    write_all_durably,
    write_durably,
)
from edge_app.adapters.keys import derive
from edge_app.adapters.sealed import SealedMemory
from edge_app.adapters.tombstones import Tombstones
from edge_app.core.consent import IntendedUse, check
from edge_app.core.gallery import (
    MAX_DEMO_TEMPLATES,
    Admission,
    admit,
    comparisons_per_search,
)
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.core.roster import Register, Rows, joined, register
from edge_app.errors import (
    ConsentError,
    EnrolmentError,
    GalleryError,
    KeyFileError,
    StorageError,
)
from edge_app.records import Calibration, Enrolment, Float32Array

_log = logging.getLogger(__name__)

T = TypeVar("T")

GALLERY_NAME: Final = "gallery.sealed"
BLOCKS_NAME: Final = "blocks"
TOMBSTONES_NAME: Final = "tombstones"
FLOOR_NAME: Final = "floor"
NEWEST_TIME_NAME: Final = "newest-time"
FLEET_FLOOR_NAME: Final = "fleet-floor"

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""Clocks that are set by the network step back a little now and then."""
_TIME_STEP: Final = timedelta(hours=1)

_MAGIC: Final = b"FAMGAL\x00\x02"
_TAG_BYTES: Final = 16


class _Header(NamedTuple):
    """The clear part of `gallery.sealed`. length: of the encrypted index."""

    magic: bytes
    store_id: bytes
    key_check: bytes
    generation: int
    nonce: bytes
    length: int


_HEADER: Final = struct.Struct(">8s16s16sQ12sQ")


@dataclass(frozen=True, slots=True)
class FleetState:
    """Which fleet's gallery this is, and the generation that was published."""

    fleet: str
    generation: int


@dataclass(frozen=True, slots=True)
class _Index:
    """Everything in `gallery.sealed`."""

    store_id: bytes = field(repr=False)
    generation: int
    tombstones: frozenset[str] = field(repr=False)
    calibration: Calibration | None
    fleet: FleetState | None
    blocks: tuple[BlockRef, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StoredGallery:
    """What a device may use of its store now.

    matrix:      shape (n, dim), float32, sealed: the templates of whoever was admitted, in order.
    locked:      whether the templates' memory is locked against swapping.
    calibration: None before the first enrolment.
    """

    generation: int
    calibration: Calibration | None
    admission: Admission
    matrix: Float32Array = field(repr=False)
    locked: bool


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
        self._new_store_id = secrets.token_bytes(16)

    def require_time(self, now: datetime, *, trusted: bool) -> None:
        """Pass unless this device has already seen a later time (P2).

        now: aware, UTC; trusted: the clock is synchronised, so that the time is remembered.

        Raises:
            GalleryError: the clock runs behind, and would bring expired consents back.
            StorageError: the time cannot be written.
        """
        newest = self._newest_time() or now - _TIME_STEP
        if now < newest - CLOCK_TOLERANCE:
            raise GalleryError(
                f"the clock says {now:%Y-%m-%d %H:%M} UTC, and this device has already seen "
                f"{newest:%Y-%m-%d %H:%M}; set the clock, by which consents are judged"
            )
        if trusted and now >= newest + _TIME_STEP:
            with exclusive(self._withdrawn):
                write_durably(self._time_path, now.isoformat().encode("ascii"))

    def load(self, use: IntendedUse, *, now: datetime) -> StoredGallery:
        """Read, authenticate, and judge every consent (P2). An absent store is empty.

        now: aware, UTC.

        Raises:
            KeyFileError: the key is not the one the store was written with.
            GalleryError: the store is damaged, altered, older than one already used, or does
                not fit into memory.
        """
        return self._of_one_generation(lambda index: self._load(index, use, now))

    def everyone(
        self, come: Callable[[int, int], None] = lambda _done, _of: None
    ) -> tuple[Enrolment, ...]:
        """All stored people in full, whether they may be used or not.

        come: is called with how many of how many blocks were read.

        Raises GalleryError.
        """

        def read(index: _Index) -> tuple[Enrolment, ...]:
            blocks, people = self._blocks(index), list[Enrolment]()
            for number, ref in enumerate(index.blocks, 1):
                people += blocks.people(ref)
                come(number, len(index.blocks))
            return tuple(people)

        return self._of_one_generation(read)

    def usable(self, use: IntendedUse, *, now: datetime) -> tuple[Enrolment, ...]:
        """In full, whoever `load` would admit. Raises GalleryError."""
        tombstones = self._read().tombstones
        return tuple(
            person
            for person in self.everyone()
            if check(person, use, tombstones=tombstones, now=now) is None
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

        def change(old: _Index) -> _Index:
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
            blocks, newcomer = self._blocks(old), register([enrolment], use.trusted_stations)
            everyone = joined([blocks.register(ref) for ref in old.blocks])
            _require_room(everyone, old.blocks, enrolment)
            *others, last = old.blocks or (None,)
            if last is None or last.people >= PEOPLE_PER_BLOCK:
                refs = (*old.blocks, blocks.write([enrolment], newcomer))
            else:
                refs = (*filter(None, others), blocks.with_one_more(last, enrolment, newcomer))
            held = old.calibration or calibration
            _warn_if_outgrown(joined([everyone, newcomer]), held)
            return replace(old, blocks=refs, calibration=held)

        self._rewrite(change)

    def stage(self, source: str, people: Register, matrix: Float32Array, text: bytes) -> BlockRef:
        """Bring one of a fleet's shards onto the disk, for `install`; used by nobody before.

        source: the shard's SHA-256. text: as `person.pack_people` makes it.

        Raises:
            GalleryError: these are demo people (P4).
            StorageError: it cannot be written.
        """
        if people.roster.demo.any():
            raise GalleryError(
                "this gallery holds demo templates, which are never published; tell the operator"
            )
        return self._blocks(self._read()).stage(source, people, matrix, text)

    def clear_staged(self) -> None:
        """Forget what an earlier installation staged. Raises GalleryError."""
        self._blocks(self._read()).clear_staged()

    def held(self) -> dict[str, BlockRef]:
        """The shards that are here unchanged, by their SHA-256. Raises GalleryError."""
        return {ref.source: ref for ref in self._read().blocks if ref.source and ref.verified}

    def install(
        self,
        refs: Sequence[BlockRef],
        fleet: FleetState,
        *,
        tombstones: frozenset[str],
        calibration: Calibration,
    ) -> None:
        """Let a fleet's generation be this gallery from now on.

        refs:       what was staged or is held, in the order of the fleet's shards.
        tombstones: of everyone who left the fleet; they are barred here for ever, too.

        Raises:
            GalleryError: the store holds people of its own, another fleet's, or a newer
                generation; or somebody left since a shard was looked up. Nothing was changed.
            StorageError: it cannot be written; the old gallery is still there.
        """
        with exclusive(self._withdrawn), self._tombstones.room_kept():
            stored = self._read()
            _require_successor(stored, fleet)
            self._require_fleet_floor(fleet)
            barred = stored.tombstones | tombstones
            self._tombstones.add(barred)
            if self.fleet_floor() is None:
                # A fleet's gallery is used with a lease only, from its first moment on.
                self._write_fleet_floor(FleetState(fleet.fleet, 0))
            with self._tidied(stored) as blocks:
                blocks.take_in(refs)
                new = replace(
                    stored,
                    generation=stored.generation + 1,
                    tombstones=barred,
                    calibration=calibration,
                    fleet=fleet,
                    blocks=tuple(refs),
                )
                new, _ = self._erase(new, lambda people: people.roster.departed(barred))
                self._write(new)
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
            index = self._read()
            rosters = (self._blocks(index).register(ref).roster for ref in index.blocks)
            digests = {
                digest
                for roster in rosters
                for row in roster.rows_of(person_id)
                for digest in roster.tombstones_of(row)
            }
            if not digests:
                raise GalleryError(f"nobody here has the id {person_id}; list the people again")
            self._tombstones.add(digests)
        self._rewrite(_unchanged)

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
            erased = self._rewrite(_unchanged)
        except StorageError as error:
            raise StorageError(
                f"this code's holder has left for good, but is not erased yet: {error}"
            ) from error
        return len(erased.roster.departed({digest})) > 0

    def purge(self, *, now: datetime) -> int:
        """Erase whoever left and whose retention period ended; returns how many that were.

        now: aware, UTC, of a clock known to be right. What a wrong one erases is gone.

        Raises:
            GalleryError: the store cannot be read.
            StorageError: it cannot be written.
        """

        return len(self._rewrite(_unchanged, outdated_at=now))

    def fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """Changes whenever any process changes the store; cheap enough to ask every second."""
        return tuple(map(file_state, (self._path, self._tombstones_path)))

    def _rewrite(
        self, change: Callable[[_Index], _Index], *, outdated_at: datetime | None = None
    ) -> Register:
        """Write the next generation, unless nothing changes; returns who was erased.

        change:      from the index without those who left, to what shall be stored.
        outdated_at: a time at which retention periods have ended; None: they are left alone.
        """
        with exclusive(self._withdrawn), self._tombstones.room_kept():
            stored = self._read()

            def leaving(people: Register) -> Rows:
                departed = people.roster.departed(stored.tombstones)
                if outdated_at is None:
                    return departed
                return np.union1d(departed, people.outdated(outdated_at))

            with self._tidied(stored):
                old, erased = self._erase(stored, leaving)
                new = change(old)
                if (new.blocks, new.calibration) != (stored.blocks, stored.calibration):
                    # A lost tombstone file comes back from the copy in the gallery.
                    self._tombstones.add(stored.tombstones)
                    self._write(replace(new, generation=stored.generation + 1))
            return erased

    def _erase(self, index: _Index, leaving: Callable[[Register], Rows]) -> tuple[_Index, Register]:
        """The index without some people, in new blocks; and who they were."""
        blocks, refs, erased = self._blocks(index), [], []
        for ref in index.blocks:
            people = blocks.register(ref)
            rows = leaving(people)
            erased.append(people.take(rows))
            kept = blocks.without(ref, rows) if len(rows) else ref
            if kept is not None:
                refs.append(kept)
        return replace(index, blocks=tuple(refs)), joined(erased)

    @contextmanager
    def _tidied(self, index: _Index) -> Iterator[Blocks]:
        """The blocks; at the end, whatever the index on the disk does not name is deleted."""
        blocks = self._blocks(index)
        try:
            yield blocks
        finally:
            with suppress(GalleryError):
                blocks.remove_all_but(self._read().blocks)

    def _blocks(self, index: _Index) -> Blocks:
        key = derive(
            self._key, salt=index.store_id, purpose=b"familiar gallery blocks 1", length=32
        )
        return Blocks(self._folder / BLOCKS_NAME, index.store_id, key)

    # ------------------------------------------------------------------------- reading

    def _of_one_generation(self, read: Callable[[_Index], T]) -> T:
        """What `read` makes of the index and its blocks, which a writer may replace meanwhile."""
        while True:
            index = self._read()
            try:
                return read(index)
            except BlockMissingError:
                if self._read().blocks == index.blocks:
                    raise

    def _load(self, index: _Index, use: IntendedUse, now: datetime) -> StoredGallery:
        blocks = self._blocks(index)
        people = joined([blocks.register(ref) for ref in index.blocks])
        admission = admit(people, use, tombstones=index.tombstones, now=now)
        place = np.full(people.roster.templates, _NOWHERE)
        place[people.roster.template_rows(admission.rows)] = np.arange(admission.people.templates)
        matrix, locked = _sealed_templates(blocks, index.blocks, place)
        return StoredGallery(
            index.fleet.generation if index.fleet else index.generation,
            index.calibration,
            admission,
            matrix,
            locked,
        )

    def _read(self) -> _Index:
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
            return _Index(self._new_store_id, floor or 0, tombstones, None, None, ())
        except OSError as error:
            raise GalleryError(
                f"cannot read {self._path}: {error.strerror}; check its owner and permissions"
            ) from error
        index = self._open(data)
        if floor is None:
            raise GalleryError(
                f"{self._floor_path} is missing, and whoever left since this gallery was written "
                f"would come back without it; restore the newest copy of {self._withdrawn}, or "
                f"move {self._folder} away and enrol everyone again"
            )
        if index.generation < floor:
            raise GalleryError(
                f"{self._path} is at generation {index.generation}, and this device has used "
                f"{floor}: whoever left in between would come back; restore its newest copy, or "
                f"move {self._folder} away and enrol everyone again"
            )
        return replace(index, tombstones=index.tombstones | tombstones)

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

    def _open(self, data: memoryview) -> _Index:
        """Authenticate and decrypt a whole file."""
        magic = bytes(data[: len(_MAGIC)])
        if magic[:-1] == _MAGIC[:-1] and magic != _MAGIC:
            raise self._of_another_version(f"it is of format {magic[-1]}, not {_MAGIC[-1]}")
        if len(data) < _HEADER.size:
            raise self._damaged("it is cut off")
        clear = data[: _HEADER.size]
        header = _Header(*_HEADER.unpack(clear))
        if header.magic != _MAGIC:
            raise self._damaged("it is no gallery")
        if _HEADER.size + header.length != len(data) or header.length < _TAG_BYTES:
            raise self._damaged("it is cut off")
        cipher, key_check = _cipher(self._key, header.store_id)
        if key_check != header.key_check:
            raise KeyFileError(
                f"the key does not open this gallery: {self._path} was written with another one; "
                "put the right key back, or move the gallery's folder away to begin anew"
            )
        try:
            content = cipher.decrypt(header.nonce, data[_HEADER.size :], bytes(clear))
        except InvalidTag as error:
            raise self._damaged("its content was altered") from error
        return self._parse(header, content)

    def _parse(self, header: _Header, data: bytes) -> _Index:
        """Only ever called with authentic content: whatever fails here is a version's doing."""
        try:
            content = json.loads(data)
            stated, member = content["calibration"], content["fleet"]
            return _Index(
                header.store_id,
                header.generation,
                frozenset(content["tombstones"]),
                None if stated is None else Calibration(**stated),
                None if member is None else FleetState(**member),
                tuple(BlockRef(**block) for block in content["blocks"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise self._of_another_version("it holds other things") from error

    def _of_another_version(self, how: str) -> GalleryError:
        return GalleryError(
            f"{self._path} was written by another version of Familiar: {how}; install that version "
            "again, the gallery is as it was"
        )

    def _damaged(self, how: str) -> GalleryError:
        return GalleryError(
            f"{self._path} cannot be used: {how}; restore its newest copy, or move the gallery's "
            "folder away and enrol again"
        )

    # ------------------------------------------------------------------------- writing

    def _write(self, index: _Index) -> None:
        content = {
            "tombstones": sorted(index.tombstones),
            "calibration": asdict(index.calibration) if index.calibration else None,
            "fleet": asdict(index.fleet) if index.fleet else None,
            "blocks": [asdict(ref) for ref in index.blocks],
        }
        data, nonce = json.dumps(content).encode(), secrets.token_bytes(12)
        cipher, key_check = _cipher(self._key, index.store_id)
        clear = _HEADER.pack(
            *_Header(
                _MAGIC, index.store_id, key_check, index.generation, nonce, len(data) + _TAG_BYTES
            )
        )
        make_private_folder(self._folder)
        self._blocks(index).settle()
        if not self._floor_path.exists():
            write_durably(self._floor_path, b"0")  # a gallery without one is not believed
        write_all_durably(
            {
                self._path: (clear, cipher.encrypt(nonce, data, clear)),
                self._floor_path: (str(index.generation).encode("ascii"),),
            }
        )


def _cipher(key: bytes, store_id: bytes) -> tuple[AESGCM, bytes]:
    """The store's cipher, and a value that tells a wrong key from a damaged file."""
    material = derive(key, salt=store_id, purpose=b"familiar gallery store 1", length=48)
    return AESGCM(material[:32]), material[32:]


_NOWHERE: Final = -1


def _sealed_templates(
    blocks: Blocks, refs: Sequence[BlockRef], place: Rows
) -> tuple[Float32Array, bool]:
    """(matrix, locked): the templates in sealed memory, in the order that `place` says.

    place: for each template of the blocks its row in the matrix, or `_NOWHERE`.
    """
    rows = int(place.max(initial=_NOWHERE)) + 1
    ends = np.cumsum([ref.templates for ref in refs])
    parts = [place[end - ref.templates : end] for ref, end in zip(refs, ends, strict=True)]
    wanted = [
        (ref, part)
        for ref, part in zip(refs, parts, strict=True)
        if part.max(initial=_NOWHERE) >= 0
    ]
    dims = {ref.dim for ref, _ in wanted}
    if not rows:
        return np.empty((0, 0), np.float32), True
    if len(dims) > 1:
        raise GalleryError("the people here were enrolled with different embedders; enrol anew")
    (dim,) = dims

    def fill(view: memoryview) -> None:
        target = np.frombuffer(view, "<f4").reshape(rows, dim)
        for ref, part in wanted:
            begin = int(part[0])
            if begin >= 0 and np.array_equal(part, np.arange(begin, begin + len(part))):
                blocks.templates_into(ref, view[begin * dim * 4 : (begin + len(part)) * dim * 4])
            else:
                kept = part >= 0
                target[part[kept]] = blocks.matrix(ref)[kept]

    memory = SealedMemory.filled(rows * dim * 4, fill)
    return memory.matrix(dim), memory.locked


def _require_successor(old: _Index, fleet: FleetState) -> None:
    if old.fleet is None:
        if old.blocks:
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


def _unchanged(index: _Index) -> _Index:
    return index


def _require_room(everyone: Register, refs: Sequence[BlockRef], newcomer: Enrolment) -> None:
    people = everyone.roster
    if people.rows_of(newcomer.person_id):
        raise EnrolmentError("this person is enrolled already; remove them first")
    if any(ref.dim != newcomer.templates[0].embedding.size for ref in refs):
        raise EnrolmentError(
            "the people here were enrolled with another embedder; remove them, or configure "
            "the one they were enrolled with"
        )
    demo_templates = int(people.columns["templates"][people.demo].sum()) + len(newcomer.templates)
    if newcomer.consent.record.demo and demo_templates > MAX_DEMO_TEMPLATES:
        raise EnrolmentError(
            f"a gallery holds at most {MAX_DEMO_TEMPLATES} demo templates; remove demo people first"
        )


def _warn_if_outgrown(everyone: Register, calibration: Calibration) -> None:
    comparisons = comparisons_per_search(everyone.roster)
    if comparisons > calibration.max_templates:
        _log.warning(
            "the gallery compares with %d templates now, and its threshold holds for %d: no device "
            "starts with it before `familiar calibrate`",
            comparisons,
            calibration.max_templates,
        )
