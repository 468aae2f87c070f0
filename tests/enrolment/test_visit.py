"""A visit to the station's page: every order of events, and the few that end in an enrolment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_app.enrolment import visit as v
from edge_app.enrolment.refused import Refusal
from edge_app.enrolment.visit import Agreed, Step, StepError, Visit
from edge_app.records import LawfulBasis

WHO = Agreed("Zebedee Quux", "friend", LawfulBasis.EXPLICIT_CONSENT)
MOST = 3

MOVES: dict[str, Callable[[Visit], Visit]] = {
    "agree": lambda at: v.agree(at, WHO, 1.0),
    "start": lambda at: v.start(at, 1.0),
    "refuse": lambda at: v.refuse(at, Refusal.LIVENESS, most_captures=MOST, now_s=1.0),
    "captured": lambda at: v.captured(at, 1.0),
    "show_code": lambda at: v.show_code(at, 1.0),
    "finish": lambda at: v.finish(at, 1.0),
    "stored": lambda at: v.stored(at, 1.0),
    "go": v.go,
    "fail": lambda at: v.fail(at, Refusal.STATION),
}
TO_THE_END = ("agree", "start", "captured", "show_code", "finish", "stored")


def walked(*names: str) -> Visit:
    at = v.begin("en", 0.0)
    for name in names:
        at = MOVES[name](at)
    return at


def test_the_way_through() -> None:
    assert walked() == Visit("en", Step.NOTICE, None, 0, None, 0.0)
    steps = [walked(*TO_THE_END[:count]).step for count in range(len(TO_THE_END) + 1)]
    assert steps == [step for step in Step if step is not Step.GONE]
    assert walked(*TO_THE_END).agreed is None


@pytest.mark.parametrize("count", range(len(TO_THE_END) + 1))
def test_nothing_else_goes_forward(count: int) -> None:
    """From every step, every move but the next one leads back, out, or nowhere."""
    at = walked(*TO_THE_END[:count])
    for name in MOVES.keys() - set(TO_THE_END[count : count + 1]):
        with suppress(StepError):
            assert MOVES[name](at).step in {Step.READY, Step.GONE}


def test_a_refused_capture_may_be_tried_again_but_not_for_ever() -> None:
    tries = ("start", "refuse")
    at = walked("agree", *tries, *tries)
    assert (at.step, at.captures, at.refusal) == (Step.READY, 2, Refusal.LIVENESS)
    assert at.agreed == WHO
    assert MOVES["start"](at).refusal is None
    over = walked("agree", *tries * MOST)
    assert (over.step, over.agreed, over.refusal) == (Step.GONE, None, Refusal.LIVENESS)


def test_what_is_being_stored_is_waited_for() -> None:
    storing = walked(*TO_THE_END[:-1])
    with pytest.raises(StepError, match="leave does not follow storing"):
        v.go(storing)
    assert v.fail(storing, Refusal.STATION).step is Step.GONE


def test_idle_is_counted_from_what_the_person_did_last() -> None:
    at = v.seen(walked("agree"), 50.0)
    assert not v.is_idle(at, idle_s=10.0, now_s=60.0)
    assert v.is_idle(at, idle_s=10.0, now_s=60.1)
    assert v.seen(at, 20.0) == at  # two requests may arrive the other way round


def test_a_name_does_not_reach_a_log_line() -> None:
    assert WHO.name not in repr(walked("agree"))


class AnyOrder(RuleBasedStateMachine):
    """Buttons of old pages, two tabs, a capture that ends late: any order there can be."""

    @initialize()
    def begin(self) -> None:
        self.at = v.begin("de", 0.0)
        self.now_s = 0.0
        self.happened: list[str] = []

    @rule(name=st.sampled_from(sorted(MOVES)))
    def moves(self, name: str) -> None:
        try:
            self.at = MOVES[name](self.at)
        except StepError:
            return
        self.happened.append(name)

    @invariant()
    def nothing_follows_the_end(self) -> None:
        ends = [i for i, name in enumerate(self.happened) if name in {"stored", "go", "fail"}]
        assert not ends or ends == [len(self.happened) - 1]

    @invariant()
    def over_means_that_nothing_is_held(self) -> None:
        if self.at.step in v.OVER:
            assert self.at.agreed is None

    @invariant()
    def consent_comes_before_the_camera_and_the_code_before_the_store(self) -> None:
        for name in self.happened:
            before = self.happened[: self.happened.index(name)]
            if name in TO_THE_END:
                assert set(TO_THE_END[: TO_THE_END.index(name)]) <= set(before)

    @invariant()
    def one_capture_at_most_succeeds(self) -> None:
        assert self.happened.count("captured") <= 1
        assert self.happened.count("start") <= MOST
        assert self.happened.count("stored") <= 1


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
