import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.decide import DecisionRule, Vote, decide, fuse
from edge_app.records import Candidate, Outcome

RULE = DecisionRule(min_agreeing_frames=3, min_agreeing_share=0.6, min_margin=0.05)
THRESHOLD = 0.4


def vote(*candidates: tuple[str, float], weight: float = 1.0) -> Vote:
    return Vote(weight, tuple(Candidate(person, score) for person, score in candidates))


def test_no_votes_decide_nothing() -> None:
    decision = decide([], THRESHOLD, RULE)
    assert (decision.outcome, decision.candidate) == (Outcome.UNDECIDED, None)


def test_an_empty_gallery_knows_nobody() -> None:
    assert decide([vote()] * 3, THRESHOLD, RULE).outcome is Outcome.NOBODY


def test_two_frames_are_not_enough() -> None:
    assert decide([vote(("anna", 0.9))] * 2, THRESHOLD, RULE).outcome is Outcome.UNDECIDED


def test_three_agreeing_frames_are() -> None:
    decision = decide([vote(("anna", 0.7))] * 3, THRESHOLD, RULE)
    assert decision.outcome is Outcome.MATCH
    assert decision.candidate is not None
    assert decision.candidate.similarity == pytest.approx(0.7)
    assert decision.agreeing_frames == 3


def test_eleven_strangers_and_one_bad_frame_make_no_name() -> None:
    votes = [vote(("anna", 0.1))] * 11 + [vote(("anna", 0.95))]
    assert decide(votes, THRESHOLD, RULE).outcome is Outcome.NOBODY


def test_frames_that_list_nobody_count_against() -> None:
    votes = [vote(("anna", 0.5))] * 3 + [vote()] * 1
    assert fuse(votes)[0].similarity == pytest.approx(0.375)
    assert decide(votes, THRESHOLD, RULE).outcome is Outcome.NOBODY


def test_twins_are_told_apart_or_not_named() -> None:
    assert decide([vote(("a", 0.60), ("b", 0.58))] * 4, THRESHOLD, RULE).outcome is Outcome.NOBODY
    assert decide([vote(("a", 0.60), ("b", 0.50))] * 4, THRESHOLD, RULE).outcome is Outcome.MATCH


def test_frames_that_disagree_make_no_name() -> None:
    votes = [vote(("a", 0.8), ("b", 0.1))] * 3 + [vote(("b", 0.8), ("a", 0.1))] * 3
    assert decide(votes, THRESHOLD, RULE).outcome is Outcome.NOBODY


def test_a_good_frame_weighs_more() -> None:
    votes = [vote(("a", 0.8), weight=1.0), vote(("a", 0.2), weight=0.25)]
    assert fuse(votes)[0].similarity == pytest.approx(0.68)


people = st.sampled_from("abcde")
votes_strategy = st.lists(
    st.builds(
        lambda weight, scores: Vote(
            weight,
            tuple(
                sorted((Candidate(p, s) for p, s in scores.items()), key=lambda c: -c.similarity)
            ),
        ),
        st.floats(0.01, 1),
        st.dictionaries(people, st.floats(-1, 1), max_size=5),
    ),
    max_size=12,
)


@given(votes_strategy)
def test_a_match_always_has_the_evidence(votes: list[Vote]) -> None:
    decision = decide(votes, THRESHOLD, RULE)
    if decision.outcome is Outcome.MATCH:
        assert decision.candidate is not None
        assert decision.candidate.similarity >= THRESHOLD
        assert decision.agreeing_frames >= 3
        assert decision.agreeing_frames >= 0.6 * decision.frames


@given(votes_strategy, st.integers(1, 10))
def test_strangers_votes_never_make_a_match(votes: list[Vote], strangers: int) -> None:
    before = decide(votes, THRESHOLD, RULE)
    after = decide([*votes, *[vote()] * strangers], THRESHOLD, RULE)
    if before.outcome is Outcome.NOBODY:
        assert after.outcome is Outcome.NOBODY
    if after.candidate is not None and before.candidate is not None:
        assert after.candidate.similarity <= before.candidate.similarity + 1e-9
