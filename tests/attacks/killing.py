"""Kills the installation of a generation before every system call of it, one after the other;
then lets the disk be full from each writing call on.

    python -m tests.attacks.killing KILLS [FULL_DISKS]

After each kill the device must start with the old or the new gallery, whole, and whoever left
must not be in either once it was ever told; the next sync must finish.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edge_app.app import Home
from edge_app.errors import EdgeAppError
from tests.attacks.tracing import FAULTS_WORK, run, run_on_full_disk
from tests.fleets import CONFIG, Fleet, names, person, served

OLD, NEW = {"Name 1", "Name 2"}, {"Name 2", "Name 3"}
BETWEEN = OLD - {"Name 1"}
"""Who left is barred from the moment it is known, before the new gallery is there."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device with one generation, and a repository with the next: one left, one came."""

    fleet: Fleet
    home: Home
    kept: Path

    @classmethod
    def prepare(cls, folder: Path) -> Device:
        fleet = Fleet(folder)
        home = fleet.device("gate")
        fleet.enrol([person(1), person(2)])
        fleet.publish()
        with served(fleet.operator.repository) as url:
            fleet.sync(home, url)
        fleet.leave(1)
        fleet.enrol([person(3)])
        fleet.publish()
        kept = folder / "kept"
        shutil.copytree(home.folder, kept)
        return cls(fleet, home, kept)

    def reset(self) -> None:
        shutil.rmtree(self.home.folder)
        shutil.copytree(self.kept, self.home.folder)

    def names(self) -> set[str]:
        return names(CONFIG, self.home)

    def finish(self, url: str) -> None:
        """The next look at the repository brings the new generation."""
        self.fleet.sync(self.home, url)
        assert self.names() == NEW, self.names()


def kills(count: int, folder: Path) -> tuple[int, Counter[str]]:
    """(system calls of an installation, what was found after each kill: "old" or "new").

    The kills are spread evenly; as many of them as there are calls hit each once.
    Raises AssertionError if anything else was found.
    """
    device, found = Device.prepare(folder), Counter[str]()
    with served(device.fleet.operator.repository) as url:

        def job() -> None:
            device.fleet.sync(device.home, url)

        whole = run(job)
        assert whole.finished
        assert device.names() == NEW
        places = (1 + number * whole.calls // count % whole.calls for number in itertools.count())
        while found.total() < count:
            device.reset()
            if run(job, kill_at=next(places)).finished:
                continue  # the threads took other turns, and made fewer calls
            seen = device.names()
            assert seen in (OLD, NEW, BETWEEN), seen
            found["new" if seen == NEW else "old"] += 1
            device.finish(url)
            _show(f"{found.total()} of {count} kills")
    return whole.calls, found


def full_disks(count: int, folder: Path) -> tuple[int, Counter[str]]:
    """(writing calls of an installation, what was found after each of at most `count` full disks).

    Each must leave the old gallery or the new one, whole; and say so in one line if it is the old.
    """
    device, found = Device.prepare(folder), Counter[str]()
    said = folder / "said"

    with served(device.fleet.operator.repository) as url:

        def job() -> None:
            try:
                device.fleet.sync(device.home, url)
            except EdgeAppError as error:
                said.write_text(str(error), encoding="utf-8")

        whole = run_on_full_disk(job, device.home.folder)
        assert whole.finished
        assert device.names() == NEW
        for number in range(min(count, whole.calls)):
            device.reset()
            said.unlink(missing_ok=True)
            place = 1 + number * whole.calls // min(count, whole.calls)
            run_on_full_disk(job, device.home.folder, fail_at=place)
            message = said.read_text(encoding="utf-8") if said.exists() else ""
            assert "\n" not in message, message
            seen = device.names()
            assert seen in (OLD, BETWEEN, NEW), seen
            # What comes after the installation may go without room, and without a word.
            assert message or seen == NEW, f"no error of ours: writing call {place}"
            found["new" if seen == NEW else "old"] += 1
            device.finish(url)
            _show(f"{found.total()} full disks")
    return whole.calls, found


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress}  ", end="", file=sys.stderr)


def _told(calls: int, found: Counter[str]) -> str:
    return f"of {calls}: {found['old']} old, {found['new']} new, none in between"


def main() -> None:
    logging.getLogger("edge_app").addHandler(logging.NullHandler())
    counts = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as scratch:
        calls, found = kills(counts[0], Path(scratch))
    print(f"{found.total()} kills, system calls {_told(calls, found)}", flush=True)
    if FAULTS_WORK:
        with tempfile.TemporaryDirectory() as scratch:
            calls, found = full_disks(counts[-1], Path(scratch))
        print(f"{found.total()} full disks, writing calls {_told(calls, found)}")


if __name__ == "__main__":
    main()
