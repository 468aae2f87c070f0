from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.clock import ManualClock
from edge_app.adapters.departures import Departures
from edge_app.adapters.events import departure_from_cloudevent
from edge_app.adapters.mqtt import Topics
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.told import Told
from edge_app.errors import StorageError
from edge_app.records import ClockState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA, BERT = "a" * 32, "b" * 32
TOPICS = Topics("home", "glasses-1")


@dataclass
class Device:
    told: Told
    outbox: Outbox
    clock: ManualClock

    def departures(self) -> Departures:
        """As after a start."""
        return Departures(self.told, self.outbox, topics=TOPICS, clock=self.clock)

    def said(self) -> list[str]:
        waiting = self.outbox.next(after=0, limit=100)
        assert {event.topic for event in waiting} <= {TOPICS.departure}
        return [departure_from_cloudevent(event.payload).subject_ref for event in waiting]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    clock = ManualClock(NOW)
    with (
        closing(Told(tmp_path / "told", key=bytes(32))) as told,
        closing(
            Outbox(tmp_path / "outbox", key=bytes(32), max_alerts=10, boot_id="b", clock=clock)
        ) as outbox,
    ):
        yield Device(told, outbox, clock)


def test_who_left_without_an_alert_is_not_spoken_of(device: Device) -> None:
    device.departures().follow({"1" * 64})
    assert device.said() == []


def test_who_left_is_told_once(device: Device) -> None:
    departures = device.departures()
    departures.expect(ANNA, {"1" * 64})
    departures.expect(BERT, {"2" * 64})
    departures.follow(frozenset())
    assert device.said() == []
    departures.follow({"1" * 64})
    departures.follow({"1" * 64})
    device.departures().follow({"1" * 64})
    assert device.said() == [ANNA]


def test_who_left_while_the_device_was_off_is_told_at_its_start(device: Device) -> None:
    device.departures().expect(ANNA, {"1" * 64})
    device.departures().follow({"1" * 64, "3" * 64})
    assert device.said() == [ANNA]


def test_what_the_outbox_did_not_take_is_told_at_the_next_start(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    departures = device.departures()
    departures.expect(ANNA, {"1" * 64})

    def full(*arguments: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(device.outbox, "put", full)
        with pytest.raises(StorageError):
            departures.follow({"1" * 64})
    departures.follow({"1" * 64})
    assert device.said() == [ANNA]


def test_a_clock_that_is_wrong_forgets_nobody(device: Device) -> None:
    departures = device.departures()
    departures.expect(ANNA, {"1" * 64})
    device.clock.state_now = ClockState.UNSYNCHRONISED
    device.clock.advance(timedelta(days=4_000).total_seconds())
    departures.follow({"1" * 64})
    assert device.said() == [ANNA]
