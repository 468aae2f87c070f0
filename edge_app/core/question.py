"""The wearer's "who is this?": asked by a button, answered once, within a second.

An answer comes at the same moment after the question whoever is in view, and tells of enrolled
people only: with a stranger there it is the one that an empty room gets (P1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

Person = TypeVar("Person")


class Reply(StrEnum):
    """What the wearer is told. The first that holds, but for FAULT, which needs no wait.

    FAULT:      what keeps the device from matching at all.
    UNSEEN:     no picture came since the question.
    PEOPLE:     who was recognised since the question.
    UNSURE:     somebody scores as enrolled people do, and it cannot be said who.
    TOO_DARK:   nowhere in the picture is light enough for a face.
    NOBODY:     nobody enrolled is here.
    """

    FAULT = "fault"
    UNSEEN = "unseen"
    PEOPLE = "people"
    UNSURE = "unsure"
    TOO_DARK = "too dark"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Answer(Generic[Person]):
    """people: the latest of each who was recognised since the question; empty but for PEOPLE."""

    reply: Reply
    people: tuple[Person, ...] = field(default=(), repr=False)


class Question(Generic[Person]):
    """At most one open question. A press while one is open belongs to it."""

    def __init__(self, answer_s: float) -> None:
        """answer_s: how long after the question the answer is due."""
        self._answer_s = answer_s
        self._due_s: float | None = None
        self._looks = 0
        self._unsure = False
        self._dark = False
        self._people: dict[str, Person] = {}

    @property
    def is_open(self) -> bool:
        return self._due_s is not None

    def ask(self, now_s: float) -> None:
        """Opens a question, unless one is open."""
        if self._due_s is None:
            self._due_s = now_s + self._answer_s

    def looked(self, people: Mapping[str, Person], *, unsure: bool, dark: bool) -> None:
        """Takes note of a frame: whom it recognised, by their ids. Nothing without a question."""
        if self._due_s is None:
            return
        self._looks += 1
        self._unsure = self._unsure or unsure
        self._dark = dark
        self._people.update(people)

    def answer(self, now_s: float, *, fault: bool) -> Answer[Person] | None:
        """The answer, once, when it is due or something is wrong; else None."""
        if self._due_s is None or (now_s < self._due_s and not fault):
            return None
        answer = self._answer(fault)
        self.drop()
        return answer

    def drop(self) -> None:
        """Closes the question without an answer, and forgets who was seen."""
        self._due_s, self._looks, self._unsure, self._dark = None, 0, False, False
        self._people.clear()

    def _answer(self, fault: bool) -> Answer[Person]:
        if fault:
            return Answer(Reply.FAULT)
        if not self._looks:
            return Answer(Reply.UNSEEN)
        if self._people:
            return Answer(Reply.PEOPLE, tuple(self._people.values()))
        if self._unsure:
            return Answer(Reply.UNSURE)
        return Answer(Reply.TOO_DARK if self._dark else Reply.NOBODY)
