"""The open-set decision over one tracklet: a name, nobody, or not yet.

All frames that were embedded are fused into one probe, and its search says who it may be. Then
the frames must bear it out one by one, so that a single one that resembles somebody, however
much, never makes a name (docs/adr/0013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_app.core.embed import direction
from edge_app.records import Candidate, Decision, Float32Array, Outcome


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """min_agreeing_frames: frames that must each name the person on their own.
    min_agreeing_share:  share of all frames that must.
    agreement_slack:     how far below the threshold a frame's own score may lie: it is noisier
                         than the fused one.
    min_margin:          score of the fused probe for the person over the runner-up's, against
                         relatives and doubles.
    """

    min_agreeing_frames: int
    min_agreeing_share: float
    agreement_slack: float
    min_margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """One frame's search: its weight (quality, above 0), its comparable vector, shape (dim,), and
    its candidates, best first."""

    weight: float
    embedding: Float32Array = field(repr=False)
    candidates: tuple[Candidate, ...] = field(repr=False)


def fused(votes: Sequence[Vote]) -> Float32Array:
    """One comparable vector for all votes (at least one), shape (dim,): their weighted mean
    direction, at their weighted mean length, as templates are averaged (`embed.average`).

    Raises ModelError if they cancel out.
    """
    weights = np.array([vote.weight for vote in votes], np.float32)
    vectors = np.stack([vote.embedding for vote in votes])
    length = weights @ np.linalg.norm(vectors, axis=1) / weights.sum()
    return direction(weights @ vectors) * np.float32(length)


def decide(
    votes: Sequence[Vote], candidates: Sequence[Candidate], threshold: float, rule: DecisionRule
) -> Decision:
    """Judges a tracklet. `threshold` is the calibrated comparison score (P8).

    candidates: of the fused probe, best first.

    NOBODY only once as many frames were judged as a match would have needed.
    """
    best = candidates[0] if candidates else None
    if len(votes) < rule.min_agreeing_frames:
        return Decision(Outcome.UNDECIDED, best, 0, len(votes))
    if best is None:
        return Decision(Outcome.NOBODY, None, 0, len(votes))
    runner_up = candidates[1].similarity if len(candidates) > 1 else -1.0
    least = threshold - rule.agreement_slack
    agreeing = sum(_names(vote, best.person_id, least) for vote in votes)
    matched = (
        best.similarity >= threshold
        and best.similarity - runner_up >= rule.min_margin
        and agreeing >= rule.min_agreeing_frames
        and agreeing >= rule.min_agreeing_share * len(votes)
    )
    return Decision(Outcome.MATCH if matched else Outcome.NOBODY, best, agreeing, len(votes))


def _names(vote: Vote, person_id: str, least: float) -> bool:
    if not vote.candidates:
        return False
    best = vote.candidates[0]
    return best.person_id == person_id and best.similarity >= least
