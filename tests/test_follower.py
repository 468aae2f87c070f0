"""When a running device looks for a new gallery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import SystemRandom
from typing import Any

import pytest

from edge_app.config import make_config
from edge_app.errors import GalleryError
from edge_app.sync import Follower
from tests.adapters.test_mqtt import until


class Looking:
    """A follower that looks at nothing, and counts. Nothing is due for an hour."""

    def __init__(self) -> None:
        self.looks = 0
        self.fault: Exception | None = None
        config = make_config({"sync": {"interval_s": 3600, "backoff_s": 1, "jitter": 0}})
        self.follower = Follower(config, self._look, SystemRandom())

    def _look(self) -> Any:
        self.looks += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def looking() -> Iterator[Looking]:
    made = Looking()
    yield made
    made.follower.stop()
    made.follower._thread.join(30)
    assert not made.follower._thread.is_alive()


def test_a_nudge_leads_to_one_look_however_often_it_is_repeated(looking: Looking) -> None:
    looking.follower.start()
    until(lambda: looking.looks == 1, "the first look")
    for _ in range(1_000):
        looking.follower.nudge()
    until(lambda: looking.looks == 2, "the look after the nudges")
    time.sleep(2.5)  # more than two of the shortest pauses
    assert looking.looks == 2
    looking.follower.nudge()
    until(lambda: looking.looks == 3, "a nudge works again")


def test_a_flood_of_nudges_does_not_wear_the_server(looking: Looking) -> None:
    looking.follower.start()
    until_s = time.monotonic() + 2.5
    while time.monotonic() < until_s:
        looking.follower.nudge()
    assert looking.looks <= 4


def test_a_nudge_during_a_look_that_fails_is_not_lost(looking: Looking) -> None:
    looking.fault = GalleryError("out of reach")
    looking.follower.nudge()
    looking.follower.start()
    until(lambda: looking.looks >= 2, "it looks again")


def test_stopping_ends_the_longest_wait(looking: Looking) -> None:
    looking.follower.start()
    until(lambda: looking.looks == 1, "the first look")
    looking.follower.stop()
    looking.follower._thread.join(30)
    assert looking.looks == 1
