"""The open-set decision over one tracklet: a name, nobody, or not yet.

Every embedded frame votes. A person's fused score is the quality-weighted mean over *all*
frames; a frame that does not list them counts as zero, so that frames in which the face
looked like a stranger count against a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_app.records import Candidate, Decision, Outcome


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """min_agreeing_frames: frames that must each name the person on their own.
    min_agreeing_share:  share of all frames that must.
    min_margin:          fused score of the person over the runner-up's (cosine), against
                         relatives and doubles.
    """

    min_agreeing_frames: int
    min_agreeing_share: float
    min_margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """One frame's search: its weight (quality, above 0) and candidates, best first."""

    weight: float
    candidates: tuple[Candidate, ...] = field(repr=False)


def decide(votes: Sequence[Vote], threshold: float, rule: DecisionRule) -> Decision:
    """Fuses the votes. `threshold` is the calibrated comparison score (P8).

    NOBODY only once as many frames were judged as a match would have needed.
    """
    fused = fuse(votes)
    if len(votes) < rule.min_agreeing_frames:
        return Decision(Outcome.UNDECIDED, fused[0] if fused else None, 0, len(votes))
    if not fused:
        return Decision(Outcome.NOBODY, None, 0, len(votes))
    best = fused[0]
    runner_up = fused[1].similarity if len(fused) > 1 else -1.0
    agreeing = sum(_names(vote, best.person_id, threshold) for vote in votes)
    matched = (
        best.similarity >= threshold
        and best.similarity - runner_up >= rule.min_margin
        and agreeing >= rule.min_agreeing_frames
        and agreeing >= rule.min_agreeing_share * len(votes)
    )
    return Decision(Outcome.MATCH if matched else Outcome.NOBODY, best, agreeing, len(votes))


def fuse(votes: Sequence[Vote]) -> tuple[Candidate, ...]:
    """Every person that any frame listed, with their fused score, best first."""
    total_weight = sum(vote.weight for vote in votes)
    sums: dict[str, float] = {}
    for vote in votes:
        for candidate in vote.candidates:
            weighted = vote.weight * max(candidate.similarity, 0.0)
            sums[candidate.person_id] = sums.get(candidate.person_id, 0.0) + weighted
    fused = [Candidate(person, value / total_weight) for person, value in sums.items()]
    return tuple(sorted(fused, key=lambda c: (-c.similarity, c.person_id)))


def _names(vote: Vote, person_id: str, threshold: float) -> bool:
    if not vote.candidates:
        return False
    best = vote.candidates[0]
    return best.person_id == person_id and best.similarity >= threshold
