import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.liveness import (
    Ask,
    Challenge,
    ChallengeState,
    LivenessRule,
    advance,
    begin,
    interrupted,
)
from edge_app.records import Pose

RULE = LivenessRule(turn_deg=18.0, straight_deg=10.0, step_timeout_s=10.0)
POSES = {
    Ask.STRAIGHT: Pose(0, -5, 0),
    Ask.LEFT: Pose(25, -5, 0),
    Ask.RIGHT: Pose(-25, -5, 0),
    Ask.UP: Pose(0, 15, 0),
}


def play(challenge: Challenge, *poses: Pose, step_s: float = 1.0) -> Challenge:
    time_s = challenge.since_s
    for pose in poses:
        time_s += step_s
        challenge = advance(challenge, pose, time_s, RULE)
    return challenge


@pytest.mark.parametrize("turns", [(), (Ask.LEFT,), (Ask.LEFT, Ask.STRAIGHT)])
def test_a_challenge_needs_two_turns(turns: tuple[Ask, ...]) -> None:
    with pytest.raises(ValueError, match="two turns"):
        begin(turns, 0.0)


def test_doing_what_is_asked_passes() -> None:
    challenge = begin((Ask.LEFT, Ask.UP, Ask.RIGHT), 0.0)
    done = play(challenge, *(POSES[ask] for ask in challenge.asks))
    assert done.state is ChallengeState.PASSED
    assert done.current is None


def test_a_still_photograph_never_passes() -> None:
    challenge = play(begin((Ask.LEFT, Ask.RIGHT), 0.0), *[POSES[Ask.STRAIGHT]] * 30)
    assert challenge.state is ChallengeState.FAILED


@pytest.mark.parametrize("ask", [Ask.LEFT, Ask.RIGHT])
def test_the_other_turn_fails(ask: Ask) -> None:
    other = Ask.RIGHT if ask is Ask.LEFT else Ask.LEFT
    challenge = play(begin((ask, Ask.UP), 0.0), POSES[Ask.STRAIGHT], POSES[other])
    assert challenge.state is ChallengeState.FAILED


def test_a_lost_face_fails_once_the_challenge_has_begun() -> None:
    challenge = begin((Ask.LEFT, Ask.RIGHT), 0.0)
    assert interrupted(challenge, 20.0, RULE).state is ChallengeState.RUNNING
    assert interrupted(challenge, 60.0, RULE).state is ChallengeState.FAILED
    settled = advance(interrupted(challenge, 20.0, RULE), POSES[Ask.STRAIGHT], 20.1, RULE)
    assert (settled.state, settled.done) == (ChallengeState.RUNNING, 1)
    begun = play(challenge, POSES[Ask.STRAIGHT])
    assert interrupted(begun, 1.1, RULE).state is ChallengeState.FAILED


def test_pitch_counts_from_the_persons_own_rest() -> None:
    """A camera that stands low sees everybody look down."""
    challenge = play(begin((Ask.UP, Ask.LEFT), 0.0), Pose(0, -20, 0), Pose(0, -5, 0))
    assert challenge.done == 2


turns = st.lists(st.sampled_from([Ask.LEFT, Ask.RIGHT, Ask.UP]), min_size=2, max_size=4)
poses = st.builds(Pose, st.floats(-60, 60), st.floats(-60, 60), st.floats(-60, 60))


@given(turns, st.lists(poses, max_size=40))
def test_an_ended_challenge_stays_ended(asks: list[Ask], seen: list[Pose]) -> None:
    challenge = begin(asks, 0.0)
    ended = None
    for i, pose in enumerate(seen):
        challenge = advance(challenge, pose, i * 0.1, RULE)
        if challenge.state is not ChallengeState.RUNNING:
            ended = ended or challenge.state
            assert challenge.state is ended


@given(turns, st.lists(st.sampled_from(list(POSES.values())), max_size=40))
def test_passing_takes_every_turn_in_order(asks: list[Ask], seen: list[Pose]) -> None:
    challenge = begin(asks, 0.0)
    for i, pose in enumerate(seen):
        challenge = advance(challenge, pose, i * 0.1, RULE)
    if challenge.state is ChallengeState.PASSED:
        wanted = iter([p for p in seen if p != POSES[Ask.STRAIGHT]])
        assert all(POSES[ask] in wanted for ask in asks)
