"""What an operator keeps: the fleet's public files, its keys, and one sealed book.

    fleet.json     public: fleet, purpose, the key that stations seal enrolments to
    root.json      public: what devices are provisioned with
    keys/          mode 0600, unless they are systemd credentials (`operator.key`, `book.key`,
                   `targets.key`, `snapshot.key`, `timestamp.key`); the three root keys are meant to
                   be moved to other places
    inbox/         enrolments from stations and revocations, until they are published
    acknowledged/  per device, the newest generation that it said it has installed
    repository/    what any static server serves
    book.sealed    devices, stations, who is in which shard, the shards' keys, tombstones

People themselves are kept in the repository's shards only, under keys that only the book holds.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.durable import make_private_folder, write_durably
from edge_app.adapters.keys import KEY_BYTES, read_key
from edge_app.core.canonical import from_json, to_json
from edge_app.core.manifest import DeviceKey, StationKey
from edge_app.errors import ConfigError, GalleryError, KeyFileError
from edge_app.records import Calibration, Purpose

FLEET_NAME: Final = "fleet.json"
ROOT_NAME: Final = "root.json"
BOOK_NAME: Final = "book.sealed"
INBOX_NAME: Final = "inbox"
ACKNOWLEDGED_NAME: Final = "acknowledged"
REFUSED_NAME: Final = "refused"
ENROLMENT_SUFFIX: Final = ".enrolment"
REVOCATION_SUFFIX: Final = ".revocation"
_CREDENTIALS: Final = ("operator", "book", "targets", "snapshot", "timestamp")
_NONCE_BYTES: Final = 12
_BOUND: Final = b"familiar operator's book 1"
_MAX_PUBLIC_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Fleet:
    """`fleet.json`. operator_key: raw X25519, in hex; stations seal enrolments to it."""

    format: int
    fleet: str
    purpose: Purpose
    operator_key: str


@dataclass(frozen=True, slots=True)
class BookPerson:
    """What the operator has to know of a person without opening the shard.

    since:      the first generation with them.
    tombstones: the digests of which any one bars this person.
    ends:       when retention ends: the person is left out from the next publication on.
    """

    person_id: str
    record_id: str
    since: int
    tombstones: tuple[str, ...]
    station_id: str
    valid_until: datetime
    ends: datetime
    templates: int


@dataclass(frozen=True, slots=True)
class BookShard:
    """key: of the shard's file, in hex."""

    sha256: str
    size_bytes: int
    key: str
    people: tuple[BookPerson, ...]


