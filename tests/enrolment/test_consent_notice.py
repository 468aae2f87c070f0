import hashlib
from dataclasses import replace

import pytest

from edge_app.enrolment.consent_notice import Notice, languages, notice_for
from edge_app.errors import EnrolmentError
from edge_app.records import Purpose
from tests.people import CONTROLLER


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


@ALL
def test_a_notice_says_truly_where_the_data_go(purpose: Purpose, language: str) -> None:
    here, fleet = notice(purpose, language), notice(purpose, language, fleet="harbour")
    assert "stays on this device" in here.text
    assert "stays on this device" not in fleet.text
    assert '"harbour"' in fleet.text
    assert "every device" in fleet.text
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


def test_english_is_there() -> None:
    assert "en" in languages()


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
