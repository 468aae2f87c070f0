"""What is refused before a capture, what is stored after it, and what is listed of it later."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import edge_app.enrol
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import Config
from edge_app.enrol import Applicant, EnrolmentResult, check_applicant
from edge_app.enrolment.receipt import receipt_text
from edge_app.enrolment.station import FleetKeeping
from edge_app.errors import EnrolmentError, GalleryError
from edge_app.people import export_person, list_people
from edge_app.records import Enrolment, LawfulBasis, Purpose
from tests.enrolling import NAME, enrol_pictures


class LaterClock(SystemClock):
    def __init__(self, days: int) -> None:
        super().__init__()
        self._ahead = timedelta(days=days)

    def now(self) -> datetime:
        return super().now() + self._ahead


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


REFUSED = [
    (Applicant("Ada", "", Purpose.CARE, LawfulBasis.EXPLICIT_CONSENT), "--purpose assist"),
    (Applicant("", "", Purpose.ASSIST, LawfulBasis.EXPLICIT_CONSENT), "give a name"),
    (Applicant("Ada", "\n", Purpose.ASSIST, LawfulBasis.EXPLICIT_CONSENT), "give a relation"),
    (Applicant("Ada", "", Purpose.ASSIST, LawfulBasis.LEGAL_REPRESENTATIVE), "care only"),
]


@pytest.mark.parametrize(("applicant", "message"), REFUSED)
def test_applicant_is_checked_before_anything_else(
    config: Config, applicant: Applicant, message: str
) -> None:
    with pytest.raises(EnrolmentError, match=message):
        check_applicant(config, applicant)


def test_refused_applicant_meets_no_camera_and_leaves_no_trace(
    config: Config, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_app.enrol, "make_camera", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(EnrolmentError, match="give a name"):
        enrol_pictures(config, home, [], name="")
    with pytest.raises(EnrolmentError, match="--purpose assist"):
        enrol_pictures(config, home, [], purpose=Purpose.CARE)
    assert not home.folder.exists()


def test_nothing_is_stored_of_a_person_without_a_receipt(
    config: Config, home: Home, media: Path
) -> None:
    def fail(_: EnrolmentResult) -> None:
        raise OSError("no paper")

    with pytest.raises(OSError, match="no paper"):
        enrol_pictures(config, home, [media / "enrolled-1.jpg"], hand_over=fail)
    assert list_people(config, home, SystemClock()) == []
    assert not (home.folder / "store").exists()


def test_person_who_is_not_matched_is_listed_and_exported_whole(
    config: Config, home: Home, media: Path
) -> None:
    """The right of access does not end with the consent."""
    person_id = enrol_pictures(config, home, [media / "enrolled-1.jpg"]).person_id
    now, later = SystemClock(), LaterClock(400)
    told: list[tuple[str, int, int]] = []
    (person,) = list_people(config, home, now, lambda *come: told.append(come))
    assert told == [("Reading people", 1, 1), ("Checking consents", 1, 1)]
    (expired,) = list_people(config, home, later)
    assert (person.fault, expired.fault) == ("", "expired")
    for each in (person, expired):
        assert (each.person_id, each.name, each.relation) == (person_id, NAME, "friend")
        assert (each.purpose, each.templates, each.demo) == ("assist", 1, True)
        assert each.valid_until == person.valid_until
    exported = [json.loads(export_person(config, home, person_id, clock)) for clock in (now, later)]
    assert [entry.pop("fault") for entry in exported] == ["", "expired"]
    assert exported[0] == exported[1]
    assert exported[0]["name"] == NAME
    with pytest.raises(GalleryError, match="nobody here has the id"):
        export_person(config, home, "person-0", now)


def test_whom_a_fleet_keeps_is_told_so_and_stays_not_here(home: Home, media: Path) -> None:
    delivered: list[Enrolment] = []
    result = enrol_pictures(
        Config(),
        home,
        [media / "enrolled-1.jpg"],
        keeping=FleetKeeping("harbour", delivered.append),
    )
    (person,) = delivered
    assert person.person_id == result.person_id
    assert 'the operator of the fleet "harbour"' in person.consent.record.storage_locations[0]
    assert "this device, encrypted" not in receipt_text(result.receipt)
    assert '"harbour"' in receipt_text(result.receipt)
    assert "--url" in receipt_text(result.receipt)
    assert list_people(Config(), home, SystemClock()) == []
