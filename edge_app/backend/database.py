"""The backend's database: SQLite in a file, or PostgreSQL, with the same statements.

Every transaction is whole: when it returns, what it did survives a pulled plug; writers take turns,
also those of other processes. Times are milliseconds since 1970.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from edge_app.adapters.durable import exclusive
from edge_app.backend.schema import FORMAT, SCHEMA, UPDATES
from edge_app.errors import ConfigError, StorageError

DATABASE_NAME: Final = "encounters.sqlite"

_BUSY_S: Final = 30
_LOCK: Final = 0xFA311A2

Execute = Callable[..., Any]
"""execute(statement, {name: value}): a cursor; `:name` in a statement stands for its value."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What differs between databases.

    turn:     held while writing: woken when it is our turn.
    write:    starts a transaction that no other writer can be in.
    read:     starts one that sees the same from its beginning to its end.
    adapt:    puts a statement's `:name` into the database's own form.
    tidy:     erases what deleted rows leave behind outside of tables, as far as it can be.
    explain:  an error in one line, without any value of a row.
    """

    connect: Callable[[], Any]
    turn: Callable[[], AbstractContextManager[None]]
    write: str
    read: str
    adapt: Callable[[str], str]
    tidy: str
    error: type[Exception]
    explain: Callable[[Exception], str]


class Database:
    """One connection, for several threads one after another; opened anew after an error."""

    def __init__(self, database: str, folder: Path) -> None:
        """Open it, and make its tables, or bring those of an older version up to date.

        database: `postgresql://...`; empty: a SQLite file in `folder`.

        Raises:
            ConfigError: not such an address, or the means for PostgreSQL are not installed.
            StorageError: not reached, not writable, or of another version.
        """
        self._dialect = _dialect(database, folder)
        self._connection: Any = None
        self._in_use = threading.Lock()
        with self.writing() as execute:
            self._name = _made(execute)

    @property
    def name(self) -> str:
        """32 random hex digits, for everybody with this database and for nobody else."""
        return self._name

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._dialect.error):
                connection.close()

    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction that no other writer is in. Nothing of it is done if its body raises.

        Raises:
            StorageError: the same.
        """
        return self._transaction(self._dialect.turn, self._dialect.write)

    def reading(self) -> AbstractContextManager[Execute]:
        """What is there at one moment; waits for no writer. Raises StorageError."""
        return self._transaction(nullcontext, self._dialect.read)

    @contextmanager
    def _transaction(
        self, turn: Callable[[], AbstractContextManager[None]], begin: str
    ) -> Iterator[Execute]:
        adapt = self._dialect.adapt
        with self._in_use:
            try:
                with turn():
                    if self._connection is None:
                        self._connection = self._dialect.connect()
                    connection = self._connection
                    connection.execute(begin)
                    yield lambda statement, row=None: connection.execute(
                        adapt(statement), row or {}
                    )
                    connection.commit()
            except BaseException as error:
                self.close()  # which rolls back
                if isinstance(error, (self._dialect.error, OSError)):
                    raise StorageError(self._dialect.explain(error)) from error
                raise

    def tidy(self) -> None:
        """Erase what deleted rows leave behind, unless somebody reads just now."""
        with self._in_use:
            if self._dialect.tidy and self._connection is not None:
                with suppress(self._dialect.error):  # another one reads: next time, then
                    self._connection.execute(self._dialect.tidy)


def unix_ms(time: datetime) -> int:
    """time: aware."""
    return int(time.timestamp() * 1000)


def from_unix_ms(time_ms: int) -> datetime:
    """Aware, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _made(execute: Execute) -> str:
    """Make the tables, or update them; returns the database's name."""
    execute(
        "CREATE TABLE IF NOT EXISTS familiar_store (format INTEGER NOT NULL, name TEXT NOT NULL)"
    )
    found = execute("SELECT format, name FROM familiar_store").fetchone()
    if found is None:
        for statement in SCHEMA:
            execute(statement)
        name = secrets.token_hex(16)
        made = {"format": FORMAT, "name": name}
        execute("INSERT INTO familiar_store VALUES (:format, :name)", made)
        return name
    stored, name = int(found[0]), str(found[1])
    if stored != FORMAT and stored not in UPDATES:
        raise StorageError(
            f"the database is of format {stored} and not {FORMAT}; use the version of "
            "Familiar that made it, or name another database"
        )
    while stored < FORMAT:
        for statement in UPDATES[stored]:
            execute(statement)
        stored += 1
        execute("UPDATE familiar_store SET format = :format", {"format": stored})
    return name


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
        write="BEGIN IMMEDIATE",
        read="BEGIN",
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
        write=f"SELECT pg_advisory_xact_lock({_LOCK})",
        read="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
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
