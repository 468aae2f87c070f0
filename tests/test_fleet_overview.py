"""What an operator's overview says of a real fleet, and what it never says (P6, P9)."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from edge_app.core.acknowledge import verify_acknowledgment
from edge_app.core.overview import (
    MADE_EVERY,
    MAX_OVERVIEW_BYTES,
    Overview,
    PersonState,
    consent_state,
    decode_overview,
    erasure_evidence,
    is_stale,
)
from edge_app.core.revocation import revocation_sha256, spoken_code
from edge_app.errors import ConfigError, GalleryError, StorageError
from edge_app.operate import (
    overview_bytes,
    remove_device,
    remove_station,
    renew,
    status,
)
from edge_app.publisher.folder import BookPerson, BookShard
from edge_app.publisher.overview_file import OverviewFile
from edge_app.publisher.service import note_revocation
from tests.fleets import CLOCK, Fleet, ShiftedClock, code_of, person, service
from tests.support import ROOT

CANARY = "Canary Quillfeather"
SINCE_YESTERDAY_S = 86_400


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def seen(fleet: Fleet) -> Overview:
    """As a reader gets it."""
    return decode_overview(overview_bytes(fleet.operator, CLOCK))


def states(found: Overview, after: timedelta = timedelta()) -> dict[str, PersonState]:
    now = CLOCK.now() + after
    return {entry.record_id: consent_state(entry, now) for entry in found.people}


# ------------------------------------------------------------------------------------ who is there


def test_a_fleet_of_nobody(fleet: Fleet) -> None:
    found = seen(fleet)
    assert (found.fleet, found.generation, found.published) == ("harbour", 0, None)
    assert (found.people, found.devices, found.departures) == ((), (), ())
    assert [(s.name, s.trusted) for s in found.stations] == [("glasses", True)]
    roles = [expiry.role for expiry in found.expiries]
    assert roles == ["root", "targets", "snapshot", "timestamp"]
    fleet.publish()
    found = seen(fleet)
    assert (found.generation, found.people) == (1, ())
    assert found.published is not None


def test_people_are_there_from_their_publication_on(fleet: Fleet) -> None:
    first = person(1)
    fleet.enrol([first, person(2)])
    assert (seen(fleet).people, seen(fleet).waiting) == ((), 2)
    fleet.publish()
    fleet.enrol([person(3)])
    fleet.publish()
    found = seen(fleet)
    assert [(p.record_id, p.since) for p in found.people] == [
        ("record-1", 1),
        ("record-2", 1),
        ("record-3", 2),
    ]
    assert set(states(found).values()) == {PersonState.VALID}
    assert {p.station_id for p in found.people} == {found.stations[0].station_id}
    consent = first.consent.record
    ends = found.people[0].valid_until
    assert ends == consent.event_time + timedelta(seconds=consent.validity_duration_s)


def test_consents_end_by_the_readers_clock(fleet: Fleet) -> None:
    days = 86_400
    fleet.enrol(
        [
            person(1, validity_duration_s=100 * days),
            person(2, validity_duration_s=20 * days),
            person(3, retention_s=3 * days),
        ]
    )
    fleet.publish()
    found = seen(fleet)
    assert [*states(found).values()] == [
        PersonState.VALID,
        PersonState.EXPIRING,
        PersonState.EXPIRING,
    ]
    assert [*states(found, timedelta(days=30)).values()] == [
        PersonState.VALID,
        PersonState.EXPIRED,
        PersonState.RETENTION_ENDED,
    ]
    late = ShiftedClock(timedelta(days=30))
    counted = status(fleet.operator, late)
    assert (counted.people, counted.expiring, counted.expired) == (3, 0, 2)
    counted = status(fleet.operator, CLOCK)
    assert (counted.expiring, counted.expired) == (2, 0)


def test_who_presented_their_code_is_known_before_the_next_publication(fleet: Fleet) -> None:
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    fleet.leave(1)
    (fleet.operator.inbox / "rubbish.revocation").write_bytes(b"\xff no code")
    found = seen(fleet)
    assert states(found) == {"record-1": PersonState.WITHDRAWN, "record-2": PersonState.VALID}
    assert found.departures == ()
    fleet.publish()
    found = seen(fleet)
    assert states(found) == {"record-2": PersonState.VALID}
    (gone,) = found.departures
    assert (gone.since, gone.erasure.generation) == (1, 2)
    assert found.refused == 1


def test_who_enrolled_at_a_removed_station_leaves(fleet: Fleet) -> None:
    fleet.enrol([person(1)])
    fleet.publish()
    remove_station(fleet.operator, "glasses")
    found = seen(fleet)
    assert states(found) == {"record-1": PersonState.UNTRUSTED_STATION}
    assert [(s.name, s.trusted) for s in found.stations] == [("glasses", False)]
    fleet.publish()
    assert seen(fleet).people == ()


def test_retention_that_ended_leaves_at_the_next_publication(fleet: Fleet) -> None:
    fleet.enrol([person(1, retention_s=SINCE_YESTERDAY_S + 60)])
    fleet.publish()
    later = timedelta(minutes=2)
    assert states(seen(fleet), later) == {"record-1": PersonState.RETENTION_ENDED}
    fleet.publish(later)
    assert seen(fleet).people == ()


# --------------------------------------------------------------------------------------- evidence


def test_what_devices_signed_is_in_it(fleet: Fleet) -> None:
    gate, _drawer = fleet.device("gate"), fleet.device("drawer")
    lost = fleet.device("lost")
    fleet.enrol([person(1)])
    fleet.publish()
    with service(fleet.operator) as url:
        for home in (gate, lost):
            fleet.sync(home, url)
        fleet.leave(1)
        fleet.publish()
        fleet.sync(gate, url)
    remove_device(fleet.operator, "lost")
    found = seen(fleet)
    assert {d.name: (d.acknowledged, d.removed) for d in found.devices} == {
        "gate": (2, None),
        "drawer": (None, None),
        "lost": (1, 2),
    }
    (gone,) = found.departures
    proof = erasure_evidence(found, gone)
    groups = (proof.erased, proof.pending, proof.unreachable)
    assert [[d.name for d in group] for group in groups] == [["gate"], ["drawer"], ["lost"]]
    come = gone.erasure
    assert (come.devices, come.acknowledged, come.removed) == (2, 1, 1)
    (device,) = proof.erased
    assert device.said is not None
    verify_acknowledgment(
        device.said.signed,
        signing_key=bytes.fromhex(device.signing_key),
        fleet="harbour",
        device_id=device.device_id,
    )
    later = CLOCK.now() + timedelta(hours=25)
    assert [is_stale(found, d, later) for d in found.devices] == [False, True, False]


def test_an_acknowledgment_that_was_altered_says_nothing(fleet: Fleet) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    with service(fleet.operator) as url:
        fleet.sync(gate, url)
    assert seen(fleet).devices[0].acknowledged == 1
    (path,) = fleet.operator.acknowledged.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"generation":1', b'"generation":9'))
    assert seen(fleet).devices[0].said is None


def test_a_book_from_a_backup_does_not_silence_it(fleet: Fleet) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    before = fleet.operator.read_book()
    fleet.enrol([person(1)])
    fleet.publish()
    with service(fleet.operator) as url:
        fleet.sync(gate, url)
    fleet.operator.write_book(before)
    (device,) = seen(fleet).devices
    assert device.acknowledged == 2


# --------------------------------------------------------------------------- what it does not say


def test_it_tells_no_name_template_code_or_person(fleet: Fleet) -> None:
    people = [replace(person(n), name=f"{CANARY} {n}", relation="canary friend") for n in (1, 2)]
    gate = fleet.device("gate")
    fleet.enrol(people)
    fleet.publish()
    with service(fleet.operator) as url:
        fleet.sync(gate, url)
    fleet.leave(1)
    waiting = overview_bytes(fleet.operator, CLOCK)
    fleet.publish()
    data = waiting + overview_bytes(fleet.operator, CLOCK)
    assert b"record-2" in data  # the search below looks at the right thing
    forbidden = [CANARY.encode(), b"Quillfeather", b"canary friend", b"person-"]
    for number, someone in enumerate(people, 1):
        digest = revocation_sha256(code_of(number))
        forbidden += [code_of(number).encode(), spoken_code(code_of(number)).encode()]
        forbidden += [digest.encode(), digest[12:].encode(), digest[:13].encode()]
        forbidden += [i.encode() for i in someone.consent.record.template_ids]
        forbidden += [someone.consent.signature.hex().encode()]
        for template in someone.templates:
            raw = template.embedding.tobytes()[:24]
            forbidden += [raw, raw.hex().encode(), base64.b64encode(raw)]
    book = fleet.operator.read_book()
    forbidden += [shard.key.encode() for shard in book.shards]
    forbidden += [shard.sha256.encode() for shard in book.shards]
    for person_ in (p for shard in book.shards for p in shard.people):
        forbidden += [digest.encode() for digest in person_.tombstones]
    for key in (fleet.operator.folder / "keys").glob("*.key"):
        forbidden += [key.read_bytes(), key.read_bytes().hex().encode()]
    for secret in forbidden:
        assert len(secret) >= 7
        assert secret.lower() not in data.lower()


# ----------------------------------------------------------------------------------- ten thousand


def test_ten_thousand_people_fit_many_times(fleet: Fleet) -> None:
    fleet.publish()
    ends = datetime(2027, 3, 1, tzinfo=UTC)
    station = seen(fleet).stations[0].station_id
    people = tuple(
        BookPerson(f"{n:032x}", f"{n:032x}", 1, (f"{n:064x}",) * 2, station, ends, ends, 3)
        for n in range(10_000)
    )
    shards = (BookShard("ab" * 32, 1, "cd" * 32, people),)
    fleet.operator.write_book(replace(fleet.operator.read_book(), shards=shards))
    data = overview_bytes(fleet.operator, CLOCK)
    assert len(decode_overview(data).people) == 10_000
    assert len(data) < MAX_OVERVIEW_BYTES / 20


# --------------------------------------------------------------------------------------- the file


def a_file(fleet: Fleet, clock: ShiftedClock = CLOCK) -> OverviewFile:
    shown = fleet.folder / "shown"
    shown.mkdir(mode=0o750, exist_ok=True)
    operator = fleet.operator
    return OverviewFile(
        operator, shown / "overview.json", lambda: overview_bytes(operator, clock), clock
    )


def read(fleet: Fleet) -> Overview:
    return decode_overview((fleet.folder / "shown" / "overview.json").read_bytes())


def test_the_group_may_read_it_and_nobody_else(fleet: Fleet) -> None:
    file = a_file(fleet)
    for _ in range(2):
        file.write()
        path = fleet.folder / "shown" / "overview.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read(fleet) == replace(seen(fleet), made=read(fleet).made)


@pytest.mark.parametrize(
    "place", ["operator/book.sealed", "operator/repository/metadata/o.json", "none/o.json"]
)
def test_a_place_that_nobody_or_everybody_could_read_is_refused(fleet: Fleet, place: str) -> None:
    before = (fleet.operator.folder / "book.sealed").read_bytes()
    with pytest.raises(ConfigError):
        OverviewFile(fleet.operator, fleet.folder / place, lambda: b"", CLOCK)
    (fleet.folder / "alias").symlink_to(fleet.operator.folder)
    with pytest.raises(ConfigError):
        OverviewFile(fleet.operator, fleet.folder / "alias" / "o.json", lambda: b"", CLOCK)
    assert (fleet.operator.folder / "book.sealed").read_bytes() == before


def test_what_was_there_stays_if_it_cannot_be_written(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_file(fleet)
    file.write()
    before = read(fleet)
    with no_space(monkeypatch), pytest.raises(StorageError, match="disk is full"):
        file.write()
    assert read(fleet) == before
    assert {p.name for p in (fleet.folder / "shown").iterdir()} == {"lock", "overview.json"}


def test_what_a_killed_writer_left_is_in_nobodys_way(fleet: Fleet) -> None:
    file = a_file(fleet)
    staged = fleet.folder / "shown" / "overview.json.new"
    staged.write_bytes(b'{"departures":[],"dev')
    staged.chmod(0o600)
    file.write()
    assert read(fleet).fleet == "harbour"
    assert stat.S_IMODE((fleet.folder / "shown" / "overview.json").stat().st_mode) == 0o640
    assert not staged.exists()


@contextmanager
def no_space(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(_descriptor: int, _data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("edge_app.adapters.durable.os.write", full)
        yield


@contextmanager
def kept_up(fleet: Fleet, clock: ShiftedClock = CLOCK) -> Iterator[Callable[..., None]]:
    """A file that is kept up; yields what waits until the reader sees something."""
    ended, changed = Event(), Event()
    file = a_file(fleet, clock)
    thread = Thread(target=file.keep_up, args=(ended,), kwargs={"look_every_s": 0.01})
    thread.start()

    def until(sees: Callable[[], bool]) -> None:
        for _ in range(3_000):
            if sees():
                return
            changed.wait(0.01)
        raise AssertionError("the file did not follow")

    try:
        until((fleet.folder / "shown" / "overview.json").exists)
        yield until
    finally:
        ended.set()
        thread.join()


def test_it_follows_everything_that_is_in_it(fleet: Fleet) -> None:
    gate = fleet.device("gate")
    with kept_up(fleet) as until, service(fleet.operator) as url:
        fleet.enrol([person(1)])
        until(lambda: read(fleet).waiting == 1)
        fleet.publish()
        until(lambda: len(read(fleet).people) == 1)
        fleet.sync(gate, url)
        until(lambda: read(fleet).devices[0].acknowledged == 1)
        note_revocation(fleet.operator.inbox, code_of(1))
        until(lambda: PersonState.WITHDRAWN in states(read(fleet)).values())
        fleet.publish()
        until(lambda: len(read(fleet).departures) == 1)
        before = read(fleet).fresh_until
        renew(fleet.operator, ShiftedClock(timedelta(hours=1)))
        until(lambda: read(fleet).fresh_until > before)
        (path,) = fleet.operator.acknowledged.glob("*.json")
        path.write_bytes(b"{}")
        until(lambda: read(fleet).devices[0].said is None)


class Steps(ShiftedClock):
    """The machine's clock, whose monotonic time a test moves, too."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


