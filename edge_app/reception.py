"""The station's page over this home: who comes enrols, sees their record, or leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from starlette.types import ASGIApp

from edge_app.adapters.cameras import SourceSpec
from edge_app.adapters.cameras.browser import BrowserCamera
from edge_app.adapters.cameras.watched import WatchedCamera
from edge_app.adapters.keys import station_key
from edge_app.adapters.mailbox import LatestFrames
from edge_app.app import Home, embedder_sha256, first_calibration, make_camera
from edge_app.config import Config
from edge_app.core.text import clean_text
from edge_app.enrol import (
    Applicant,
    EnrolmentResult,
    consent_notice,
    enrol_before,
)
from edge_app.enrolment.admission import Admission
from edge_app.enrolment.capture import Guide
from edge_app.enrolment.receipt import record_facts
from edge_app.enrolment.station import FleetKeeping
from edge_app.enrolment.visit import Agreed
from edge_app.enrolment.visits import HandOver, StationCamera, VisitLimits, Visits
from edge_app.enrolment.web.service import Doors, Record, Setting, make_service
from edge_app.people import person_with_code, record_json
from edge_app.ports import Clock
from edge_app.publisher.service import note_revocation
from edge_app.records import Controller
from edge_app.sync import Told, leave

_REPLAY_STILL_S = 0.5
"""In step with the clock: the person sees what is taken."""


@dataclass(frozen=True, slots=True)
class FleetDesk:
    """keeping: hands people over to the fleet's operator; inbox: the operator's, for who leaves."""

    keeping: FleetKeeping
    inbox: Path


@dataclass(frozen=True, slots=True)
class Stand:
    """How the station stands.

    sources:   its own camera, or files in demo mode; empty: the browser's camera.
    admission: see `Setting`. names: by which browsers may ask.
    """

    sources: Sequence[SourceSpec]
    demo: bool
    fleet: FleetDesk | None
    admission: Admission | None
    tls: bool
    names: frozenset[str]


def open_reception(config: Config, home: Home, stand: Stand, clock: Clock) -> ASGIApp:
    """The station's page as a service. What would refuse everybody is an error at once.

    Raises:
        EnrolmentError: this configuration enrols nobody.
        ConfigError: what the page or a camera's pins need is not installed.
        CameraError, PinError: a camera or its pins are not there to be used.
        KeyFileError, ModelError, CalibrationError: as `enrol_before`.
    """
    keeping = None if stand.fleet is None else stand.fleet.keeping
    fleet = "" if keeping is None else keeping.fleet
    station_key(home.keys)
    home.store()
    first_calibration(config, embedder_sha256(config))
    station = config.station

    def make_station_camera() -> StationCamera:
        if not stand.sources:
            return BrowserCamera(
                demo=stand.demo,
                timeout_s=station.gap_s,
                min_side_px=config.camera.min_side_px,
                max_pixels=config.camera.width_px * config.camera.height_px,
                clock=clock,
            )
        stop = Event()
        source = make_camera(
            config,
            stand.sources,
            still_s=_REPLAY_STILL_S,
            realtime=True,
            clock=clock,
            stop=stop,
        )
        return WatchedCamera(source if stand.demo else LatestFrames(source), stop)

    make_station_camera()  # what is wrong with it is told now, and not to the first visitor

    def enrol(
        agreed: Agreed,
        language: str,
        *,
        camera: StationCamera,
        guide: Guide,
        hand_over: HandOver,
    ) -> None:
        def hand_over_result(result: EnrolmentResult) -> None:
            hand_over(result.receipt, result.report)

        enrol_before(
            camera,
            config,
            home,
            Applicant(agreed.name, agreed.relation, config.purpose, agreed.lawful_basis),
            consent_notice(config, config.purpose, language, fleet),
            demo=stand.demo,
            guide=guide,
            hand_over=hand_over_result,
            clock=clock,
            keeping=keeping,
            by_browser=not stand.sources,
        )

    def record(code: str, language: str) -> Record | None:
        found = None if stand.fleet is not None else person_with_code(config, home, code, clock)
        if found is None:
            return None
        person, fault = found
        facts = record_facts(person, language)
        return Record(facts, clean_text(person.relation), fault, record_json(person, fault))

    def go(code: str) -> tuple[str, ...]:
        if stand.fleet is not None:
            note_revocation(stand.fleet.inbox, code)
            return ("noted",)
        left = leave(config, home, code, at_once=True)
        told = () if left.operator is Told.NO_FLEET else (left.operator.value,)
        return ("here" if left.was_here else "not_here", *told)

    visits = Visits(
        enrol,
        make_station_camera,
        VisitLimits(
            idle_s=station.idle_s,
            gap_s=station.gap_s,
            most_visits=station.most_visits,
            most_captures=station.most_captures,
        ),
        clock,
    )
    doors = Doors(
        notice=lambda language: consent_notice(config, config.purpose, language, fleet),
        record=record,
        leave=go,
    )
    party = config.controller
    setting = Setting(
        purpose=config.purpose,
        controller=Controller(config.site, party.name, party.address, party.contact),
        language=config.hud.language,
        demo=stand.demo,
        own_camera=bool(stand.sources),
        fleet=fleet,
        admission=stand.admission,
        tls=stand.tls,
        names=stand.names,
        idle_s=station.idle_s,
        max_jpeg_bytes=station.max_jpeg_bytes,
    )
    return make_service(visits, doors, setting)
