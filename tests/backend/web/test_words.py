"""Every language of the operators' page says everything, in words of its own."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

import pytest

from edge_app.adapters.web.render import page_words
from edge_app.backend.audit import Action
from edge_app.backend.roles import Role
from edge_app.backend.web.service import FOLDER, LANGUAGES
from edge_app.backend.web.shown import Standing
from edge_app.core.health import Condition
from edge_app.core.overview import PersonState
from edge_app.errors import SignInFault
from edge_app.records import Purpose

ALL = pytest.mark.parametrize("language", LANGUAGES)
SAME = {"brand", "people.station", "devices.version", "encounters.encounters"}


def texts(language: str) -> Iterator[tuple[str, str]]:
    for section, named in page_words(FOLDER, language).items():
        if isinstance(named, str):
            yield section, named
            continue
        for name, text in named.items():
            yield f"{section}.{name}", text


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@ALL
def test_a_language_says_everything_in_its_own_words(language: str) -> None:
    english, said = dict(texts("en")), dict(texts(language))
    assert said.keys() == english.keys()
    for name, text in said.items():
        assert text.strip() == text != "", name
        assert places(text) == places(english[name]), name


def test_no_language_is_forgotten_or_unknown() -> None:
    assert {path.stem for path in (FOLDER / "words").iterdir()} == set(LANGUAGES)


@ALL
def test_whatever_can_be_shown_has_words(language: str) -> None:
    words = page_words(FOLDER, language)
    assert set(words["actions"]) == {action.value for action in Action}
    assert set(words["roles"]) == {role.value for role in Role}
    assert set(words["states"]) == {state.value for state in PersonState}
    assert set(words["purposes"]) == {purpose.value for purpose in Purpose}
    assert set(words["source"]) == {standing.value for standing in Standing}
    assert {fault.value for fault in SignInFault} <= set(words["sign_in"])
    assert set(words["conditions"]) == {one.value for one in Condition} - {Condition.RUNNING.value}


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_most_words_are_not_english(language: str) -> None:
    english, said = dict(texts("en")), dict(texts(language))
    same = [name for name in said if said[name] == english[name]]
    assert len(same) < len(said) / 10, same
