import hashlib
import re
from dataclasses import replace

import pytest

from edge_app.core.liveness import Ask
from edge_app.core.present import phrases
from edge_app.enrolment.consent_notice import Notice, languages, notice_for
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.words import Hint, station_words
from edge_app.errors import EnrolmentError
from edge_app.records import Purpose
from tests.people import CONTROLLER
from tests.support import ROOT

FOLDER = ROOT / "edge_app" / "enrolment" / "notices"
PLACEHOLDER = re.compile(r"\$\w+")


def notice(
    purpose: Purpose = Purpose.ASSIST,
    language: str = "en",
    valid_days: int = 365,
    fleet: str = "",
) -> Notice:
    return notice_for(
        purpose,
        language,
        controller=CONTROLLER,
        jurisdiction="Atlantis",
        valid_days=valid_days,
        kept_days=400,
        fleet=fleet,
    )


ALL = pytest.mark.parametrize(
    ("purpose", "language"), [(p, language) for p in Purpose for language in languages()]
)


@ALL
def test_every_purpose_has_a_notice_in_every_language(purpose: Purpose, language: str) -> None:
    text = notice(purpose, language).text
    for filled_in in ("Ada", "1 Test Street", "ada@example.org", "Atlantis", "365", "400"):
        assert filled_in in text
    assert "$" not in text


KEPT = {
    "en": ("stays on this device", "every device"),
    "de": ("bleibt auf diesem Gerät", "jedes Gerät"),
    "fr": ("reste sur cet appareil", "chaque appareil"),
}


def shape(shown: Notice) -> list[tuple[bool, bool]]:
    """Which blocks are headings, and which begin with a bold question."""
    blocks = shown.text.split("\n\n")
    return [(block.startswith("# "), block.startswith("**")) for block in blocks]


@ALL
def test_every_language_says_the_same_things(purpose: Purpose, language: str) -> None:
    """The same headings in the same order, and the same values filled in."""
    assert shape(notice(purpose, language)) == shape(notice(purpose))
    source = (FOLDER / language / f"{purpose.value}.md").read_text()
    english = (FOLDER / "en" / f"{purpose.value}.md").read_text()
    assert set(PLACEHOLDER.findall(source)) == set(PLACEHOLDER.findall(english))


@ALL
def test_a_notice_says_truly_where_the_data_go(purpose: Purpose, language: str) -> None:
    here, fleet = notice(purpose, language), notice(purpose, language, fleet="harbour")
    stays, everywhere = KEPT[language]
    assert stays in here.text
    assert stays not in fleet.text
    assert '"harbour"' in fleet.text
    assert everywhere in fleet.text
    assert "$" not in fleet.text
    assert here.privacy_notice.text_sha256 != fleet.privacy_notice.text_sha256


@ALL
def test_hash_is_of_the_text_as_shown(purpose: Purpose, language: str) -> None:
    shown = notice(purpose, language)
    assert shown.privacy_notice.text_sha256 == hashlib.sha256(shown.text.encode()).hexdigest()
    assert shown.privacy_notice.language == language
    assert purpose.value in shown.privacy_notice.notice_id
    assert notice(purpose, language) == shown


def test_every_filled_in_value_changes_the_hash() -> None:
    assert notice().privacy_notice != notice(valid_days=364).privacy_notice


def test_purposes_have_different_texts() -> None:
    assert len({notice(purpose).text for purpose in Purpose}) == len(Purpose)


def test_notices_station_and_display_speak_the_same_languages() -> None:
    assert languages() == ("de", "en", "fr")
    for language in languages():
        assert phrases(language)
        assert set(station_words(language).hints) == set(Hint)
        assert set(station_words(language).asks) == {*Ask, Facing.DOWN}


@pytest.mark.parametrize("language", ["", "xx", ".", "..", "en/../en", "/etc"])
def test_other_language_is_refused_and_the_choice_named(language: str) -> None:
    with pytest.raises(EnrolmentError, match=r"choose one of: .*en"):
        notice(language=language)


def test_dollar_in_a_name_is_taken_as_it_is() -> None:
    rich = replace(CONTROLLER, name="$controller_contact")
    shown = notice_for(
        Purpose.ASSIST,
        "en",
        controller=rich,
        jurisdiction="x",
        valid_days=1,
        kept_days=2,
        fleet="",
    )
    assert "$controller_contact would like" in shown.text
