import os
import signal
import subprocess
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_app.adapters import verifying
from edge_app.adapters.verifying import WORTH_PROCESSES, Checked, Job, Verifiers, check
from edge_app.core.shard import seal_shard
from edge_app.errors import GalleryError
from tests.people import USE, enrolment, faces

KEY = b"k" * 32
PEOPLE = [enrolment(n, faces(1, seed=n)) for n in range(5)]
DATA = seal_shard(
    PEOPLE, fleet="harbour", number=3, generation=1, key=KEY, nonces=(b"a" * 12, b"b" * 12)
)
JOB = Job(DATA, "harbour", 3, KEY, USE.trusted_stations)


def same(checked: Checked) -> Checked:
    return checked


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started, on a machine of two cores."""
    found: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        found.append(real(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(verifying.subprocess, "Popen", start)  # type: ignore[attr-defined]
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return found


def test_a_process_answers_what_this_one_would(started: list[subprocess.Popen[bytes]]) -> None:
    expected = check(JOB)
    with Verifiers(WORTH_PROCESSES) as verifiers:
        answers = [verifiers.check(JOB, same) for _ in range(20)]
        for answer in answers:
            found = answer.result()
            assert list(found.people.roster) == list(expected.people.roster)
            assert np.array_equal(found.people.standing, expected.people.standing)
            assert np.array_equal(found.matrix, expected.matrix)
            assert found.text == expected.text
    assert 1 <= len(started) <= 2
    assert [process.poll() for process in started] == [0] * len(started)


def test_a_few_shards_start_no_process(started: list[subprocess.Popen[bytes]]) -> None:
    with Verifiers(WORTH_PROCESSES - 1) as verifiers:
        assert len(verifiers.check(JOB, same).result().people) == 5
    assert started == []


@pytest.mark.parametrize("shards", [1, WORTH_PROCESSES])
def test_a_damaged_shard_is_told_and_the_next_one_checked(
    started: list[subprocess.Popen[bytes]], shards: int
) -> None:
    with Verifiers(shards) as verifiers:
        for damaged in (replace(JOB, data=DATA[:-1]), replace(JOB, key=bytes(32))):
            with pytest.raises(GalleryError, match="fetch it again"):
                verifiers.check(damaged, same).result()
        assert verifiers.check(JOB, same).result().people.verified
        unknown = verifiers.check(replace(JOB, stations={}), same).result()
        assert not unknown.people.verified


def test_a_process_that_is_killed_is_an_error_and_no_end(
    started: list[subprocess.Popen[bytes]],
) -> None:
    with Verifiers(WORTH_PROCESSES) as verifiers:
        verifiers.check(JOB, same).result()
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()
        with pytest.raises(GalleryError, match="sync again"):
            verifiers.check(JOB, same).result()


def test_nobody_is_left_when_something_else_fails(
    started: list[subprocess.Popen[bytes]],
) -> None:
    def fail() -> None:
        with Verifiers(WORTH_PROCESSES) as verifiers:
            verifiers.check(JOB, same).result()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [process.poll() for process in started] == [0] * len(started)
