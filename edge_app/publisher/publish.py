"""One publication: enrolments in, people who left out, changed shards written, a new generation.

What was taken in is in the book before the repository names it, and the inbox is emptied last:
killed at any point, the next publication completes it, and devices see the old or the new one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from edge_app.adapters.durable import exclusive, make_private_folder, sync_folder, write_durably
from edge_app.adapters.shards import open_people
from edge_app.core.consent import IntendedUse, check, tombstone_ids
from edge_app.core.keyring import (
    encode_tombstones,
    encode_wraps,
    group_of,
    open_for,
    seal_keyring,
    wrap,
    wraps_name,
)
from edge_app.core.manifest import (
    FORMAT,
    KEYRING_NAME,
    MANIFEST_NAME,
    TOMBSTONES_NAME,
    Manifest,
    ShardRef,
    encode_manifest,
    shard_name,
)
from edge_app.core.person import unpack_person
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.core.shard import (
    KEY_BYTES,
    NONCE_BYTES,
    seal_shard,
    shard_of,
    shards_for,
)
from edge_app.errors import ConsentError, GalleryError
from edge_app.publisher.folder import (
    ENROLMENT_SUFFIX,
    REVOCATION_SUFFIX,
    Book,
    BookFile,
    BookPerson,
    BookShard,
    Departed,
    Fleet,
    OperatorFolder,
)
from edge_app.publisher.repository import ONLINE_ROLES, Repository, known_file
from edge_app.records import Calibration, Enrolment

MAX_ENVELOPE_BYTES: Final = 2**20
_DEVICES_PER_WRAPS: Final = 1_000
_MAX_GROUPS: Final = 256

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An enrolment that was set aside in `inbox/refused/`, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Publication:
    """generation: the newest, whether it is new or not. moved_bytes: of the files that are new."""

    generation: int
    changed: bool
    people: int
    added: int
    left: int
    shards: int
    changed_shards: int
    bundle_bytes: int
    moved_bytes: int
    devices: int
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class PublishRules:
    """calibrate: from a number of templates and the calibration so far to the one to use.

    lease: how long devices match after they last heard of the repository.
    """

    model_sha256: str
    calibrate: Callable[[int, Calibration | None], Calibration]
    lease: timedelta


@dataclass(slots=True)
class _Inbox:
    """What waits: people by file, the digests of codes, and what cannot be taken."""

    people: list[Enrolment] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    taken: list[Path] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)


def publish(
    folder: OperatorFolder, rules: PublishRules, *, now: datetime, progress: Progress
) -> Publication:
    """Publish what waits in the inbox; without a change, only the timestamp is renewed.

    now: aware, UTC.

    Raises:
        GalleryError, KeyFileError: the folder cannot be used.
        CalibrationError: no threshold keeps the promise at this size (P8).
        StorageError: a file cannot be written; devices still see the old generation.
    """
    with exclusive(folder.folder):
        fleet, book = folder.fleet(), folder.read_book()
        repository = Repository(folder.repository)
        keys = folder.require_signing_keys(ONLINE_ROLES)
        use = IntendedUse(
            fleet.purpose,
            rules.model_sha256,
            {s.station_id: bytes.fromhex(s.public_key) for s in book.stations},
        )
        inbox = _read_inbox(folder, fleet.fleet, use, book, now, progress=progress)
        changes = _changes(book, inbox, use, now)
        if changes.any(book) or not book.generation:
            generation = _Generation(
                repository, fleet=fleet, book=book, changes=changes, progress=progress
            )
            book = generation.write(rules, now)
            folder.write_book(book)
        changed = not book.served
        if changed:
            files = {f.name: known_file(f.size_bytes, f.sha256) for f in book.files}
            repository.publish(files, keys, lease=rules.lease, now=now)
            folder.write_book(replace(book, served=True))
            repository.remove_unnamed([(f.name, f.sha256) for f in (*book.files, *book.before)])
        else:
            repository.renew(keys, lease=rules.lease, now=now)
        refused = _empty_inbox(folder, inbox)
    return Publication(
        generation=book.generation,
        changed=changed,
        people=book.people,
        added=len(changes.added),
        left=changes.left,
        shards=len(book.shards),
        changed_shards=len(changes.written),
        bundle_bytes=sum(f.size_bytes for f in book.files),
        moved_bytes=changes.moved_bytes,
        devices=len(book.devices),
        refused=refused,
    )


# -------------------------------------------------------------------------------- inbox


def _read_inbox(
    folder: OperatorFolder,
    fleet: str,
    use: IntendedUse,
    book: Book,
    now: datetime,
    *,
    progress: Progress,
) -> _Inbox:
    inbox = _Inbox()
    departed = {d.digest for d in book.departed}
    known = {p.record_id for shard in book.shards for p in shard.people}
    ids = {p.person_id for shard in book.shards for p in shard.people}
    waiting = folder.waiting()
    for path in (p for p in waiting if p.suffix == REVOCATION_SUFFIX):
        try:
            inbox.digests.add(revoked_digest(path))
            inbox.taken.append(path)
        except ConsentError as error:
            inbox.refused.append((path, str(error)))
    barred = departed | inbox.digests
    operator = folder.operator_key()
    enrolments = [p for p in waiting if p.suffix == ENROLMENT_SUFFIX]
    for number, path in enumerate(enrolments, 1):
        progress("Reading the inbox", number, len(enrolments))
        try:
            if path.stat().st_size > MAX_ENVELOPE_BYTES:
                raise GalleryError("this enrolment is larger than any can be; enrol again")
            person = unpack_person(open_for(operator, path.read_bytes(), fleet=fleet))
            record = person.consent.record
            if record.demo:
                raise ConsentError("demo templates are never published; enrol live")
            fault = check(person, use, tombstones=barred, now=now)
            if fault is not None:
                raise ConsentError(f"this consent may not be used: {fault.value}")
            if record.record_id not in known and person.person_id in ids:
                raise ConsentError("somebody with this person's id is enrolled already")
        except (GalleryError, ConsentError) as error:
            inbox.refused.append((path, str(error)))
            continue
        inbox.taken.append(path)
        if record.record_id not in known:  # else: taken in before, and cut off then
            inbox.people.append(person)
            known.add(record.record_id)
            ids.add(person.person_id)
    return inbox


def revoked_digest(path: Path) -> str:
    """The digest of the code that a revocation in the inbox is. Raises ConsentError, OSError."""
    code = path.read_text(encoding="utf-8", errors="replace")
    return revocation_sha256(normalise_code(code))


def _empty_inbox(folder: OperatorFolder, inbox: _Inbox) -> tuple[Refused, ...]:
    for path, why in inbox.refused:
        make_private_folder(folder.refused)
        write_durably(folder.refused / (path.name + ".why"), why.encode() + b"\n")
        path.replace(folder.refused / path.name)
    for path in inbox.taken:
        path.unlink(missing_ok=True)
    if inbox.refused or inbox.taken:
        sync_folder(folder.inbox)
    return tuple(Refused(path.name, why) for path, why in inbox.refused)


# ------------------------------------------------------------------------------- changes


@dataclass(slots=True)
class _Changes:
    """added, kept: shard number -> people. departed: digests that are new."""

    added: list[Enrolment]
    kept: dict[int, tuple[BookPerson, ...]]
    departed: set[str]
    left: int
    published_for: tuple[str, ...]
    written: set[int] = field(default_factory=set)
    moved_bytes: int = 0

    def any(self, book: Book) -> bool:
        return bool(
            self.added
            or self.left
            or self.departed
            or book.new_keys
            or self.published_for != book.published_for
        )


def _changes(book: Book, inbox: _Inbox, use: IntendedUse, now: datetime) -> _Changes:
    departed = inbox.digests - {d.digest for d in book.departed}
    barred = {d.digest for d in book.departed} | departed

    def stays(person: BookPerson) -> bool:
        return (
            barred.isdisjoint(person.tombstones)
            and person.ends > now
            and person.station_id in use.trusted_stations
        )

    kept = {n: tuple(filter(stays, shard.people)) for n, shard in enumerate(book.shards)}
    ids = sorted(device.device_id for device in book.devices) + sorted(use.trusted_stations)
    return _Changes(
        added=inbox.people,
        kept=kept,
        departed=departed,
        left=book.people - sum(map(len, kept.values())),
        published_for=tuple(ids),
    )


# ---------------------------------------------------------------------------- generation


class _Generation:
    """Writes the next generation's files, from the book and what changes."""

    def __init__(
        self,
        repository: Repository,
        *,
        fleet: Fleet,
        book: Book,
        changes: _Changes,
        progress: Progress,
    ) -> None:
        self._repository = repository
        self._fleet = fleet
        self._book = book
        self._changes = changes
        self._progress = progress
        self._number = book.generation + 1
        self._since = {p.person_id: p.since for shard in book.shards for p in shard.people}

    def write(self, rules: PublishRules, now: datetime) -> Book:
        """The book with the new generation, whose files are in the repository, not yet named."""
        book, changes = self._book, self._changes
        people = sum(map(len, changes.kept.values())) + len(changes.added)
        shards = self._shards(shards_for(people, len(book.shards)))
        templates = sum(person.templates for shard in shards for person in shard.people)
        calibration = rules.calibrate(templates, book.calibration)
        since = {d: p.since for shard in book.shards for p in shard.people for d in p.tombstones}
        newly = (Departed(d, since.get(d, 0), self._number) for d in sorted(changes.departed))
        departed = (*book.departed, *newly)
        contents = self._key_files(shards)
        contents[TOMBSTONES_NAME] = encode_tombstones(frozenset(d.digest for d in departed))
        contents[MANIFEST_NAME] = encode_manifest(
            Manifest(
                format=FORMAT,
                fleet=self._fleet.fleet,
                purpose=self._fleet.purpose,
                generation=self._number,
                # Nothing older may come back: whoever left in between would, too (P3).
                min_generation=self._number,
                operator_key=self._fleet.operator_key,
                model_sha256=rules.model_sha256,
                calibration=calibration,
                published=now.replace(microsecond=0),
                stations=book.stations,
                shards=tuple(_ref(number, shard) for number, shard in enumerate(shards)),
                wrap_groups=self._groups,
                devices=len(book.devices),
                tombstones=len(departed),
            )
        )
        for name, data in contents.items():
            self._repository.add_target(name, data)
            changes.moved_bytes += len(data)
        files = [_file(name, data) for name, data in contents.items()]
        files += [BookFile(shard_name(s.sha256), s.sha256, s.size_bytes) for s in shards]
        return replace(
            book,
            generation=self._number,
            served=False,
            new_keys=False,
            files=tuple(files),
            before=book.files,
            calibration=calibration,
            published_for=changes.published_for,
            shards=shards,
            departed=departed,
        )

    @property
    def _groups(self) -> int:
        return min(max(1, -(-len(self._book.devices) // _DEVICES_PER_WRAPS)), _MAX_GROUPS)

    def _key_files(self, shards: Sequence[BookShard]) -> dict[str, bytes]:
        """The keyring under a key of this generation, and that key wrapped for every device."""
        key, fleet, devices = secrets.token_bytes(KEY_BYTES), self._fleet.fleet, self._book.devices
        keys = {number: bytes.fromhex(shard.key) for number, shard in enumerate(shards)}
        keyring = seal_keyring(
            keys,
            fleet=fleet,
            generation=self._number,
            key=key,
            nonce=secrets.token_bytes(NONCE_BYTES),
        )
        wraps: dict[int, dict[str, bytes]] = {group: {} for group in range(self._groups)}
        for done, device in enumerate(devices):
            public = bytes.fromhex(device.public_key)
            wrapped = wrap(key, public, fleet=fleet, generation=self._number)
            wraps[group_of(device.device_id, self._groups)][device.device_id] = wrapped
            self._progress("Wrapping keys", done + 1, len(devices))
        files = {wraps_name(group): encode_wraps(entries) for group, entries in wraps.items()}
        return {KEYRING_NAME: keyring, **files}

    def _shards(self, count: int) -> tuple[BookShard, ...]:
        book, kept = self._book, self._changes.kept
        moved: dict[int, list[Enrolment]] = defaultdict(list)
        for person in self._changes.added:
            moved[shard_of(person.person_id, count)].append(person)
        same_layout = count == len(book.shards)
        if not same_layout:
            for number in range(len(book.shards)):
                for person in self._staying(number):
                    moved[shard_of(person.person_id, count)].append(person)
        shards: list[BookShard] = []
        for number in range(count):
            unchanged = (
                same_layout
                and not book.new_keys
                and not moved[number]
                and kept[number] == book.shards[number].people
            )
            if unchanged:
                shards.append(book.shards[number])
                continue
            stay = self._staying(number) if same_layout else []
            shards.append(self._written(number, [*stay, *moved[number]]))
            self._progress("Writing shards", number + 1, count)
        return tuple(shards)

    def _staying(self, number: int) -> list[Enrolment]:
        """The people of an old shard who stay."""
        stay = {person.person_id for person in self._changes.kept[number]}
        if not stay:
            return []
        shard, fleet = self._book.shards[number], self._fleet.fleet
        data = self._repository.read_target(shard_name(shard.sha256), shard.sha256)
        key = bytes.fromhex(shard.key)
        people = open_people(data, fleet=fleet, number=number, key=key)[0].people
        return [person for person in people if person.person_id in stay]

    def _written(self, number: int, people: Sequence[Enrolment]) -> BookShard:
        key = secrets.token_bytes(KEY_BYTES)
        data = seal_shard(
            people,
            fleet=self._fleet.fleet,
            number=number,
            generation=self._number,
            key=key,
            nonces=(secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)),
        )
        sha256 = hashlib.sha256(data).hexdigest()
        self._repository.add_target(shard_name(sha256), data)
        self._changes.written.add(number)
        self._changes.moved_bytes += len(data)
        return BookShard(sha256, len(data), key.hex(), tuple(map(self._entry, people)))

    def _entry(self, person: Enrolment) -> BookPerson:
        record = person.consent.record
        return BookPerson(
            person_id=person.person_id,
            record_id=record.record_id,
            since=self._since.get(person.person_id, self._number),
            tombstones=tuple(sorted(tombstone_ids(record))),
            station_id=person.consent.station_id,
            valid_until=record.event_time + timedelta(seconds=record.validity_duration_s),
            ends=record.event_time + timedelta(seconds=record.retention_s),
            templates=len(person.templates),
        )


def _ref(number: int, shard: BookShard) -> ShardRef:
    templates = sum(person.templates for person in shard.people)
    return ShardRef(number, shard.sha256, shard.size_bytes, len(shard.people), templates)


def _file(name: str, data: bytes) -> BookFile:
    return BookFile(name, hashlib.sha256(data).hexdigest(), len(data))
