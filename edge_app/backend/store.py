"""Encounters: one row for each alert, of pseudonyms and numbers, as the alert holds them (P9).

A row is there once, whoever stores it and however often: (site, device, alert_id) is its key, and
the database itself refuses a second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from edge_app.backend.database import Database, Execute, from_unix_ms, unix_ms
from edge_app.records import Alert, ClockState, Purpose

STAYS_OUT: Final = timedelta(days=1)
"""How long an alert can be on its way: nothing of somebody who left comes later."""

_CLOCK_TOLERANCE_MS: Final = 300_000

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

_ALL_COLUMNS: Final = (*_COLUMNS, "acknowledged_by", "acknowledged_ms")
_NEWEST: Final = (
    f"SELECT {', '.join(_ALL_COLUMNS)} FROM encounter"  # noqa: S608 (constants)  # nosec B608
    " ORDER BY received_ms DESC, time_ms DESC, alert_id DESC LIMIT :most"
)
_ACKNOWLEDGE: Final = (
    "UPDATE encounter SET acknowledged_by = :who, acknowledged_ms = :now_ms"
    " WHERE site = :site AND device = :device AND alert_id = :alert_id"
    " AND acknowledged_ms IS NULL"
)


@dataclass(frozen=True, slots=True)
class Encounter:
    """An alert that came. received: by the backend's clock; acknowledged: by whom and when."""

    alert: Alert
    received: datetime
    acknowledged_by: str
    acknowledged: datetime | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a batch. barred: how many were of somebody who left."""

    stored: tuple[Alert, ...]
    duplicates: int
    barred: int


class EncounterStore:
    """The table `encounter`, and who left. What is not given a transaction makes its own."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        self._database.close()

    def keep(self, alerts: Sequence[Alert], *, now: datetime) -> Kept:
        """Store these alerts, unless they are there already or are of somebody who left.

        now: aware, UTC; retention counts from it.

        Raises:
            StorageError: none of them is stored for certain.
        """
        stored, barred = [], 0
        with self._database.writing() as execute:
            for alert in alerts:
                row = _row(alert, now)
                if execute(_INSERT, row).rowcount:
                    stored.append(alert)
                    continue
                found = execute("SELECT 1 FROM departed WHERE subject_ref = :subject_ref", row)
                barred += found.fetchone() is not None
        return Kept(tuple(stored), len(alerts) - len(stored) - barred, barred)

    def forget(self, subject_refs: Sequence[str], *, until: datetime) -> int:
        """As the function `forget`, in a transaction of its own.

        Raises:
            StorageError: they are still there.
        """
        with self._database.writing() as execute:
            return forget(execute, subject_refs, until=until)

    def purge(self, retention: Mapping[Purpose, timedelta], *, now: datetime) -> dict[Purpose, int]:
        """Delete what has been here for longer than its purpose allows; returns how much.

        What came while the clock was ahead counts from now.

        Raises:
            StorageError: it is still there.
        """
        deleted = {}
        now_ms = unix_ms(now)
        with self._database.writing() as execute:
            execute(
                "UPDATE encounter SET received_ms = :now_ms WHERE received_ms > :latest_ms",
                {"now_ms": now_ms, "latest_ms": now_ms + _CLOCK_TOLERANCE_MS},
            )
            for purpose, kept_for in retention.items():
                deleted[purpose] = execute(
                    "DELETE FROM encounter WHERE purpose = :purpose AND received_ms <= :last_ms",
                    {"purpose": purpose.value, "last_ms": unix_ms(now - kept_for)},
                ).rowcount
            execute("DELETE FROM departed WHERE until_ms <= :now_ms", {"now_ms": now_ms})
        self._database.tidy()
        return deleted


def forget(execute: Execute, subject_refs: Sequence[str], *, until: datetime) -> int:
    """Delete everything of somebody who left, and store nothing more of them until then.

    Returns how many encounters there were. Within a transaction.
    """
    deleted = 0
    for subject_ref in subject_refs:
        row = {"subject_ref": subject_ref, "until_ms": unix_ms(until)}
        execute(_DEPART, row)
        deleted += execute("DELETE FROM encounter WHERE subject_ref = :subject_ref", row).rowcount
    return deleted


def newest(execute: Execute, most: int) -> tuple[Encounter, ...]:
    """The encounters that came last, the newest first; within a transaction."""
    rows = execute(_NEWEST, {"most": most}).fetchall()
    return tuple(_encounter(dict(zip(_ALL_COLUMNS, row, strict=True))) for row in rows)


def acknowledge(
    execute: Execute, site: str, device: str, alert_id: str, *, who: str, now: datetime
) -> bool:
    """Note who has seen to an encounter; within a transaction.

    Returns whether it is there and nobody had.
    """
    row = {"site": site, "device": device, "alert_id": alert_id, "who": who, "now_ms": unix_ms(now)}
    return bool(execute(_ACKNOWLEDGE, row).rowcount)


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
        "time_ms": unix_ms(alert.time),
        "expiry_ms": unix_ms(alert.expiry_time),
        "received_ms": unix_ms(now),
        "sequence": alert.sequence,
        "clock_state": alert.clock_state.value,
        "boot_id": alert.boot_id,
        "demo": alert.demo,
    }


def _encounter(row: Mapping[str, Any]) -> Encounter:
    times: dict[str, Any] = {
        "time": from_unix_ms(row["time_ms"]),
        "expiry_time": from_unix_ms(row["expiry_ms"]),
    }
    named: dict[str, Any] = {
        "purpose": Purpose(row["purpose"]),
        "clock_state": ClockState(row["clock_state"]),
        "demo": bool(row["demo"]),
    }
    same = {name: row[name] for name in _COLUMNS if name not in named and name[-3:] != "_ms"}
    seen_ms = row["acknowledged_ms"]
    return Encounter(
        Alert(**same, **named, **times),
        from_unix_ms(row["received_ms"]),
        row["acknowledged_by"] or "",
        None if seen_ms is None else from_unix_ms(seen_ms),
    )
