from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.liveness import (
    Ask,
    Challenge,
    ChallengeState,
    LivenessRule,
    View,
    advance,
    begin,
    draw_turns,
    interrupted,
    observe,
    relief_between,
)
from edge_app.core.relief import Patch
from edge_app.records import FaceMesh, Pose

RULE = LivenessRule(
    turn_deg=18.0, straight_deg=10.0, step_timeout_s=10.0, max_lost_s=0.5, min_relief=-0.2
)
POSES = {
    Ask.STRAIGHT: Pose(0, -5, 0),
    Ask.LEFT: Pose(25, -5, 0),
    Ask.RIGHT: Pose(-25, -5, 0),
    Ask.UP: Pose(0, 15, 0),
    Ask.DOWN: Pose(0, -25, 0),
}
POINTS = np.random.default_rng(1).uniform(20, 108, (468, 2))


def view(pose: Pose, narrowed: float = 1.0) -> View:
    """Of a face without any detail, which tells by its width alone what it is."""
    points = (POINTS - 64) * (narrowed, 1.0) + 64
    return View(pose, Patch(np.zeros((128, 128), np.float32), points))


def play(challenge: Challenge, *poses: Pose, step_s: float = 1.0) -> Challenge:
    time_s = challenge.since_s
    for pose in poses:
        time_s += step_s
        challenge = advance(challenge, view(pose), time_s, RULE)
    return challenge


@pytest.mark.parametrize("turns", [(), (Ask.LEFT,)])
def test_a_challenge_needs_two_turns(turns: tuple[Ask, ...]) -> None:
    with pytest.raises(ValueError, match="two turns"):
        begin(turns, 0.0)
    with pytest.raises(ValueError, match="two turns"):
        draw_turns(Random(1), len(turns))  # noqa: S311


def test_straight_is_no_turn() -> None:
    with pytest.raises(ValueError, match="between the turns"):
        begin((Ask.LEFT, Ask.STRAIGHT), 0.0)


def test_four_turns_are_drawn_in_224_ways() -> None:
    random = Random(7)  # noqa: S311
    drawn = {draw_turns(random, 4) for _ in range(5000)}
    assert len(drawn) == 224
    for turns in drawn:
        assert set(turns) & {Ask.LEFT, Ask.RIGHT}
        assert set(turns) & {Ask.UP, Ask.DOWN}


def test_doing_what_is_asked_passes() -> None:
    challenge = begin((Ask.LEFT, Ask.UP, Ask.RIGHT, Ask.DOWN), 0.0)
    done = play(challenge, *(POSES[ask] for ask in challenge.asks))
    assert done.state is ChallengeState.PASSED
    assert done.current is None
    assert len(done.reliefs) == 4


def test_a_still_photograph_never_passes() -> None:
    challenge = play(begin((Ask.LEFT, Ask.RIGHT), 0.0), *[POSES[Ask.STRAIGHT]] * 30)
    assert challenge.state is ChallengeState.FAILED


@pytest.mark.parametrize("ask", [Ask.LEFT, Ask.RIGHT, Ask.UP, Ask.DOWN])
@pytest.mark.parametrize("shown", [Ask.LEFT, Ask.RIGHT, Ask.UP, Ask.DOWN])
def test_another_turn_fails(ask: Ask, shown: Ask) -> None:
    rest, other = POSES[Ask.STRAIGHT], POSES[shown]
    once = play(begin((ask, ask), 0.0), rest, other)
    twice = play(begin((ask, ask), 0.0), rest, other, other)
    if shown is ask:
        assert once.done == twice.done == 2
    else:
        assert once.state is ChallengeState.RUNNING, "one frame may be a slip of the mesh"
        assert twice.state is ChallengeState.FAILED


def test_another_turn_on_the_way_back_fails() -> None:
    begun = play(begin((Ask.LEFT, Ask.UP), 0.0), POSES[Ask.STRAIGHT], POSES[Ask.LEFT])
    assert play(begun, *[POSES[Ask.LEFT]] * 3).state is ChallengeState.RUNNING
    assert play(begun, *[POSES[Ask.DOWN]] * 2).state is ChallengeState.FAILED


