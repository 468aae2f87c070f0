"""Who did what, in an order that cannot be changed without a trace.

Each entry's digest covers the entry and the digest before it: an entry that was altered, removed or
put in breaks the chain at that place. What is deleted for its age leaves an entry with its number
and digest, so that nobody shortens the beginning unseen. What was cut off at the end, or written
anew from some place on, shows only to who noted a later digest elsewhere.

The trail outlives those who left (P3): it names who acted and on which device's encounters, never
an encounter, a pseudonym, a record or a code.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
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
    PRUNED = "pruned"


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

    The oldest follows from what the last pruning noted. What is no entry at all, whatever somebody
    wrote there, does not follow.
    """
    at, chained = _anchor(execute)
    for *values, digest in execute(f"{_ENTRIES} ORDER BY number"):
        row = dict(zip(_FIELDS, values, strict=True))
        if not _is_of_types(row):
            return at + 1
        number: int = row["number"]
        if number != at + 1 or digest != _digest(chained, row):
            return number
        at, chained = number, digest
    return None


def prune(execute: Execute, *, before: datetime, now: datetime) -> int:
    """Delete the entries from before that day (UTC), and note which was the last of them.

    Returns how many. By days, so that there are few such notes. Only from the beginning on: what
    came while the clock was wrong goes with what came after it.
    """
    day = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    kept = execute(_FIRST_KEPT, {"before_ms": unix_ms(day)}).fetchone()
    last = execute(
        "SELECT number, digest FROM audit WHERE number < :kept ORDER BY number DESC LIMIT 1",
        {"kept": 2**62 if kept is None else kept[0]},
    ).fetchone()
    if last is None:
        return 0
    number, digest = last
    note(execute, who="", role="", action=Action.PRUNED, detail=f"{number} {digest}", now=now)
    return int(execute("DELETE FROM audit WHERE number <= :last", {"last": number}).rowcount)


def _anchor(execute: Execute) -> tuple[int, str]:
    """Number and digest of what the oldest entry follows from; (0, ""): it is the first."""
    row = execute(
        "SELECT detail FROM audit WHERE action = :pruned ORDER BY number DESC LIMIT 1",
        {"pruned": Action.PRUNED.value},
    ).fetchone()
    found = re.fullmatch(r"([0-9]{1,18}) ([0-9a-f]{64})", str(row[0])) if row else None
    return (int(found[1]), found[2]) if found else (0, "")


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
