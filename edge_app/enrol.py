"""Enrols one person into this home's gallery: capture, consent, signature, storage."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import SystemRandom
from threading import Event

from edge_app.adapters.cameras import SourceSpec
from edge_app.adapters.keys import station_key
from edge_app.adapters.mailbox import LatestFrames
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import (
    Home,
    embedder_sha256,
    first_calibration,
    intended_use,
    load_models,
    make_camera,
    make_rules,
)
from edge_app.config import Config
from edge_app.core.liveness import Ask, LivenessRule, draw_turns
from edge_app.enrolment.capture import Capture, Captured, Guide, PoseRule
from edge_app.enrolment.consent_notice import Notice, notice_for, storage_locations
from edge_app.enrolment.receipt import Receipt, receipt_for
from edge_app.enrolment.station import (
    Agreement,
    Enrolled,
    EnrolmentLimits,
    EnrolmentReport,
    FleetKeeping,
    enrol,
    require_basis,
    require_presentable,
)
from edge_app.errors import EnrolmentError
from edge_app.pipeline import Pipeline
from edge_app.ports import Clock, FrameSource
from edge_app.records import Controller, LawfulBasis, Purpose

_DAY_S = 86_400
_TURNS = 4
_REPLAY_STILL_S = 0.1
"""Pictures do not change while they are shown: a few frames of each say all there is."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who is to be enrolled, and for what. `relation`: to the wearer; may be empty."""

    name: str
    relation: str
    purpose: Purpose
    lawful_basis: LawfulBasis


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """receipt: the person's paper with the revocation code; shown once, kept nowhere."""

    person_id: str
    receipt: Receipt
    report: EnrolmentReport


def consent_notice(config: Config, purpose: Purpose, language: str, fleet: str = "") -> Notice:
    """The notice that the person reads before agreeing. fleet: see `notice_for`.

    Raises EnrolmentError.
    """
    days = config.enrolment.validity_days
    return notice_for(
        purpose,
        language,
        controller=_controller(config),
        jurisdiction=config.controller.jurisdiction,
        valid_days=days,
        kept_days=days,
        fleet=fleet,
    )


def check_applicant(config: Config, applicant: Applicant) -> None:
    """What can be refused before anybody is asked to agree. Raises EnrolmentError."""
    if applicant.purpose is not config.purpose:
        raise EnrolmentError(
            f'this device serves the purpose "{config.purpose}"; enrol with --purpose '
            f"{config.purpose}, or set purpose in the configuration"
        )
    require_presentable(applicant.name, applicant.relation)
    require_basis(applicant.lawful_basis, applicant.purpose)


def enrol_person(
    config: Config,
    home: Home,
    applicant: Applicant,
    notice: Notice,
    *,
    sources: Sequence[SourceSpec],
    demo: bool,
    guide: Guide,
    hand_over: Callable[[EnrolmentResult], None],
    clock: Clock,
    stop: Event,
    keeping: FleetKeeping | None = None,
) -> EnrolmentResult:
    """`enrol_before` this home's camera, or files in demo mode."""
    check_applicant(config, applicant)
    source = make_camera(
        config, sources, still_s=_REPLAY_STILL_S, realtime=False, clock=clock, stop=stop
    )
    return enrol_before(
        source if demo else LatestFrames(source),
        config,
        home,
        applicant,
        notice,
        demo=demo,
        guide=guide,
        hand_over=hand_over,
        clock=clock,
        keeping=keeping,
    )


