"""The liveness challenge at enrolment: turns that are drawn at random for each capture.
 A step counts only while one face stays
in view; a turn the other way fails the whole challenge, so that a recording of somebody
looking about does not pass by chance. Yaw is judged by how far the nose tip moves against
the eyes: a flat photograph that is turned keeps them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_app.records import Pose

_SETTLING_STEPS = 5
"""How many step times somebody has to come before the camera."""


class Ask(StrEnum):
    """What the person is asked to do; left and right are their own."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"


class ChallengeState(StrEnum):
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LivenessRule:
    """turn_deg:     rotation from the person's own straight look that counts as a turn.
    straight_deg:   rotation within which the face counts as straight.
    step_timeout_s: time for each step.
    """

    turn_deg: float
    straight_deg: float
    step_timeout_s: float


@dataclass(frozen=True, slots=True)
class Challenge:
    """asks: the steps in order; done: how many are met; since_s: when the current one began.

    rest_pitch_deg: pitch of the person's straight look, learnt at the first step: cameras
    stand at different heights.
    """

    asks: tuple[Ask, ...]
    done: int
    since_s: float
    rest_pitch_deg: float
    state: ChallengeState

    @property
    def current(self) -> Ask | None:
        """What is asked now; None once it is over."""
        return self.asks[self.done] if self.state is ChallengeState.RUNNING else None


def begin(turns: Sequence[Ask], time_s: float) -> Challenge:
    """A challenge over random `turns` (at least two; the caller draws them)."""
    if len(turns) < 2 or Ask.STRAIGHT in turns:
        raise ValueError("a challenge needs at least two turns")
    asks = [Ask.STRAIGHT]
    for turn in turns:
        asks += [turn, Ask.STRAIGHT]
    return Challenge(tuple(asks), 0, time_s, 0.0, ChallengeState.RUNNING)


def advance(challenge: Challenge, pose: Pose, time_s: float, rule: LivenessRule) -> Challenge:
    """The challenge after one more frame of the same face."""
    ask = challenge.current
    if ask is None:
        return challenge
    late = time_s - challenge.since_s > _time_limit_s(challenge, rule)
    if late or _contradicts(ask, pose, challenge.rest_pitch_deg, rule):
        return _ended(challenge, ChallengeState.FAILED)
    if not _met(ask, pose, challenge, rule):
        return challenge
    rest_pitch_deg = pose.pitch_deg if challenge.done == 0 else challenge.rest_pitch_deg
    done = challenge.done + 1
    state = ChallengeState.PASSED if done == len(challenge.asks) else ChallengeState.RUNNING
    return Challenge(challenge.asks, done, time_s, rest_pitch_deg, state)


def interrupted(challenge: Challenge, time_s: float, rule: LivenessRule) -> Challenge:
    """The challenge after a frame without a face, or with several.

    Before the first straight look people may take their time to sit down; after it, the face
    that began has to stay.
    """
    if challenge.current is None:
        return challenge
    waited_s = time_s - challenge.since_s
    if challenge.done == 0 and waited_s <= _time_limit_s(challenge, rule):
        return challenge
    return _ended(challenge, ChallengeState.FAILED)


def _time_limit_s(challenge: Challenge, rule: LivenessRule) -> float:
    return rule.step_timeout_s * (_SETTLING_STEPS if challenge.done == 0 else 1)


def _ended(challenge: Challenge, state: ChallengeState) -> Challenge:
    return Challenge(
        challenge.asks, challenge.done, challenge.since_s, challenge.rest_pitch_deg, state
    )


def _met(ask: Ask, pose: Pose, challenge: Challenge, rule: LivenessRule) -> bool:
    lift_deg = pose.pitch_deg - challenge.rest_pitch_deg
    if ask is Ask.STRAIGHT:
        # The first straight look defines the person's rest; later ones return to it.
        level = challenge.done == 0 or abs(lift_deg) < rule.straight_deg
        return abs(pose.yaw_deg) < rule.straight_deg and level
    if ask is Ask.LEFT:
        return pose.yaw_deg > rule.turn_deg
    if ask is Ask.RIGHT:
        return pose.yaw_deg < -rule.turn_deg
    return lift_deg > rule.turn_deg * 0.6  # necks bend back less far than they turn


def _contradicts(ask: Ask, pose: Pose, rest_pitch_deg: float, rule: LivenessRule) -> bool:
    if ask is Ask.LEFT:
        return pose.yaw_deg < -rule.turn_deg
    if ask is Ask.RIGHT:
        return pose.yaw_deg > rule.turn_deg
    if ask is Ask.UP:
        lowered = pose.pitch_deg - rest_pitch_deg < -rule.turn_deg
        return lowered or abs(pose.yaw_deg) > rule.turn_deg
    return False
