"""Every language of the page says everything, in words of its own."""

from __future__ import annotations

from string import Formatter

import pytest

from edge_app.adapters.web.render import page_words
from edge_app.enrolment.consent_notice import languages
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.refused import Refusal
from edge_app.enrolment.web.service import FOLDER
from edge_app.sync import Told

ALL = pytest.mark.parametrize("language", languages())
SAME_EVERYWHERE = {"poses.joined"}


def texts(language: str) -> dict[str, str]:
    words = page_words(FOLDER, language)
    flat = {key: value for key, value in words.items() if isinstance(value, str)}
    for section, named in words.items():
        if not isinstance(named, str):
            flat.update({f"{section}.{key}": value for key, value in named.items()})
    return flat


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_every_notice_has_a_page_and_no_other_language_has() -> None:
    written = {path.stem for path in (FOLDER / "words").iterdir()}
    assert written == set(languages())


@ALL
def test_a_language_says_everything(language: str) -> None:
    english, said = texts("en"), texts(language)
    assert said.keys() == english.keys()
    assert all(text.strip() for key, text in said.items() if key != "poses.joined")
    assert {k: places(v) for k, v in said.items()} == {k: places(v) for k, v in english.items()}
    if language != "en":
        same = {key for key in english if said[key] == english[key]}
        assert same <= SAME_EVERYWHERE


@ALL
def test_whatever_happens_there_are_words_for_it(language: str) -> None:
    words = page_words(FOLDER, language)
    assert set(Refusal) <= set(words["refused"])
    assert set(Facing) <= set(words["poses"])
    assert {told for told in Told if told is not Told.NO_FLEET} <= set(words["leave"])