def test_it_is_written_anew_though_nothing_changes(fleet: Fleet) -> None:
    clock = Steps()
    with kept_up(fleet, clock) as until:
        before = read(fleet).made

        def again() -> bool:
            clock.shift += MADE_EVERY
            clock.ahead_s += MADE_EVERY.total_seconds()
            return read(fleet).made >= before + 5 * MADE_EVERY

        until(again)


def test_without_a_change_it_is_left_alone(fleet: Fleet) -> None:
    made = []
    shown = fleet.folder / "shown"
    shown.mkdir()

    def make() -> bytes:
        made.append(1)
        return b"{}"

    class Ended(Event):
        """Set when somebody has looked for it fifty times."""

        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.looks += 1
            return self.looks > 50

    OverviewFile(fleet.operator, shown / "overview.json", make, CLOCK).keep_up(Ended())
    assert made == [1]


def test_a_fault_is_told_once_and_tried_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with kept_up(fleet) as until:
        with no_space(monkeypatch):
            # Not by the operator's own writing, which has no space either.
            (fleet.operator.inbox / "x.enrolment").touch()
            until(lambda: "disk is full" in caplog.text)
            (fleet.operator.inbox / "y.enrolment").touch()
            Event().wait(0.2)
        until(lambda: read(fleet).waiting == 2)
        until(lambda: "written again" in caplog.text)
    assert caplog.text.count("disk is full") == 1


