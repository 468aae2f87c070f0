"""From a camera to the probes of one person: guided and live, or replayed in demo mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from edge_app.core import quality
from edge_app.core.align import parallax_pose
from edge_app.core.liveness import (
    Ask,
    Challenge,
    ChallengeState,
    LivenessRule,
    advance,
    begin,
    interrupted,
)
from edge_app.core.quality import QualityLimits
from edge_app.errors import EnrolmentError
from edge_app.pipeline import Pipeline
from edge_app.ports import FrameSource
from edge_app.records import Detection, FaceMesh, Frame, FrameOrigin, ImageBgr, Probe, Rejection

LOOK_HERE = "look towards the camera"
_HINTS = {
    Rejection.TOO_SMALL: "come closer",
    Rejection.BLURRED: "hold still",
    Rejection.TOO_DARK: "more light on the face, please",
    Rejection.TOO_BRIGHT: "less light on the face, please",
    Rejection.OCCLUDED: "uncover eyes, mouth and chin",
}

_BACKGROUND_SHARE = 0.4
"""Faces narrower than this share of the widest are people behind, not a second person."""


class Guide(Protocol):
    """Tells the person what to do next, on a screen or by voice."""

    def ask(self, ask: Ask) -> None: ...

    def hint(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


class Capture:
    """One person's capture. Use an instance once.

    Both ways raise EnrolmentError, with what to do, when no frame is good enough; nothing is
    kept then.
    """

    def __init__(self, reader: Pipeline, limits: QualityLimits, guide: Guide) -> None:
        self._reader = reader
        self._limits = limits
        self._guide = guide
        self._probes: list[Probe] = []
        self._rejections: Counter[Rejection] = Counter()

    def replayed(self, source: FrameSource) -> tuple[Probe, ...]:
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
                    raise EnrolmentError(
                        f"{len(faces)} faces are in the picture; use pictures of one person"
                    )
                if faces:
                    self._keep_if_good(frame, *self._reader.aligned(frame.image_bgr, faces[0]))
        finally:
            source.close()
        return self._result()

    def live(
        self, source: FrameSource, rule: LivenessRule, turns: Sequence[Ask]
    ) -> tuple[Probe, ...]:
        """The good frames of a guided capture during which the liveness challenge was passed.

        turns: drawn at random by the caller for this capture. Also raises EnrolmentError when
        the challenge fails.
        """
        if source.origin is not FrameOrigin.LIVE:
            raise EnrolmentError("enrolment is a live capture; replayed files need --demo")
        source.open()
        try:
            challenge = self._challenge(source, rule, turns)
        finally:
            source.close()
        if challenge is None or challenge.state is not ChallengeState.PASSED:
            raise EnrolmentError(
                "the liveness check was not passed (a turn the other way, the face out of view, "
                "or too slow); nothing was stored, please start again"
            )
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

    def _follow(self, frame: Frame, challenge: Challenge, rule: LivenessRule) -> Challenge:
        faces = self._faces(frame)
        if len(faces) != 1:
            self._guide.hint("one person only, please" if faces else LOOK_HERE)
            return interrupted(challenge, frame.time_s, rule)
        face, mesh = self._reader.aligned(frame.image_bgr, faces[0])
        fault = self._keep_if_good(frame, face, mesh)
        if fault is not None:
            self._guide.hint(_HINTS.get(fault, LOOK_HERE))
        return advance(challenge, parallax_pose(mesh), frame.time_s, rule)

    def _faces(self, frame: Frame) -> list[Detection]:
        """The faces near the widest one's size that the mesh takes for faces too."""
        detections = self._reader.detect_whole(frame.image_bgr)
        widest = max((d.box_px.width for d in detections), default=0.0)
        near = [d for d in detections if d.box_px.width > _BACKGROUND_SHARE * widest]
        if len(near) < 2:
            return near
        least = self._limits.min_presence
        return [d for d in near if self._reader.aligned(frame.image_bgr, d)[1].presence > least]

    def _keep_if_good(self, frame: Frame, face: ImageBgr, mesh: FaceMesh) -> Rejection | None:
        measured = quality.assess(face, mesh)
        fault = quality.fault(face, mesh, measured, self._limits)
        if fault is None:
            embedding = self._reader.embed(face)
            self._probes.append(Probe(embedding, measured, frame.time_s, frame.origin))
        else:
            self._rejections[fault] += 1
        return fault

    def _result(self) -> tuple[Probe, ...]:
        if self._probes:
            return tuple(self._probes)
        if not self._rejections:
            raise EnrolmentError("no face was found; nothing was stored, try another picture")
        reason, _ = self._rejections.most_common(1)[0]
        raise EnrolmentError(
            f"no picture was good enough to enrol from, mostly {reason.replace('_', ' ')}: "
            f"{_HINTS.get(reason, LOOK_HERE)}; nothing was stored"
        )
