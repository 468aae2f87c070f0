"""The governor, on machines that are made slow and boards that get hot."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.governor import Effort, Governor, Pressure

FRAME_S = 1 / 30
COST = {
    Effort.FULL: 1.0,
    Effort.FEWER_REGIONS: 0.7,
    Effort.FEWER_LOOKS: 0.5,
    Effort.EVERY_SECOND_FRAME: 0.5,
}
"""What a frame costs at each effort, as a share of the full one."""


def efforts(
    full_frame_s: Callable[[float], float], frames: int, governor: Governor | None = None
) -> list[Effort]:
    """A device's effort in each frame; its frames take `full_frame_s` of time at full effort."""
    governor = governor or Governor()
    seen = []
    for number in range(frames):
        if not governor.skips(number):
            took_s = full_frame_s(number * FRAME_S) * COST[governor.effort]
            governor.worked(took_s, FRAME_S)
        seen.append(governor.effort)
    return seen


def test_who_keeps_up_sheds_nothing() -> None:
    assert set(efforts(lambda _: 0.8 * FRAME_S, 1000)) == {Effort.FULL}
    assert efforts(lambda _: 0.0, 0) == []


def test_work_is_shed_in_the_stated_order() -> None:
    seen = efforts(lambda _: 5 * FRAME_S, 300)
    assert list(dict.fromkeys(seen)) == list(Effort)
    assert seen[-1] is Effort.EVERY_SECOND_FRAME
    assert seen.index(Effort.EVERY_SECOND_FRAME) < 60  # two seconds


def test_no_more_is_shed_than_it_takes() -> None:
    seen = efforts(lambda _: 1.2 * FRAME_S, 1000)
    assert list(dict.fromkeys(seen)) == [Effort.FULL, Effort.FEWER_REGIONS]


def test_one_slow_frame_is_no_reason() -> None:
    slow = {10, 200, 400}
    seen = efforts(lambda t: (10 if round(t / FRAME_S) in slow else 0.6) * FRAME_S, 600)
    assert set(seen) <= {Effort.FULL, Effort.FEWER_REGIONS}
    assert seen[-1] is Effort.FULL


def test_effort_comes_back_step_by_step_when_the_machine_does() -> None:
    seen = efforts(lambda t: (5.0 if t < 10 else 0.3) * FRAME_S, 1500)
    after = list(dict.fromkeys(seen[301:]))
    assert after == list(reversed(Effort))
    assert seen[-1] is Effort.FULL


@pytest.mark.parametrize("load", [0.95, 1.1, 1.4, 1.7, 2.5])
def test_it_comes_to_rest(load: float) -> None:
    seen = efforts(lambda _: load * FRAME_S, 3000)[1000:]
    changes = sum(a is not b for a, b in pairwise(seen))
    assert changes <= 2


def test_a_hot_board_and_a_low_battery_shed_at_once_and_for_no_longer() -> None:
    governor = Governor()
    skipped = []
    seen = []
    for pressure in (Pressure(throttled=True), Pressure(battery_low=True), Pressure()):
        governor.feel(pressure)
        seen.append(governor.effort)
        skipped.append([governor.skips(number) for number in range(4)])
    assert seen == [Effort.FEWER_REGIONS, Effort.EVERY_SECOND_FRAME, Effort.FULL]
    assert skipped == [[False] * 4, [False, True, False, True], [False] * 4]


def test_every_effort_can_be_said() -> None:
    assert len({effort.words for effort in Effort}) == len(Effort)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1, 1)), max_size=200))
def test_whatever_the_clock_says_it_stays_one_of_four(work: list[tuple[float, float]]) -> None:
    governor = Governor()
    for took_s, interval_s in work:
        governor.worked(took_s, interval_s)
        assert governor.effort in Effort