def test_the_first_has_to_succeed(fleet: Fleet) -> None:
    file = a_file(fleet)
    (fleet.operator.folder / "book.sealed").write_bytes(b"half of it")
    with pytest.raises(GalleryError, match="was altered"):
        file.keep_up(Event())


def test_a_file_that_somebody_deletes_comes_back(fleet: Fleet) -> None:
    with kept_up(fleet) as until:
        path = fleet.folder / "shown" / "overview.json"
        path.unlink()
        until(path.exists)


def test_a_book_that_is_gone_for_a_while_ends_nothing(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    book = fleet.operator.folder / "book.sealed"
    with kept_up(fleet) as until:
        book.rename(book.with_name("away"))
        until(lambda: "book.sealed" in caplog.text)
        book.with_name("away").rename(book)
        until(lambda: "written again" in caplog.text)


# --------------------------------------------------------------------------------- the command line


def familiar(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (sys.executable, "-m", "edge_app", "operator", "overview", "--dir", "operator", *arguments),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FAMILIAR_HOME": str(cwd / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_printed_it_is_the_file(fleet: Fleet) -> None:
    out, err = familiar("--to", "-", cwd=fleet.folder).communicate()
    assert err == b""
    assert decode_overview(out).fleet == "harbour"


def test_watching_ends_in_order(fleet: Fleet) -> None:
    (fleet.folder / "shown").mkdir()
    program = familiar("--to", "shown/overview.json", "--watch", cwd=fleet.folder)
    path = fleet.folder / "shown" / "overview.json"
    while not path.exists():
        assert program.poll() is None
        Event().wait(0.02)
    program.terminate()
    out, err = program.communicate()
    assert (program.returncode, out) == (0, b"")
    assert b"shown/overview.json is kept up" in err


def test_a_printed_overview_is_not_kept_up(fleet: Fleet) -> None:
    out, err = familiar("--to", "-", "--watch", cwd=fleet.folder).communicate()
    assert out == b""
    assert b"name one with --to" in err
