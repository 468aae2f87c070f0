"""An installation that is killed, or whose disk is full, leaves the old or the new gallery, whole.

The campaign runs as a process of its own: it waits for every child there is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.attacks.tracing import FAULTS_WORK, run

REPOSITORY = Path(__file__).parents[2]


def test_killed_and_full_all_along_the_way() -> None:
    command = [sys.executable, "-m", "tests.attacks.killing", "24", "16"]
    campaign = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300
    )
    assert campaign.returncode == 0, campaign.stderr
    told = re.findall(r"^(\d+) \S+ .*: (\d+) old, (\d+) new, none", campaign.stdout, re.MULTILINE)
    counts = [tuple(map(int, numbers)) for numbers in told]
    assert [total for total, _, _ in counts] == [24, 16][: 1 + FAULTS_WORK]
    for _, old, new in counts:
        assert old >= 5
        assert new >= 1


def test_a_job_is_killed_before_the_call_and_never_after(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def job() -> None:
        path.mkdir()

    calls = run(job).calls
    path.rmdir()
    made = []
    for number in range(1, calls + 1):
        assert not run(job, kill_at=number).finished
        made.append(path.exists())
        if made[-1]:
            path.rmdir()
    assert made == sorted(made)
    assert made[0] is False
    assert made[-1] is True
