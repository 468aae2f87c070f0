"""Demo enrolments the user's way, without the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from edge_app.adapters.cameras import parse_source
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.liveness import Ask
from edge_app.enrol import Applicant, EnrolmentResult, consent_notice, enrol_person
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.station import FleetKeeping
from edge_app.records import LawfulBasis, Purpose

NAME = "Zebedee Quux"
"""A name that occurs nowhere else, so that it can be searched for."""


class SilentGuide:
    def ask(self, ask: Ask | Facing) -> None:
        pass

    def hint(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


def enrol_pictures(
    config: Config,
    home: Home,
    paths: Sequence[Path],
    name: str = NAME,
    *,
    purpose: Purpose | None = None,
    hand_over: Callable[[EnrolmentResult], None] = lambda _: None,
    keeping: FleetKeeping | None = None,
) -> EnrolmentResult:
    purpose = purpose or config.purpose
    applicant = Applicant(name, "friend", purpose, LawfulBasis.EXPLICIT_CONSENT)
    return enrol_person(
        config,
        home,
        applicant,
        consent_notice(config, purpose, "en", keeping.fleet if keeping else ""),
        sources=[parse_source(str(path)) for path in paths],
        demo=True,
        guide=SilentGuide(),
        hand_over=hand_over,
        clock=SystemClock(),
        stop=Event(),
        keeping=keeping,
    )


def enrol_portraits(config: Config, home: Home, media: Path) -> EnrolmentResult:
    """The person of the demo, from the two portraits that the demo uses."""
    return enrol_pictures(config, home, [media / "enrolled-1.jpg", media / "enrolled-2.jpg"])
