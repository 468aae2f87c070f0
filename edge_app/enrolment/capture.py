"""From a camera to the probes of one person: guided and live, or replayed in demo mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge_app.core import quality
from edge_app.core.decode import suppress
from edge_app.core.embed import average
from edge_app.core.liveness import (
    Ask,
    Challenge,
    ChallengeState,
    LivenessRule,
    advance,
    begin,
    interrupted,
    observe,
)
from edge_app.core.quality import QualityLimits
from edge_app.core.scan import Region
from edge_app.enrolment.poses import Facing, facings
from edge_app.enrolment.refused import CaptureRefusedError, Refusal
from edge_app.enrolment.words import Hint
from edge_app.errors import EnrolmentError
from edge_app.pipeline import Pipeline
from edge_app.ports import FrameSource
from edge_app.records import (
    Box,
    Detection,
    FaceMesh,
    Frame,
    FrameOrigin,
    ImageBgr,
    Probe,
    Rejection,
)

_HINTS = {
    Rejection.TOO_SMALL: Hint.COME_CLOSER,
    Rejection.BLURRED: Hint.HOLD_STILL,
    Rejection.EXTREME_POSE: Hint.NOT_SO_FAR,
    Rejection.TOO_DARK: Hint.MORE_LIGHT,
    Rejection.TOO_BRIGHT: Hint.LESS_LIGHT,
    Rejection.OCCLUDED: Hint.UNCOVER,
}

_BACKGROUND_SHARE = 0.4
"""Faces narrower than this share of the widest are people behind, not a second person."""


@dataclass(frozen=True, slots=True)
class PoseRule:
    """frames_per_pose: good frames that are waited for in each pose.
    timeout_s:       how long a pose is waited for, once the liveness challenge is passed.
    """

    frames_per_pose: int
    timeout_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """probes: the good frames, in order; refused: how many others, by the reason."""

    probes: tuple[Probe, ...] = field(repr=False)
    refused: Mapping[Rejection, int]


class Guide(Protocol):
    """Tells the person what to do next, on a screen or by voice."""

    def ask(self, ask: Ask | Facing) -> None: ...

    def hint(self, hint: Hint) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


class Capture:
    """One person's capture. Use an instance once.

    Both ways raise EnrolmentError, with what to do, when no frame is good enough; nothing is
    kept then.
    """

    def __init__(
        self,
        reader: Pipeline,
        limits: QualityLimits,
        guide: Guide,
        *,
        detector: str,
        max_overlap: float,
    ) -> None:
        """detector:    searches the frame as a whole: who enrols is near, and a guide that has to
                     wait for every tile comes too late.
        max_overlap: intersection over union above which two detections are one face.
        """
        self._reader = reader
        self._detector = detector
        self._max_overlap = max_overlap
        self._limits = limits
        self._guide = guide
        self._probes: list[Probe] = []
        self._rejections: Counter[Rejection] = Counter()

    def replayed(self, source: FrameSource) -> Captured:
        """The good frames of a replay, for demo templates only (the station signs them so).

        Also raises EnrolmentError when a picture shows several people.
        """
        if source.origin is not FrameOrigin.REPLAY:
            raise EnrolmentError("a live camera needs a guided capture; leave --demo away")
        source.open()
        try:
            while (frame := source.read()) is not None:
                faces = self._faces(frame)
                if len(faces) > 1:
                    raise CaptureRefusedError(
                        Refusal.SEVERAL_FACES,
                        f"{len(faces)} faces are in the picture; use pictures of one person",
                    )
                if faces:
                    self._keep_if_good(frame, *self._reader.aligned(frame.image_bgr, faces[0]))
        finally:
            source.close()
        return self._result()

    def live(
        self, source: FrameSource, rule: LivenessRule, turns: Sequence[Ask], poses: PoseRule
    ) -> Captured:
        """The good frames of a guided capture during which the liveness challenge was passed.

        turns: drawn at random by the caller for this capture. The challenge's turns fill most
        poses; those still lacking are asked for after it. Also raises EnrolmentError when the
        challenge fails.
        """
        if source.origin is not FrameOrigin.LIVE:
            raise EnrolmentError("enrolment is a live capture; replayed files need --demo")
        source.open()
        try:
            challenge = self._challenge(source, rule, turns)
            if challenge is None or challenge.state is not ChallengeState.PASSED:
                raise CaptureRefusedError(
                    Refusal.LIVENESS,
                    "the liveness check was not passed (a turn the other way, the face out of "
                    "view, or too slow); nothing was stored, please start again",
                )
            self._fill(source, poses)
        finally:
            source.close()
        return self._result()

    def _challenge(
        self, source: FrameSource, rule: LivenessRule, turns: Sequence[Ask]
    ) -> Challenge | None:
        challenge: Challenge | None = None
        asked: Ask | None = None
        while (frame := source.read()) is not None:
            challenge = challenge or begin(turns, frame.time_s)
            if challenge.current is not None and challenge.current is not asked:
                asked = challenge.current
                self._guide.progress(challenge.done, len(challenge.asks))
                self._guide.ask(asked)
            challenge = self._follow(frame, challenge, rule)
            if challenge.current is None:
                break
        return challenge

    def _fill(self, source: FrameSource, rule: PoseRule) -> None:
        """Asks for the poses that lack good frames, one after the other, each for a while.

        Ends at once when the face that passed the challenge leaves or is joined by another.
        """
        for facing in Facing:
            lacks = self._good(facing) < rule.frames_per_pose
            if lacks and not self._wait_for(facing, source, rule):
                return

    def _wait_for(self, facing: Facing, source: FrameSource, rule: PoseRule) -> bool:
        """Whether the face is still the only one there."""
        self._guide.ask(facing)
        since_s: float | None = None
        while self._good(facing) < rule.frames_per_pose:
            frame = source.read()
            faces = self._faces(frame) if frame is not None else []
            if frame is None or len(faces) != 1:
                return False
            self._look(frame, faces[0])
            since_s = frame.time_s if since_s is None else since_s
            if frame.time_s - since_s > rule.timeout_s:
                break
        return True

    def _good(self, facing: Facing) -> int:
        return facings(self._probes).count(facing)

    def _follow(self, frame: Frame, challenge: Challenge, rule: LivenessRule) -> Challenge:
        faces = self._faces(frame)
        if len(faces) != 1:
            self._guide.hint(Hint.ONE_PERSON if faces else Hint.LOOK_HERE)
            return interrupted(challenge, frame.time_s, rule)
        mesh = self._look(frame, faces[0])
        return advance(challenge, observe(frame.image_bgr, mesh), frame.time_s, rule)

    def _look(self, frame: Frame, detection: Detection) -> FaceMesh:
        """Keeps the frame if it is good, else hints at what would make it so."""
        face, mesh = self._reader.aligned(frame.image_bgr, detection)
        fault = self._keep_if_good(frame, face, mesh)
        if fault is not None:
            self._guide.hint(_HINTS.get(fault, Hint.LOOK_HERE))
        return mesh

    def _faces(self, frame: Frame) -> list[Detection]:
        """What the mesh takes for faces too, and is near the widest one's size."""
        whole = Region(Box(0, 0, frame.width_px, frame.height_px), self._detector)
        found = self._reader.detect_in(frame.image_bgr, whole)
        least = self._limits.min_presence
        faces = [
            detection
            for detection in suppress(found, self._max_overlap)
            if self._reader.mesh(frame.image_bgr, detection).presence >= least
        ]
        widest = max((face.box_px.width for face in faces), default=0.0)
        return [face for face in faces if face.box_px.width > _BACKGROUND_SHARE * widest]

    def _keep_if_good(self, frame: Frame, face: ImageBgr, mesh: FaceMesh) -> Rejection | None:
        measured = quality.assess(face, mesh)
        fault = quality.fault(face, mesh, measured, self._limits)
        if fault is None:
            # With its mirror image, as docs/adr/0012 measured it for templates.
            both = [self._reader.embed(view) for view in (face, face[:, ::-1])]
            embedding = average(np.stack(both))
            self._probes.append(Probe(embedding, measured, frame.time_s, frame.origin))
        else:
            self._rejections[fault] += 1
        return fault

    def _result(self) -> Captured:
        if self._probes:
            return Captured(tuple(self._probes), dict(self._rejections))
        if not self._rejections:
            raise CaptureRefusedError(
                Refusal.NO_FACE, "no face was found; nothing was stored, try another picture"
            )
        reason, _ = self._rejections.most_common(1)[0]
        raise CaptureRefusedError(
            Refusal.NOT_GOOD_ENOUGH,
            f"no picture was good enough to enrol from, mostly {reason.replace('_', ' ')}: "
            f"{_HINTS.get(reason, Hint.LOOK_HERE)}; nothing was stored",
        )
