import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.decide import DecisionRule, Vote, decide, fused
from edge_app.errors import ModelError
from edge_app.records import Candidate, Decision, Float32Array, Outcome

RULE = DecisionRule(
    min_agreeing_frames=3, min_agreeing_share=0.6, agreement_slack=0.1, min_margin=0.05
)
THRESHOLD = 0.4


def vector(*values: float) -> Float32Array:
    return np.array(values, np.float32)


def vote(*candidates: tuple[str, float], weight: float = 1.0) -> Vote:
    return Vote(weight, vector(1, 0), ranked(*candidates))


def ranked(*candidates: tuple[str, float]) -> tuple[Candidate, ...]:
    return tuple(Candidate(person, score) for person, score in candidates)


def judge(votes: list[Vote], *whole: tuple[str, float]) -> Decision:
    """whole: the candidates of the fused probe."""
    return decide(votes, ranked(*whole), THRESHOLD, RULE)


def test_no_votes_decide_nothing() -> None:
    decision = judge([])
    assert (decision.outcome, decision.candidate) == (Outcome.UNDECIDED, None)


def test_an_empty_gallery_knows_nobody() -> None:
    assert judge([vote()] * 3).outcome is Outcome.NOBODY


def test_two_frames_are_not_enough() -> None:
    assert judge([vote(("anna", 0.9))] * 2, ("anna", 0.9)).outcome is Outcome.UNDECIDED


def test_three_agreeing_frames_are() -> None:
    decision = judge([vote(("anna", 0.7))] * 3, ("anna", 0.72))
    assert decision.outcome is Outcome.MATCH
    assert decision.candidate == Candidate("anna", 0.72)
    assert decision.agreeing_frames == 3


def test_the_fused_score_must_reach_the_threshold_itself() -> None:
    assert judge([vote(("anna", 0.38))] * 3, ("anna", 0.41)).outcome is Outcome.MATCH
    assert judge([vote(("anna", 0.39))] * 3, ("anna", 0.39)).outcome is Outcome.NOBODY


def test_a_frame_far_below_the_threshold_names_nobody() -> None:
    decision = judge([vote(("anna", 0.45))] * 2 + [vote(("anna", 0.29))], ("anna", 0.41))
    assert (decision.outcome, decision.agreeing_frames) == (Outcome.NOBODY, 2)


def test_eleven_strangers_and_one_bad_frame_make_no_name() -> None:
    """Not even where the bad frame outweighs all others in the fused probe."""
    votes = [vote(("anna", 0.1))] * 11 + [vote(("anna", 0.95))]
    assert judge(votes, ("anna", 0.95)).outcome is Outcome.NOBODY


def test_frames_that_list_nobody_count_against() -> None:
    votes = [vote(("anna", 0.5))] * 3 + [vote()] * 3
    assert judge(votes, ("anna", 0.5)).outcome is Outcome.NOBODY


def test_twins_are_told_apart_or_not_named() -> None:
    votes = [vote(("a", 0.60), ("b", 0.58))] * 4
    assert judge(votes, ("a", 0.60), ("b", 0.58)).outcome is Outcome.NOBODY
    assert judge(votes, ("a", 0.60), ("b", 0.50)).outcome is Outcome.MATCH


def test_frames_that_disagree_make_no_name() -> None:
    votes = [vote(("a", 0.8), ("b", 0.1))] * 3 + [vote(("b", 0.8), ("a", 0.1))] * 3
    assert judge(votes, ("a", 0.6), ("b", 0.4)).outcome is Outcome.NOBODY


def test_one_vote_is_fused_into_itself() -> None:
    assert fused([Vote(0.3, vector(0.6, 0.6), ())]) == pytest.approx(vector(0.6, 0.6))


def test_a_good_frame_weighs_more_and_lengths_are_averaged() -> None:
    votes = [Vote(0.9, vector(1, 0), ()), Vote(0.1, vector(0, 0.5), ())]
    whole = fused(votes)
    assert float(np.linalg.norm(whole)) == pytest.approx(0.95)
    assert whole[1] / whole[0] == pytest.approx(0.05 / 0.9)


def test_votes_that_cancel_out_are_an_error() -> None:
    with pytest.raises(ModelError):
        fused([Vote(1, vector(1, 0), ()), Vote(1, vector(-1, 0), ())])


people = st.sampled_from("abcde")
rankings = st.dictionaries(people, st.floats(-1, 1), max_size=5).map(
    lambda scores: tuple(
        sorted((Candidate(p, s) for p, s in scores.items()), key=lambda c: -c.similarity)
    )
)
votes_strategy = st.lists(
    st.builds(
        lambda weight, found: Vote(weight, vector(1, 0), found), st.floats(0.01, 1), rankings
    ),
    max_size=12,
)


@given(votes_strategy, rankings)
def test_a_match_always_has_the_evidence(votes: list[Vote], whole: tuple[Candidate, ...]) -> None:
    decision = decide(votes, whole, THRESHOLD, RULE)
    if decision.outcome is Outcome.MATCH:
        assert decision.candidate is not None
        assert decision.candidate.similarity >= THRESHOLD
        assert decision.agreeing_frames >= 3
        assert decision.agreeing_frames >= 0.6 * decision.frames
        names = [v for v in votes if v.candidates[:1] and v.candidates[0].similarity >= 0.3]
        own = [v for v in names if v.candidates[0].person_id == decision.candidate.person_id]
        assert len(own) == decision.agreeing_frames


@given(votes_strategy, rankings, st.integers(1, 10))
def test_strangers_votes_never_make_a_match(
    votes: list[Vote], whole: tuple[Candidate, ...], strangers: int
) -> None:
    before = decide(votes, whole, THRESHOLD, RULE)
    after = decide([*votes, *[vote()] * strangers], whole, THRESHOLD, RULE)
    if before.outcome is Outcome.NOBODY:
        assert after.outcome is Outcome.NOBODY
    assert after.agreeing_frames == before.agreeing_frames or len(votes) < 3
