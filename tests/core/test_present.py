"""What the wearer reads and hears."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.present import (
    PresentSettings,
    RecognisedFace,
    clean_text,
    direction,
    hud_view,
    phrases,
    spoken_text,
)
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

SETTINGS = PresentSettings(unsure_margin=0.05, ahead_share=1 / 3, max_people=3)


def face(
    person: str = "p1", x: float = 500, similarity: float = 0.8, name: str = "", relation: str = ""
) -> RecognisedFace:
    return RecognisedFace(
        person_id=person,
        name=name or person.upper(),
        relation=relation,
        centre_x_px=x,
        similarity=similarity,
    )


def view(*faces: RecognisedFace, status: str = "") -> HudView:
    return hud_view(
        faces, frame_width_px=1000, threshold=0.5, status=status, language="en", settings=SETTINGS
    )


def names(shown: HudView) -> list[str]:
    return [line.name for line in shown.lines]


def test_nobody() -> None:
    assert view() == HudView((), "")
    assert view(status="camera lost") == HudView((), "camera lost")
    assert spoken_text((), "en") == ""


def test_one_person() -> None:
    shown = view(face(name="Anna", relation="colleague", x=100))
    assert shown.lines == (HudLine("Anna", "colleague", Direction.LEFT, unsure=False),)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, Direction.LEFT),
        (0.33, Direction.LEFT),
        (0.34, Direction.AHEAD),
        (0.5, Direction.AHEAD),
        (0.66, Direction.AHEAD),
        (0.67, Direction.RIGHT),
        (1.0, Direction.RIGHT),
        (-0.2, Direction.LEFT),
        (1.2, Direction.RIGHT),
    ],
)
def test_direction(x: float, expected: Direction) -> None:
    assert direction(x, 1 / 3) is expected


@pytest.mark.parametrize(("similarity", "unsure"), [(0.5, True), (0.549, True), (0.56, False)])
def test_close_above_the_threshold_is_unsure(similarity: float, unsure: bool) -> None:
    assert view(face(similarity=similarity)).lines[0].unsure is unsure


def test_people_stand_from_left_to_right_whatever_the_order_they_came_in() -> None:
    faces = [face("c", 900), face("a", 100), face("b", 400)]
    assert names(view(*faces)) == names(view(*reversed(faces))) == ["A", "B", "C"]


def test_the_same_place_is_ordered_by_person_so_that_lines_do_not_swap() -> None:
    assert names(view(face("b", 500), face("a", 500))) == ["A", "B"]


def test_a_person_with_two_tracklets_is_shown_once_where_the_score_is_higher() -> None:
    shown = view(face("a", 100, 0.7), face("a", 900, 0.9))
    assert [line.direction for line in shown.lines] == [Direction.RIGHT]


def test_of_many_the_most_certain_stay_and_the_rest_are_counted() -> None:
    faces = [face(f"p{number}", 100 * number, 0.6 + number / 100) for number in range(6)]
    shown = view(*faces)
    assert names(shown) == ["P3", "P4", "P5"]
    assert shown.status == "+3 more"
    assert view(*faces, status="camera lost").status == "camera lost"


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
    lines = view(face("a", 100), face("b", 900)).lines
    assert spoken_text(lines, "en") == "A, on your left. B, on your right."


@pytest.mark.parametrize("language", ["", "xx", "EN"])
def test_an_unknown_language_names_those_that_are_known(language: str) -> None:
    with pytest.raises(ConfigError, match="choose one of: de, en, fr"):
        phrases(language)
    with pytest.raises(ConfigError):
        spoken_text((), language)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("", ""),
        ("  Anna \n\t Maria  ", "Anna Maria"),
        ("A\x1b[31mred\x07", "A[31mred"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("A\u030asa", "Åsa"),
        ("李小龙", "李小龙"),
        ("\x00\x9b", ""),
    ],
)
def test_clean_text(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text())
def test_clean_text_leaves_one_line_without_controls(raw: str) -> None:
    clean = clean_text(raw)
    assert not any(unicodedata.category(char).startswith("C") for char in clean)
    assert len(clean.splitlines()) <= 1


@given(
    st.lists(
        st.builds(
            RecognisedFace,
            person_id=st.sampled_from("abcdefgh"),
            name=st.text(max_size=30),
            relation=st.text(max_size=30),
            centre_x_px=st.floats(-100, 1100),
            similarity=st.floats(0.5, 1),
        ),
        max_size=12,
    ),
    st.randoms(),
)
def test_any_faces_make_a_view_that_does_not_depend_on_their_order(
    faces: list[RecognisedFace], shuffler: object
) -> None:
    unique = list({(f.person_id, f.similarity, f.centre_x_px): f for f in faces}.values())
    shown = view(*unique)
    assert len(shown.lines) == min(3, len({f.person_id for f in unique}))
    shuffler.shuffle(unique)  # type: ignore[attr-defined]
    assert view(*unique) == shown
    order = [Direction.LEFT, Direction.AHEAD, Direction.RIGHT]
    places = [order.index(line.direction) for line in shown.lines]
    assert places == sorted(places)
