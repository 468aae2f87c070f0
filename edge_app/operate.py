"""What an operator does: keeps a fleet's devices and stations, and publishes its gallery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from edge_app.adapters.durable import exclusive, make_private_folder
from edge_app.app import calibration_for, embedder_sha256, size_with_headroom
from edge_app.config import Config
from edge_app.core.acknowledge import Erasure
from edge_app.core.manifest import MANIFEST_NAME, DeviceKey, StationKey, decode_manifest
from edge_app.core.overview import (
    EXPIRES_SOON,
    SHOWN_DIGITS,
    DepartureEntry,
    DeviceEntry,
    ExpiryEntry,
    Leaving,
    Overview,
    PersonEntry,
    StationEntry,
    encode_overview,
    expires_soon,
    is_stale,
)
from edge_app.errors import ConfigError, ConsentError
from edge_app.ports import Clock
from edge_app.publisher.acknowledged import Acknowledgments, erasures, everyone
from edge_app.publisher.broker import BrokerFolder
from edge_app.publisher.folder import (
    BOOK_NAME,
    FLEET_NAME,
    REVOCATION_SUFFIX,
    ROOT_NAME,
    Book,
    BookPerson,
    Fleet,
    OperatorFolder,
    RemovedDevice,
    fleet_json,
    read_device,
    read_station,
)
from edge_app.publisher.publish import Publication, PublishRules, publish, revoked_digest
from edge_app.publisher.repository import ONLINE_ROLES, ROOT_KEYS, Repository
from edge_app.records import Calibration, Purpose

LEASE = timedelta(hours=24)
"""How long devices match after they last heard of the repository."""

_EMPTY = Book(
    format=1,
    generation=0,
    served=True,
    new_keys=False,
    files=(),
    before=(),
    calibration=None,
    devices=(),
    removed=(),
    published_for=(),
    stations=(),
    removed_stations=(),
    shards=(),
    departed=(),
)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """acknowledged: the generation it said it holds, and nothing older; received: when it said so.

    stale: it has not acknowledged the newest generation within the lease, in which it must have
        fetched it or stopped to match.
    """

    name: str
    device_id: str
    acknowledged: int | None
    received: datetime | None
    stale: bool


@dataclass(frozen=True, slots=True)
class StationState:
    name: str
    station_id: str


@dataclass(frozen=True, slots=True)
class Departure:
    """digest: the beginning of the code's, which names nobody."""

    digest: str
    erasure: Erasure


@dataclass(frozen=True, slots=True)
class Expiry:
    """Of a role's metadata. soon: within `EXPIRES_SOON`; the timestamp's: within half a lease."""

    role: str
    expires: datetime
    soon: bool


@dataclass(frozen=True, slots=True)
class Status:
    """expiring: people whom devices recognise until `EXPIRES_SOON` at most; expired: no longer.

    published:   when the newest generation was made; None before the first.
    removed:     devices that were removed and cannot be asked any more.
    fresh_until: devices stop to match then, unless `renew` or `publish` comes before.
    waiting:     files in the inbox.
    keys_in_files: keys that lie in `keys/` and not in a systemd credential.
    """

    fleet: str
    purpose: str
    generation: int
    published: datetime | None
    people: int
    expiring: int
    expired: int
    left: int
    devices: tuple[DeviceState, ...]
    removed: int
    stations: tuple[StationState, ...]
    departures: tuple[Departure, ...]
    fresh_until: datetime
    expiries: tuple[Expiry, ...]
    waiting: int
    refused: int
    keys_in_files: tuple[str, ...]