@pytest.mark.parametrize(("narrowed", "state"), [(0.9, "passed"), (0.6, "failed")])
def test_a_sheet_that_did_all_turns_fails_at_the_end(narrowed: float, state: str) -> None:
    """It had to be turned by 53 degrees until its nose said 25."""
    challenge = begin((Ask.LEFT, Ask.RIGHT), 0.0)
    for i, ask in enumerate(challenge.asks):
        width = 1.0 if ask is Ask.STRAIGHT else narrowed
        challenge = advance(challenge, view(POSES[ask], width), float(i), RULE)
        assert challenge.done == i + 1
    assert challenge.state == state


def test_a_lost_face_fails_once_the_challenge_has_begun() -> None:
    challenge = begin((Ask.LEFT, Ask.RIGHT), 0.0)
    assert interrupted(challenge, 20.0, RULE).state is ChallengeState.RUNNING
    assert interrupted(challenge, 60.0, RULE).state is ChallengeState.FAILED
    settled = advance(interrupted(challenge, 20.0, RULE), view(POSES[Ask.STRAIGHT]), 20.1, RULE)
    assert (settled.state, settled.done) == (ChallengeState.RUNNING, 1)
    begun = play(challenge, POSES[Ask.STRAIGHT])
    assert interrupted(begun, 1.5, RULE).state is ChallengeState.RUNNING
    assert interrupted(begun, 1.6, RULE).state is ChallengeState.FAILED
    assert interrupted(interrupted(begun, 1.4, RULE), 1.6, RULE).state is ChallengeState.FAILED


def test_turns_count_from_the_persons_own_rest() -> None:
    """A camera that stands low sees everybody look down; few noses are straight."""
    rest = Pose(8, -20, 0)
    assert play(begin((Ask.UP, Ask.LEFT), 0.0), rest, Pose(8, -5, 0)).done == 2
    assert play(begin((Ask.LEFT, Ask.UP), 0.0), rest, Pose(20, -20, 0)).done == 1


def test_a_glance_at_the_side_is_no_straight_look() -> None:
    assert play(begin((Ask.UP, Ask.LEFT), 0.0), Pose(11, 0, 0), Pose(-11, 0, 0)).done == 0


def test_what_is_observed_of_the_same_face_twice_has_no_relief() -> None:
    points = np.zeros((468, 3), np.float32)
    points[:, :2] = 3 * POINTS
    image = np.random.default_rng(1).integers(0, 255, (400, 400, 3)).astype(np.uint8)
    seen = observe(image, FaceMesh(points, 1.0))
    assert relief_between(seen, seen) == pytest.approx(0.0, abs=1e-6)


turns = st.lists(st.sampled_from([Ask.LEFT, Ask.RIGHT, Ask.UP, Ask.DOWN]), min_size=2, max_size=4)
poses = st.builds(Pose, st.floats(-60, 60), st.floats(-60, 60), st.floats(-60, 60))


@given(turns, st.lists(poses, max_size=20))
@settings(deadline=None)  # every turned frame is warped twice
def test_an_ended_challenge_stays_ended(asks: list[Ask], seen: list[Pose]) -> None:
    challenge = begin(asks, 0.0)
    ended = None
    for i, pose in enumerate(seen):
        challenge = advance(challenge, view(pose), i * 0.1, RULE)
        if challenge.state is not ChallengeState.RUNNING:
            ended = ended or challenge.state
            assert challenge.state is ended
            assert interrupted(challenge, 1e6, RULE) is challenge


@given(turns, st.lists(st.sampled_from(list(POSES.values())), max_size=20))
@settings(deadline=None)  # every turned frame is warped twice
def test_passing_takes_every_turn_in_order(asks: list[Ask], seen: list[Pose]) -> None:
    """Of somebody who sits straight at first; turns count from there."""
    rule = replace(RULE, min_relief=-10.0)
    challenge = begin(asks, 0.0)
    for i, pose in enumerate([POSES[Ask.STRAIGHT], *seen]):
        challenge = advance(challenge, view(pose), i * 0.1, rule)
    if challenge.state is ChallengeState.PASSED:
        wanted = iter([p for p in seen if p != POSES[Ask.STRAIGHT]])
        assert all(POSES[ask] in wanted for ask in asks)
