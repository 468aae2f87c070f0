"""The durable queue between a decided alert and the network (P10).

One SQLite file in WAL mode with synchronous=FULL: when `put` returns, the alert survives a
killed process and a pulled plug. It stays until it was delivered, it has expired, or the bound
forces out the oldest; each of these ends is counted in the same transaction. Events hold a
pseudonym only (P9); even so each is encrypted and bound to its id (AES-256-GCM), the file is
mode 0600, and deleted rows are overwritten.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.errors import KeyFileError, StorageError
from edge_app.ports import Clock

_FORMAT: Final = 2
_NONCE_BYTES: Final = 12
_KEY_CHECK: Final = "key check"
_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS by_deadline ON alert (boot_id, deadline_ms)",
    "CREATE INDEX IF NOT EXISTS by_expiry ON alert (expiry_ms)",
)
_SCHEMA: Final = (
    """
    CREATE TABLE alert (
      position INTEGER PRIMARY KEY AUTOINCREMENT,
      alert_id TEXT NOT NULL UNIQUE,
      topic TEXT NOT NULL,
      sealed BLOB NOT NULL,          -- nonce and AES-256-GCM of the payload, bound to alert_id
      expiry_ms INTEGER NOT NULL,    -- wall clock, since 1970
      boot_id TEXT NOT NULL,
      deadline_ms INTEGER NOT NULL   -- monotonic clock of that boot
    ) STRICT
    """,
    "CREATE TABLE key_check (sealed BLOB NOT NULL) STRICT",
    "CREATE TABLE ended (reason TEXT PRIMARY KEY, alerts INTEGER NOT NULL) STRICT",
    "INSERT INTO ended VALUES ('delivered', 0), ('expired', 0), ('forced_out', 0)",
    f"PRAGMA user_version = {_FORMAT}",
)

# A device without a battery clock starts with a wall clock that is wrong and then leaps.
# Within one boot an alert's age is therefore measured on the monotonic clock.
_REMAINING_MS: Final = (
    "CASE boot_id WHEN :boot_id THEN deadline_ms - :monotonic_ms ELSE expiry_ms - :wall_ms END"
)
_HAS_EXPIRED: Final = (
    "(boot_id = :boot_id AND deadline_ms <= :monotonic_ms"
    " OR boot_id <> :boot_id AND expiry_ms <= :wall_ms)"
)


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """One alert that still has to be delivered.

    position:    its place in the queue; grows with every `put`, also across restarts.
    remaining_s: seconds until it expires, greater than 0.
    """

    position: int
    alert_id: str
    topic: str
    payload: bytes = field(repr=False)
    remaining_s: float


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What became of every alert since the file was made.

    pending:    still to be delivered.
    delivered:  acknowledged by the broker.
    expired:    dropped because its time was over, and not acknowledged.
    forced_out: dropped as the oldest because the outbox was full, and not acknowledged.
    """

    pending: int
    delivered: int
    expired: int
    forced_out: int


