"""From one frame to what the wearer sees and what leaves the device. Read top to bottom.

    detect -> track -> attention gate -> mesh -> quality gate -> align -> embed -> match
    -> fuse over the tracklet -> decide -> present

Faces that match nobody exist only as local values here and as votes in the live tracklet;
nothing in this file can write (P1).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from edge_app.core import align, attention, decode, quality
from edge_app.core.attention import AttentionLimits
from edge_app.core.continuity import sketch
from edge_app.core.decide import DecisionRule, Vote, decide, fused
from edge_app.core.embed import comparable
from edge_app.core.gallery import Gallery
from edge_app.core.geometry import Transform, scaled, smoothed
from edge_app.core.governor import Effort
from edge_app.core.match import match
from edge_app.core.quality import QualityLimits
from edge_app.core.scan import Region, Scanner, ScanPlan, still_regions
from edge_app.core.track import Track, Tracker, TrackingLimits
from edge_app.ports import Stopwatch, TensorModel
from edge_app.records import (
    Box,
    Candidate,
    Detection,
    FaceMesh,
    Float32Array,
    Frame,
    ImageBgr,
    Outcome,
    Probe,
    Purpose,
    Quality,
    Rejection,
)

_PATIENCE = 5
"""How many times the least number of votes a torn tracklet may take before it is settled."""

_SURE = 0.9
"""FaceMesh's presence from which a first look is enough: 97 of 100 faces of 60 px have it."""

_WIDER, _SOFTER_PX = 1.2, 3.0
"""How much wider a second look is, and by how many pixels of the crop it is smoothed: that wins
back five of six small faces that a first look rejects (docs/adr/0003)."""

_EAGER = 0.5
"""Share of the interval between two looks that a face without its first votes waits."""

_TURNS = 3
"""In how many frames everybody who is settled is followed once: 0.1 s at 30 frames a second."""

_FEWER = 4
"""What the close looks of one frame are divided by when the device sheds them."""

_SLACK_S = 0.005
"""Cameras do not keep time to the millisecond: what is due so soon is due in this frame."""

_MAX_VOTES = 30
"""Who stays in view for hours is judged by the latest votes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that steers the pipeline; the values come from the configuration.

    min_detection_score:  detector score (0 to 1) a face needs.
    max_detection_overlap: intersection over union above which two detections are one face.
    candidates:           how many people a search returns.
    better_quality:       a face is embedded again only when its quality is this many times
                          the best so far (or while it has too few votes for a decision, or
                          when it may have become another's).
    look_interval_s:      least time between two close looks (mesh and quality) at one face; half
                          of it until the face has its first votes.
    rest_s:               the same of a face that is known well enough; meanwhile a glance, without
                          mesh, every `look_interval_s` must show that it has not changed.
    looks_per_frame:      how many faces are looked at closely in one frame, at most.
    min_continuity:       correlation of successive sketches of a face (core/continuity.py)
                          below which it may be another person's.
    min_coherence:        score between successive embeddings of one tracklet below which it
                          has changed hands and its votes are void.
    encounter_gap_s:      the cool-down: an encounter ends when the person was not recognised
                          for this long; each encounter gives one sighting.
    asked_s:              how long "who is this?" stays asked.
    """

    purpose: Purpose
    scan: ScanPlan
    tracking: TrackingLimits
    attention: AttentionLimits
    quality: QualityLimits
    decision: DecisionRule
    min_detection_score: float
    max_detection_overlap: float
    candidates: int
    better_quality: float
    look_interval_s: float
    rest_s: float
    looks_per_frame: int
    min_continuity: float
    min_coherence: float
    encounter_gap_s: float
    asked_s: float


@dataclass(frozen=True, slots=True)
class Models:
    """The networks. `detectors` is keyed by model name."""

    detectors: Mapping[str, TensorModel]
    mesh: TensorModel
    embedder: TensorModel


@dataclass(frozen=True, slots=True)
class Sighting:
    """A decided match, once per encounter: what an alert is made of."""

    candidate: Candidate
    tracklet_frames: int
    tracklet_s: float


@dataclass(frozen=True, slots=True)
class Recognised:
    """An enrolled person who is in view now. Stays on the device."""

    person_id: str
    similarity: float
    box_px: Box


@dataclass(frozen=True, slots=True)
class FrameResult:
    """sightings go to the outbox, recognised to the display. Neither mentions a stranger.

    unsure: somebody's fused probe reaches the threshold and has enough votes, and still gives no
            name: they resemble two people who are enrolled, or too few frames bear it out. A
            stranger does so no more often than the FPIR allows.
    """

    sightings: tuple[Sighting, ...]
    recognised: tuple[Recognised, ...]
    unsure: bool


