from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.mqtt import OFFLINE, ONLINE
from edge_app.backend.states import Availability, DeviceStates, GalleryWord, HealthWord
from edge_app.backend.web.shown import PER_PAGE, Shown, Standing, _load
from edge_app.core.overview import Overview, encode_overview
from tests.overviews import an_overview
from tests.support import ROOT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXAMPLES = ROOT / "deploy" / "schemas" / "examples"
HEALTH = HealthWord.model_validate_json((EXAMPLES / "health-v1-running.json").read_bytes())
GALLERY = GalleryWord(generation=42, lease_until=NOW + timedelta(hours=20), purpose="entry")  # type: ignore[arg-type] # pydantic takes the word
GOOD = DeviceStates("riverside", "gate-1", Availability(state="online"), GALLERY, HEALTH, NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "overview.json"
    path.write_bytes(encode_overview(an_overview(NOW)))
    return path


def test_everybody_is_on_one_page_of_the_list(path: Path) -> None:
    shown = Shown(path)
    pages = [shown.people("", "", number, NOW).page for number in range(3)]
    records = [person.entry.record_id for page in pages for person in page.items]
    assert len(records) == len(set(records)) == 120
    assert [len(page.items) for page in pages] == [PER_PAGE, PER_PAGE, 20]
    until = [person.entry.until for page in pages for person in page.items]
    assert until == sorted(until)
    assert shown.people("", "", 999, NOW).page == pages[2]


def test_states_follow_the_readers_clock(path: Path) -> None:
    shown = Shown(path)
    now, later = shown.people("", "", 0, NOW), shown.people("", "", 0, NOW + timedelta(days=3650))
    assert sum(now.counts.values()) == sum(later.counts.values()) == 120
    assert now.counts["valid"] > 0  # type: ignore[index] # a StrEnum is its text
    assert set(later.counts) == {"retention_ended", "withdrawn"}
    assert later.source.standing is Standing.OLD
    for state, count in now.counts.items():
        assert shown.people(state.value, "", 0, NOW).page.total == count
    assert shown.people("nonsense", "", 0, NOW).page.total == 0


def test_a_record_is_found_by_how_it_begins(path: Path) -> None:
    shown = Shown(path)
    assert shown.people("", "  0003AD5B ", 0, NOW).page.total == 1
    assert shown.people("", "00", 0, NOW).page.total == 120
    assert shown.people("", "x", 0, NOW).page.items == ()


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({}, ()),
        ({"availability": Availability.model_validate_json(OFFLINE)}, ("offline",)),
        ({"availability": None, "heard": NOW - timedelta(minutes=5, seconds=1)}, ("quiet",)),
        ({"availability": Availability.model_validate_json(ONLINE)}, ()),
        ({"gallery": None, "health": None}, ()),
        ({"health": HEALTH.model_copy(update={"state": "camera covered"})}, ("state",)),
        ({"health": HEALTH.model_copy(update={"state": "of a newer version"})}, ("state",)),
        ({"health": HEALTH.model_copy(update={"throttled": True})}, ("throttled",)),
        ({"health": HEALTH.model_copy(
            update={"outbox": HEALTH.outbox.model_copy(update={"forced_out": 1})})},
         ("forced_out",)),
        ({"gallery": GALLERY.model_copy(update={"lease_until": NOW})}, ("lease_over",)),
        ({"gallery": GALLERY.model_copy(update={"lease_until": NOW + timedelta(hours=6)})},
         ("lease_soon",)),
        ({"gallery": GALLERY.model_copy(update={"lease_until": None, "generation": None})}, ()),
        ({"gallery": GALLERY.model_copy(update={"generation": 41})}, ("behind",)),
    ],
)  # fmt: skip
def test_what_troubles_a_device(
    path: Path, change: dict[str, object], trouble: tuple[str, ...]
) -> None:
    device = replace(GOOD, **change)  # type: ignore[arg-type] # of its own fields
    found = Shown(path).devices([GOOD, replace(device, device="gate-0")], 0, 0, NOW)
    by_name = {one.states.device: one.trouble for one in found.heard.items}
    assert by_name == {"gate-0": trouble, "gate-1": ()}
    if trouble:
        assert found.heard.items[0].states.device == "gate-0"


def test_of_many_devices_those_in_trouble_come_first(path: Path) -> None:
    offline = Availability(state="offline")
    many = [
        replace(GOOD, device=f"gate-{number:04}", availability=offline if number > 1_990 else None)
        for number in range(2_000)
    ]
    first = Shown(path).devices(many, 0, 0, NOW)
    assert first.heard.total == 2_000
    assert [one.states.device for one in first.heard.items[:9]] == [
        f"gate-{number}" for number in range(1_991, 2_000)
    ]
    last = Shown(path).devices(many, 999, 999, NOW)
    assert last.heard.items[-1].states.device == "gate-1990"
    assert [member.entry.name for member in last.members.items] == ["gate-2", "gate-1", "gate-3"]


def test_evidence_is_of_the_departure_that_was_asked_for(path: Path) -> None:
    shown = Shown(path)
    found = shown.erasures("ba9876543210", 0, NOW)
    assert [one.entry.digest for one in found.page.items] == ["ba9876543210", "0123456789ab"]
    first, second = (one.evidence for one in found.page.items)
    assert second is None
    assert first is not None
    assert [device.name for device in first.pending] == ["gate-2"]
    assert shown.proof("0123456789ab") is not None
    assert shown.proof("") is None


def test_without_an_overview_there_is_nothing_and_no_error(tmp_path: Path) -> None:
    for path, standing in (
        (None, Standing.NONE),
        (tmp_path / "missing", Standing.MISSING),
        (tmp_path, Standing.BROKEN),
    ):
        shown = Shown(path)
        assert shown.people("", "", 0, NOW).source.standing is standing
        assert shown.people("", "", 0, NOW).page.items == ()
        assert shown.devices([GOOD], 0, 0, NOW).heard.items[0].trouble == ()
        assert shown.erasures("", 0, NOW).page.items == ()
        assert shown.proof("0123456789ab") is None


def test_a_file_that_changes_is_read_anew_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def load(path: Path) -> Overview | None:
        read.append(path)
        return _load(path)

    monkeypatch.setattr("edge_app.backend.web.shown._load", load)
    shown = Shown(path)
    for _ in range(3):
        assert shown.people("", "", 0, NOW).page.total == 120
    assert len(read) == 1
    path.write_bytes(encode_overview(an_overview(NOW, people=7)))
    assert shown.people("", "", 0, NOW).page.total == 7
    path.write_bytes(path.read_bytes()[:-5])
    assert shown.people("", "", 0, NOW).source.standing is Standing.BROKEN
    path.write_bytes(encode_overview(an_overview(NOW)))
    assert shown.people("", "", 0, NOW).page.total == 120
    assert len(read) == 4
