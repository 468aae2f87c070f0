from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.backend.audit import Action, first_broken, newest_entries, note, prune
from edge_app.backend.database import Database
from edge_app.errors import StorageError
from tests.support import ROOT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
COLUMNS = "time_ms, who, role, action, detail, digest"


@pytest.fixture
def opened(database: str, tmp_path: Path) -> Iterator[Database]:
    with closing(Database(database, tmp_path)) as one:
        yield one


def write(database: Database, count: int, *, begin: datetime = NOW) -> None:
    for number in range(count):
        with database.writing() as execute:
            note(
                execute, who=f"ann-{number}", role="carer", action=Action.SIGNED_IN, detail="ü",
                now=begin + number * DAY,
            )  # fmt: skip


def broken(database: Database) -> int | None:
    with database.reading() as execute:
        return first_broken(execute)


def change(database: Database, statement: str) -> None:
    with database.writing() as execute:
        execute(statement)


def pruned(database: Database, days: int) -> int:
    """Everything from before that many days after NOW."""
    before = NOW + days * DAY
    with database.writing() as execute:
        return prune(execute, before=before, now=before + 30 * DAY)


def numbers(database: Database, most: int = 100, before: int | None = None) -> list[int]:
    with database.reading() as execute:
        return [entry.number for entry in newest_entries(execute, most, before=before)]


def test_a_trail_is_read_as_it_was_written(opened: Database) -> None:
    assert numbers(opened) == []
    assert broken(opened) is None
    write(opened, 5)
    assert broken(opened) is None
    assert numbers(opened) == [5, 4, 3, 2, 1]
    assert numbers(opened, most=2) == [5, 4]
    assert numbers(opened, before=4) == [3, 2, 1]
    assert numbers(opened, before=1) == []
    with opened.reading() as execute:
        (last,) = newest_entries(execute, 1)
    assert (last.who, last.role, last.action, last.detail) == (
        "ann-4", "carer", Action.SIGNED_IN, "ü",
    )  # fmt: skip
    assert last.time == NOW + 4 * DAY


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET who = 'bob' WHERE number = 3", 3),
        ("UPDATE audit SET role = 'operator' WHERE number = 1", 1),
        ("UPDATE audit SET action = 'signed_out' WHERE number = 5", 5),
        ("UPDATE audit SET detail = '' WHERE number = 2", 2),
        ("UPDATE audit SET time_ms = time_ms + 1 WHERE number = 4", 4),
        ("UPDATE audit SET digest = 'x' WHERE number = 5", 5),
        ("UPDATE audit SET number = number + 1 WHERE number = 5", 6),
        ("DELETE FROM audit WHERE number = 3", 4),
        ("DELETE FROM audit WHERE number = 1", 2),
        (f"INSERT INTO audit SELECT 6, {COLUMNS} FROM audit WHERE number = 5", 6),  # noqa: S608
    ],
)  # fmt: skip
def test_what_was_changed_is_found(opened: Database, statement: str, found: int) -> None:
    write(opened, 5)
    change(opened, statement)
    assert broken(opened) == found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'x' WHERE number = 3",
        "UPDATE audit SET time_ms = 'x' WHERE number = 3",
        "UPDATE audit SET time_ms = 9223372036854775807 WHERE number = 3",
        "UPDATE audit SET who = x'ff' WHERE number = 3",
        "UPDATE audit SET detail = x'' WHERE number = 3",
    ],
)
def test_what_is_no_entry_is_told_of(tmp_path: Path, statement: str) -> None:
    with closing(Database("", tmp_path)) as database:
        write(database, 4)
        change(database, statement)
        assert broken(database) == 3
        with pytest.raises(StorageError, match="entry 3 of the audit trail"):
            numbers(database)


def test_what_has_no_number_is_told_of(tmp_path: Path) -> None:
    with closing(Database("", tmp_path)) as database:
        write(database, 4)
        change(database, "UPDATE audit SET number = 'x' WHERE number = 4")
        assert broken(database) == 4


def test_what_was_moved_from_one_field_to_the_next_is_found(opened: Database) -> None:
    write(opened, 1)
    change(opened, "UPDATE audit SET who = 'ann-0carer', role = ''")
    assert broken(opened) == 1


def test_the_trail_goes_on_from_where_it_was_pruned(opened: Database) -> None:
    write(opened, 5)
    assert pruned(opened, 3) == 3
    assert numbers(opened) == [6, 5, 4]
    assert broken(opened) is None
    with opened.reading() as execute:
        (last,) = newest_entries(execute, 1)
    assert (last.who, last.role, last.action) == ("", "", Action.PRUNED)
    write(opened, 1, begin=NOW + 9 * DAY)
    assert numbers(opened) == [7, 6, 5, 4]
    assert broken(opened) is None


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET who = 'bob' WHERE number = 4", 4),
        ("UPDATE audit SET who = 'bob' WHERE number = 5", 5),
        ("UPDATE audit SET detail = '' WHERE number = 6", 4),
        ("UPDATE audit SET detail = '999 x' WHERE number = 6", 4),
        ("UPDATE audit SET who = 'bob' WHERE number = 6", 6),
        ("DELETE FROM audit WHERE number = 4", 5),
        ("DELETE FROM audit WHERE number < 6", 6),
        ("DELETE FROM audit WHERE number = 6", 4),
    ],
)
def test_what_was_changed_after_pruning_is_found(
    opened: Database, statement: str, found: int
) -> None:
    write(opened, 5)
    pruned(opened, 3)
    change(opened, statement)
    assert broken(opened) == found