@dataclass(slots=True, eq=False)
class _Tracklet:
    """What is known of one tracked face. Dies with its track.

    candidates: of the votes' fused probe.
    gated:    its last look ended in a rejection; it carries no name until it passes again.
    doubtful: that rejection said it is no face; it is not worth following from frame to frame.
    settled:  it has its first votes, or was refused: it need not be followed in every frame.
    resting:  its last close look gave nothing to search: until it changes, glances will do.
    followed_s: the last time it was looked for around its place.
    last_sketch, last_glimpse: at the last close look, and at the last glance while it rested.
    """

    votes: list[Vote] = field(default_factory=list)
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)
    best_quality: float = 0.0
    last_look_s: float = float("-inf")
    last_close_look_s: float = float("-inf")
    first_vote_s: float = float("-inf")
    last_sketch: Float32Array | None = field(default=None, repr=False)
    last_glimpse: Float32Array | None = field(default=None, repr=False)
    last_embedding: Float32Array | None = field(default=None, repr=False)
    gated: bool = False
    doubtful: bool = False
    settled: bool = False
    resting: bool = False
    followed_s: float = float("-inf")


class State:
    """The pipeline's memory between frames of one camera."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.scanner = Scanner(rules.scan)
        self.tracker = Tracker(rules.tracking)
        self.tracklets: dict[int, _Tracklet] = {}
        self.last_recognised_s: dict[str, float] = {}
        self.asked_until_s = float("-inf")
        self.effort = Effort.FULL
        self.rejections: Counter[Rejection] = Counter()
        self.faces_detected = 0
        self.faces_embedded = 0

    def tracklet(self, track: Track) -> _Tracklet:
        """What is known of a track's face; nothing yet, if it is new."""
        return self.tracklets.setdefault(track.track_id, _Tracklet())

    def forget_faces(self) -> None:
        """Nobody is in view any more: drops the tracks with their votes, and an open question."""
        self.scanner = Scanner(self._rules.scan)
        self.tracker = Tracker(self._rules.tracking)
        self.tracklets.clear()
        self.asked_until_s = float("-inf")

    def ask(self, now_s: float, rules: Rules) -> None:
        """The wearer asks "who is this?" at frame time `now_s`."""
        self.asked_until_s = now_s + rules.asked_s


