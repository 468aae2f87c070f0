"""What the wearer reads and hears."""

from __future__ import annotations

import pytest

from edge_app.core.present import hud_view, phrases, spoken_fault, spoken_text
from edge_app.core.steady import Shown
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView


def shown(
    name: str = "Anna",
    relation: str = "",
    where: Direction = Direction.LEFT,
    *,
    unsure: bool = False,
    has_line: bool = True,
) -> Shown:
    return Shown("p1", HudLine(name, relation, where, unsure), 0.1, 0.8, 0.0, has_line)


def view(*people: Shown, fault: str = "", hint: str = "") -> HudView:
    return hud_view(people, fault=fault, hint=hint, language="en")


def test_nobody() -> None:
    assert view() == HudView((), "")
    assert view(fault="camera lost") == HudView((), "camera lost", fault=True)
    assert spoken_text((), "en") == ""


def test_one_person() -> None:
    assert view(shown()).lines == (shown().line,)


def test_who_has_no_line_is_counted() -> None:
    people = [shown(), *[shown(has_line=False)] * 3]
    assert view(*people) == HudView((shown().line,), "+3 more")


def test_a_fault_is_told_before_a_count_and_a_count_before_a_hint() -> None:
    crowd = [shown(), shown(has_line=False)]
    assert view(*crowd, fault="camera lost", hint="no sound").status == "camera lost"
    assert view(*crowd, hint="no sound") == HudView((shown().line,), "+1 more")
    assert view(shown(), hint="no sound") == HudView((shown().line,), "no sound")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (HudLine("Anna", "colleague", Direction.LEFT, False), "Anna, colleague, on your left."),
        (HudLine("Anna", "", Direction.AHEAD, False), "Anna, ahead."),
        (HudLine("Anna", "", Direction.RIGHT, True), "Probably Anna, on your right."),
        (HudLine("Bo {x}", "son", Direction.RIGHT, True), "Probably Bo {x}, son, on your right."),
    ],
)
def test_spoken(line: HudLine, text: str) -> None:
    assert spoken_text([line], "en") == text


def test_several_people_are_several_sentences() -> None:
    lines = [shown("A").line, shown("B", where=Direction.RIGHT).line]
    assert spoken_text(lines, "en") == "A, on your left. B, on your right."


@pytest.mark.parametrize("language", ["", "xx", "EN"])
def test_an_unknown_language_names_those_that_are_known(language: str) -> None:
    with pytest.raises(ConfigError, match="choose one of: de, en, fr"):
        phrases(language)
    with pytest.raises(ConfigError):
        spoken_text((), language)


def test_faults_are_sentences_for_the_ear_and_other_words_stay() -> None:
    words = phrases("de")
    assert spoken_fault(words.camera_lost, "de") == words.said_camera_lost
    assert spoken_fault("Kamera verdeckt", "de") == "Kamera verdeckt"