@dataclass(frozen=True, slots=True)
class BookFile:
    """A target of the newest generation."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Departed:
    """Somebody who left.

    since:      the first generation with them; 0 if this fleet never had them.
    generation: the first one without them.
    """

    digest: str
    since: int
    generation: int


@dataclass(frozen=True, slots=True)
class RemovedDevice:
    """generation: the newest when it was removed; it may keep that one for ever."""

    device: DeviceKey
    generation: int


@dataclass(frozen=True, slots=True)
class Book:
    """generation: the newest that was written; 0 before the first.

    files:      its targets; before: those of the one before, which devices may be fetching still.
    served:     the repository names it; if not, publishing was cut off, and is completed next.
    new_keys:   a device was removed: every shard gets a new key at the next publication.
    published_for: device and station ids of that generation.
    """

    format: int
    generation: int
    served: bool
    new_keys: bool
    files: tuple[BookFile, ...]
    before: tuple[BookFile, ...]
    calibration: Calibration | None
    devices: tuple[DeviceKey, ...]
    removed: tuple[RemovedDevice, ...]
    published_for: tuple[str, ...]
    stations: tuple[StationKey, ...]
    removed_stations: tuple[StationKey, ...]
    shards: tuple[BookShard, ...] = field(repr=False)
    departed: tuple[Departed, ...] = field(repr=False)

    @property
    def people(self) -> int:
        return sum(len(shard.people) for shard in self.shards)


_Public = TypeVar("_Public", Fleet, DeviceKey, StationKey)


class OperatorFolder:
    """The files, read and written. Hold `durable.exclusive` on the folder while writing."""

    def __init__(self, folder: Path, credentials: Path | None = None) -> None:
        """Name the folder. credentials: systemd's, whose keys come before those in `keys/`."""
        self.folder = folder
        self._credentials = credentials
        self.inbox = folder / INBOX_NAME
        self.refused = self.inbox / REFUSED_NAME
        self.acknowledged = folder / ACKNOWLEDGED_NAME
        self.repository = folder / "repository"
        self._keys = folder / "keys"

    @property
    def exists(self) -> bool:
        return (self.folder / FLEET_NAME).exists()

    def waiting(self) -> list[Path]:
        """What is in the inbox for the next publication."""
        kinds = {ENROLMENT_SUFFIX, REVOCATION_SUFFIX}
        return sorted(path for path in self.inbox.glob("*") if path.suffix in kinds)

    def fleet(self) -> Fleet:
        """Raises ConfigError if there is none or it is malformed."""
        return read_fleet(self.folder / FLEET_NAME)

    def write_public(self, name: str, content: bytes) -> None:
        """Raises StorageError."""
        write_durably(self.folder / name, content)

    def signing_key(self, name: str) -> Ed25519PrivateKey | None:
        """A key, made elsewhere or here; None if it was moved away. Raises KeyFileError."""
        raw = self._read_key(name)
        return None if raw is None else Ed25519PrivateKey.from_private_bytes(raw)

    def require_signing_keys(self, names: tuple[str, ...]) -> dict[str, Ed25519PrivateKey]:
        """Raises KeyFileError if one is missing."""
        found = {name: self.signing_key(name) for name in names}
        keys = {name: key for name, key in found.items() if key is not None}
        missing = [name for name in names if name not in keys]
        if missing:
            raise KeyFileError(
                f"the key {self._keys / (missing[0] + '.key')} is not here; bring it back from "
                "where it is kept"
            )
        return keys

    def make_signing_key(self, name: str) -> Ed25519PrivateKey:
        """A new key, or the one that is there. Raises KeyFileError, StorageError."""
        existing = self.signing_key(name)
        if existing is not None:
            return existing
        key = Ed25519PrivateKey.generate()
        self.replace_key(name, key.private_bytes_raw())
        return key

    def replace_key(self, name: str, raw: bytes) -> None:
        """Raises StorageError."""
        make_private_folder(self._keys)
        write_durably(self._keys / f"{name}.key", raw)

    def drop_key(self, name: str) -> None:
        """Delete a key."""
        (self._keys / f"{name}.key").unlink(missing_ok=True)

    def operator_key(self) -> X25519PrivateKey:
        """The key that enrolments are sealed to. Raises KeyFileError."""
        return X25519PrivateKey.from_private_bytes(self._required("operator"))

    def make_secrets(self) -> X25519PrivateKey:
        """The operator's own keys, unless they are there. Raises KeyFileError, StorageError."""
        if self._read_key("operator") is None:
            self.replace_key("operator", X25519PrivateKey.generate().private_bytes_raw())
        if self._read_key("book") is None:
            self.replace_key("book", secrets.token_bytes(KEY_BYTES))
        return self.operator_key()

    def read_book(self) -> Book:
        """Raises GalleryError if it is gone or altered, KeyFileError."""
        path = self.folder / BOOK_NAME
        try:
            data = path.read_bytes()
        except OSError as error:
            raise GalleryError(
                f"cannot read {path}: {error.strerror}; restore it from a backup, or run "
                "`familiar operator init`"
            ) from error
        try:
            text = AESGCM(self._required("book")).decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], _BOUND
            )
        except (InvalidTag, ValueError) as error:
            raise GalleryError(
                f"{path} was altered, or written with another key; restore it from a backup"
            ) from error
        return from_json(text, Book, _malformed_book)

    def write_book(self, book: Book) -> None:
        """Raises StorageError."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._required("book")).encrypt(
            nonce, to_json(book, _malformed_book), _BOUND
        )
        write_durably(self.folder / BOOK_NAME, nonce, sealed)

    def _required(self, name: str) -> bytes:
        raw = self._read_key(name)
        if raw is None:
            raise KeyFileError(f"the key {self._keys / (name + '.key')} is gone; restore it")
        return raw

    def keys_in_files(self) -> tuple[str, ...]:
        """The keys that lie in `keys/`: whoever steals this storage has them, too."""
        files = sorted(path.stem for path in self._keys.glob("*.key"))
        return tuple(name for name in files if self._credential(name) is None)

    def _credential(self, name: str) -> bytes | None:
        # Root keys change, and credentials do not: those are kept apart as files.
        if self._credentials is None or name not in _CREDENTIALS:
            return None
        # No permission check: systemd's access list makes these look open to the group.
        return read_key(self._credentials / f"{name}.key", must_be_private=False)

    def _read_key(self, name: str) -> bytes | None:
        found = self._credential(name)
        if found is not None:
            return found
        return read_key(self._keys / f"{name}.key", must_be_private=True)


def fleet_json(fleet: Fleet) -> bytes:
    """The content of `fleet.json`."""
    return to_json(fleet, lambda where, expected: ConfigError(f"{where} is not {expected}"))


def read_fleet(path: Path) -> Fleet:
    """`fleet.json`. Raises ConfigError."""
    return _read_public(path, Fleet, "a fleet file (`familiar operator init` makes fleet.json)")


def read_device(path: Path) -> DeviceKey:
    """`device.json`. Raises ConfigError."""
    return _read_public(path, DeviceKey, "a device file (the first `familiar sync` makes it)")


def read_station(path: Path) -> StationKey:
    """`station.json`. Raises ConfigError."""
    what = "a station file (`familiar station identity` makes it)"
    return _read_public(path, StationKey, what)


def _read_public(path: Path, kind: type[_Public], what: str) -> _Public:
    def malformed(where: str, expected: str) -> ConfigError:
        return ConfigError(f"{path} is not {what}: {where} is not {expected}")

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PUBLIC_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name {what}") from error
    value = from_json(data, kind, malformed)
    if not all(re.fullmatch("[0-9a-f]{64}", key) for key in _keys_of(value)):
        raise malformed("a key", "32 bytes in hex")
    return value


def _keys_of(value: Fleet | DeviceKey | StationKey) -> tuple[str, ...]:
    if isinstance(value, Fleet):
        return (value.operator_key,)
    if isinstance(value, DeviceKey):
        return (value.public_key, value.signing_key)
    return (value.public_key,)


def _malformed_book(where: str, expected: str) -> GalleryError:
    return GalleryError(
        f"the operator's book is malformed: {where} is not {expected}; update the program, or "
        "restore it from a backup"
    )
