"""Lines that do not flicker while scores, places and tracks do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.steady import PresentSettings, RecognisedFace, Shown, direction, steady
from edge_app.records import Direction, HudLine

THRESHOLD = 0.5
SETTINGS = PresentSettings(
    unsure_margin=0.05,
    unsure_slack=0.02,
    ahead_share=1 / 3,
    side_slack=0.04,
    hold_s=0.5,
    max_people=3,
)
LEFT, AHEAD, RIGHT = Direction


def face(
    person: str = "p1", x: float = 500, similarity: float = 0.8, name: str = "", relation: str = ""
) -> RecognisedFace:
    return RecognisedFace(person, name or person.upper(), relation, x, similarity)


def frame(
    *faces: RecognisedFace, before: Sequence[Shown] = (), now_s: float = 0.0
) -> tuple[Shown, ...]:
    return steady(
        before, faces, now_s=now_s, frame_width_px=1000, threshold=THRESHOLD, settings=SETTINGS
    )


def lines(people: Sequence[Shown]) -> list[HudLine]:
    return [person.line for person in people if person.has_line]


def names(people: Sequence[Shown]) -> list[str]:
    return [line.name for line in lines(people)]


# --- one frame ----------------------------------------------------------------------------


def test_nobody() -> None:
    assert frame() == ()


def test_one_person() -> None:
    shown = frame(face(name=" Anna\x1b[2J ", relation="colleague\n", x=100))
    assert lines(shown) == [HudLine("Anna[2J", "colleague", LEFT, unsure=False)]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, LEFT),
        (0.33, LEFT),
        (0.34, AHEAD),
        (0.5, AHEAD),
        (0.66, AHEAD),
        (0.67, RIGHT),
        (1.0, RIGHT),
        (-0.2, LEFT),
        (1.2, RIGHT),
    ],
)
def test_direction(x: float, expected: Direction) -> None:
    assert direction(x, 1 / 3) is expected


@pytest.mark.parametrize(("similarity", "unsure"), [(0.5, True), (0.549, True), (0.56, False)])
def test_close_above_the_threshold_is_unsure(similarity: float, unsure: bool) -> None:
    assert lines(frame(face(similarity=similarity)))[0].unsure is unsure


def test_people_stand_from_left_to_right_whatever_the_order_they_came_in() -> None:
    faces = [face("c", 900), face("a", 100), face("b", 400)]
    assert names(frame(*faces)) == names(frame(*reversed(faces))) == ["A", "B", "C"]


def test_the_same_place_is_ordered_by_person() -> None:
    assert names(frame(face("b", 500), face("a", 500))) == ["A", "B"]


def test_a_person_with_two_tracklets_is_shown_once_where_the_score_is_higher() -> None:
    shown = frame(face("a", 100, 0.7), face("a", 900, 0.9))
    assert [line.direction for line in lines(shown)] == [RIGHT]


def test_of_many_the_most_certain_have_a_line() -> None:
    shown = frame(*[face(f"p{n}", 100 * n, 0.6 + n / 100) for n in range(6)])
    assert names(shown) == ["P3", "P4", "P5"]
    assert len(shown) == 6


# --- from frame to frame ------------------------------------------------------------------


def test_certainty_is_lost_later_than_it_is_won() -> None:
    shown: tuple[Shown, ...] = ()
    unsure = []
    for similarity in (0.54, 0.55, 0.54, 0.531, 0.529, 0.54, 0.56):
        shown = frame(face(similarity=similarity), before=shown)
        unsure.append(lines(shown)[0].unsure)
    assert unsure == [True, False, False, False, True, True, False]


def test_a_direction_changes_once_the_edge_is_well_behind() -> None:
    shown: tuple[Shown, ...] = ()
    ways = []
    for x in (320, 340, 370, 380, 330, 300, 290, 900, 640, 630):
        shown = frame(face(x=x), before=shown)
        ways.append(lines(shown)[0].direction)
    assert ways == [LEFT, LEFT, LEFT, AHEAD, AHEAD, AHEAD, LEFT, RIGHT, RIGHT, RIGHT]
    assert lines(frame(face(x=620), before=shown))[0].direction is AHEAD


def test_two_people_swap_lines_once_they_are_past_each_other() -> None:
    shown = frame(face("a", 500), face("b", 510))
    shown = frame(face("a", 540), face("b", 505), before=shown)
    assert names(shown) == ["A", "B"]
    shown = frame(face("a", 550), face("b", 505), before=shown)
    assert names(shown) == ["B", "A"]


def test_who_is_lost_keeps_the_line_for_a_moment_and_no_longer() -> None:
    first = frame(face("a", 100), face("b", 900), now_s=10.0)
    shown = frame(face("b", 900), before=first, now_s=10.4)
    assert lines(shown) == lines(first)
    assert names(frame(face("b", 900), before=shown, now_s=10.5)) == ["B"]


def test_who_comes_back_has_the_line_anew() -> None:
    shown = frame(before=frame(face("a"), now_s=1.0), now_s=1.4)
    shown = frame(face("a"), before=shown, now_s=1.45)
    assert names(frame(before=shown, now_s=1.9)) == ["A"]


def test_a_clock_that_went_back_holds_nobody() -> None:
    assert frame(before=frame(face("a"), now_s=10.0), now_s=9.0) == ()


def test_who_is_in_view_comes_before_who_is_held() -> None:
    shown = frame(*[face(n, 100, 0.9) for n in "abc"])
    shown = frame(face("d", 500, 0.6), face("a", 100, 0.9), before=shown, now_s=0.1)
    assert "D" in names(shown)
    assert "A" in names(shown)


def test_who_has_a_line_keeps_it_though_another_scores_higher() -> None:
    shown = frame(*[face(n, 100, 0.6) for n in "abc"])
    shown = frame(*[face(n, 100, 0.6) for n in "abc"], face("d", 100, 0.9), before=shown)
    assert names(shown) == ["A", "B", "C"]


PEOPLE = st.lists(
    st.builds(
        RecognisedFace,
        person_id=st.sampled_from("abcdefgh"),
        name=st.text(max_size=30),
        relation=st.text(max_size=30),
        centre_x_px=st.floats(-100, 1100),
        similarity=st.floats(THRESHOLD, 1),
    ),
    max_size=12,
)


@given(PEOPLE, PEOPLE, st.randoms())
def test_what_is_shown_does_not_depend_on_the_order_of_the_faces(
    earlier: list[RecognisedFace], faces: list[RecognisedFace], shuffler: Random
) -> None:
    faces = list({(f.person_id, f.similarity, f.centre_x_px): f for f in faces}.values())
    before = frame(*earlier)
    shown = frame(*faces, before=before, now_s=0.1)
    shuffler.shuffle(faces)
    assert frame(*faces, before=before, now_s=0.1) == shown


@given(st.lists(st.tuples(PEOPLE, st.floats(0, 0.6)), max_size=6))
def test_whatever_comes_each_person_is_shown_once_and_nobody_who_was_not_there(
    frames: list[tuple[list[RecognisedFace], float]],
) -> None:
    shown: tuple[Shown, ...] = ()
    now_s, last_seen_s = 0.0, dict[str, float]()
    for faces, pause_s in frames:
        now_s += pause_s
        last_seen_s |= {f.person_id: now_s for f in faces}
        shown = frame(*faces, before=shown, now_s=now_s)
        ids = [person.person_id for person in shown]
        assert len(ids) == len(set(ids))
        assert set(ids) == {p for p, s in last_seen_s.items() if now_s - s < SETTINGS.hold_s}
        assert len(lines(shown)) == min(SETTINGS.max_people, len(ids))
        for one, other in pairwise(shown):
            assert one.x <= other.x + SETTINGS.side_slack


@given(PEOPLE, st.lists(st.randoms(), min_size=1, max_size=5))
def test_noise_changes_nothing(faces: list[RecognisedFace], frames: list[Random]) -> None:
    """Faces that shiver, score a little more or less, and are lost now and then."""
    faces = list({face.person_id: face for face in faces}.values())
    shown = frame(*faces)
    expected = lines(shown)
    for number, noise in enumerate(frames, 1):
        seen = [
            replace(
                face,
                centre_x_px=face.centre_x_px + noise.uniform(-20, 20),
                similarity=face.similarity - noise.uniform(0, 0.0199),
            )
            for face in faces
            if noise.random() < 0.8 or len(faces) > SETTINGS.max_people  # they would make room
        ]
        shown = frame(*seen, before=shown, now_s=number * 0.05)
        assert lines(shown) == expected
