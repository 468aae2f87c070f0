"""Who did what, in an order that cannot be changed without a trace.

Each entry's digest covers the entry and the digest before it: an entry that was altered, removed or
put in breaks the chain at that place. What was cut off at its end, or written anew from some place
on, shows only to who noted a later digest elsewhere.

The trail outlives those who left (P3): it names who acted and on which device's encounters, never
an encounter, a pseudonym, a record or a code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from edge_app.backend.database import Execute, from_unix_ms, unix_ms
from edge_app.errors import StorageError


class Action(StrEnum):
    """What somebody did."""

    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGNED_OUT = "signed_out"
    LOOKED_AT_ENCOUNTERS = "looked_at_encounters"
    ACKNOWLEDGED = "acknowledged"
    LOOKED_AT_PEOPLE = "looked_at_people"
    LOOKED_AT_DEVICES = "looked_at_devices"
    LOOKED_AT_ERASURES = "looked_at_erasures"
    TOOK_PROOF = "took_proof"
    LOOKED_AT_AUDIT = "looked_at_audit"
    ACCOUNT_ADDED = "account_added"
    ACCOUNT_CHANGED = "account_changed"
    ACCOUNT_REMOVED = "account_removed"
    FORGOT = "forgot"


@dataclass(frozen=True, slots=True)
class Entry:
    """number: from 1; who: an account, or of an identity provider; detail: of what kind."""

    number: int
    time: datetime
    who: str
    role: str
    action: Action
    detail: str
    digest: str


def note(
    execute: Execute, *, who: str, role: str, action: Action, detail: str, now: datetime
) -> None:
    """Write an entry, within the transaction that does what it says: both are done, or none."""
    last = execute(f"{_ENTRIES} ORDER BY number DESC LIMIT 1").fetchone()
    number, before = (1, "") if last is None else (int(last[0]) + 1, str(last[6]))
    row: dict[str, Any] = {
        "number": number,
        "time_ms": unix_ms(now),
        "who": who,
        "role": role,
        "action": action.value,
        "detail": detail,
    }
    execute(_NOTE, {**row, "digest": _digest(before, row)})


def newest_entries(execute: Execute, most: int, *, before: int | None = None) -> tuple[Entry, ...]:
    """The last entries, the newest first; before: those of smaller numbers only.

    Raises:
        StorageError: one of them is none.
    """
    rows = execute(
        f"{_ENTRIES} WHERE number < :before ORDER BY number DESC LIMIT :most",
        {"before": before or 2**62, "most": most},
    ).fetchall()
    return tuple(_entry(row) for row in rows)


def first_broken(execute: Execute) -> int | None:
    """The number of the first entry that does not follow from the one before; None: all do.

    The oldest is taken as it is: those before it are older than the trail is kept. What is no entry
    at all, whatever somebody wrote there, does not follow.
    """
    before: tuple[int, str] | None = None
    for *values, digest in execute(f"{_ENTRIES} ORDER BY number"):
        row = dict(zip(_FIELDS, values, strict=True))
        at, chained = before or (0, "")
        if not _is_of_types(row):
            return at + 1
        number: int = row["number"]
        follows = number == at + 1 and digest == _digest(chained, row)
        if not follows and (before is not None or number == 1):
            return number
        before = (number, str(digest))
    return None


def prune(execute: Execute, *, before: datetime) -> int:
    """Delete the entries from before that time, but for the newest; returns how many.

    Only from the beginning on: what came while the clock was wrong goes with what came after it.
    """
    kept = (
        execute(_FIRST_KEPT, {"before_ms": unix_ms(before)}).fetchone()
        or execute(f"{_ENTRIES} ORDER BY number DESC LIMIT 1").fetchone()
    )
    if kept is None:
        return 0
    return int(execute("DELETE FROM audit WHERE number < :kept", {"kept": kept[0]}).rowcount)


_FIELDS: Final = ("number", "time_ms", "who", "role", "action", "detail")
_WHOLE: Final = ("number", "time_ms")
_ENTRIES: Final = "SELECT number, time_ms, who, role, action, detail, digest FROM audit"
# In the order of the key: it ends at the first that is found, and few are older.
_FIRST_KEPT: Final = "SELECT number FROM audit WHERE time_ms >= :before_ms ORDER BY number LIMIT 1"
_NOTE: Final = (
    "INSERT INTO audit (number, time_ms, who, role, action, detail, digest)"
    " VALUES (:number, :time_ms, :who, :role, :action, :detail, :digest)"
)


def _entry(row: tuple[Any, ...]) -> Entry:
    number, time_ms, who, role, action, detail, digest = row
    try:
        if not _is_of_types(dict(zip(_FIELDS, row[:-1], strict=True))):
            raise TypeError
        time = from_unix_ms(time_ms)
        return Entry(number, time, who, role, Action(action), detail, digest)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise StorageError(
            f"entry {number!r} of the audit trail was changed, or a newer version of Familiar wrote"
            " it; run `familiar backend audit --check`"
        ) from error


def _is_of_types(row: dict[str, Any]) -> bool:
    # SQLite takes any type in any column.
    return all(type(row[name]) is (int if name in _WHOLE else str) for name in _FIELDS)


def _digest(before: str, row: dict[str, Any]) -> str:
    entry = json.dumps([before, *(row[name] for name in _FIELDS)], ensure_ascii=True)
    return hashlib.sha256(entry.encode()).hexdigest()
