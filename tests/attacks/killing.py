"""Kills the installation of a generation at every call into the system, one after the other.

    python -m tests.attacks.killing KILLS

After each kill, the device must start with the old or the new gallery, whole, and whoever left
must not be in either once it was ever told; the next sync must finish.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from edge_app.app import Home
from tests.fleets import CONFIG, Fleet, names, person, served

OLD, NEW = {"Name 1", "Name 2"}, {"Name 2", "Name 3"}
_SYSTEM = {"posix", "_io"}
"""Modules whose functions call the system: files, folders, locks."""


def campaign(kills: int, folder: Path) -> Counter[str]:
    """What was found after each kill: "old" or "new". Raises AssertionError at anything else."""
    fleet, gate = prepare(folder)
    kept = folder / "kept"
    shutil.copytree(gate.folder, kept)
    found: Counter[str] = Counter()
    with served(fleet.operator.repository) as url:
        calls = install(fleet, gate, url, kill_at=None)
        assert names(CONFIG, gate) == NEW
        for number in range(kills):
            shutil.rmtree(gate.folder)
            shutil.copytree(kept, gate.folder)
            install(fleet, gate, url, kill_at=1 + number * calls // kills % calls)
            seen = names(CONFIG, gate)
            # Who left is barred from the moment it is known, before the new gallery is there.
            assert seen in (OLD, NEW, OLD - {"Name 1"}), seen
            found["new" if seen == NEW else "old"] += 1
            fleet.sync(gate, url)
            assert names(CONFIG, gate) == NEW
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {kills} kills", end="", file=sys.stderr)
    return found


def prepare(folder: Path) -> tuple[Fleet, Home]:
    """A device with one generation, and a repository with the next: one left, one came."""
    fleet = Fleet(folder)
    gate = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    with served(fleet.operator.repository) as url:
        fleet.sync(gate, url)
    fleet.leave(1)
    fleet.enrol([person(3)])
    fleet.publish()
    return fleet, gate


def install(fleet: Fleet, gate: Home, url: str, *, kill_at: int | None) -> int:
    """Sync in a child that dies at its `kill_at`th call into the system.

    Returns how many calls there were, if it lived.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        calls = 0

        def count(_frame: FrameType, event: str, function: Any) -> None:
            nonlocal calls
            if event == "c_call" and getattr(function, "__module__", None) in _SYSTEM:
                calls += 1
                if calls == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            fleet.sync(gate, url)
            sys.setprofile(None)
            os.write(writing, str(calls).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return int(said or 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        outcome = campaign(int(sys.argv[1]), Path(scratch))
    print(f"\n{outcome.total()} kills: {outcome['old']} old, {outcome['new']} new, none in between")
