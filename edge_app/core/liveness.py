"""The liveness challenge at enrolment: turns and nods that are drawn at random for each capture.

A step counts only while one face stays in view; another turn than the one asked, seen in two
frames running, fails the whole challenge, so that a recording of somebody looking about does not
pass by chance. How far a head has turned is judged by how far the nose tip moves against the eyes:
a flat photograph that is turned keeps them together. A bent one moves them, so every turned frame
is also asked whether it shows a head or a sheet (core/relief.py), and the mean answer over the
challenge decides.

A person who plays the asked turns on a screen at the right moment, and a mask with a nose, are
not refused by this: docs/adr/0010 says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from edge_app.core.align import parallax_pose
from edge_app.core.relief import Patch, patch, relief
from edge_app.records import FaceMesh, ImageBgr, Pose

_SETTLING_STEPS = 5
"""How many step times somebody has to come before the camera."""

_NOD_SHARE = 0.6
"""Necks bend less far than they turn."""

_ANOTHER = 1.3
"""How far another turn may go by the way before it contradicts the one asked, as a share."""


class Ask(StrEnum):
    """What the person is asked to do; left and right are their own."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


_TURNS = (Ask.LEFT, Ask.RIGHT)
_NODS = (Ask.UP, Ask.DOWN)


class ChallengeState(StrEnum):
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LivenessRule:
    """turn_deg:     rotation from the person's own straight look that counts as a turn; a nod
                     needs 0.6 of it.
    straight_deg:   rotation within which the face counts as straight.
    step_timeout_s: time for each step.
    max_lost_s:     how long the face may be lost, or not be the only one: detectors blink.
    min_relief:     least mean of `relief` over the turned frames (docs/adr/0010).
    """

    turn_deg: float
    straight_deg: float
    step_timeout_s: float
    max_lost_s: float
    min_relief: float


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the challenge sees of one frame."""

    pose: Pose
    patch: Patch = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Challenge:
    """asks: the steps in order; done: how many are met; since_s: when the current one began.

    seen_s:  when the face was last there, alone.
    strayed: whether it showed another turn than the one asked for just now.
    rest:    the latest straight look that was asked for, with the pose of the first; None before
             it. Turns count from that: cameras stand at different heights, noses are not straight.
    reliefs: of the turned frames so far.
    """

    asks: tuple[Ask, ...]
    done: int
    since_s: float
    seen_s: float
    strayed: bool
    rest: View | None
    reliefs: tuple[float, ...] = field(repr=False)
    state: ChallengeState

    @property
    def current(self) -> Ask | None:
        """What is asked now; None once it is over."""
        return self.asks[self.done] if self.state is ChallengeState.RUNNING else None


def observe(image: ImageBgr, mesh: FaceMesh) -> View:
    """What `advance` needs of a frame and the face in it."""
    return View(parallax_pose(mesh), patch(image, mesh))


def relief_between(rest: View, turned: View) -> float:
    """Whether the face that turned looks like a head (above zero) or a sheet (core/relief.py)."""
    across_deg = turned.pose.yaw_deg - rest.pose.yaw_deg
    up_deg = turned.pose.pitch_deg - rest.pose.pitch_deg
    return relief(rest.patch, turned.patch, math.hypot(across_deg, up_deg))


def draw_turns(random: Random, count: int) -> tuple[Ask, ...]:
    """`count` (at least two) turns and nods, at least one of each; all such are as likely.

    Four can be drawn in 224 ways. Raises ValueError for fewer than two.
    """
    _require_two(count)
    while True:
        drawn = tuple(random.choices(_TURNS + _NODS, k=count))
        if not set(drawn).isdisjoint(_TURNS) and not set(drawn).isdisjoint(_NODS):
            return drawn


def begin(turns: Sequence[Ask], time_s: float) -> Challenge:
    """A challenge over random `turns` (at least two; see `draw_turns`)."""
    _require_two(len(turns))
    if Ask.STRAIGHT in turns:
        raise ValueError("straight looks are asked for between the turns; draw turns only")
    asks = [Ask.STRAIGHT]
    for turn in turns:
        asks += [turn, Ask.STRAIGHT]
    return Challenge(
        tuple(asks),
        done=0,
        since_s=time_s,
        seen_s=time_s,
        strayed=False,
        rest=None,
        reliefs=(),
        state=ChallengeState.RUNNING,
    )


def advance(challenge: Challenge, view: View, time_s: float, rule: LivenessRule) -> Challenge:
    """The challenge after one more frame of the same face."""
    if challenge.current is None:
        return challenge
    if time_s - challenge.since_s > _time_limit_s(challenge, rule):
        return replace(challenge, state=ChallengeState.FAILED)
    challenge = replace(challenge, seen_s=time_s)
    if challenge.rest is None:
        return _settled(challenge, view, time_s, rule)
    return _followed(challenge, view, challenge.rest, time_s, rule)


def interrupted(challenge: Challenge, time_s: float, rule: LivenessRule) -> Challenge:
    """The challenge after a frame without a face, or with several.

    Before the first straight look people may take their time to sit down; after it, the face
    that began has to stay.
    """
    if challenge.current is None:
        return challenge
    in_time = time_s - challenge.since_s <= _time_limit_s(challenge, rule)
    if in_time and (challenge.rest is None or time_s - challenge.seen_s <= rule.max_lost_s):
        return challenge
    return replace(challenge, state=ChallengeState.FAILED)


def _require_two(turns: int) -> None:
    if turns < 2:
        raise ValueError("a challenge needs at least two turns")


def _time_limit_s(challenge: Challenge, rule: LivenessRule) -> float:
    return rule.step_timeout_s * (_SETTLING_STEPS if challenge.rest is None else 1)


def _settled(challenge: Challenge, view: View, time_s: float, rule: LivenessRule) -> Challenge:
    if abs(view.pose.yaw_deg) >= rule.straight_deg:
        return challenge
    return replace(challenge, done=1, since_s=time_s, rest=view)


def _followed(
    challenge: Challenge, view: View, rest: View, time_s: float, rule: LivenessRule
) -> Challenge:
    ask = challenge.asks[challenge.done]
    shown, share = _turn(view.pose, rest.pose, rule)
    strayed = share >= _ANOTHER and shown is not _turn_allowed(challenge)
    if strayed and challenge.strayed:
        return replace(challenge, state=ChallengeState.FAILED)
    reliefs = challenge.reliefs
    if share >= 1:
        reliefs = (*reliefs, relief_between(rest, view))
    challenge = replace(challenge, strayed=strayed, reliefs=reliefs)
    if ask is Ask.STRAIGHT and _is_straight(view.pose, rest.pose, rule):
        # Turns keep counting from the first look: a head that drifts must not take it along.
        return _step(replace(challenge, rest=replace(view, pose=rest.pose)), time_s, rule)
    if ask is shown and share >= 1:
        return _step(challenge, time_s, rule)
    return challenge


def _step(challenge: Challenge, time_s: float, rule: LivenessRule) -> Challenge:
    """The challenge with its current step met."""
    done = challenge.done + 1
    state = ChallengeState.RUNNING
    if done == len(challenge.asks):
        mean = sum(challenge.reliefs) / len(challenge.reliefs)
        state = ChallengeState.PASSED if mean >= rule.min_relief else ChallengeState.FAILED
    return replace(challenge, done=done, since_s=time_s, state=state)


def _turn_allowed(challenge: Challenge) -> Ask:
    """The turn asked for, or, while the head comes back from it, the one before."""
    ask = challenge.asks[challenge.done]
    return challenge.asks[challenge.done - 1] if ask is Ask.STRAIGHT else ask


def _turn(pose: Pose, rest: Pose, rule: LivenessRule) -> tuple[Ask, float]:
    """The turn that a pose shows most of, and how much of what counts as one, from 0 on."""
    across = (pose.yaw_deg - rest.yaw_deg) / rule.turn_deg
    up = (pose.pitch_deg - rest.pitch_deg) / (rule.turn_deg * _NOD_SHARE)
    if abs(across) >= abs(up):
        return (Ask.LEFT if across > 0 else Ask.RIGHT), abs(across)
    return (Ask.UP if up > 0 else Ask.DOWN), abs(up)


def _is_straight(pose: Pose, rest: Pose, rule: LivenessRule) -> bool:
    turned_deg, lift_deg = pose.yaw_deg - rest.yaw_deg, pose.pitch_deg - rest.pitch_deg
    return max(abs(turned_deg), abs(lift_deg)) < rule.straight_deg
