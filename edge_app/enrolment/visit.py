"""One person's visit to a station's page: what may follow what.

    notice -> ready -> capturing -> summary -> receipt -> storing -> done
                ^          |
                +----------+   the capture was refused; nothing was kept of it

Whoever stops, stays away or fails on the way is gone, and nothing of them is kept. Consent comes
before the camera, a capture succeeds once, and nothing is stored before the person has the code to
leave with (P3). Pure: the caller brings the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from edge_app.enrolment.refused import Refusal
from edge_app.errors import EdgeAppError
from edge_app.records import LawfulBasis


class Step(StrEnum):
    """Where a visit is; the value names the page."""

    NOTICE = "notice"
    READY = "ready"
    CAPTURING = "capturing"
    SUMMARY = "summary"
    RECEIPT = "receipt"
    STORING = "storing"
    DONE = "done"
    GONE = "gone"


class Move(StrEnum):
    """What takes a visit from one step to another."""

    AGREE = "agree"
    START = "start"
    REFUSE = "refuse"
    CAPTURED = "captured"
    SHOW_CODE = "show_code"
    FINISH = "finish"
    STORED = "stored"
    LEAVE = "leave"
    FAIL = "fail"


_WAYS: Final[Mapping[tuple[Step, Move], Step]] = {
    (Step.NOTICE, Move.AGREE): Step.READY,
    (Step.READY, Move.START): Step.CAPTURING,
    (Step.CAPTURING, Move.REFUSE): Step.READY,
    (Step.CAPTURING, Move.CAPTURED): Step.SUMMARY,
    (Step.SUMMARY, Move.SHOW_CODE): Step.RECEIPT,
    (Step.RECEIPT, Move.FINISH): Step.STORING,
    (Step.STORING, Move.STORED): Step.DONE,
    # What is being stored is waited for: afterwards, the code is the way out.
    (Step.NOTICE, Move.LEAVE): Step.GONE,
    (Step.READY, Move.LEAVE): Step.GONE,
    (Step.CAPTURING, Move.LEAVE): Step.GONE,
    (Step.SUMMARY, Move.LEAVE): Step.GONE,
    (Step.RECEIPT, Move.LEAVE): Step.GONE,
    (Step.CAPTURING, Move.FAIL): Step.GONE,
    (Step.STORING, Move.FAIL): Step.GONE,
}

OVER: Final = frozenset({Step.DONE, Step.GONE})
"""Steps that nothing follows; a visit there holds nothing of the person."""


class StepError(EdgeAppError):
    """A move that the step does not allow, such as a button of a page from before."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """Who agreed, as they typed it. relation: to the wearer; may be empty."""

    name: str = field(repr=False)
    relation: str = field(repr=False)
    lawful_basis: LawfulBasis


@dataclass(frozen=True, slots=True)
class Visit:
    """agreed:   from the consent on, until it is over.
    captures: that were started.
    refusal:  why the latest capture was refused, or why the visit is gone; None without a reason.
    seen_s:   when the person last did something, in the caller's monotonic seconds.
    """

    language: str
    step: Step
    agreed: Agreed | None
    captures: int
    refusal: Refusal | None
    seen_s: float


def begin(language: str, now_s: float) -> Visit:
    """Somebody is before the page, and has agreed to nothing."""
    return Visit(language, Step.NOTICE, agreed=None, captures=0, refusal=None, seen_s=now_s)


def agree(visit: Visit, agreed: Agreed, now_s: float) -> Visit:
    """Raises StepError, as all below."""
    return replace(_moved(visit, Move.AGREE), agreed=agreed, seen_s=now_s)


def start(visit: Visit, now_s: float) -> Visit:
    """The camera opens."""
    moved = _moved(visit, Move.START)
    return replace(moved, captures=visit.captures + 1, refusal=None, seen_s=now_s)


def refuse(visit: Visit, why: Refusal, *, most_captures: int, now_s: float) -> Visit:
    """A capture was refused. They may try again, unless it was the last of `most_captures`."""
    if visit.captures >= most_captures:
        return fail(visit, why)
    return replace(_moved(visit, Move.REFUSE), refusal=why, seen_s=now_s)


def captured(visit: Visit, now_s: float) -> Visit:
    """There is a signed enrolment, not stored yet."""
    return replace(_moved(visit, Move.CAPTURED), seen_s=now_s)


def show_code(visit: Visit, now_s: float) -> Visit:
    return replace(_moved(visit, Move.SHOW_CODE), seen_s=now_s)


def finish(visit: Visit, now_s: float) -> Visit:
    """The person says that they have their code."""
    return replace(_moved(visit, Move.FINISH), seen_s=now_s)


def stored(visit: Visit, now_s: float) -> Visit:
    return replace(_moved(visit, Move.STORED), agreed=None, seen_s=now_s)


def go(visit: Visit, why: Refusal | None = None) -> Visit:
    """The person stops, or stays away: over, without an enrolment."""
    return replace(_moved(visit, Move.LEAVE), agreed=None, refusal=why)


def fail(visit: Visit, why: Refusal) -> Visit:
    """The station cannot: over, without an enrolment."""
    return replace(_moved(visit, Move.FAIL), agreed=None, refusal=why)


def seen(visit: Visit, now_s: float) -> Visit:
    """They did something, whatever it was."""
    return replace(visit, seen_s=max(visit.seen_s, now_s))


def is_idle(visit: Visit, *, idle_s: float, now_s: float) -> bool:
    """Whether nobody did anything for so long."""
    return now_s - visit.seen_s > idle_s


def _moved(visit: Visit, move: Move) -> Visit:
    to = _WAYS.get((visit.step, move))
    if to is None:
        raise StepError(f"{move} does not follow {visit.step}; go on where the visit is")
    return replace(visit, step=to)
