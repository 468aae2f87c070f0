"""Local accounts: who may sign in with a password.

Accounts are made on the machine (`familiar backend account`), never over the web.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from edge_app.backend.database import Database, Execute, unix_ms
from edge_app.backend.roles import Role
from edge_app.errors import ConfigError, StorageError
from edge_app.ports import Clock

NAME_PATTERN: Final = r"[a-z0-9][a-z0-9._@-]{0,63}"
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 1_024

_HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
"""Argon2id, 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106, section 4."""

_OBVIOUS: Final = (
    "password", "passwort", "motdepasse", "familiar", "administrator", "letmein", "welcome",
    "iloveyou", "qwertyuiop", "qwertzuiop", "azertyuiop", "abcdefghijkl",
)  # fmt: skip
_FEWEST_DIFFERENT: Final = 5
_SHORTEST_OWN_NAME: Final = 4  # "an" is in many good passwords

_AT_ONCE: Final = 2  # at 64 MiB each
_MOST_TRYING: Final = 16
_TURN_S: Final = 1.0
_FREE_FAILURES: Final = 3
_LONGEST_PAUSE_S: Final = 300.0
_FREE_OF_ADDRESS: Final = 20
_LONGEST_OF_ADDRESS_S: Final = 30.0
_FORGIVEN_AFTER_S: Final = 3_600.0
_MOST_REMEMBERED: Final = 10_000


Then = Callable[[Execute], None]
"""What else a transaction does: all of it is done, or none."""


@dataclass(frozen=True, slots=True)
class Account:
    """stamp: changes with password and role, so that sessions from before can be told."""

    name: str
    role: Role
    stamp: str = field(repr=False)


def _nothing(_: Execute) -> None:
    """Nothing else."""


class Accounts:
    """The table `account`. For several threads."""

    def __init__(self, database: Database, hasher: PasswordHasher = _HASHER) -> None:
        """hasher: another one only where passwords protect nothing."""
        self._database = database
        self._hasher = hasher
        self._nobodys = ""

    def add(
        self, name: str, role: Role, password: str, *, now: datetime, then: Then = _nothing
    ) -> None:
        """Make an account.

        Raises:
            ConfigError: no such name may be, it is taken, or the password is a bad one.
            StorageError: it was not made.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise ConfigError(
                f"{name!r} cannot be an account's name; use 1 to 64 of a-z, 0-9, '.', '_', '@' "
                "and '-'"
            )
        row = {
            "name": name,
            "role": role.value,
            "password": self._hash(name, password),
            "now_ms": unix_ms(now),
        }
        with self._database.writing() as execute:
            if not execute(_ADD, row).rowcount:
                raise ConfigError(f'there is an account "{name}" already; name another')
            then(execute)

    def set_password(self, name: str, password: str, *, then: Then = _nothing) -> None:
        """Change it, which ends the account's sessions. Raises ConfigError, StorageError."""
        self._change(
            "UPDATE account SET password = :value WHERE name = :name",
            name,
            self._hash(name, password),
            then,
        )

    def set_role(self, name: str, role: Role, *, then: Then = _nothing) -> None:
        """Change it, which ends the account's sessions. Raises ConfigError, StorageError."""
        self._change("UPDATE account SET role = :value WHERE name = :name", name, role.value, then)

    def remove(self, name: str, *, then: Then = _nothing) -> None:
        """Remove an account, which ends its sessions. Raises ConfigError, StorageError."""
        self._change("DELETE FROM account WHERE name = :name", name, "", then)

    def all(self) -> tuple[Account, ...]:
        """By name. Raises StorageError."""
        with self._database.reading() as execute:
            rows = execute(f"{_FIND} ORDER BY name").fetchall()
        return tuple(_account(*row) for row in rows)

    def find(self, name: str) -> Account | None:
        """The account of that name. Raises StorageError."""
        found = self._row(name)
        return None if found is None else _account(*found)

    def verify(self, name: str, password: str) -> Account | None:
        """The account, if this is its password. It takes as long if there is none.

        A password that is protected by other parameters than today's is protected anew, which ends
        the account's other sessions. Raises StorageError.
        """
        found = self._row(name)
        if not self._nobodys:
            self._nobodys = self._hasher.hash("nobody's")
        stored = self._nobodys if found is None else found[2]
        typed = _normal(password).encode(errors="surrogatepass")
        try:
            self._hasher.verify(stored, typed)
        except VerificationError:
            return None
        except InvalidHashError as error:
            raise StorageError(f'the account "{name}" is damaged; set its password anew') from error
        if found is None:
            return None
        role, hashed = found[1], stored
        if self._hasher.check_needs_rehash(stored):
            hashed = self._hasher.hash(typed)
            with self._database.writing() as execute:
                execute(_REHASH, {"name": name, "password": hashed, "before": stored})
        return _account(name, role, hashed)

    def _row(self, name: str) -> tuple[str, str, str] | None:
        if not re.fullmatch(NAME_PATTERN, name):
            return None  # and some such text no database takes
        with self._database.reading() as execute:
            found = execute(f"{_FIND} WHERE name = :name", {"name": name}).fetchone()
        return None if found is None else (str(found[0]), str(found[1]), str(found[2]))

    def _change(self, statement: str, name: str, value: str, then: Then) -> None:
        with self._database.writing() as execute:
            row = {"name": name, "value": value} if ":value" in statement else {"name": name}
            if not execute(statement, row).rowcount:
                raise ConfigError(
                    f'there is no account "{name}"; see `familiar backend account list`'
                )
            then(execute)

    def _hash(self, name: str, password: str) -> str:
        text = _normal(password)
        _require_good(name, text)
        return self._hasher.hash(text)