class Outbox:
    """A bounded first-in first-out queue on disk, for one process and any of its threads.

    One connection behind one lock: SQLite lets a single writer in anyway, and every call is
    one short transaction.
    """

    def __init__(
        self, path: Path, *, key: bytes, max_alerts: int, boot_id: str, clock: Clock
    ) -> None:
        """Open the file, or create it.

        key:        32 bytes, of this outbox alone.
        max_alerts: largest number of pending alerts, 1 or more.
        boot_id:    names the run of the monotonic clock; the kernel's boot id on a device.

        Raises:
            StorageError: not writable, not an outbox, or damaged. The file is left as it is.
            KeyFileError: the alerts in it were encrypted with another key.
        """
        if max_alerts < 1:
            raise ValueError(f"an outbox holds 1 alert or more, not {max_alerts}")
        self._path = path
        self._max_alerts = max_alerts
        self._boot_id = boot_id
        self._clock = clock
        self._lock = threading.Lock()
        self._cipher = AESGCM(key)
        self._acknowledged: set[str] = set()
        with self._wrapped_errors():
            self._database = _open(path)
        try:
            self._check_key()
        except BaseException:
            self._database.close()
            raise

    def put(self, alert_id: str, topic: str, payload: bytes, expiry_time: datetime) -> None:
        """Store an alert durably. An id that is already pending is left as it is.

        A full outbox first drops what has expired, then the oldest.

        Raises:
            StorageError: not stored; what was pending before is still there.
        """
        now = self._now()
        expiry_ms = _unix_ms(expiry_time)
        row = {
            "alert_id": alert_id,
            "topic": topic,
            "sealed": self._seal(alert_id, payload),
            "expiry_ms": expiry_ms,
            "boot_id": self._boot_id,
            "deadline_ms": int(now["monotonic_ms"]) + expiry_ms - int(now["wall_ms"]),
        }
        with self._transaction() as database:
            known = database.execute("SELECT 1 FROM alert WHERE alert_id = ?", (alert_id,))
            if known.fetchone() is not None:
                return
            self._drop_expired(database)
            self._force_out(database, _count_pending(database) - self._max_alerts + 1)
            database.execute(
                "INSERT INTO alert (alert_id, topic, sealed, expiry_ms, boot_id, deadline_ms)"
                " VALUES (:alert_id, :topic, :sealed, :expiry_ms, :boot_id, :deadline_ms)",
                row,
            )

    def next(self, *, after: int, limit: int) -> tuple[PendingAlert, ...]:
        """Return the oldest pending alerts with a position greater than `after`.

        Whatever has expired is dropped and counted first, and never returned.

        Raises:
            StorageError: the file cannot be read, or was altered.
        """
        self.drop_expired()
        with self._transaction() as database:
            rows = database.execute(
                f"SELECT position, alert_id, topic, sealed, {_REMAINING_MS}"  # noqa: S608 (a constant)  # nosec B608
                f" FROM alert WHERE position > :after AND NOT {_HAS_EXPIRED}"
                " ORDER BY position LIMIT :limit",
                {**self._now(), "after": after, "limit": limit},
            ).fetchall()
        return tuple(
            PendingAlert(
                position,
                alert_id,
                topic,
                self._unseal(alert_id, sealed),
                remaining_ms / 1000,
            )
            for position, alert_id, topic, sealed, remaining_ms in rows
        )

    def drop_expired(self) -> None:
        """Drop and count what has expired: from time to time, also while nothing can be sent.

        On a disk that takes no writes it stays until the disk takes some, and is never returned.
        """
        with suppress(StorageError), self._transaction() as database:
            self._drop_expired(database)

    def note_acknowledged(self, alert_ids: Iterable[str]) -> None:
        """Remember that the broker has them, though they stay: it may lose them yet.

        One that expires or is forced out meanwhile counts as delivered. Not kept on disk.
        """
        with self._lock:
            self._acknowledged.update(alert_ids)

    def forget_acknowledged(self) -> None:
        """The broker may have lost what it acknowledged: all of it is still to be delivered."""
        with self._lock:
            self._acknowledged.clear()

    def mark_delivered(self, alert_ids: Iterable[str]) -> None:
        """Remove alerts that the broker has and will not lose; unknown ids are ignored.

        Raises:
            StorageError: they stay pending and will be delivered again under the same id.
        """
        ids = tuple(alert_ids)
        with self._transaction() as database:
            removed = database.executemany(
                "DELETE FROM alert WHERE alert_id = ?", [(alert_id,) for alert_id in ids]
            ).rowcount
            _count_ended(database, "delivered", removed)
        with self._lock:
            self._acknowledged.difference_update(ids)

    def counts(self) -> OutboxCounts:
        """Return what is pending and what became of the rest. What has expired is dropped first.

        Raises:
            StorageError: the file cannot be read.
        """
        self.drop_expired()
        with self._transaction() as database:
            ended = dict(database.execute("SELECT reason, alerts FROM ended").fetchall())
            return OutboxCounts(pending=_count_pending(database), **ended)

    def close(self) -> None:
        """Close the file. Pending alerts are there at the next start. May be called twice."""
        with self._lock, self._wrapped_errors():
            self._database.close()

    def _check_key(self) -> None:
        with self._transaction() as database:
            found = database.execute("SELECT sealed FROM key_check").fetchone()
            if found is None:
                check = self._seal(_KEY_CHECK, b"")
                database.execute("INSERT INTO key_check VALUES (?)", (check,))
                return
            try:
                self._cipher.decrypt(
                    found[0][:_NONCE_BYTES], found[0][_NONCE_BYTES:], _KEY_CHECK.encode()
                )
            except InvalidTag as error:
                raise KeyFileError(
                    f"the key does not open the outbox {self._path}; put the right key back, or "
                    "move the file aside to give up the alerts in it"
                ) from error

    def _seal(self, alert_id: str, payload: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, payload, alert_id.encode())

    def _unseal(self, alert_id: str, sealed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], alert_id.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise StorageError(
                f"outbox {self._path}: an alert was altered; move the file aside and start again"
            ) from error

    def _now(self) -> dict[str, int | str]:
        return {
            "wall_ms": _unix_ms(self._clock.now()),
            "monotonic_ms": int(self._clock.monotonic_s() * 1000),
            "boot_id": self._boot_id,
        }

    def _drop_expired(self, database: sqlite3.Connection) -> None:
        self._drop(database, "expired", _HAS_EXPIRED, self._now())

    def _force_out(self, database: sqlite3.Connection, alerts: int) -> None:
        if alerts > 0:
            oldest = "position IN (SELECT position FROM alert ORDER BY position LIMIT :alerts)"
            self._drop(database, "forced_out", oldest, {"alerts": alerts})

    def _drop(
        self,
        database: sqlite3.Connection,
        reason: str,
        condition: str,
        values: dict[str, int | str],
    ) -> None:
        statement = f"DELETE FROM alert WHERE {condition} RETURNING alert_id"  # noqa: S608 (constants)  # nosec B608
        dropped = {alert_id for (alert_id,) in database.execute(statement, values)}
        delivered = dropped & self._acknowledged
        _count_ended(database, "delivered", len(delivered))
        _count_ended(database, reason, len(dropped - delivered))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._wrapped_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite itself rolls back on a full disk
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _wrapped_errors(self) -> Iterator[None]:
        try:
            yield
        except _OtherVersionError as error:
            raise StorageError(f"outbox {self._path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"outbox {self._path}: {_explain(error)}") from error


class _OtherVersionError(Exception):
    """A sound outbox, and not ours to read. The message says what to do."""


def _open(path: Path) -> sqlite3.Connection:
    # SQLite gives its -wal and -shm files the mode of the database, so it is set first.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # One owner: a second process would send every alert twice.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if (version, tables) == (0, 0):
        for statement in _SCHEMA:
            database.execute(statement)
    elif version != _FORMAT:
        raise _OtherVersionError(
            "it was written by another version of Familiar: "
            f"it is of format {version}, not {_FORMAT}; "
            "install that version again, alerts in it are kept"
        )
    for statement in _INDEXES:  # also into a file of an older version
        database.execute(statement)
    database.execute("COMMIT")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _count_pending(database: sqlite3.Connection) -> int:
    (pending,) = database.execute("SELECT count(*) FROM alert").fetchone()
    return int(pending)


def _count_ended(database: sqlite3.Connection, reason: str, alerts: int) -> None:
    if alerts > 0:
        database.execute("UPDATE ended SET alerts = alerts + ? WHERE reason = ?", (alerts, reason))


def _explain(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}; give this user a writable folder on a local disk"
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full, nothing was stored; free some space, earlier alerts are kept"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another process holds it; stop the other `familiar run` or give it its own --home"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return f"{error}; check the disk and the file's owner and mode, alerts in it are kept"
    if isinstance(error, sqlite3.ProgrammingError):
        return "it was closed already; open it again"
    return (
        f"damaged or not an outbox ({error}); nothing was changed: copy it away for repair"
        " with `sqlite3 FILE .recover`, then move it and its -wal file aside and start again"
    )


def _unix_ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
