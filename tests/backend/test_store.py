from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from edge_app.adapters.events import from_cloudevent, new_alert_id
from edge_app.backend.database import DATABASE_NAME, Database
from edge_app.backend.schema import FORMAT
from edge_app.backend.store import EncounterStore, acknowledge, newest
from edge_app.errors import ConfigError, StorageError
from edge_app.records import Alert, Purpose
from tests.support import ROOT

NOW = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EXAMPLE = from_cloudevent(
    (ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json").read_bytes()
)
ANNA, BERT = "a" * 32, "b" * 32
LIMITS = dict.fromkeys(Purpose, DAY)
WORDS = (
    "site", "device", "alert_id", "purpose", "subject_ref", "consent_record_id", "model_id",
    "clock_state", "boot_id",
)  # fmt: skip
FRACTIONS = ("score", "threshold", "target_fpir", "tracklet_s")
NUMBERS = (
    "gallery_generation", "tracklet_frames", "time_ms", "expiry_ms", "received_ms", "sequence",
)  # fmt: skip


def alert(number: int, subject_ref: str = ANNA, **changes: Any) -> Alert:
    return replace(
        EXAMPLE,
        alert_id=new_alert_id(1_772_366_400_000 + number, bytes(10)),
        subject_ref=subject_ref,
        **changes,
    )


def rows(database: str, folder: Path, what: str = "*") -> list[tuple[Any, ...]]:
    query = f"SELECT {what} FROM encounter ORDER BY alert_id, device"  # noqa: S608 - a test's own
    if not database:
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(database) as connected:
        return connected.execute(query.encode()).fetchall()


@pytest.fixture
def store(database: str, tmp_path: Path) -> Iterator[EncounterStore]:
    with closing(EncounterStore(Database(database, tmp_path))) as opened:
        yield opened


def test_an_empty_store_has_nothing_to_keep_or_to_delete(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    kept = store.keep([], now=NOW)
    assert (kept.stored, kept.duplicates, kept.barred) == ((), 0, 0)
    assert store.purge(LIMITS, now=NOW) == dict.fromkeys(Purpose, 0)
    assert store.forget([], until=NOW) == 0
    assert rows(database, tmp_path) == []


def test_a_row_is_what_the_alert_says_and_no_more(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    one = alert(1, demo=True)
    store.keep([one], now=NOW)
    (row,) = rows(database, tmp_path)
    assert row == (
        "riverside", "glasses-1", one.alert_id, "assist", ANNA, one.consent_record_id,
        0.712, 0.46, 0.001, "mobilefacenet_int8", 42, 5, 0.83,
        1_772_366_400_123, 1_772_366_700_123, 1_772_366_401_000,
        17, "synchronised", one.boot_id, True, None, None,
    )  # fmt: skip
    assert len(row) == len(fields(Alert)) + 3


def test_an_alert_is_stored_once(store: EncounterStore, database: str, tmp_path: Path) -> None:
    one, other_device = alert(1), alert(1, device="glasses-2")
    kept = store.keep([one, one, other_device], now=NOW)
    assert (kept.stored, kept.duplicates) == ((one, other_device), 1)
    again = store.keep([one, alert(2)], now=NOW + DAY)
    assert (again.stored, again.duplicates) == ((alert(2),), 1)
    assert len(rows(database, tmp_path)) == 3


def test_whoever_left_is_deleted_and_stays_out_until_then(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    store.keep([alert(1), alert(2, BERT), alert(3)], now=NOW)
    assert store.forget([ANNA, "c" * 32], until=NOW + DAY) == 2
    kept = store.keep([alert(1), alert(4), alert(5, BERT)], now=NOW)
    assert (len(kept.stored), kept.duplicates, kept.barred) == (1, 0, 2)
    assert rows(database, tmp_path, "subject_ref") == [(BERT,), (BERT,)]
    store.purge(LIMITS, now=NOW + DAY)
    assert len(store.keep([alert(6)], now=NOW + DAY).stored) == 1


def test_somebody_forgotten_twice_stays_out_until_the_later_time(store: EncounterStore) -> None:
    store.forget([ANNA], until=NOW + DAY)
    store.forget([ANNA], until=NOW + 2 * DAY)
    store.purge(LIMITS, now=NOW + DAY)
    assert store.keep([alert(1)], now=NOW).barred == 1


def test_each_purpose_has_its_own_end(store: EncounterStore, database: str, tmp_path: Path) -> None:
    store.keep([alert(n, purpose=purpose) for n, purpose in enumerate(Purpose)], now=NOW)
    limits = {**LIMITS, Purpose.CARE: timedelta(hours=1)}
    assert not any(store.purge(limits, now=NOW + timedelta(minutes=59)).values())
    assert store.purge(limits, now=NOW + timedelta(hours=1))[Purpose.CARE] == 1
    assert "care" not in dict(rows(database, tmp_path, "purpose, 1"))
    assert sum(store.purge(limits, now=NOW + DAY).values()) == 3
    assert rows(database, tmp_path) == []


def test_what_came_while_the_clock_was_ahead_counts_from_the_right_time(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    store.keep([alert(1)], now=NOW + 400 * DAY)
    store.purge(LIMITS, now=NOW)
    assert len(rows(database, tmp_path)) == 1
    store.purge(LIMITS, now=NOW + DAY)
    assert rows(database, tmp_path) == []


def test_two_writers_at_once_store_each_alert_once(database: str, tmp_path: Path) -> None:
    stored: list[Alert] = []

    def write() -> None:
        with closing(EncounterStore(Database(database, tmp_path))) as store:
            for begin in range(0, 200, 10):
                batch = [alert(number) for number in range(begin, begin + 10)]
                stored.extend(store.keep(batch, now=NOW).stored)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == len(rows(database, tmp_path)) == 200


def test_the_largest_numbers_have_room(store: EncounterStore) -> None:
    huge = 2**63 - 1
    one = alert(
        1, sequence=huge, gallery_generation=huge, tracklet_frames=huge, tracklet_s=1.7e308,
        time=datetime.min.replace(tzinfo=UTC), expiry_time=datetime.max.replace(tzinfo=UTC),
    )  # fmt: skip
    assert store.keep([one], now=NOW).stored == (one,)


def test_a_batch_is_stored_as_a_whole_or_not_at_all(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    with pytest.raises((OverflowError, StorageError)):
        store.keep([alert(1), alert(2, sequence=2**70)], now=NOW)
    assert rows(database, tmp_path) == []
    assert len(store.keep([alert(1)], now=NOW).stored) == 1


def test_a_database_has_a_name_that_nobody_can_guess(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    with closing(EncounterStore(Database(database, tmp_path))) as other:
        assert other._database.name == store._database.name
    with closing(EncounterStore(Database("", tmp_path / "other"))) as other:
        assert other._database.name != store._database.name
    assert re.fullmatch("[0-9a-f]{32}", store._database.name)


def execute(database: str, folder: Path, *statements: str) -> None:
    if not database:
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as file, file:
            for statement in statements:
                file.execute(statement)
        return
    with psycopg.connect(database) as server:
        for statement in statements:
            server.execute(statement.encode())


@pytest.mark.parametrize("found", [0, FORMAT + 1])
def test_another_format_is_refused(database: str, tmp_path: Path, found: int) -> None:
    EncounterStore(Database(database, tmp_path)).close()
    execute(database, tmp_path, f"UPDATE familiar_store SET format = {found}")  # noqa: S608
    with pytest.raises(StorageError, match=f"format {found} and not {FORMAT}"):
        EncounterStore(Database(database, tmp_path))


def test_a_database_of_the_format_before_is_brought_up_to_date(
    database: str, tmp_path: Path
) -> None:
    columns = ", ".join(
        f"{name} {kind}"
        for names, kind in (
            (WORDS, "TEXT"), (FRACTIONS, "DOUBLE PRECISION"), (NUMBERS, "BIGINT"),
            (("demo",), "BOOLEAN"),
        )
        for name in names
    )  # fmt: skip
    execute(
        database, tmp_path,
        "CREATE TABLE familiar_store (format INTEGER NOT NULL, name TEXT NOT NULL)",
        "INSERT INTO familiar_store VALUES (1, 'the name')",
        f"CREATE TABLE encounter ({columns}, PRIMARY KEY (site, device, alert_id))",
        "CREATE TABLE departed (subject_ref TEXT PRIMARY KEY, until_ms BIGINT NOT NULL)",
        "INSERT INTO departed VALUES ('b', 9999999999999)",
    )  # fmt: skip
    for _ in range(2):
        with closing(EncounterStore(Database(database, tmp_path))) as store:
            assert store._database.name == "the name"
            assert store.keep([alert(1, "b")], now=NOW).barred == 1
            store.keep([alert(2)], now=NOW)
            assert seen(store) == [(alert(2), "", None)]


# --- what a page shows ---------------------------------------------------------------------


def seen(store: EncounterStore, most: int = 100) -> list[tuple[Alert, str, datetime | None]]:
    with store._database.reading() as execute:
        found = newest(execute, most)
    assert all(one.received == NOW for one in found)
    return [(one.alert, one.acknowledged_by, one.acknowledged) for one in found]


def test_the_newest_come_first_and_as_they_were_sent(store: EncounterStore) -> None:
    assert seen(store) == []
    sent = [alert(number, demo=bool(number % 2)) for number in range(5)]
    store.keep(sent, now=NOW)
    assert [one for one, _, _ in seen(store)] == sent[::-1]
    assert [one for one, _, _ in seen(store, most=2)] == sent[:2:-1]


def test_an_encounter_is_acknowledged_by_one_and_once(store: EncounterStore) -> None:
    one = alert(1)
    store.keep([one, alert(2)], now=NOW)

    def by(who: str, alert_id: str = one.alert_id) -> bool:
        with store._database.writing() as execute:
            return acknowledge(execute, one.site, one.device, alert_id, who=who, now=NOW + DAY)

    assert not by("ann", "another")
    assert by("ann")
    assert not by("bob")
    assert seen(store) == [(alert(2), "", None), (one, "ann", NOW + DAY)]
    store.keep([one], now=NOW)  # delivered once more
    assert seen(store)[1] == (one, "ann", NOW + DAY)


def test_who_is_forgotten_is_forgotten_with_what_was_done_about_them(
    store: EncounterStore, database: str, tmp_path: Path
) -> None:
    one = alert(1)
    store.keep([one], now=NOW)
    with store._database.writing() as execute:
        acknowledge(execute, one.site, one.device, one.alert_id, who="ann-the-carer", now=NOW)
    store.forget([ANNA], until=NOW + DAY)
    assert seen(store) == []
    store.purge(LIMITS, now=NOW)
    if not database:
        assert all(b"ann-the-carer" not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_reader_waits_for_no_writer(store: EncounterStore, database: str, tmp_path: Path) -> None:
    store.keep([alert(1)], now=NOW)
    with closing(Database(database, tmp_path)) as other, other.writing() as execute:
        execute("DELETE FROM encounter")
        assert len(seen(store)) == 1
    assert seen(store) == []


@pytest.mark.parametrize("address", ["mysql://x", "x.sqlite", "postgresql"])
def test_addresses_that_are_none(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend\.database"):
        EncounterStore(Database(address, tmp_path))


def test_a_password_is_in_no_error(tmp_path: Path) -> None:
    for address, error in (
        ("postgresql://u:secret@/x?nonsense=1", ConfigError),
        (f"postgresql://u:secret@/x?host={tmp_path}", StorageError),
    ):
        with pytest.raises(error) as refused:
            EncounterStore(Database(address, tmp_path))
        assert "secret" not in str(refused.value)
        assert "\n" not in str(refused.value)


# --- files --------------------------------------------------------------------------------


def test_the_file_is_durable_and_only_its_owners(tmp_path: Path) -> None:
    before = os.umask(0o022)
    with closing(EncounterStore(Database("", tmp_path / "home"))) as store:
        os.umask(before)
        store.keep([alert(1)], now=NOW)
        for path in (tmp_path / "home").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert store._database._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._database._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_was_deleted_is_in_no_file(tmp_path: Path) -> None:
    with closing(EncounterStore(Database("", tmp_path))) as store:
        store.keep([alert(number, BERT) for number in range(100)], now=NOW)
        store.forget([BERT], until=NOW)
        store.purge(LIMITS, now=NOW + timedelta(seconds=1))
        assert all(BERT.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(4_000)])
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(content)
    with pytest.raises(StorageError, match="move it aside"):
        EncounterStore(Database("", tmp_path))
    assert (tmp_path / DATABASE_NAME).read_bytes() == content


def test_a_full_disk_stores_nothing_and_is_got_over(tmp_path: Path) -> None:
    with closing(EncounterStore(Database("", tmp_path))) as store:
        store._database._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(StorageError, match="disk is full"):
            store.keep([alert(number) for number in range(500)], now=NOW)
        assert rows("", tmp_path) == []
        assert len(store.keep([alert(1)], now=NOW).stored) == 1


def test_a_server_that_was_restarted_is_connected_to_anew(
    postgresql_address: str, tmp_path: Path
) -> None:
    with closing(EncounterStore(Database(postgresql_address, tmp_path))) as store:
        store.purge(LIMITS, now=NOW + 10_000 * DAY)
        with psycopg.connect(postgresql_address, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'familiar backend'"
            )
        with pytest.raises(StorageError, match="PostgreSQL"):
            store.keep([alert(1)], now=NOW)
        assert len(store.keep([alert(1)], now=NOW).stored) == 1