class Throttle:
    """Slows down guessing, and locks nobody out: who guesses pays, by where they ask from.

    A pause grows with every failure for a name from an address, and more slowly with every failure
    from an address. One password is tried at a time for each address, and a few for all.
    """

    def __init__(self, clock: Clock) -> None:
        """clock: monotonic."""
        self._clock = clock
        self._lock = threading.Lock()
        self._at_once = threading.Semaphore(_AT_ONCE)
        self._trying: set[str] = set()
        self._failed: dict[tuple[str, ...], tuple[int, float]] = {}

    def wait_s(self, name: str, address: str) -> float:
        """How long until this name may be tried from there; 0: now."""
        with self._lock:
            return self._wait_s(name, address)

    def verify(
        self, accounts: Accounts, name: str, password: str, address: str
    ) -> tuple[Account | None, float]:
        """As `Accounts.verify`, and how long to wait if it may not be tried. Raises StorageError.

        Waits for its turn.
        """
        with self._lock:
            wait_s = self._wait_s(name, address)
            if wait_s > 0:
                return None, wait_s
            self._trying.add(address)
        try:
            with self._at_once:
                account = accounts.verify(name, password)
            with self._lock:
                if account is None:
                    self._count((address, name))
                    self._count((address,))
                else:
                    self._failed.pop((address, name), None)
        finally:
            with self._lock:
                self._trying.discard(address)
        return account, 0.0

    def _wait_s(self, name: str, address: str) -> float:
        if address in self._trying or len(self._trying) >= _MOST_TRYING:
            return _TURN_S
        now_s = self._clock.monotonic_s()
        return max(
            self._left_s((address, name), _FREE_FAILURES, _LONGEST_PAUSE_S, now_s),
            self._left_s((address,), _FREE_OF_ADDRESS, _LONGEST_OF_ADDRESS_S, now_s),
        )

    def _left_s(self, key: tuple[str, ...], free: int, longest_s: float, now_s: float) -> float:
        count, last_s = self._failed.get(key, (0, 0.0))
        if count < free:
            return 0.0
        pause_s = min(longest_s, 2.0 ** min(count - free, 30))
        return max(0.0, pause_s - (now_s - last_s))

    def _count(self, key: tuple[str, ...]) -> None:
        now_s = self._clock.monotonic_s()
        over = [n for n, (_, at_s) in self._failed.items() if now_s - at_s > _FORGIVEN_AFTER_S]
        for gone in over:
            del self._failed[gone]
        if len(self._failed) >= _MOST_REMEMBERED:
            del self._failed[min(self._failed, key=lambda n: self._failed[n][1])]
        self._failed[key] = (self._failed.get(key, (0, 0.0))[0] + 1, now_s)


_FIND: Final = "SELECT name, role, password FROM account"
_ADD: Final = (
    "INSERT INTO account (name, role, password, made_ms)"
    " VALUES (:name, :role, :password, :now_ms) ON CONFLICT (name) DO NOTHING"
)


_REHASH: Final = "UPDATE account SET password = :password WHERE name = :name AND password = :before"


def _account(name: str, role: str, password: str) -> Account:
    stamp = hashlib.sha256(f"{role}\0{password}".encode()).hexdigest()
    try:
        return Account(name, Role(role), stamp)
    except ValueError as error:
        raise StorageError(f'the account "{name}" is damaged; set its role anew') from error


def _normal(password: str) -> str:
    """The same text, however a keyboard composes it: NIST SP 800-63B, section 3.1.1.2.

    One that is far too long stays as it is: composing takes time, and shortens by less than that.
    """
    too_long = len(password) > 4 * LONGEST_PASSWORD
    return password if too_long else unicodedata.normalize("NFKC", password)


def _require_good(name: str, password: str) -> None:
    """Length is what counts, and not to be obvious: NIST SP 800-63B, section 3.1.1.2."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ConfigError(
            f"the password has {len(password)} characters; use {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}, such as four words that nobody would put together"
        )
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise ConfigError("the password is not in UTF-8; set the terminal to it, or use another")
    plain = re.sub(r"[\W\d_]", "", password.casefold())
    only_obvious = any(not plain.replace(word, "") for word in _OBVIOUS)
    if only_obvious or len(set(password)) < _FEWEST_DIFFERENT:
        raise ConfigError("the password is an obvious one; use four words that do not go together")
    own = name.partition("@")[0]
    if len(own) >= _SHORTEST_OWN_NAME and own in password.casefold():
        raise ConfigError("the password has the account's name in it; use another")
