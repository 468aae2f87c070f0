"""A question is answered once, in time, and an answer never tells of a stranger."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_app.core.question import Answer, Question, Reply

ANSWER_S = 0.5


@pytest.fixture
def asked() -> Question[str]:
    question: Question[str] = Question(ANSWER_S)
    question.ask(10.0)
    return question


def answered(question: Question[str], now_s: float = 10 + ANSWER_S) -> Answer[str] | None:
    return question.answer(now_s, fault=False)


def test_without_a_question_there_is_no_answer() -> None:
    question: Question[str] = Question(ANSWER_S)
    question.looked({"a": "Ada"}, unsure=True, dark=True)
    assert question.answer(100.0, fault=True) is None
    question.ask(101.0)
    question.looked({}, unsure=False, dark=False)
    assert question.answer(102.0, fault=False) == Answer(Reply.NOBODY)


def test_it_is_answered_when_it_is_due_and_once(asked: Question[str]) -> None:
    asked.looked({}, unsure=False, dark=False)
    assert answered(asked, 10.49) is None
    assert answered(asked) == Answer(Reply.NOBODY)
    assert answered(asked) is None


def test_presses_while_it_is_open_are_the_same_question(asked: Question[str]) -> None:
    asked.ask(10.4)
    asked.looked({}, unsure=False, dark=False)
    assert answered(asked) == Answer(Reply.NOBODY)
    assert answered(asked, 20.0) is None


def test_everybody_who_was_recognised_since_is_in_the_answer(asked: Question[str]) -> None:
    asked.looked({"a": "Ada, left"}, unsure=True, dark=True)
    asked.looked({"b": "Bo"}, unsure=False, dark=True)
    asked.looked({"a": "Ada, right"}, unsure=False, dark=True)
    assert answered(asked) == Answer(Reply.PEOPLE, ("Ada, right", "Bo"))


def test_nobody_of_an_earlier_question_is_in_the_next(asked: Question[str]) -> None:
    asked.looked({"a": "Ada"}, unsure=True, dark=True)
    answered(asked)
    asked.ask(20.0)
    assert answered(asked, 21.0) == Answer(Reply.UNSEEN)
    asked.ask(30.0)
    asked.looked({}, unsure=False, dark=False)
    assert answered(asked, 31.0) == Answer(Reply.NOBODY)


def test_doubt_about_who_it_is_and_darkness(asked: Question[str]) -> None:
    asked.looked({}, unsure=True, dark=True)
    asked.looked({}, unsure=False, dark=True)
    assert answered(asked) == Answer(Reply.UNSURE)
    asked.ask(20.0)
    asked.looked({}, unsure=False, dark=True)
    assert answered(asked, 21.0) == Answer(Reply.TOO_DARK)
    asked.ask(30.0)
    asked.looked({}, unsure=False, dark=True)
    asked.looked({}, unsure=False, dark=False)
    assert answered(asked, 31.0) == Answer(Reply.NOBODY)


def test_a_fault_is_told_at_once_and_hides_who_was_seen(asked: Question[str]) -> None:
    asked.looked({"a": "Ada"}, unsure=False, dark=False)
    assert asked.answer(10.0, fault=True) == Answer(Reply.FAULT)
    assert answered(asked) is None


def test_names_are_not_shown_by_a_log_line() -> None:
    assert "Ada" not in repr(Answer(Reply.PEOPLE, ("Ada",)))


class Asking(RuleBasedStateMachine):
    """Presses, frames and faults in any order, against what the wearer may expect."""

    def __init__(self) -> None:
        super().__init__()
        self.question: Question[str] = Question(ANSWER_S)
        self.now_s = 0.0
        self.asked_s: float | None = None
        self.seen: set[str] = set()

    @rule()
    def press(self) -> None:
        self.question.ask(self.now_s)
        if self.asked_s is None:
            self.asked_s, self.seen = self.now_s, set()

    @rule(people=st.sets(st.sampled_from("abc")), unsure=st.booleans(), dark=st.booleans())
    def frame(self, people: set[str], unsure: bool, dark: bool) -> None:
        self.question.looked({person: person for person in people}, unsure=unsure, dark=dark)
        if self.asked_s is not None:
            self.seen |= people

    @rule(step_s=st.floats(0.01, 0.4), fault=st.booleans())
    def time_goes_on(self, step_s: float, fault: bool) -> None:
        self.now_s += step_s
        answer = self.question.answer(self.now_s, fault=fault)
        due = self.asked_s is not None and (fault or self.now_s >= self.asked_s + ANSWER_S)
        assert (answer is not None) == due
        if answer is not None:
            assert set(answer.people) == (set() if fault else self.seen)
            assert (answer.reply is Reply.FAULT) == fault
            assert bool(answer.people) == (answer.reply is Reply.PEOPLE)
            self.asked_s = None

    @precondition(lambda self: self.asked_s is not None)
    @rule()
    def the_camera_is_covered(self) -> None:
        self.question.drop()
        self.asked_s = None

    @invariant()
    def it_is_open_while_an_answer_is_owed(self) -> None:
        assert self.question.is_open == (self.asked_s is not None)


TestAsking = Asking.TestCase
TestAsking.settings = settings(max_examples=100, stateful_step_count=30)
