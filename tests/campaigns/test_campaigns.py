"""The delivery campaigns in short, and that their count notices what goes wrong (P10)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.events import to_cloudevent
from edge_app.adapters.outbox import OutboxCounts
from tests.campaigns.__main__ import CAMPAIGNS
from tests.campaigns.rig import Arrivals, Decided, Ends, Result, judge, make_alert
from tests.support import ROOT

SHORT = {
    "device-killed": 10,
    "broker-killed": 1,
    "outage": 300,
    "half-open": 2,
    "never-acknowledged": 2,
    "disk-full": 5,
}
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def campaigns() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All of them side by side: mostly they wait."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.campaigns", name, str(faults)],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for name, faults in SHORT.items()
        }


def test_every_campaign_has_a_short_form() -> None:
    assert SHORT.keys() == CAMPAIGNS.keys()


@pytest.mark.parametrize("name", SHORT)
def test_no_alert_is_lost(campaigns: dict[str, subprocess.Popen[str]], name: str) -> None:
    told, errors = campaigns[name].communicate(timeout=300)
    assert campaigns[name].returncode == 0, told + errors
    assert re.match(
        rf"{name}: {SHORT[name]} faults, [1-9]\d* decided, \d+ refused, [1-9]\d* arrived, ", told
    )
    assert " 0 lost, 0 late, 0 out of order, 0 strange, " in told


class Story:
    """A device's alerts, and what came of them at a backend."""

    def __init__(self, folder: Path) -> None:
        self.ends = Ends(folder)
        self.arrivals = Arrivals()
        self._alerts = [make_alert(number, NOW, 60) for number in range(40)]

    def decide(self, *numbers: int) -> None:
        self.ends.decided += [
            Decided(self._alerts[n].alert_id, NOW + timedelta(0, 60)) for n in numbers
        ]

    def arrive(self, *numbers: int, after_s: float = 1) -> None:
        for number in numbers:
            now = NOW + timedelta(seconds=after_s)
            self.arrivals.add(to_cloudevent(self._alerts[number]), now)

    def ended(self, *, expired: int = 0, forced_out: int = 0) -> None:
        self.ends.counts = OutboxCounts(0, 0, expired=expired, forced_out=forced_out)

    def judged(self, after_s: float = 1, between: int = 0) -> Result:
        return judge(7, self.ends, self.arrivals, NOW + timedelta(seconds=after_s), between=between)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_all_is_well(story: Story) -> None:
    story.decide(*range(40))
    story.arrive(0, 1, 2, 1, 2, *range(3, 40), after_s=61)
    result = story.judged()
    assert (result.decided, result.arrived, result.duplicates, result.faults) == (40, 40, 2, 7)
    assert result.holds


def test_nothing_arrived_and_nothing_decided_prove_nothing(story: Story) -> None:
    assert not story.judged().holds


def test_an_alert_that_does_not_come_is_lost(story: Story) -> None:
    story.decide(0, 1, 2)
    story.arrive(0, 2)
    story.ended(expired=1)
    assert story.judged(after_s=59).lost == 1, "its time was not over"
    assert story.judged(after_s=61).lost == 0
    story.ended()
    assert story.judged(after_s=61).lost == 1, "a silent drop"
    story.ended(forced_out=1)
    assert story.judged().lost == 0
    assert story.judged().holds


def test_an_alert_after_its_expiry_is_late(story: Story) -> None:
    story.decide(0)
    story.arrive(0, after_s=61.1)
    assert (story.judged().late, story.judged().holds) == (1, False)


def test_order_counts_within_an_encounter_and_for_first_arrivals(story: Story) -> None:
    story.decide(0, 1, 4, 8)
    story.arrive(1, 0, 4, 0, 8)
    assert story.judged().holds
    story = Story(story.ends.folder)
    story.decide(0, 4)
    story.arrive(4, 0)
    assert (story.judged().out_of_order, story.judged().holds) == (1, False)


def test_an_alert_that_nobody_decided_is_strange(story: Story) -> None:
    story.decide(0)
    story.arrive(0, 1)
    assert (story.judged().strange, story.judged().holds) == (1, False)
    assert story.judged(between=1).holds


def test_an_event_in_clear_on_the_disk_is_noticed(story: Story) -> None:
    story.decide(0)
    story.arrive(0)
    (story.ends.folder / "outbox.sqlite-wal").write_bytes(b"..." + to_cloudevent(story._alerts[0]))
    assert (story.judged().readable, story.judged().holds) == (True, False)
    assert "READABLE" in str(story.judged())
    assert "READABLE" not in str(replace(story.judged(), readable=False))