class Pipeline:
    """The one way from a frame to a decision. An instance belongs to one thread."""

    def __init__(self, rules: Rules, models: Models, stopwatch: Stopwatch) -> None:
        self._rules = rules
        self._models = models
        self._stopwatch = stopwatch

    def process(self, frame: Frame, state: State, gallery: Gallery, now: datetime) -> FrameResult:
        """One frame. `now` is wall time: consents are judged by it, at match time (P2)."""
        state.tracker.predict(frame.time_s)
        detections = self._detect(frame.image_bgr, frame.time_s, state)
        seen = state.tracker.update(detections, frame.time_s)
        _forget_ended(state)
        self._stopwatch.lap("track")
        looks, most = 0, self._rules.looks_per_frame
        if state.effort >= Effort.FEWER_LOOKS:
            most = math.ceil(most / _FEWER)
        for track in sorted(seen, key=lambda track: state.tracklet(track).last_look_s):
            if looks < most:
                looks += self._look_at(track, frame, state, gallery, now)
        result = self._decide(frame, state, gallery, now)
        self._stopwatch.lap("decide")
        return result

    def _detect(self, image: ImageBgr, time_s: float, state: State) -> list[Detection]:
        followed, waiting = self._share_out(state, time_s)
        found: list[Detection] = []
        for region in state.scanner.regions(image, followed, waiting, state.effort):
            found += self.detect_in(image, region)
        detections = decode.suppress(found, self._rules.max_detection_overlap)
        state.faces_detected += len(detections)
        self._stopwatch.lap("detect")
        return detections

    def _share_out(self, state: State, time_s: float) -> tuple[list[Box], list[Box]]:
        """The known faces to look around in this frame, and those whose turn it is not.

        A face that waits for its votes is followed in every frame. The settled ones take turns,
        so that a crowd is not looked at in one frame and nobody in the next two.
        """
        followed: list[tuple[_Tracklet, Track]] = []
        settled: list[tuple[_Tracklet, Track]] = []
        waiting: list[Box] = []
        for track in state.tracker.tracks:
            tracklet = state.tracklet(track)
            if not tracklet.doubtful:
                (settled if tracklet.settled else followed).append((tracklet, track))
        turns = math.ceil(len(settled) / _TURNS)
        for tracklet, track in sorted(settled, key=lambda pair: pair[0].followed_s):
            lost = track.last_seen_s < tracklet.followed_s
            rested = time_s - tracklet.followed_s >= self._rules.look_interval_s - _SLACK_S
            if turns > 0 and (lost or rested):
                turns -= 1
                followed.append((tracklet, track))
            else:
                waiting.append(track.box_px)
        for tracklet, _ in followed:
            tracklet.followed_s = time_s
        return [track.box_px for _, track in followed], waiting

    def detect_in(self, image: ImageBgr, region: Region) -> list[Detection]:
        """The faces in one region of a frame."""
        geometry = decode.GEOMETRIES[region.detector]
        tensor, scale = decode.network_input(
            image, region.box_px, geometry, brightened=region.brightened
        )
        regressors, logits = self._models.detectors[region.detector](tensor)
        return decode.decode(
            regressors,
            logits,
            geometry,
            region=region.box_px,
            scale=scale,
            min_score=max(self._rules.min_detection_score, region.min_score),
            min_width_px=region.min_width_px,
            max_width_px=region.max_width_px,
        )

    def detect_whole(self, image: ImageBgr) -> list[Detection]:
        """The faces of a single picture: every tile is searched. Best first."""
        height, width = image.shape[:2]
        found: list[Detection] = []
        for region in still_regions(width, height, self._rules.scan):
            found += self.detect_in(image, region)
        return decode.suppress(found, self._rules.max_detection_overlap)

    def _look_at(
        self, track: Track, frame: Frame, state: State, gallery: Gallery, now: datetime
    ) -> bool:
        """Gates one face and, if it passes and is worth it, searches it and adds its vote.

        Returns whether that took a close look.
        """
        tracklet = state.tracklet(track)
        if track.detection is None:
            return False
        refused = self._attention(track.detection, frame, state)
        rejection = refused
        if refused is None:
            interval_s = self._rules.look_interval_s * (1 if tracklet.settled else _EAGER)
            if frame.time_s - tracklet.last_look_s < interval_s - _SLACK_S:
                return False
            tracklet.last_look_s = frame.time_s
            if tracklet.resting and self._glance(track.detection, tracklet, frame):
                return False
            tracklet.last_close_look_s = frame.time_s
            rejection = self._look_closely(
                track.detection, tracklet, frame=frame, state=state, gallery=gallery, now=now
            )
        tracklet.gated = rejection is not None
        tracklet.doubtful = rejection is Rejection.NOT_A_FACE
        enough = len(tracklet.votes) >= self._rules.decision.min_agreeing_frames
        tracklet.settled = enough or rejection is not None
        if rejection is not None:
            state.rejections[rejection] += 1
        return refused is None

    def _glance(self, detection: Detection, tracklet: _Tracklet, frame: Frame) -> bool:
        """Whether this is still the face of the last close look, which was not long ago."""
        last = tracklet.last_glimpse
        tracklet.last_glimpse = sketch(align.roughly_aligned_face(frame.image_bgr, detection))
        if frame.time_s - tracklet.last_close_look_s >= self._rules.rest_s - _SLACK_S:
            return False
        return last is not None and not self._changed(last, tracklet.last_glimpse)

    def _changed(self, last: Float32Array, now: Float32Array) -> bool:
        return float(last @ now) < self._rules.min_continuity

    def _attention(self, detection: Detection, frame: Frame, state: State) -> Rejection | None:
        if attention.cut_off(detection.box_px, frame.width_px, frame.height_px):
            return Rejection.CUT_OFF
        return attention.attention(
            detection,
            frame.width_px,
            frame.height_px,
            purpose=self._rules.purpose,
            limits=self._rules.attention,
            asked=frame.time_s <= state.asked_until_s,
        )

    def _look_closely(
        self,
        detection: Detection,
        tracklet: _Tracklet,
        *,
        frame: Frame,
        state: State,
        gallery: Gallery,
        now: datetime,
    ) -> Rejection | None:
        tracklet.resting = False
        mesh = self.mesh(frame.image_bgr, detection)
        if mesh.presence < self._rules.quality.min_presence:
            self._stopwatch.lap("align")
            return Rejection.NOT_A_FACE
        face = align.aligned_face(frame.image_bgr, mesh)
        measured = quality.assess(face, mesh)
        rejection = quality.fault(face, mesh, measured, self._rules.quality)
        self._stopwatch.lap("align")
        if rejection is not None:
            return rejection
        threshold = gallery.calibration.threshold
        if not self._worth_embedding(tracklet, face, measured, threshold):
            tracklet.resting = True
            return None
        probe = Probe(self.embed(face), measured, frame.time_s, frame.origin)
        state.faces_embedded += 1
        self._stopwatch.lap("embed")
        candidates = match(probe, gallery, now, self._rules.candidates)
        _vote(tracklet, probe, candidates, self._rules.min_coherence)
        whole = replace(probe, embedding=fused(tracklet.votes))
        tracklet.candidates = match(whole, gallery, now, self._rules.candidates)
        self._stopwatch.lap("match")
        return None

    def aligned(self, image: ImageBgr, detection: Detection) -> tuple[ImageBgr, FaceMesh]:
        """The face's 112 x 112 crop, and the mesh it was aligned by."""
        mesh = self.mesh(image, detection)
        return align.aligned_face(image, mesh), mesh

    def mesh(self, image: ImageBgr, detection: Detection) -> FaceMesh:
        """The 468 points of a detected face, in frame pixels.

        A second look decides where the first leaves doubt: the detectors draw small faces too
        narrow, and noise both hides faces from FaceMesh and shows it some that are none.
        """
        mesh = self._fit_mesh(*align.mesh_crop(image, detection))
        if mesh.presence >= _SURE:
            return mesh
        wider = replace(detection, box_px=scaled(detection.box_px, _WIDER))
        tensor, transform = align.mesh_crop(image, wider)
        return self._fit_mesh(smoothed(tensor, _SOFTER_PX), transform)

    def _fit_mesh(self, tensor: Float32Array, transform: Transform) -> FaceMesh:
        points, presence = self._models.mesh(tensor)
        return align.decode_mesh(points, presence, transform)

    def embed(self, face: ImageBgr) -> Float32Array:
        """The comparable vector, shape (dim,), of an aligned face."""
        return comparable(self._models.embedder(align.embedder_input(face))[0])

    def _worth_embedding(
        self, tracklet: _Tracklet, face: ImageBgr, measured: Quality, threshold: float
    ) -> bool:
        """Too few votes yet, a better frame than any so far, or perhaps another person.

        A tracklet that some frames named and others did not stays open for a while, so that one
        bad look among the first does not make an enrolled person nobody.
        """
        rule = self._rules.decision
        last, tracklet.last_sketch = tracklet.last_sketch, sketch(face)
        changed = last is None or self._changed(last, tracklet.last_sketch)
        decision = decide(tracklet.votes, tracklet.candidates, threshold, rule)
        torn = decision.outcome is Outcome.NOBODY and decision.agreeing_frames > 0
        wanted = rule.min_agreeing_frames * (_PATIENCE if torn else 1)
        too_few = len(tracklet.votes) < wanted
        better = measured.score > tracklet.best_quality * self._rules.better_quality
        return changed or too_few or better

    def _decide(self, frame: Frame, state: State, gallery: Gallery, now: datetime) -> FrameResult:
        recognised, sightings, unsure = [], [], False
        for track in state.tracker.tracks:
            tracklet = state.tracklets.get(track.track_id)
            if tracklet is None or tracklet.gated or not tracklet.votes:
                continue
            threshold = gallery.calibration.threshold
            decision = decide(tracklet.votes, tracklet.candidates, threshold, self._rules.decision)
            candidate = decision.candidate
            if candidate is None or not gallery.is_usable(candidate.person_id, frame.origin, now):
                continue  # nobody, or withdrawn or expired since the vote
            if decision.outcome is not Outcome.MATCH:
                decided = decision.outcome is Outcome.NOBODY
                unsure = unsure or (decided and candidate.similarity >= threshold)
                continue
            recognised.append(Recognised(candidate.person_id, candidate.similarity, track.box_px))
            seen = track.detection is not None
            if seen and self._begins_encounter(candidate.person_id, frame.time_s, state):
                duration_s = frame.time_s - tracklet.first_vote_s
                sightings.append(Sighting(candidate, decision.frames, duration_s))
        return FrameResult(tuple(sightings), tuple(recognised), unsure)

    def _begins_encounter(self, person_id: str, time_s: float, state: State) -> bool:
        last_s = state.last_recognised_s.get(person_id, float("-inf"))
        state.last_recognised_s[person_id] = time_s
        return time_s - last_s > self._rules.encounter_gap_s


def _vote(
    tracklet: _Tracklet, probe: Probe, candidates: tuple[Candidate, ...], min_coherence: float
) -> None:
    last = tracklet.last_embedding
    if last is not None and float(last @ probe.embedding) < min_coherence:
        # Two people swapped places under the tracker: the name must not stay with the box.
        tracklet.votes.clear()
        tracklet.best_quality = 0.0
    if not tracklet.votes:
        tracklet.first_vote_s = probe.time_s
    tracklet.last_embedding = probe.embedding
    # Squared, so that one good frame outweighs several poor ones of the same face.
    weight = max(probe.quality.score, 1e-3) ** 2
    tracklet.votes.append(Vote(weight, probe.embedding, candidates))
    del tracklet.votes[:-_MAX_VOTES]
    tracklet.best_quality = max(tracklet.best_quality, probe.quality.score)


def _forget_ended(state: State) -> None:
    alive = {track.track_id for track in state.tracker.tracks}
    for ended in state.tracklets.keys() - alive:
        del state.tracklets[ended]
