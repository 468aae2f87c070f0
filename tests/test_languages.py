"""Every word that is shown or spoken is there in every language that can be chosen."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from string import Formatter

import pytest

from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import WIDTH_PX
from edge_app.adapters.speech import ProgramSpeaker
from edge_app.config import make_config
from edge_app.core.present import phrases
from edge_app.enrolment.consent_notice import languages, notice_for, storage_locations
from edge_app.enrolment.words import Hint, station_words
from edge_app.errors import ConfigError
from edge_app.records import Direction, Purpose
from tests.people import CONTROLLER

ALL = pytest.mark.parametrize("language", languages())


def words(language: str) -> dict[str, str]:
    """Every phrase by its name."""
    said = phrases(language)
    named = {f.name: getattr(said, f.name) for f in fields(said) if f.name != "directions"}
    return {**named, **{str(way): said.directions[way] for way in Direction}}


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@ALL
def test_a_language_can_be_configured(language: str) -> None:
    assert make_config({"hud": {"language": language}}).hud.language == language


def test_another_language_is_refused_and_the_choice_named() -> None:
    with pytest.raises(ConfigError, match="'en', 'de' or 'fr'"):
        make_config({"hud": {"language": "xx"}})


@ALL
def test_every_phrase_is_there_with_its_places(language: str) -> None:
    english, said = words("en"), words(language)
    assert all(said.values())
    assert {k: places(v) for k, v in said.items()} == {k: places(v) for k, v in english.items()}
    if language != "en":
        assert not [key for key in english if said[key] == english[key]]


@ALL
def test_a_small_display_shows_every_status_and_mark_whole(language: str) -> None:
    said, fonts = phrases(language), FontSet()
    for text in (
        said.camera_lost,
        said.camera_covered,
        said.nobody_enrolled,
        said.known,
        said.too_dark,
        said.gallery_too_old,
        said.clock_wrong,
        said.more.format(count=12),
        said.lease_ends.format(hours=24),
        said.no_sound,
    ):
        shown, _ = fonts.fit(text, (11,), WIDTH_PX - 4, mode="1")
        assert shown == fonts.legible(text)
    # Beside the arrow there is less room.
    for text in (said.probably_mark, said.known):
        shown, _ = fonts.fit(text, (11,), WIDTH_PX - 17, mode="1")
        assert shown == fonts.legible(text)


@ALL
def test_the_notice_names_the_word_that_the_glasses_say_when_unsure(language: str) -> None:
    notice = notice_for(
        Purpose.ASSIST,
        language,
        controller=CONTROLLER,
        jurisdiction="Atlantis",
        valid_days=1,
        kept_days=2,
        fleet="",
    )
    said = phrases(language)
    assert said.probably_mark in notice.text
    assert said.probably.format(name="").strip().lower() == said.probably_mark


@ALL
def test_a_station_has_words_of_its_own(language: str) -> None:
    said, english = station_words(language), station_words("en")
    assert len(set(said.hints.values())) == len(Hint)
    assert places(said.agree) == {"yes"}
    if language != "en":
        assert set(said.hints.values()).isdisjoint(english.hints.values())
        assert set(said.asks.values()).isdisjoint(english.asks.values())
        assert said.yes != english.yes
        for fleet in ("", "harbour"):
            there = storage_locations(language, fleet)
            assert set(there).isdisjoint(storage_locations("en", fleet))


@ALL
def test_espeak_has_a_voice_for_it(language: str, tmp_path: Path) -> None:
    sound = tmp_path / "said.wav"
    speaker = ProgramSpeaker(
        synthesiser=("espeak-ng", "-v", language, "--stdin", "--stdout"),
        player=("tee", str(sound)),
        timeout_s=30,
        retry_s=600,
    )
    speaker.say(phrases(language).said_camera_lost)
    speaker.close()
    assert sound.stat().st_size > 50_000
    assert not speaker.silent
