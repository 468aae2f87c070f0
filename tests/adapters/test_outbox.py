"""The outbox keeps what it took: through kills, full disks, damage and clocks that leap (P10)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_app.adapters.outbox import _HAS_EXPIRED, Outbox, OutboxCounts
from edge_app.errors import KeyFileError, StorageError
from edge_app.records import ClockState
from tests.support import largest_file

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOPIC = "familiar/v1/home/glasses/event/match"


class ManualClock:
    """Wall and monotonic time that move when told, together or apart."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic_s(self) -> float:
        return self.monotonic

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def sleep(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def opened(path: Path, clock: ManualClock, *, max_alerts: int = 100, boot: str = "boot-1") -> Any:
    return closing(Outbox(path, key=bytes(32), max_alerts=max_alerts, boot_id=boot, clock=clock))


def put(outbox: Outbox, clock: ManualClock, name: str, lifetime_s: float = 300) -> None:
    expiry = clock.now() + timedelta(seconds=lifetime_s)
    outbox.put(name, TOPIC, f"payload of {name}".encode(), expiry)


def pending(outbox: Outbox, after: int = 0, limit: int = 1000) -> list[str]:
    return [alert.alert_id for alert in outbox.next(after=after, limit=limit)]


# --- the queue --------------------------------------------------------------------------


def test_an_empty_outbox(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        assert outbox.next(after=0, limit=10) == ()
        outbox.mark_delivered([])
        outbox.mark_delivered(["never seen"])
        assert outbox.counts() == OutboxCounts(pending=0, delivered=0, expired=0, forced_out=0)


def test_one_alert_comes_out_as_it_went_in(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        outbox.put("a", TOPIC, b"\x00\xff\n", clock.now() + timedelta(seconds=60))
        clock.sleep(20)
        (alert,) = outbox.next(after=0, limit=10)
        assert (alert.alert_id, alert.topic, alert.payload) == ("a", TOPIC, b"\x00\xff\n")
        assert alert.remaining_s == pytest.approx(40)
        assert "xff" not in repr(alert)
        outbox.mark_delivered(["a"])
        assert outbox.counts() == OutboxCounts(pending=0, delivered=1, expired=0, forced_out=0)


def test_many_come_out_in_order_window_by_window(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        names = [f"{number:03}" for number in range(50)]
        for name in names:
            put(outbox, clock, name)
        seen, after = [], 0
        while window := outbox.next(after=after, limit=7):
            assert len(window) <= 7
            seen += [alert.alert_id for alert in window]
            after = window[-1].position
        assert seen == names


def test_the_same_id_is_stored_once(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        for _ in range(3):
            put(outbox, clock, "a")
        assert pending(outbox) == ["a"]


def test_what_was_put_is_there_after_a_restart_and_positions_go_on(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
        put(outbox, clock, "b")
        last = outbox.next(after=0, limit=9)[-1].position
        outbox.mark_delivered(["a", "b"])
    with opened(path, clock) as outbox:
        put(outbox, clock, "c")
        (alert,) = outbox.next(after=0, limit=9)
        assert (alert.alert_id, alert.position > last) == ("c", True)
        assert outbox.counts() == OutboxCounts(pending=1, delivered=2, expired=0, forced_out=0)


def test_only_the_owner_may_read_the_files(path: Path, clock: ManualClock) -> None:
    path.touch(mode=0o666)
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["outbox.sqlite", "outbox.sqlite-wal"]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


def test_every_commit_reaches_the_disk(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        told = {
            name: outbox._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "secure_delete")
        }
    assert told == {"synchronous": 2, "journal_mode": "wal", "secure_delete": 1}  # 2: FULL


def test_nothing_delivered_stays_in_the_files(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        outbox.put("a", TOPIC, b"CANARY" * 50, clock.now() + timedelta(seconds=60))
        outbox.mark_delivered(["a"])
    assert [b"CANARY" in file.read_bytes() for file in path.parent.iterdir()] == [False]


# --- expiry -----------------------------------------------------------------------------


def test_expired_alerts_are_dropped_and_counted_before_every_send(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "short", lifetime_s=10)
        put(outbox, clock, "long", lifetime_s=100)
        put(outbox, clock, "stillborn", lifetime_s=-1)
        assert pending(outbox) == ["short", "long"]
        clock.sleep(10)
        assert pending(outbox) == ["long"]
        assert outbox.counts() == OutboxCounts(pending=1, delivered=0, expired=2, forced_out=0)


@pytest.mark.parametrize("leap", [timedelta(days=400), -timedelta(days=400)])
def test_a_wall_clock_that_leaps_expires_nothing_within_one_boot(
    path: Path, clock: ManualClock, leap: timedelta
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a", lifetime_s=60)
        clock.wall += leap
        (alert,) = outbox.next(after=0, limit=1)
        assert alert.remaining_s == pytest.approx(60)
        clock.monotonic += 60
        assert pending(outbox) == []


def test_after_a_reboot_the_wall_clock_decides(path: Path, clock: ManualClock) -> None:
    with opened(path, clock, boot="boot-1") as outbox:
        put(outbox, clock, "over", lifetime_s=60)
        put(outbox, clock, "good", lifetime_s=600)
    clock.wall += timedelta(seconds=120)
    clock.monotonic = 3.0
    with opened(path, clock, boot="boot-2") as outbox:
        (alert,) = outbox.next(after=0, limit=9)
        assert (alert.alert_id, alert.remaining_s) == ("good", pytest.approx(480))


def test_what_expires_is_dropped_also_while_nothing_can_be_sent(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a", lifetime_s=10)
        clock.sleep(10)
        outbox.drop_expired()
        (rows,) = outbox._database.execute("SELECT count(*) FROM alert").fetchone()
        assert rows == 0
        assert outbox.counts().expired == 1


def test_on_a_full_disk_what_has_expired_is_not_sent_and_the_rest_is(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "over", lifetime_s=10)
        put(outbox, clock, "good")
        clock.sleep(10)
        with largest_file(0):
            assert pending(outbox) == ["good"]
            assert outbox.counts().expired == 0
        assert pending(outbox) == ["good"]
        assert outbox.counts().expired == 1


def test_what_the_broker_has_counts_as_delivered_however_it_leaves(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock, max_alerts=3) as outbox:
        put(outbox, clock, "short", lifetime_s=10)
        put(outbox, clock, "b")
        put(outbox, clock, "c")
        outbox.note_acknowledged(["short", "b"])
        assert pending(outbox) == ["short", "b", "c"], "it may lose them yet"
        clock.sleep(10)
        put(outbox, clock, "d")
        put(outbox, clock, "e")
        assert outbox.counts() == OutboxCounts(pending=3, delivered=2, expired=0, forced_out=0)
        outbox.note_acknowledged(["c"])
        outbox.forget_acknowledged()
        put(outbox, clock, "f")
        assert outbox.counts() == OutboxCounts(pending=3, delivered=2, expired=0, forced_out=1)


def test_a_file_of_an_older_version_gets_its_indexes(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
        outbox._database.execute("DROP INDEX by_deadline")
        outbox._database.execute("DROP INDEX by_expiry")
    with opened(path, clock) as outbox:
        plan = outbox._database.execute(
            f"EXPLAIN QUERY PLAN DELETE FROM alert WHERE {_HAS_EXPIRED}",  # noqa: S608
            outbox._now(),
        ).fetchall()
        assert pending(outbox) == ["a"]
    assert "by_deadline" in str(plan)
    assert "SCAN" not in str(plan)


# --- bounds -----------------------------------------------------------------------------


def test_a_full_outbox_drops_the_expired_first_then_the_oldest(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock, max_alerts=3) as outbox:
        put(outbox, clock, "a", lifetime_s=500)
        put(outbox, clock, "b", lifetime_s=5)
        put(outbox, clock, "c", lifetime_s=500)
        clock.sleep(10)
        put(outbox, clock, "d")
        assert pending(outbox) == ["a", "c", "d"]
        put(outbox, clock, "e")
        assert pending(outbox) == ["c", "d", "e"]
        assert outbox.counts() == OutboxCounts(pending=3, delivered=0, expired=1, forced_out=1)


def test_a_smaller_bound_holds_from_the_next_put(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        for name in "abcdef":
            put(outbox, clock, name)
    with opened(path, clock, max_alerts=2) as outbox:
        put(outbox, clock, "g")
        assert pending(outbox) == ["f", "g"]
        assert outbox.counts().forced_out == 5


@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_below_one_is_a_mistake(path: Path, clock: ManualClock, bound: int) -> None:
    with pytest.raises(ValueError, match="1 alert or more"):
        Outbox(path, key=bytes(32), max_alerts=bound, boot_id="b", clock=clock)


class OutboxMachine(RuleBasedStateMachine):
    """Any order of calls, restarts and clock changes agrees with a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.model: list[tuple[str, float]] = []
        self.ended = {"delivered": 0, "expired": 0, "forced_out": 0}
        self.number = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(
            self.folder / "o", key=bytes(32), max_alerts=5, boot_id="boot", clock=self.clock
        )

    def expire(self) -> None:
        alive = [(name, end) for name, end in self.model if end > self.clock.monotonic]
        self.ended["expired"] += len(self.model) - len(alive)
        self.model = alive

    @rule(lifetime_s=st.integers(-5, 50))
    def put(self, lifetime_s: int) -> None:
        self.number += 1
        put(self.outbox, self.clock, str(self.number), lifetime_s)
        self.expire()
        if len(self.model) >= 5:
            self.ended["forced_out"] += len(self.model) - 4
            self.model = self.model[-4:]
        self.model.append((str(self.number), self.clock.monotonic + lifetime_s))

    @rule(names=st.sets(st.integers(1, 30).map(str), max_size=4))
    def deliver(self, names: set[str]) -> None:
        self.outbox.mark_delivered(names)
        left = [(name, end) for name, end in self.model if name not in names]
        self.ended["delivered"] += len(self.model) - len(left)
        self.model = left

    @rule(seconds=st.integers(0, 20), leap_s=st.integers(-10_000, 10_000))
    def wait(self, seconds: int, leap_s: int) -> None:
        self.clock.sleep(seconds)
        self.clock.wall += timedelta(seconds=leap_s)

    @rule(limit=st.integers(1, 6))
    def read(self, limit: int) -> None:
        self.expire()
        assert pending(self.outbox, limit=limit) == [name for name, _ in self.model][:limit]

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.open()

    @invariant()
    def counts_agree(self) -> None:
        self.expire()
        assert self.outbox.counts() == OutboxCounts(pending=len(self.model), **self.ended)

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.folder)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


# --- one writer, one sender ---------------------------------------------------------------


def test_a_writer_and_a_sender_in_threads_lose_and_double_nothing(
    path: Path, clock: ManualClock
) -> None:
    names = [f"{number:04}" for number in range(300)]
    delivered: list[str] = []
    with opened(path, clock, max_alerts=1000) as outbox:

        def send() -> None:
            while len(delivered) < len(names):
                for alert in outbox.next(after=0, limit=10):
                    outbox.mark_delivered([alert.alert_id])
                    delivered.append(alert.alert_id)

        sender = threading.Thread(target=send)
        sender.start()
        for name in names:
            put(outbox, clock, name)
        sender.join(30)
        assert delivered == names
        assert outbox.counts().delivered == len(names)


# --- kill -9 ------------------------------------------------------------------------------

KILLS = 25
CHILD = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from edge_app.adapters.outbox import Outbox
from edge_app.records import ClockState

class Clock:
    def now(self): return datetime(2026, 3, 1, tzinfo=UTC)
    def monotonic_s(self): return 0.0
    def state(self): return ClockState.SYNCHRONISED
    def sleep(self, seconds): pass

for order in sys.stdin:
    child = os.fork()
    if not child:
        os.write(1, b"pid %d\\n" % os.getpid())
        box = Outbox(
            Path(sys.argv[1]), key=bytes(32), max_alerts=100_000, boot_id="b", clock=Clock()
        )
        for number in range(100_000):
            name = order.strip() + "-" + str(number)
            box.put(name, "t", b"x" * 700, datetime(2030, 1, 1, tzinfo=UTC))
            os.write(1, name.encode() + b"\\n")
    os.waitpid(child, 0)
    os.write(1, b"end\\n")
"""


def test_every_put_that_returned_survives_kill_9(path: Path, clock: ManualClock) -> None:
    moments = random.Random(9)  # noqa: S311 (any moments will do)
    returned: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for kill in range(KILLS):
            parent.stdin.write(b"%d\n" % kill)
            parent.stdin.flush()
            pid = int(parent.stdout.readline().split()[1])
            lines = [parent.stdout.readline() for _ in range(moments.randrange(6))]
            time.sleep(moments.random() / 200)
            os.kill(pid, signal.SIGKILL)
            while (line := parent.stdout.readline()) != b"end\n":
                lines.append(line)
            returned += [line.decode().strip() for line in lines]
            with opened(path, clock, max_alerts=100_000, boot="b") as outbox:
                found = pending(outbox, limit=100_000)
            assert set(returned) <= set(found)
            assert len(found) - len(returned) <= kill + 1, "at most the one under way is extra"
        parent.stdin.close()
    assert len(returned) > KILLS


# --- a full disk, and damage ----------------------------------------------------------------


def test_a_full_disk_is_reported_and_loses_nothing(path: Path, clock: ManualClock) -> None:
    with opened(path, clock, max_alerts=10_000) as outbox:
        put(outbox, clock, "first")
        (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
        outbox._database.execute(f"PRAGMA max_page_count = {pages + 2}")
        stored = ["first"]

        def fill() -> None:
            for number in range(100):
                put(outbox, clock, str(number) + "x" * 1000)
                stored.append(str(number) + "x" * 1000)

        with pytest.raises(StorageError, match=r"disk is full.*free some space") as caught:
            fill()
        assert "\n" not in str(caught.value)
        assert pending(outbox) == stored
        outbox._database.execute("PRAGMA max_page_count = 100000")
        put(outbox, clock, "after")
        assert pending(outbox) == [*stored, "after"]


def test_a_put_that_fails_half_way_forces_nothing_out(path: Path, clock: ManualClock) -> None:
    with opened(path, clock, max_alerts=2) as outbox:
        put(outbox, clock, "a")
        put(outbox, clock, "b")
        unstorable: Any = object()
        with pytest.raises(StorageError):
            outbox.put("c", unstorable, b"x", clock.now() + timedelta(seconds=60))
        assert pending(outbox) == ["a", "b"]
        assert outbox.counts().forced_out == 0


def test_a_disk_that_refuses_writes_is_reported_and_loses_nothing(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
        wal = path.with_name("outbox.sqlite-wal").stat().st_size
        with largest_file(wal + 100), pytest.raises(StorageError, match="alerts in it are kept"):
            put(outbox, clock, "b")
        put(outbox, clock, "c")
        assert pending(outbox) == ["a", "c"]


def test_a_disk_that_is_full_from_the_start(path: Path, clock: ManualClock) -> None:
    with largest_file(0), pytest.raises(StorageError, match="check the disk"):
        Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")


@pytest.mark.parametrize(
    "content", [b"not a database", b"SQLite format 3\x00" + b"\xff" * 5000, b"\x00" * 8192]
)
def test_a_file_that_is_no_outbox_is_refused_and_left_alone(
    path: Path, clock: ManualClock, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"damaged or not an outbox.*move it") as caught:
        Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_file_that_was_cut_off_or_damaged_is_refused_and_left_alone(
    path: Path, clock: ManualClock
) -> None:
    with opened(path, clock) as outbox:
        for number in range(60):
            put(outbox, clock, str(number) + "x" * 300)
    whole = path.read_bytes()
    damaged = [whole[: len(whole) * cut // 8] for cut in range(1, 8)]
    damaged.append(whole[:4096] + b"\xa5" * 4096 + whole[8192:])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(StorageError, match="damaged"):
            Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
        assert path.read_bytes() == content


def test_a_newer_format_is_refused_and_left_alone(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 3")
    whole = path.read_bytes()
    with pytest.raises(StorageError, match="format 3, not 2; install that version again"):
        Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
    assert path.read_bytes() == whole


def test_a_second_owner_is_refused(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        put(outbox, clock, "a")
        with pytest.raises(StorageError, match="another process holds it"):
            Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
        put(outbox, clock, "b")
        assert pending(outbox) == ["a", "b"]


@pytest.mark.parametrize("name", ["missing/outbox", "."])
def test_a_path_that_cannot_be_a_file(tmp_path: Path, clock: ManualClock, name: str) -> None:
    with pytest.raises(StorageError, match="writable folder"):
        Outbox(tmp_path / name, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)


def test_a_closed_outbox_says_so(path: Path, clock: ManualClock) -> None:
    outbox = Outbox(path, key=bytes(32), max_alerts=3, boot_id="b", clock=clock)
    outbox.close()
    outbox.close()
    with pytest.raises(StorageError, match="closed already"):
        put(outbox, clock, "a")


def test_no_alert_is_readable_in_the_files(path: Path, clock: ManualClock) -> None:
    secret = b"subject_ref 1f3a9c"
    with opened(path, clock) as outbox:
        outbox.put("a", TOPIC, secret, clock.now() + timedelta(hours=1))
        files = [file.read_bytes() for file in path.parent.iterdir()]
        assert any(b"familiar" in content or TOPIC.encode() in content for content in files)
        assert not any(secret in content for content in files)


def test_another_key_opens_nothing_and_changes_nothing(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        outbox.put("a", TOPIC, b"x", clock.now() + timedelta(hours=1))
    with pytest.raises(KeyFileError, match="the key does not open the outbox"):
        Outbox(path, key=bytes(31) + b"1", max_alerts=3, boot_id="b", clock=clock)
    with opened(path, clock) as outbox:
        assert [alert.payload for alert in outbox.next(after=0, limit=9)] == [b"x"]


def test_an_alert_under_anothers_id_is_refused(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as outbox:
        for name in "ab":
            outbox.put(name, TOPIC, name.encode(), clock.now() + timedelta(hours=1))
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE alert SET sealed = (SELECT sealed FROM alert WHERE alert_id = 'a')"
        )
        database.commit()
    with opened(path, clock) as outbox, pytest.raises(StorageError, match="was altered"):
        outbox.next(after=0, limit=9)