def enrol_before(
    source: FrameSource,
    config: Config,
    home: Home,
    applicant: Applicant,
    notice: Notice,
    *,
    demo: bool,
    guide: Guide,
    hand_over: Callable[[EnrolmentResult], None],
    clock: Clock,
    keeping: FleetKeeping | None = None,
    by_browser: bool = False,
) -> EnrolmentResult:
    """Captures, signs, hands over the receipt, and stores. Whatever fails, nothing is stored.

    source:    not open yet; a live one gives the newest frame.
    keeping:   instead of this home's gallery, at a fleet's station; the notice names the fleet.
    hand_over: gives the person their receipt. Without the code on it they could not leave, so
               nothing is stored if it raises.
    by_browser: the source is a browser's camera; the consent record says so.

    Raises EnrolmentError, CameraError, ModelError, GalleryError, CalibrationError (no first
    threshold meets the configured FPIR) or StorageError.
    """
    check_applicant(config, applicant)
    store, station = home.store(), station_key(home.keys)
    model_sha256 = embedder_sha256(config)
    use = intended_use(config, home, model_sha256)
    calibration = first_calibration(config, model_sha256)

    def signed() -> tuple[Enrolled, EnrolmentReport]:
        """What outlives the capture; frames' embeddings and the networks do not."""
        captured = _captured(source, config, demo=demo, guide=guide)
        enrolled = enrol(
            captured.probes,
            name=applicant.name,
            relation=applicant.relation,
            agreement=_agreement(config, applicant, notice, keeping),
            demo=demo,
            by_browser=by_browser,
            limits=_limits(config),
            enrolled=store.usable(use, now=clock.now()),
            model_sha256=model_sha256,
            station=station,
            now=clock.now(),
            entropy=secrets.token_bytes,
        )
        return enrolled, replace(enrolled.report, refused=captured.refused)

    enrolled, report = signed()
    result = EnrolmentResult(
        enrolled.enrolment.person_id,
        receipt_for(enrolled, notice, from_anywhere=keeping is not None),
        report,
    )
    hand_over(result)
    if keeping is not None:
        keeping.deliver(enrolled.enrolment)
    else:
        store.add(enrolled.enrolment, use, calibration=calibration, now=clock.now())
    return result


def _captured(source: FrameSource, config: Config, *, demo: bool, guide: Guide) -> Captured:
    capture = Capture(
        Pipeline(make_rules(config), load_models(config), NullStopwatch()),
        config.enrolment_quality,
        guide,
        detector=config.scan.tile_detector,
        max_overlap=config.look.max_detection_overlap,
    )
    if demo:
        return capture.replayed(source)
    return capture.live(source, _rule(config), _turns(), _poses(config))


def _turns() -> tuple[Ask, ...]:
    """The liveness challenge of one capture: one of 224."""
    return draw_turns(SystemRandom(), _TURNS)


def _rule(config: Config) -> LivenessRule:
    enrolment = config.enrolment
    return LivenessRule(
        turn_deg=enrolment.turn_deg,
        straight_deg=enrolment.straight_deg,
        step_timeout_s=enrolment.step_timeout_s,
        max_lost_s=enrolment.max_lost_s,
        min_relief=enrolment.min_relief,
    )


def _poses(config: Config) -> PoseRule:
    enrolment = config.enrolment
    return PoseRule(enrolment.frames_per_pose, enrolment.pose_timeout_s)


def _limits(config: Config) -> EnrolmentLimits:
    enrolment = config.enrolment
    return EnrolmentLimits(
        min_frames=enrolment.min_frames,
        max_frames=enrolment.max_frames,
        min_similarity=enrolment.min_similarity,
        duplicate_similarity=enrolment.duplicate_similarity,
        relative_similarity=enrolment.relative_similarity,
        same_similarity=enrolment.same_similarity,
    )


def _controller(config: Config) -> Controller:
    party = config.controller
    return Controller(config.site, party.name, party.address, party.contact)


def _agreement(
    config: Config, applicant: Applicant, notice: Notice, keeping: FleetKeeping | None
) -> Agreement:
    lifetime_s = config.enrolment.validity_days * _DAY_S
    return Agreement(
        notice=notice,
        lawful_basis=applicant.lawful_basis,
        controller=_controller(config),
        jurisdiction=config.controller.jurisdiction,
        storage_locations=storage_locations(
            notice.privacy_notice.language, "" if keeping is None else keeping.fleet
        ),
        validity_s=lifetime_s,
        retention_s=lifetime_s,
    )