def test_whoever_shortens_the_beginning_is_found(opened: Database) -> None:
    write(opened, 5)
    change(opened, "DELETE FROM audit WHERE number < 4")
    assert broken(opened) == 4


def test_a_trail_that_is_old_as_a_whole_is_pruned_as_a_whole(opened: Database) -> None:
    assert pruned(opened, 0) == 0
    assert numbers(opened) == []
    write(opened, 3)
    assert pruned(opened, 100) == 3
    assert numbers(opened) == [4]
    assert broken(opened) is None
    assert pruned(opened, 100) == 0
    write(opened, 1, begin=NOW + 101 * DAY)
    assert numbers(opened) == [5, 4]
    assert broken(opened) is None


def test_pruning_is_noted_once_a_day_at_most(opened: Database) -> None:
    for hour in range(60):
        write(opened, 1, begin=NOW + timedelta(hours=hour))
    for hour in range(48):
        before = NOW + timedelta(hours=hour)
        with opened.writing() as execute:
            prune(execute, before=before, now=before + 30 * DAY)
        assert broken(opened) is None
    with opened.reading() as execute:
        done = [entry.action for entry in newest_entries(execute, 100)]
    assert done.count(Action.PRUNED) == 2
    assert done.count(Action.SIGNED_IN) == 24


def test_a_pruning_that_fails_leaves_everything(opened: Database) -> None:
    write(opened, 3)

    def fail() -> None:
        with opened.writing() as execute:
            prune(execute, before=NOW + 2 * DAY, now=NOW + 40 * DAY)
            raise StorageError("the action failed")

    with pytest.raises(StorageError):
        fail()
    assert numbers(opened) == [3, 2, 1]
    assert broken(opened) is None


def test_a_clock_that_went_back_prunes_nothing_from_the_middle(opened: Database) -> None:
    write(opened, 2, begin=NOW)
    write(opened, 2, begin=NOW - 100 * DAY)
    assert pruned(opened, 0) == 0
    assert broken(opened) is None


def test_an_action_that_fails_is_not_in_the_trail(opened: Database) -> None:
    def fail() -> None:
        with opened.writing() as execute:
            note(execute, who="ann", role="", action=Action.SIGNED_IN, detail="", now=NOW)
            raise StorageError("the action failed")

    with pytest.raises(StorageError):
        fail()
    assert numbers(opened) == []


def test_on_a_full_disk_there_is_no_action_without_its_entry(tmp_path: Path) -> None:
    with closing(Database("", tmp_path)) as database:
        write(database, 1)
        with database.writing() as execute:
            pages = execute("PRAGMA page_count").fetchone()[0]
            execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="disk is full"):
            write(database, 1_000)
        assert broken(database) is None


def several(database: str, folder: Path, count: int) -> None:
    with closing(Database(database, folder)) as one:
        write(one, count)


def test_several_processes_write_one_chain(opened: Database, database: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=several, args=(database, tmp_path, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert numbers(opened) == list(range(60, 0, -1))
    assert broken(opened) is None


WRITER = """
import sys
from pathlib import Path
from edge_app.backend.database import Database
from tests.backend.test_audit import write
database = Database("", Path(sys.argv[1]))
print("writing", flush=True)
write(database, 100_000)
"""


def test_whoever_is_killed_leaves_a_whole_chain(tmp_path: Path) -> None:
    for pause_s in (0.0, 0.03, 0.07):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        time.sleep(pause_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        writer.stdout.close()
        with closing(Database("", tmp_path)) as database:
            assert broken(database) is None
            write(database, 1)
            assert broken(database) is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8),
                       st.sampled_from(Action)), min_size=1, max_size=5),
    st.data(),
)  # fmt: skip
def test_any_chain_holds_and_breaks_where_it_is_touched(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, Action]], data: st.DataObject
) -> None:
    with closing(Database("", tmp_path_factory.mktemp("audit"))) as database:
        for detail, action in said:
            with database.writing() as execute:
                note(execute, who="ann", role="", action=action, detail=detail, now=NOW)
        assert broken(database) is None
        touched = data.draw(st.integers(1, len(said)))
        change(database, f"UPDATE audit SET who = 'bob' WHERE number = {touched}")  # noqa: S608
        assert broken(database) == touched
