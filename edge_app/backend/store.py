"""Encounters in a database: SQLite in a file, or PostgreSQL.

One row for each alert, with what the alert holds and no more: pseudonyms and numbers (P9). A row
is there once, whoever stores it and however often: (site, device, alert_id) is its key, and the
database itself refuses a second one. Every call is one transaction; writers take turns, also those
of other processes. When a call returns, what it did survives a pulled plug.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from edge_app.adapters.durable import exclusive
from edge_app.errors import ConfigError, StorageError
from edge_app.records import Alert, Purpose

DATABASE_NAME: Final = "encounters.sqlite"
STAYS_OUT: Final = timedelta(days=1)
"""How long an alert can be on its way: nothing of somebody who left comes later."""

_FORMAT: Final = 1
_BUSY_S: Final = 30
_CLOCK_TOLERANCE_MS: Final = 300_000
_LOCK: Final = 0xFA311A2

# Both databases understand these statements. Times are milliseconds since 1970.
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS familiar_store (format INTEGER NOT NULL, name TEXT NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS encounter (
      site TEXT NOT NULL,
      device TEXT NOT NULL,
      alert_id TEXT NOT NULL,
      purpose TEXT NOT NULL,
      subject_ref TEXT NOT NULL,
      consent_record_id TEXT NOT NULL,
      score DOUBLE PRECISION NOT NULL,
      threshold DOUBLE PRECISION NOT NULL,
      target_fpir DOUBLE PRECISION NOT NULL,
      model_id TEXT NOT NULL,
      gallery_generation BIGINT NOT NULL,
      tracklet_frames BIGINT NOT NULL,
      tracklet_s DOUBLE PRECISION NOT NULL,
      time_ms BIGINT NOT NULL,
      expiry_ms BIGINT NOT NULL,
      received_ms BIGINT NOT NULL,
      sequence BIGINT NOT NULL,
      clock_state TEXT NOT NULL,
      boot_id TEXT NOT NULL,
      demo BOOLEAN NOT NULL,
      PRIMARY KEY (site, device, alert_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS encounter_subject ON encounter (subject_ref)",
    "CREATE INDEX IF NOT EXISTS encounter_age ON encounter (purpose, received_ms)",
    # Who left, until the last of their alerts has expired on its way.
    """
    CREATE TABLE IF NOT EXISTS departed (
      subject_ref TEXT PRIMARY KEY,
      until_ms BIGINT NOT NULL
    )
    """,
)
_COLUMNS: Final = (
    "site", "device", "alert_id", "purpose", "subject_ref", "consent_record_id", "score",
    "threshold", "target_fpir", "model_id", "gallery_generation", "tracklet_frames", "tracklet_s",
    "time_ms", "expiry_ms", "received_ms", "sequence", "clock_state", "boot_id", "demo",
)  # fmt: skip
_INSERT: Final = (
    f"INSERT INTO encounter ({', '.join(_COLUMNS)})"  # noqa: S608 (constants)  # nosec B608
    f" SELECT {', '.join(f':{column}' for column in _COLUMNS)}"
    " WHERE NOT EXISTS (SELECT 1 FROM departed WHERE subject_ref = :subject_ref)"
    " ON CONFLICT (site, device, alert_id) DO NOTHING"
)
_DEPART: Final = (
    "INSERT INTO departed (subject_ref, until_ms) VALUES (:subject_ref, :until_ms)"
    " ON CONFLICT (subject_ref) DO UPDATE SET until_ms = :until_ms"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a batch. barred: how many were of somebody who left."""

    stored: tuple[Alert, ...]
    duplicates: int
    barred: int


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What differs between databases.

    turn:     held during a transaction: woken when it is our turn.
    begin:    starts a transaction that no other writer can be in.
    adapt:    puts a statement's `:name` into the database's own form.
    tidy:     erases what deleted rows leave behind outside of tables, as far as it can be.
    explain:  an error in one line, without any value of a row.
    """

    connect: Callable[[], Any]
    turn: Callable[[], AbstractContextManager[None]]
    begin: str
    adapt: Callable[[str], str]
    tidy: str
    error: type[Exception]
    explain: Callable[[Exception], str]


class EncounterStore:
    """One connection to the database, used by one thread at a time; opened anew after an error."""

    def __init__(self, database: str, folder: Path) -> None:
        """Open it, and make its tables.

        database: `postgresql://...`; empty: a SQLite file in `folder`.

        Raises:
            ConfigError: not such an address, or the means for PostgreSQL are not installed.
            StorageError: not reached, not writable, or of another version.
        """
        self._dialect = _dialect(database, folder)
        self._connection: Any = None
        with self._transaction() as execute:
            for statement in _SCHEMA:
                execute(statement)
            found = execute("SELECT format, name FROM familiar_store").fetchone()
            if found is None:
                found = (_FORMAT, secrets.token_hex(16))
                made = {"format": found[0], "name": found[1]}
                execute("INSERT INTO familiar_store VALUES (:format, :name)", made)
            if found[0] != _FORMAT:
                raise StorageError(
                    f"the database is of format {found[0]} and not {_FORMAT}; use the version of "
                    "Familiar that made it, or name another database"
                )
        self._name = str(found[1])

    @property
    def name(self) -> str:
        """32 random hex digits, for everybody with this database and for nobody else."""
        return self._name

    def keep(self, alerts: Sequence[Alert], *, now: datetime) -> Kept:
        """Store these alerts, unless they are there already or are of somebody who left.

        now: aware, UTC; retention counts from it.

        Raises:
            StorageError: none of them is stored for certain.
        """
        stored, barred = [], 0
        with self._transaction() as execute:
            for alert in alerts:
                row = _row(alert, now)
                if execute(_INSERT, row).rowcount:
                    stored.append(alert)
                    continue
                found = execute("SELECT 1 FROM departed WHERE subject_ref = :subject_ref", row)
                barred += found.fetchone() is not None
        return Kept(tuple(stored), len(alerts) - len(stored) - barred, barred)

    def forget(self, subject_refs: Sequence[str], *, until: datetime) -> int:
        """Delete everything of somebody who left, and store nothing more of them until then.

        Returns how many encounters there were.

        Raises:
            StorageError: they are still there.
        """
        deleted = 0
        with self._transaction() as execute:
            for subject_ref in subject_refs:
                row = {"subject_ref": subject_ref, "until_ms": _unix_ms(until)}
                execute(_DEPART, row)
                gone = execute("DELETE FROM encounter WHERE subject_ref = :subject_ref", row)
                deleted += gone.rowcount
        return deleted

    def purge(self, retention: Mapping[Purpose, timedelta], *, now: datetime) -> dict[Purpose, int]:
        """Delete what has been here for longer than its purpose allows; returns how much.

        What came while the clock was ahead counts from now.

        Raises:
            StorageError: it is still there.
        """
        deleted = {}
        now_ms = _unix_ms(now)
        with self._transaction() as execute:
            execute(
                "UPDATE encounter SET received_ms = :now_ms WHERE received_ms > :latest_ms",
                {"now_ms": now_ms, "latest_ms": now_ms + _CLOCK_TOLERANCE_MS},
            )
            for purpose, kept_for in retention.items():
                deleted[purpose] = execute(
                    "DELETE FROM encounter WHERE purpose = :purpose AND received_ms <= :last_ms",
                    {"purpose": purpose.value, "last_ms": _unix_ms(now - kept_for)},
                ).rowcount
            execute("DELETE FROM departed WHERE until_ms <= :now_ms", {"now_ms": now_ms})
        self._tidy()
        return deleted

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._dialect.error):
                connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., Any]]:
        adapt = self._dialect.adapt
        try:
            with self._dialect.turn():
                if self._connection is None:
                    self._connection = self._dialect.connect()
                connection = self._connection
                connection.execute(self._dialect.begin)
                yield lambda statement, row=None: connection.execute(adapt(statement), row or {})
                connection.commit()
        except BaseException as error:
            self.close()  # which rolls back
            if isinstance(error, (self._dialect.error, OSError)):
                raise StorageError(self._dialect.explain(error)) from error
            raise

    def _tidy(self) -> None:
        if self._dialect.tidy and self._connection is not None:
            with suppress(self._dialect.error):  # another one reads: next time, then
                self._connection.execute(self._dialect.tidy)


def _row(alert: Alert, now: datetime) -> dict[str, Any]:
    return {
        "site": alert.site,
        "device": alert.device,
        "alert_id": alert.alert_id,
        "purpose": alert.purpose.value,
        "subject_ref": alert.subject_ref,
        "consent_record_id": alert.consent_record_id,
        "score": alert.score,
        "threshold": alert.threshold,
        "target_fpir": alert.target_fpir,
        "model_id": alert.model_id,
        "gallery_generation": alert.gallery_generation,
        "tracklet_frames": alert.tracklet_frames,
        "tracklet_s": alert.tracklet_s,
        "time_ms": _unix_ms(alert.time),
        "expiry_ms": _unix_ms(alert.expiry_time),
        "received_ms": _unix_ms(now),
        "sequence": alert.sequence,
        "clock_state": alert.clock_state.value,
        "boot_id": alert.boot_id,
        "demo": alert.demo,
    }


def _unix_ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _dialect(database: str, folder: Path) -> _Dialect:
    if not database:
        return _sqlite(folder / DATABASE_NAME)
    if not database.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            "backend.database is no address that is known; write postgresql://host/database, or "
            "leave it empty for a SQLite file"
        )
    return _postgresql(database)


# ----------------------------------------------------------------------------------- SQLite


def _sqlite(path: Path) -> _Dialect:
    def connect() -> sqlite3.Connection:
        path.touch(mode=0o600)  # SQLite gives its side files the mode of the database
        database = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")
        except BaseException:
            database.close()
            raise
        return database

    return _Dialect(
        connect=connect,
        turn=lambda: exclusive(path.parent),  # SQLite waits by sleeping, up to 0.1 s at a time
        begin="BEGIN IMMEDIATE",
        adapt=lambda statement: statement,
        tidy="PRAGMA wal_checkpoint(TRUNCATE)",
        error=sqlite3.Error,
        explain=lambda error: _explain_sqlite(path, error),
    )


def _explain_sqlite(path: Path, error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if isinstance(error, OSError):
        text = f"{error.strerror}; give this user a writable folder on a local disk"
    elif name == "SQLITE_FULL":
        text = "the disk is full, nothing was stored; free some space"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        text = "another process holds it for too long; end that"
    elif name in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
        text = "damaged, or no database; move it aside and start again"
    else:
        text = f"{error}; check the disk and the file's owner and mode"
    return f"{path}: {text}"


# ------------------------------------------------------------------------------- PostgreSQL


def _postgresql(address: str) -> _Dialect:
    try:
        import psycopg  # noqa: PLC0415 - only who has PostgreSQL needs it
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ConfigError(
            "PostgreSQL needs the extra `backend`; run `pip install familiar-edge[backend]`"
        ) from error
    try:
        conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "backend.database cannot be read; write postgresql://user@host/database"
        ) from None  # without the address, which may hold a password
    return _Dialect(
        connect=lambda: psycopg.connect(
            address,
            connect_timeout=10,
            application_name="familiar backend",
            options=f"-c statement_timeout={_BUSY_S}s -c synchronous_commit=on",
        ),
        turn=nullcontext,
        begin=f"SELECT pg_advisory_xact_lock({_LOCK})",
        adapt=_to_pyformat,
        tidy="",
        error=psycopg.Error,
        explain=_explain_postgresql,
    )


@cache
def _to_pyformat(statement: str) -> str:
    return re.sub(r":(\w+)", r"%(\1)s", statement)


def _explain_postgresql(error: Exception) -> str:
    # The lines after the first may quote a row.
    text = str(error).partition("\n")[0].rstrip(":.")
    return f"PostgreSQL: {text}; check that it runs, and what this user may do"