def init(folder: OperatorFolder, fleet: str, purpose: Purpose, clock: Clock) -> bool:
    """Make a fleet: keys, book, an empty repository. Returns whether it was made now.

    Raises ConfigError if the folder holds another fleet; KeyFileError, StorageError.
    """
    make_private_folder(folder.folder)
    with exclusive(folder.folder):
        if folder.exists:
            there = folder.fleet()
            if (there.fleet, there.purpose) != (fleet, purpose):
                raise ConfigError(
                    f'{folder.folder} holds the fleet "{there.fleet}" for {there.purpose}; name '
                    "another folder"
                )
            return False
        operator = folder.make_secrets()
        keys = {name: folder.make_signing_key(name) for name in (*ROOT_KEYS, *ONLINE_ROLES)}
        root = Repository(folder.repository).create(keys, lease=LEASE, now=clock.now())
        folder.write_public(ROOT_NAME, root)
        make_private_folder(folder.inbox)
        if not (folder.folder / BOOK_NAME).exists():
            folder.write_book(_EMPTY)
        public = operator.public_key().public_bytes_raw().hex()
        # Last: a fleet is there when its file is.
        folder.write_public(FLEET_NAME, fleet_json(Fleet(1, fleet, purpose, public)))
        return True


def add_station(folder: OperatorFolder, file: Path) -> tuple[StationKey, bool]:
    """Delegate to a station; returns it and whether it is new. Raises ConfigError, GalleryError."""
    station = read_station(file)

    def change(book: Book) -> Book:
        known = {s.public_key for s in book.stations}
        fresh = () if station.public_key in known else (station,)
        removed = tuple(s for s in book.removed_stations if s.public_key != station.public_key)
        return replace(book, stations=(*book.stations, *fresh), removed_stations=removed)

    return station, _change(folder, change)


def remove_station(folder: OperatorFolder, name: str) -> bool:
    """Trust a station no more: whom it enrolled leaves at the next publication.

    name: or the beginning of its id. Returns whether it was still trusted. Raises ConfigError if
    there never was one, or several are meant.
    """

    def change(book: Book) -> Book:
        stations = {s.station_id: s for s in book.stations}
        before = {s.station_id: s.name for s in book.removed_stations}
        gone = _one({i: s.name for i, s in stations.items()}, before, name, "station")
        if gone is None:
            return book
        removed = (*book.removed_stations, stations.pop(gone))
        return replace(book, stations=tuple(stations.values()), removed_stations=removed)

    return _change(folder, change)


def add_device(folder: OperatorFolder, file: Path) -> tuple[DeviceKey, bool]:
    """Let a device read from the next publication on. Raises ConfigError, GalleryError."""
    device = read_device(file)

    def change(book: Book) -> Book:
        known = {d.device_id for d in book.devices}
        fresh = () if device.device_id in known else (device,)
        removed = tuple(r for r in book.removed if r.device.device_id != device.device_id)
        return replace(book, devices=(*book.devices, *fresh), removed=removed)

    return device, _change(folder, change)


def remove_device(folder: OperatorFolder, name: str) -> bool:
    """Let a device read nothing that is published from now on (P6). As `remove_station`."""

    def change(book: Book) -> Book:
        devices = {d.device_id: d for d in book.devices}
        before = {r.device.device_id: r.device.name for r in book.removed}
        gone = _one({i: d.name for i, d in devices.items()}, before, name, "device")
        if gone is None:
            return book
        removed = (*book.removed, RemovedDevice(devices.pop(gone), book.generation))
        return replace(book, devices=tuple(devices.values()), removed=removed, new_keys=True)

    return _change(folder, change)


def device_names(folder: OperatorFolder) -> tuple[str, ...]:
    """What the fleet's devices are called. Raises ConfigError, GalleryError."""
    return tuple(device.name for device in folder.read_book().devices)


def cut_off(folder: OperatorFolder, name: str, clock: Clock) -> bool | None:
    """Have the fleet's broker refuse a device; returns whether the broker was told.

    None if there is nothing to refuse: no `familiar broker`, or no certificate for the device.

    Raises ConfigError if nobody or several are meant; DeliveryError, KeyFileError, StorageError.
    """
    broker, book = BrokerFolder(folder.folder), folder.read_book()
    here = {d.device_id: d.name for d in book.devices}
    before = {r.device.device_id: r.device.name for r in book.removed}
    gone = _one(here, before, name, "device") or _meant(before, name)[0]
    if not broker.exists:
        return None
    client = broker.named({**before, **here}[gone], now=clock.now())
    return None if client is None else broker.remove(client, now=clock.now())


