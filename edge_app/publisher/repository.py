"""The fleet's TUF repository: files that any static HTTP server or CDN can serve.

Root needs two of three keys, which are meant to be kept apart and offline. Targets, snapshot and
timestamp have a key each. Every file has its version or hash in its name, and `timestamp.json`,
which names the rest, is written last: whoever fetches meanwhile gets the old or the new generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_app.adapters.durable import make_private_folder, write_durably
from edge_app.errors import GalleryError, KeyFileError

ROOT_THRESHOLD: Final = 2
ROOT_KEYS: Final = ("root-1", "root-2", "root-3")
ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
_ROOT_LIFE: Final = timedelta(days=2 * 366)
_TARGETS_LIFE: Final = timedelta(days=366)
_RENEW_BEFORE: Final = timedelta(days=60)

_Kind = TypeVar("_Kind", bound=Signed)

Keys = Mapping[str, Ed25519PrivateKey]
"""A role's or a root key's name -> key."""


class Repository:
    """The folder with `metadata/` and `targets/`. Hold `durable.exclusive` while writing."""

    def __init__(self, folder: Path) -> None:
        """Name the folder, which need not exist."""
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"

    def create(self, keys: Keys, *, lease: timedelta, now: datetime) -> bytes:
        """Write an empty repository; returns the root to provision devices with.

        keys: of all roles and all root keys. Raises StorageError.
        """
        root = Root(expires=_whole(now + _ROOT_LIFE), consistent_snapshot=True)
        for name in ROOT_KEYS:
            root.add_key(_signer(keys[name]).public_key, "root")
        root.roles["root"].threshold = ROOT_THRESHOLD
        for role in ONLINE_ROLES:
            root.add_key(_signer(keys[role]).public_key, role)
        content = _signed(root, [keys[name] for name in ROOT_KEYS])
        self._write("1.root.json", content)
        self._publish(Targets(expires=_whole(now + _TARGETS_LIFE)), keys, lease=lease, now=now)
        return content

    def rotate_root(self, old: Keys, new: Keys, *, now: datetime) -> bytes:
        """Replace the root keys: signed by the old ones and the new ones; returns the new root.

        Raises:
            KeyFileError: the old keys are not enough for the root that devices trust now.
            StorageError: it cannot be written.
        """
        before = self._newest_root()
        root = self._newest_root()
        for key_id in list(root.roles["root"].keyids):
            root.revoke_key(key_id, "root")
        for name in ROOT_KEYS:
            root.add_key(_signer(new[name]).public_key, "root")
        root.version += 1
        root.expires = _whole(now + _ROOT_LIFE)
        content = _signed(root, [*old.values(), *new.values()])
        made = Metadata[Root].from_bytes(content)
        checked = made.signed.get_root_verification_result(
            before, made.signed_bytes, made.signatures
        )
        if not checked.verified:
            raise KeyFileError(
                "the root keys here are not those that devices trust; bring back two of them"
            )
        self._write(f"{root.version}.root.json", content)
        return content

    def root_is_of(self, keys: Keys) -> bool:
        """Whether the newest root is of these root keys."""
        ids = {_signer(key).public_key.keyid for key in keys.values()}
        return set(self._newest_root().roles["root"].keyids) == ids

    def add_target(self, name: str, data: bytes) -> None:
        """Write a file under its content's hash; it is served once `publish` names it."""
        path = self._targets / _hashed(name, data)
        if not path.exists():
            make_private_folder(path.parent)
            write_durably(path, data)

    def read_target(self, name: str, sha256: str) -> bytes:
        """A file that was added. Raises GalleryError if it is gone or altered."""
        path = self._targets / _prefixed(name, sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise GalleryError(
                f"cannot read {path}: {error.strerror}; restore the repository from a backup"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise GalleryError(f"{path} was altered; restore the repository from a backup")
        return data

    def publish(
        self, files: Mapping[str, TargetFile], keys: Keys, *, lease: timedelta, now: datetime
    ) -> None:
        """Let these be the targets from now on. Raises StorageError."""
        old = self._current(Targets, f"{self._targets_version()}.targets.json")
        targets = Targets(
            version=old.version + 1, expires=_whole(now + _TARGETS_LIFE), targets=dict(files)
        )
        self._publish(targets, keys, lease=lease, now=now)

    def renew(self, keys: Keys, *, lease: timedelta, now: datetime) -> None:
        """A fresh timestamp over the same targets: devices go on matching.

        keys: the timestamp's; when `lists_end_soon`, those of all online roles, whose files are
            signed anew. Raises StorageError.
        """
        if self.lists_end_soon(now):
            targets = self._current(Targets, f"{self._targets_version()}.targets.json")
            self.publish(targets.targets, keys, lease=lease, now=now)
            return
        timestamp = self._current(Timestamp, "timestamp.json")
        timestamp.version += 1
        timestamp.expires = _whole(now + lease)
        self._write("timestamp.json", _signed(timestamp, [keys["timestamp"]]))

    def expires(self) -> datetime:
        """When devices stop to match unless the timestamp is renewed. Raises GalleryError."""
        return self._current(Timestamp, "timestamp.json").expires

    def expiries(self) -> dict[str, datetime]:
        """Role -> when its newest file expires. Raises GalleryError."""
        version = self._targets_version()
        return {
            "root": self._newest_root().expires,
            "targets": self._current(Targets, f"{version}.targets.json").expires,
            "snapshot": self._current(Snapshot, f"{version}.snapshot.json").expires,
            "timestamp": self.expires(),
        }

    def lists_end_soon(self, now: datetime) -> bool:
        """Whether targets or snapshot expire before long, though nothing was published."""
        ends = self.expiries()
        return min(ends["targets"], ends["snapshot"]) <= now + _RENEW_BEFORE

    def remove_unnamed(self, named: Sequence[tuple[str, str]]) -> int:
        """Delete target files but those of these (name, sha256); returns how many went."""
        kept = {self._targets / _prefixed(name, sha256) for name, sha256 in named}
        gone = [p for p in self._targets.rglob("*") if p.is_file() and p not in kept]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _publish(self, targets: Targets, keys: Keys, *, lease: timedelta, now: datetime) -> None:
        self._write(f"{targets.version}.targets.json", _signed(targets, [keys["targets"]]))
        # Snapshot and targets change together, so they share their version.
        snapshot = Snapshot(
            version=targets.version,
            expires=_whole(now + _TARGETS_LIFE),
            meta={"targets.json": MetaFile(targets.version)},
        )
        self._write(f"{snapshot.version}.snapshot.json", _signed(snapshot, [keys["snapshot"]]))
        version = 1
        if (self._metadata / "timestamp.json").exists():
            version = self._current(Timestamp, "timestamp.json").version + 1
        timestamp = Timestamp(
            version=version,
            expires=_whole(now + lease),
            snapshot_meta=MetaFile(snapshot.version),
        )
        self._write("timestamp.json", _signed(timestamp, [keys["timestamp"]]))

    def _targets_version(self) -> int:
        return self._current(Timestamp, "timestamp.json").snapshot_meta.version

    def _newest_root(self) -> Root:
        versions = [int(path.name.split(".")[0]) for path in self._metadata.glob("*.root.json")]
        return self._current(Root, f"{max(versions, default=1)}.root.json")

    def _current(self, kind: type[_Kind], name: str) -> _Kind:
        path = self._metadata / name
        try:
            signed = Metadata.from_file(str(path)).signed
        except (RepositoryError, OSError) as error:
            raise GalleryError(
                f"cannot read {path}: {error}; restore the repository from a backup"
            ) from error
        if not isinstance(signed, kind):
            raise GalleryError(f"{path} is of another role; restore the repository from a backup")
        return signed

    def _write(self, name: str, content: bytes) -> None:
        make_private_folder(self._metadata)
        write_durably(self._metadata / name, content)


def target_file(data: bytes) -> TargetFile:
    """What the targets' metadata says of a file's content."""
    return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, "")


def known_file(size_bytes: int, sha256: str) -> TargetFile:
    """The same of a file that is not at hand."""
    return TargetFile(size_bytes, {"sha256": sha256}, "")


def _signed(
    content: Root | Targets | Snapshot | Timestamp, keys: Sequence[Ed25519PrivateKey]
) -> bytes:
    metadata: Metadata[Any] = Metadata(content)
    for key in keys:
        metadata.sign(_signer(key), append=True)
    return metadata.to_bytes()


def _signer(key: Ed25519PrivateKey) -> CryptoSigner:
    return CryptoSigner(key)


def _hashed(name: str, data: bytes) -> str:
    return _prefixed(name, hashlib.sha256(data).hexdigest())


def _prefixed(name: str, sha256: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{sha256}.{file}" if folder else f"{sha256}.{file}"


def _whole(time: datetime) -> datetime:
    return time.replace(microsecond=0)
