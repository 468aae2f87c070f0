"""Of whom there were alerts lately, so that a backend hears when one of them leaves (P3).

When a person leaves, a device erases them, and could not say afterwards whose alerts a backend may
still hold. So it remembers, for as long as a backend may: one row per person, with the pseudonym
and the digests by which a tombstone names them, encrypted and bound to the row (AES-256-GCM). A row
is durable before the alert is, and goes when the departure is in the outbox.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.errors import StorageError

REMEMBERED: Final = timedelta(days=8)
"""The longest that an alert can be on its way, and be kept by a backend, together."""

_REFRESHED_AFTER: Final = timedelta(hours=1)
_NONCE_BYTES: Final = 12
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS told"
    " (id BLOB PRIMARY KEY, sealed BLOB NOT NULL, until_ms INTEGER NOT NULL) STRICT"
)


class Told:
    """The file, for one thread of one process."""

    def __init__(self, path: Path, *, key: bytes) -> None:
        """Open the file, or create it. key: 32 bytes, of this file alone.

        Raises:
            StorageError: not writable, or damaged.
        """
        self._path = path
        self._key = key
        self._cipher = AESGCM(key)
        with self._wrapped_errors():
            self._database = _open(path)

    def remember(self, subject_ref: str, tombstones: AbstractSet[str], *, now: datetime) -> None:
        """Remember somebody until `REMEMBERED` from now; durable when this returns.

        tombstones: the digests that bar this person. now: aware, UTC.

        Raises:
            StorageError: it cannot be written.
        """
        row_id = self._id(subject_ref)
        with self._wrapped_errors():
            found = self._database.execute("SELECT until_ms FROM told WHERE id = ?", (row_id,))
            known = found.fetchone()
            # Once an hour for each person: an alert need not wait for the disk twice.
            if known and known[0] > _unix_ms(now + REMEMBERED - _REFRESHED_AFTER):
                return
            text = " ".join((subject_ref, *sorted(tombstones))).encode("ascii")
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = nonce + self._cipher.encrypt(nonce, text, row_id)
            self._database.execute(
                "INSERT INTO told VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET sealed = excluded.sealed, until_ms = excluded.until_ms",
                (row_id, sealed, _unix_ms(now + REMEMBERED)),
            )

    def departed(self, tombstones: AbstractSet[str]) -> tuple[str, ...]:
        """The pseudonyms of those whom one of these tombstones bars.

        A row that another key wrote, or that was altered, says nothing.

        Raises:
            StorageError: it cannot be read.
        """
        with self._wrapped_errors():
            rows = self._database.execute("SELECT id, sealed FROM told").fetchall()
        found = []
        for row_id, sealed in rows:
            try:
                text = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row_id)
            except (InvalidTag, ValueError):
                continue
            subject_ref, *digests = text.decode("ascii").split(" ")
            if not tombstones.isdisjoint(digests):
                found.append(subject_ref)
        return tuple(found)

    def forget(self, subject_ref: str) -> None:
        """Forget somebody. Raises StorageError."""
        with self._wrapped_errors():
            self._database.execute("DELETE FROM told WHERE id = ?", (self._id(subject_ref),))

    def drop_outdated(self, now: datetime) -> None:
        """Forget everybody of whom no backend can hold anything any more. Raises StorageError."""
        with self._wrapped_errors():
            self._database.execute("DELETE FROM told WHERE until_ms <= ?", (_unix_ms(now),))

    def close(self) -> None:
        """Close the file. Raises StorageError."""
        with self._wrapped_errors():
            self._database.close()

    def _id(self, subject_ref: str) -> bytes:
        return hmac.new(self._key, subject_ref.encode("ascii"), hashlib.sha256).digest()

    @contextmanager
    def _wrapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self._path}: {error}; check the disk, or move the file aside and start again"
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    # SQLite gives its -wal and -shm files the mode of the database, so it is set first.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}")
        database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _unix_ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