def publish_gallery(
    config: Config,
    folder: OperatorFolder,
    clock: Clock,
    progress: Callable[[str, int, int], None],
) -> Publication:
    """Publish what waits. Raises what `publisher.publish.publish` does."""
    sha256 = embedder_sha256(config)
    rules = PublishRules(sha256, lambda n, old: _calibration(config, sha256, n, old), LEASE)
    return publish(folder, rules, now=clock.now(), progress=progress)


def renew(folder: OperatorFolder, clock: Clock) -> datetime:
    """A fresh timestamp, and fresh lists before they expire; returns until when it is.

    Raises KeyFileError, GalleryError.
    """
    with exclusive(folder.folder):
        repository = Repository(folder.repository)
        everything = repository.lists_end_soon(clock.now())
        keys = folder.require_signing_keys(ONLINE_ROLES if everything else ("timestamp",))
        repository.renew(keys, lease=LEASE, now=clock.now())
        return repository.expires()


def rotate_root(folder: OperatorFolder, clock: Clock) -> None:
    """New root keys, signed for by the old ones; devices follow by themselves.

    Raises KeyFileError: fewer old root keys are here than the threshold.
    """
    with exclusive(folder.folder):
        repository = Repository(folder.repository)
        found = {name: folder.signing_key(name) for name in ROOT_KEYS}
        old = {name: key for name, key in found.items() if key is not None}
        pending = {name: folder.make_signing_key(_pending(name)) for name in ROOT_KEYS}
        # The new keys are on the disk before the root that needs them. Cut off in between, the
        # next call takes up the same ones.
        if not repository.root_is_of(pending):
            folder.require_signing_keys(tuple(old) if len(old) > 1 else ROOT_KEYS)
            folder.write_public(ROOT_NAME, repository.rotate_root(old, pending, now=clock.now()))
        for name, key in pending.items():
            folder.replace_key(name, key.private_bytes_raw())
        for name in ROOT_KEYS:
            folder.drop_key(_pending(name))


def _pending(name: str) -> str:
    return f"{name}.next"


def overview(folder: OperatorFolder, clock: Clock) -> Overview:
    """What pages may show of the fleet. Raises ConfigError, GalleryError, KeyFileError."""
    fleet, book = folder.fleet(), folder.read_book()
    repository = Repository(folder.repository)
    expiries = repository.expiries()
    receipts = Acknowledgments(folder.acknowledged, fleet.fleet).read(everyone(book))
    removed = {gone.device.device_id: gone.generation for gone in book.removed}
    return Overview(
        format=1,
        fleet=fleet.fleet,
        purpose=fleet.purpose,
        generation=book.generation,
        published=_published(book, repository),
        made=clock.now().replace(microsecond=0),
        lease_s=int(LEASE.total_seconds()),
        fresh_until=expiries["timestamp"],
        expiries=tuple(ExpiryEntry(role, end) for role, end in expiries.items()),
        waiting=len(folder.waiting()),
        refused=len(list(folder.refused.glob("*.why"))),
        people=_people(book, _withdrawn(folder)),
        devices=tuple(
            DeviceEntry(
                name=device.name,
                device_id=device.device_id,
                signing_key=device.signing_key,
                removed=removed.get(device.device_id),
                said=receipts.get(device.device_id),
            )
            for device in everyone(book)
        ),
        stations=(
            *(StationEntry(s.name, s.station_id, trusted=True) for s in book.stations),
            *(StationEntry(s.name, s.station_id, trusted=False) for s in book.removed_stations),
        ),
        departures=tuple(
            DepartureEntry(gone.digest[:SHOWN_DIGITS], gone.since, come)
            for gone, come in zip(
                book.departed, erasures(book, book.departed, receipts), strict=True
            )
        ),
    )


def overview_bytes(folder: OperatorFolder, clock: Clock) -> bytes:
    """The same as a file. Raises what `overview` does."""
    return encode_overview(overview(folder, clock))


