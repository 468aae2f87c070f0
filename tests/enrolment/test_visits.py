"""Visits in threads: who stops, stays away or comes at the same time, and what is held of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from edge_app.adapters.cameras.browser import BrowserCamera
from edge_app.core.liveness import Ask
from edge_app.enrolment.capture import Guide
from edge_app.enrolment.receipt import Receipt
from edge_app.enrolment.refused import CaptureRefusedError, Refusal
from edge_app.enrolment.station import EnrolmentReport
from edge_app.enrolment.visit import Agreed, Step, StepError
from edge_app.enrolment.visits import (
    HandOver,
    StationBusyError,
    StationCamera,
    UnknownVisitError,
    VisitLimits,
    Visits,
)
from edge_app.enrolment.words import Hint
from edge_app.errors import CameraError, EdgeAppError, EnrolmentError, StorageError
from edge_app.records import ClockState, LawfulBasis
from tests.adapters.cameras.conftest import jpeg

WHO = Agreed("Zebedee Quux", "friend", LawfulBasis.EXPLICIT_CONSENT)
LIMITS = VisitLimits(idle_s=100.0, gap_s=5.0, most_visits=3, most_captures=2)
RECEIPT = Receipt("en", "", (), "", "ABCD", "", "", "", "", "", "", "", "")
REPORT = EnrolmentReport(5, {}, 0, 0, 0, (), {}, demo=False, look_alike=None)


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def monotonic_s(self) -> float:
        return self.time_s

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC)

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


@dataclass
class Enrolment:
    """An enrolment that takes one frame. Tells what it stored, and that it let go of the rest."""

    refuse: EdgeAppError | None = None
    fail_to_store: EdgeAppError | None = None
    stored: list[Agreed] = field(default_factory=list)
    gave_up: list[type[BaseException]] = field(default_factory=list)

    def __call__(
        self,
        agreed: Agreed,
        language: str,
        *,
        camera: StationCamera,
        guide: Guide,
        hand_over: HandOver,
    ) -> None:
        try:
            camera.open()
            guide.progress(0, 3)
            guide.ask(Ask.LEFT)
            guide.hint(Hint.COME_CLOSER)
            frame = camera.read()
            camera.close()
            if self.refuse is not None:
                raise self.refuse
            if frame is None:
                raise CaptureRefusedError(Refusal.LIVENESS, "cut off")
            hand_over(RECEIPT, REPORT)
            if self.fail_to_store is not None:
                raise self.fail_to_store
            self.stored.append(agreed)
        except EdgeAppError as error:
            self.gave_up.append(type(error))
            raise


@dataclass
class Station:
    enrol: Enrolment
    clock: Hands
    visits: Visits

    def before_the_camera(self) -> str:
        name = self.visits.begin("en")
        self.visits.agree(name, WHO)
        self.visits.start(name)
        return name

    def at_the_summary(self) -> str:
        name = self.before_the_camera()
        self.visits.look(name, jpeg(50))
        self.until(lambda: self.step(name) is not Step.CAPTURING)
        return name

    def step(self, name: str) -> Step:
        return self.visits.peek(name).visit.step

    @staticmethod
    def until(true: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline_s
            time.sleep(0.002)

    def nobody_captures(self) -> None:
        self.until(lambda: not [t for t in threading.enumerate() if t.name == "enrolment"])


def station(enrol: Enrolment | None = None) -> Station:
    clock, enrol = Hands(), enrol or Enrolment()

    def camera() -> BrowserCamera:
        return BrowserCamera(
            demo=False, timeout_s=30, min_side_px=1, max_pixels=10_000, clock=clock
        )

    return Station(enrol, clock, Visits(enrol, camera, LIMITS, clock))


def test_nothing_is_stored_before_the_person_has_their_code() -> None:
    at = station()
    name = at.at_the_summary()
    assert at.visits.standing(name).receipt == RECEIPT
    assert at.enrol.stored == []
    at.visits.show_code(name)
    assert at.enrol.stored == []
    at.visits.finish(name)
    assert at.enrol.stored == [WHO]
    standing = at.visits.standing(name)
    assert (standing.visit.step, standing.visit.agreed) == (Step.DONE, None)
    assert (standing.receipt, standing.report) == (None, None)
    at.nobody_captures()


def test_the_guide_reaches_the_page_and_hints_that_are_followed_fade() -> None:
    at = station()
    name = at.before_the_camera()
    at.until(lambda: at.visits.look(name, b"").hint is not None)
    said = at.visits.look(name, b"no picture")
    assert (said.ask, said.hint, said.done, said.total) == (Ask.LEFT, Hint.COME_CLOSER, 0, 3)
    at.clock.time_s += 2
    assert at.visits.look(name, b"").hint is None
    assert at.visits.picture(name) is None  # the browser shows its own
    at.visits.close()
    at.nobody_captures()


@pytest.mark.parametrize("steps", ["notice", "capturing", "summary", "receipt"])
@pytest.mark.parametrize("away", ["stops", "stays away", "the station ends"])
def test_whoever_does_not_finish_leaves_nothing(steps: str, away: str) -> None:
    at = station()
    if steps == "notice":
        name = at.visits.begin("en")
    elif steps == "capturing":
        name = at.before_the_camera()
    else:
        name = at.at_the_summary()
        if steps == "receipt":
            at.visits.show_code(name)
    if away == "stops":
        at.visits.stop(name)
    elif away == "stays away":
        at.clock.time_s += LIMITS.idle_s + 1
        at.visits.sweep()
    else:
        at.visits.close()
    standing = at.visits.peek(name)
    assert standing.visit.step is Step.GONE
    assert standing.visit.agreed is None
    assert standing.receipt is None
    at.nobody_captures()
    assert at.enrol.stored == []
    assert len(at.enrol.gave_up) == (steps != "notice")
    with pytest.raises(StepError):
        at.visits.finish(name)


def test_a_capture_whose_page_is_gone_ends_long_before_the_visit_would() -> None:
    at = station()
    name = at.before_the_camera()
    at.clock.time_s += LIMITS.gap_s
    at.visits.sweep()
    assert at.step(name) is Step.CAPTURING
    at.visits.look(name, b"")
    at.clock.time_s += LIMITS.gap_s + 0.1
    at.visits.sweep()
    visit = at.visits.peek(name).visit
    assert (visit.step, visit.refusal) == (Step.GONE, Refusal.IDLE)
    at.nobody_captures()
    at.before_the_camera()  # the camera is free again
    at.visits.close()
    at.nobody_captures()


def test_one_person_is_before_the_camera() -> None:
    at = station()
    first = at.before_the_camera()
    second = at.visits.begin("de")
    at.visits.agree(second, WHO)
    with pytest.raises(StationBusyError):
        at.visits.start(second)
    assert at.step(second) is Step.READY
    at.visits.look(first, jpeg(50))
    at.until(lambda: at.step(first) is Step.SUMMARY)
    at.visits.start(second)
    at.visits.close()
    at.nobody_captures()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (CaptureRefusedError(Refusal.LIVENESS, "a turn the other way"), Refusal.LIVENESS),
        (CameraError("no more pictures"), Refusal.CAMERA),
    ],
)
def test_a_refused_capture_may_be_tried_again_a_few_times(
    error: EdgeAppError, why: Refusal
) -> None:
    at = station(Enrolment(refuse=error))
    name = at.at_the_summary()
    visit = at.visits.peek(name).visit
    assert (visit.step, visit.refusal) == (Step.READY, why)
    at.visits.start(name)
    at.visits.look(name, jpeg(50))
    at.until(lambda: at.step(name) is Step.GONE)
    assert at.visits.peek(name).visit.refusal is why
    at.nobody_captures()


def test_another_fault_ends_the_visit_and_the_next_one_can_begin() -> None:
    at = station(Enrolment(refuse=EnrolmentError("this cannot be")))
    name = at.at_the_summary()
    visit = at.visits.peek(name).visit
    assert (visit.step, visit.refusal) == (Step.GONE, Refusal.STATION)
    at.nobody_captures()
    at.before_the_camera()
    at.visits.close()
    at.nobody_captures()


def test_a_full_disk_is_told_to_the_person() -> None:
    at = station(Enrolment(fail_to_store=StorageError("no space left")))
    name = at.at_the_summary()
    at.visits.show_code(name)
    at.visits.finish(name)
    standing = at.visits.peek(name)
    assert (standing.visit.step, standing.visit.refusal) == (Step.GONE, Refusal.STATION)
    assert standing.receipt is None
    assert at.enrol.stored == []
    at.nobody_captures()


def test_visits_are_named_by_secrets_and_bounded_in_number() -> None:
    at = station()
    with pytest.raises(UnknownVisitError):
        at.visits.standing("")
    names = [at.visits.begin("en") for _ in range(LIMITS.most_visits)]
    assert len(set(names)) == LIMITS.most_visits
    assert min(map(len, names)) >= 40
    assert len({at.visits.peek(name).token for name in names}) == LIMITS.most_visits
    at.clock.time_s += 1
    at.visits.standing(names[0])
    at.visits.begin("en")  # in the place of one that holds nothing
    with pytest.raises(UnknownVisitError):
        at.visits.standing(names[1])
    at.visits.standing(names[0])
    for _ in range(LIMITS.most_visits):
        at.visits.agree(at.visits.begin("en"), WHO)
    with pytest.raises(StationBusyError):
        at.visits.begin("en")


def test_a_browser_that_begins_again_leaves_its_earlier_visit() -> None:
    at = station()
    first = at.at_the_summary()
    second = at.visits.begin("fr", before=first)
    assert at.step(first) is Step.GONE
    assert at.step(second) is Step.NOTICE
    at.nobody_captures()
    assert at.enrol.stored == []


def test_who_stays_away_is_forgotten_in_the_end() -> None:
    at = station()
    name = at.visits.begin("en")
    for _ in range(2):
        at.clock.time_s += LIMITS.idle_s + 1
        at.visits.sweep()
    with pytest.raises(UnknownVisitError):
        at.visits.peek(name)


def test_a_sign_of_the_person_keeps_their_visit_and_a_page_that_asks_alone_does_not() -> None:
    at = station()
    name = at.visits.begin("en")
    for _ in range(3):
        at.clock.time_s += LIMITS.idle_s - 1
        assert at.visits.standing(name).visit.step is Step.NOTICE
    at.clock.time_s += LIMITS.idle_s - 1
    at.visits.peek(name)
    at.clock.time_s += 2
    assert at.visits.standing(name).visit.step is Step.GONE
