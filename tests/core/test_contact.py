"""Contacts that bounce: one press is one press, and a cover never waits."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.contact import Cover, Press

SETTLE_S = 1 / 32

LEVELS = st.lists(st.tuples(st.floats(0.0001, 0.1), st.booleans()), max_size=60)
"""How long after the one before, and the level that was read."""


def presses(*levels: tuple[float, bool]) -> list[float]:
    """When presses were found, for (time, closed)."""
    press = Press(SETTLE_S)
    return [now_s for now_s, closed in levels if press.feel(closed, now_s)]


def timed(levels: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    times = accumulate(step_s for step_s, _ in levels)
    return [(now_s, closed) for now_s, (_, closed) in zip(times, levels, strict=True)]


def steady(now_s: float, closed: bool) -> list[tuple[float, bool]]:
    return [(now_s, closed), (now_s + SETTLE_S, closed)]


def test_nothing_looked_at_is_no_press() -> None:
    assert presses() == []


def test_a_press_is_found_once_however_long_it_is_held() -> None:
    held = [(1 + n / 100, True) for n in range(1000)]
    assert presses(*steady(0, False), *held) == [pytest.approx(1.03, abs=0.012)]


def test_two_presses_are_two() -> None:
    assert len(presses(*(one for n in range(4) for one in steady(n, n % 2 == 1)))) == 2


def test_a_button_that_is_held_at_the_start_was_not_pressed() -> None:
    assert presses(*[(n / 100, True) for n in range(100)]) == []


@pytest.mark.parametrize("first", [True, False])
def test_bounces_shorter_than_the_settling_are_one_press_or_none(first: bool) -> None:
    bounces = [(1 + n / 200, (n % 2 == 0) is first) for n in range(40)]
    assert presses(*steady(0, False), *bounces) == []
    assert len(presses(*steady(0, False), *bounces, *steady(2, True))) == 1


@given(LEVELS)
def test_a_press_is_a_contact_that_was_open_and_is_steadily_closed(
    levels: list[tuple[float, bool]],
) -> None:
    looks = timed(levels)
    found = [0.0, *presses(*looks)]
    for before_s, press_s in pairwise(found):
        opened = [now_s for now_s, closed in looks if before_s < now_s <= press_s and not closed]
        closed_for = [closed for now_s, closed in looks if press_s - SETTLE_S < now_s <= press_s]
        assert opened
        assert all(closed_for)


@given(LEVELS)
def test_an_open_contact_covers_at_once_and_uncovers_only_when_it_is_steady(
    levels: list[tuple[float, bool]],
) -> None:
    cover, looks = Cover(SETTLE_S), timed(levels)
    last_open_s = float("-inf")
    for n, (now_s, closed) in enumerate(looks):
        covered = cover.feel(closed, now_s)
        if not closed:
            last_open_s = now_s
            assert covered
        elif not covered and last_open_s > float("-inf"):
            closed_since_s = next(t for t, c in looks[: n + 1] if t > last_open_s and c)
            assert now_s - closed_since_s >= SETTLE_S
        elif last_open_s == float("-inf"):
            assert not covered


def test_a_switch_that_stays_closed_uncovers() -> None:
    cover = Cover(SETTLE_S)
    assert [cover.feel(closed, now_s) for now_s, closed in [(0, False), *steady(1, True)]] == [
        True,
        True,
        False,
    ]