def _people(book: Book, withdrawn: set[str]) -> tuple[PersonEntry, ...]:
    trusted = {station.station_id for station in book.stations}

    def leaving(person: BookPerson) -> Leaving | None:
        if not withdrawn.isdisjoint(person.tombstones):
            return Leaving.WITHDRAWN
        return None if person.station_id in trusted else Leaving.UNTRUSTED_STATION

    people = (
        PersonEntry(p.record_id, p.since, p.station_id, p.valid_until, p.ends, leaving(p))
        for shard in book.shards
        for p in shard.people
    )
    return tuple(sorted(people, key=lambda person: person.record_id))


def _withdrawn(folder: OperatorFolder) -> set[str]:
    """Digests of the codes in the inbox."""
    digests = set()
    for path in folder.waiting():
        if path.suffix == REVOCATION_SUFFIX:
            # The next publication sets aside what is no code; one may be at it now.
            with suppress(ConsentError, OSError):
                digests.add(revoked_digest(path))
    return digests


def status(folder: OperatorFolder, clock: Clock) -> Status:
    """Raises ConfigError, GalleryError."""
    seen, now = overview(folder, clock), clock.now()
    until = [person.until for person in seen.people]
    devices = [device for device in seen.devices if device.removed is None]
    return Status(
        fleet=seen.fleet,
        purpose=seen.purpose.value,
        generation=seen.generation,
        published=seen.published,
        people=len(seen.people),
        expiring=sum(now < end <= now + EXPIRES_SOON for end in until),
        expired=sum(end <= now for end in until),
        left=len(seen.departures),
        devices=tuple(_device_state(seen, device, now) for device in devices),
        removed=len(seen.devices) - len(devices),
        stations=tuple(StationState(s.name, s.station_id) for s in seen.stations if s.trusted),
        departures=tuple(Departure(gone.digest, gone.erasure) for gone in seen.departures),
        fresh_until=seen.fresh_until,
        expiries=tuple(
            Expiry(expiry.role, expiry.expires, expires_soon(seen, expiry, now))
            for expiry in seen.expiries
        ),
        waiting=seen.waiting,
        refused=seen.refused,
        keys_in_files=folder.keys_in_files(),
    )


def _device_state(seen: Overview, device: DeviceEntry, now: datetime) -> DeviceState:
    return DeviceState(
        name=device.name,
        device_id=device.device_id,
        acknowledged=device.acknowledged,
        received=device.said.received if device.said else None,
        stale=is_stale(seen, device, now),
    )


def _published(book: Book, repository: Repository) -> datetime | None:
    for file in book.files:
        if file.name == MANIFEST_NAME:
            return decode_manifest(repository.read_target(file.name, file.sha256)).published
    return None


def _change(folder: OperatorFolder, change: Callable[[Book], Book]) -> bool:
    with exclusive(folder.folder):
        folder.fleet()
        old = folder.read_book()
        new = change(old)
        if new != old:
            folder.write_book(new)
        return new != old


def _one(names: dict[str, str], before: dict[str, str], wanted: str, kind: str) -> str | None:
    """The id that is meant by a name or the beginning of an id; None if that is removed already.

    names: id -> name of those there are; before: of those that were.
    """
    found = _meant(names, wanted)
    if not found and _meant(before, wanted):
        return None
    if len(found) != 1:
        how = "no" if not found else "more than one"
        raise ConfigError(f'{how} {kind} is called "{wanted}"; see `familiar operator status`')
    return found[0]


def _meant(names: dict[str, str], wanted: str) -> list[str]:
    return [i for i, name in names.items() if name == wanted or (wanted and i.startswith(wanted))]


def _calibration(
    config: Config, sha256: str, templates: int, old: Calibration | None
) -> Calibration:
    """The one so far while it holds: a threshold that moves by itself helps nobody."""
    if (
        old is not None
        and old.max_templates >= templates
        and old.model_sha256 == sha256
        and old.target_fpir <= config.match.target_fpir
    ):
        return old
    return calibration_for(config, sha256, size_with_headroom(config, templates))
