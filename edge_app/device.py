"""A running device: camera thread, pipeline, display, outbox and publisher, and their signals."""

from __future__ import annotations

import logging
import math
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from types import FrameType

from edge_app import __version__
from edge_app.adapters.board import (
    read_memory_mb,
    read_pressure,
    read_temperature_c,
    read_throttled,
)
from edge_app.adapters.cameras.reopening import ReopeningCamera
from edge_app.adapters.events import new_alert_id
from edge_app.adapters.gallery_store import CLOCK_TOLERANCE, FleetState
from edge_app.adapters.haptic import NullHaptic
from edge_app.adapters.home_assistant import discovery_payload, discovery_topic
from edge_app.adapters.keys import outbox_key, site_key, stations_state, store_key, subject_ref
from edge_app.adapters.mailbox import CameraThread, Mailbox
from edge_app.adapters.mqtt import Commands, MqttPublisher, Topics
from edge_app.adapters.mqtt.states import gallery_state, health_state
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.service_manager import ServiceManager
from edge_app.adapters.sinks import OutboxSink, TeeSink
from edge_app.adapters.stopwatch import TOTAL, LapStopwatch, StageHistogram, StageTime
from edge_app.app import (
    Home,
    boot_id,
    load_models,
    make_publisher,
    make_rules,
    open_gallery,
    serve_metrics,
)
from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.core.governor import Governor
from edge_app.core.health import NO_PACE, Condition, FramePace, Health, HealthPeriod, Reading
from edge_app.core.present import hud_view, phrases, spoken_fault
from edge_app.core.quality import too_dark
from edge_app.core.question import Question, Reply
from edge_app.core.steady import PresentSettings, RecognisedFace, Shown, steady
from edge_app.errors import DeliveryError
from edge_app.pipeline import FrameResult, Models, Pipeline, Sighting, State
from edge_app.ports import AlertSink, Clock, Display, FrameSource, Haptic, Speaker
from edge_app.records import Alert, ClockState, Frame, HudView, Touch
from edge_app.sync import Follower, leave, make_follower
from edge_app.wearer import Announcer

_log = logging.getLogger(__name__)

_STORE_CHECK_S = 1.0
_DAY_S = 86_400


def _no_fleet() -> None:
    """A hint that the fleet's gallery changed means nothing to a device without a fleet."""


class AlertMaker:
    """Turns sightings into alerts: pseudonym, threshold and proof of consent, nothing more (P9)."""

    def __init__(self, config: Config, home: Home, models: Models, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.model_id = f"{models.embedder.name}@{models.embedder.sha256[:12]}"
        self._site_key = site_key(store_key(home.keys))
        # One run of the program: with the sequence, it orders a device's alerts.
        self._boot_id = secrets.token_hex(16)
        self._sequence = count(1)

    def alert(self, sighting: Sighting, gallery: Gallery) -> Alert | None:
        """The alert, or None if the person left the gallery since the frame."""
        person = gallery.member(sighting.candidate.person_id)
        if person is None:
            return None
        now = self._clock.now()
        config, calibration = self._config, gallery.calibration
        return Alert(
            alert_id=new_alert_id(int(now.timestamp() * 1000), secrets.token_bytes(10)),
            site=config.site,
            device=config.device,
            purpose=config.purpose,
            subject_ref=subject_ref(self._site_key, config.site, person.person_id),
            consent_record_id=person.record_id,
            score=round(sighting.candidate.similarity, 4),
            threshold=round(calibration.threshold, 4),
            target_fpir=calibration.target_fpir,
            model_id=self.model_id,
            gallery_generation=gallery.generation,
            tracklet_frames=sighting.tracklet_frames,
            tracklet_s=round(sighting.tracklet_s, 3),
            time=now,
            expiry_time=now + timedelta(seconds=config.mqtt.alert_expiry_s),
            sequence=next(self._sequence),
            clock_state=self._clock.state(),
            boot_id=self._boot_id,
            demo=person.demo,
        )


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a run's results go. `broker_url`: empty for none; alerts then wait in the outbox."""

    display: Display
    speaker: Speaker
    sinks: tuple[AlertSink, ...]
    broker_url: str
    haptic: Haptic = field(default_factory=NullHaptic)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did: counts and times, nothing of anybody (P1).

    alert_times_s: the frame times of the alerts, on the source's own clock.
    broker:        "connected" if it ever was, else why not; empty if none was named.
    """

    frames: int
    dropped: int
    undecodable: int
    seconds: float
    fps: float
    faces_detected: int
    faces_embedded: int
    alerts: int
    alert_times_s: tuple[float, ...]
    pending_alerts: int
    broker: str
    rejections: dict[str, int]
    p50_ms: float
    p95_ms: float
    stages: dict[str, StageTime]


class Device:
    """One camera, one gallery, one pipeline, joined. `run` once."""

    def __init__(
        self,
        config: Config,
        home: Home,
        *,
        source: FrameSource,
        lossless: bool,
        outputs: Outputs,
        clock: Clock,
        stop: threading.Event,
        manager: ServiceManager | None = None,
    ) -> None:
        """Loads and checks everything that can be checked before the camera opens.

        lossless: no frame may be dropped; for replays that run as fast as they are read.
        stop:     ends the run when set, from any thread.
        manager:  told that frames are worked through; None: nobody is.

        Raises ModelError, GalleryError, CalibrationError or StorageError.
        """
        self._config = config
        self._home = home
        self._source = source
        self._outputs = outputs
        self._clock = clock
        self._stop = stop
        self._manager = manager or ServiceManager(None)
        self._rules = make_rules(config)
        self._models = load_models(config, stills=False)
        self._stages = StageHistogram() if config.metrics.port else None
        self._stopwatch = LapStopwatch(self._stages)
        self._pipeline = Pipeline(self._rules, self._models, self._stopwatch)
        self._state = State(self._rules)
        self._topics = Topics(config.site, config.device)
        self._store = home.store()
        self._purged_s = float("-inf")
        self._purge_if_due()
        self._membership = home.membership()
        self._store_seen = self._store_state()
        self._gallery, self._barred = self._open_gallery()
        self._nobody = Gallery.empty(
            purpose=config.purpose,
            model_sha256=self._models.embedder.sha256,
            calibration=self._gallery.calibration,
        )
        self._lease_seen: object = None
        self._lease: datetime | None = None
        self._latest = clock.now()
        self._fleet: FleetState | None = None
        self._follow_lease()
        self._loader = ThreadPoolExecutor(1, "gallery")
        self._loading: Future[tuple[Gallery, frozenset[str]]] | None = None
        self._alerts = AlertMaker(config, home, self._models, clock)
        self._present = PresentSettings(
            unsure_margin=config.hud.unsure_margin,
            unsure_slack=config.hud.unsure_slack,
            ahead_share=config.hud.ahead_share,
            side_slack=config.hud.side_slack,
            hold_s=config.hud.hold_s,
            max_people=config.hud.max_people,
        )
        self._people: tuple[Shown, ...] = ()
        self._announcer = Announcer(config, outputs.speaker, clock)
        self._words = phrases(config.hud.language)
        self._mailbox = Mailbox(lossless=lossless)
        self._camera = CameraThread(source=source, mailbox=self._mailbox, stop_event=stop)
        # A replay that loses no frame takes the time it takes.
        self._governor = None if lossless else Governor()
        self._health = HealthPeriod(config.mqtt.health_interval_s)
        self._frames = 0
        self._alert_times_s: list[float] = []
        self._last_view = HudView((), "")
        self._covered = False
        self._asked_s: float | None = None
        self._question: Question[Shown] = Question(config.hud.answer_s)
        self._widen_gate = False
        self._notice, self._notice_until_s = "", float("-inf")

    def ask(self) -> None:
        """The wearer asks "who is this?". Safe from any thread and from signal handlers."""
        self._asked_s = self._clock.monotonic_s()

    def run(self) -> RunSummary:
        """Runs until the source ends or `stop` is set.

        Raises CameraError, IndicatorError, DeliveryError or StorageError.
        """
        outbox = Outbox(
            self._home.outbox_path,
            key=outbox_key(store_key(self._home.keys)),
            max_alerts=self._config.outbox.max_alerts,
            boot_id=boot_id(),
            clock=self._clock,
        )
        with ExitStack() as stack:
            stack.callback(outbox.close)
            stack.callback(self._loader.shutdown)
            follower = make_follower(self._config, self._home, self._clock)
            if follower is not None:
                follower.start()
                stack.callback(follower.stop)
            if self._stages is not None:
                port = self._config.metrics.port
                metrics = serve_metrics(port, self._stages, lambda: self._reading(outbox))
                stack.callback(metrics.close)
            publisher = None
            if self._outputs.broker_url:
                commands = self._commands(follower)
                stack.callback(commands.close)
                url = self._outputs.broker_url
                publisher = make_publisher(self._config, url, outbox, self._topics, commands.take)
                self._introduce(publisher)
                self._tell_states(publisher, outbox)
                publisher.start()
            sink = TeeSink((OutboxSink(outbox, topic=self._topics.match), *self._outputs.sinks))
            stack.callback(self._outputs.display.close)
            stack.callback(self._outputs.speaker.close)
            stack.callback(self._outputs.haptic.close)
            started_s = self._clock.monotonic_s()
            try:
                self._camera.start()
                self._manager.ready()
                self._loop(sink, publisher, outbox)
            finally:
                self._manager.stopping()
                self._camera.stop(timeout_s=5.0)
                seconds = self._clock.monotonic_s() - started_s
                if publisher is not None:
                    publisher.close(self._config.mqtt.drain_s)
            broker = "" if publisher is None else publisher.reached
            return self._summary(seconds, outbox.counts().pending, broker)

    def _commands(self, follower: Follower | None) -> Commands:
        return Commands(
            self._topics,
            revoke=lambda code: leave(self._config, self._home, code, at_once=False),
            gallery_changed=follower.nudge if follower is not None else _no_fleet,
            monotonic_s=self._clock.monotonic_s,
        )

    def _loop(self, sink: AlertSink, publisher: MqttPublisher | None, outbox: Outbox) -> None:
        checked_s = self._clock.monotonic_s()
        while not self._stop.is_set() and not self._mailbox.ended:
            frame = self._mailbox.get(timeout_s=0.2)
            if self._clock.monotonic_s() - checked_s >= _STORE_CHECK_S:
                checked_s = self._clock.monotonic_s()
                self._follow_store()
                self._follow_lease()
                outbox.drop_expired()
                if publisher is not None:
                    self._tell_states(publisher, outbox)
                if self._governor is not None:
                    self._governor.feel(read_pressure())
                if publisher is not None and publisher.failed:
                    raise DeliveryError(
                        "delivery stopped by a defect; alerts wait in the outbox, start again"
                    )
            self._take_over_gallery()
            self._follow_shutter()
            self._hear()
            if self._covered:
                if self._camera_is_closed():  # else it hangs, and has to be ended from outside
                    self._manager.alive("the camera is covered by its switch")
            elif frame is not None:
                self._govern(frame, sink)
                self._manager.alive("running")
            elif self._camera_lost():
                self._people = ()
                self._show(HudView((), self._words.camera_lost, fault=True))
                self._announcer.fault(self._words.camera_lost)
                self._manager.alive("the camera is lost, and opened again now and then")
            self._answer()

    def _follow_shutter(self) -> None:
        """Forgets at once who was in view when the wearer covers the camera.

        A frame that was taken before and waited in the mailbox is not worked through any more.
        """
        covered = self._camera_covered()
        if covered is self._covered:
            return
        self._covered = covered
        if covered:
            self._state.forget_faces()
            self._people = ()
            self._question.drop()  # that it is covered is the answer
        words = self._words
        self._show(HudView((), words.camera_covered if covered else "", fault=covered))
        self._outputs.speaker.say(words.camera_covered if covered else words.camera_uncovered)

    def _hear(self) -> None:
        """Opens the question that was asked since the last frame; not one that waited longer."""
        asked_s, self._asked_s = self._asked_s, None
        now_s = self._clock.monotonic_s()
        if asked_s is not None and now_s - asked_s < self._rules.asked_s:
            self._question.ask(now_s)
            self._widen_gate = True

    def _answer(self) -> None:
        """Tells the wearer who is there, once a question's answer is due."""
        if not self._question.is_open:
            return
        fault = self._fault()
        answer = self._question.answer(self._clock.monotonic_s(), fault=bool(fault))
        if answer is None:
            return
        self._widen_gate = False
        people = [p for p in answer.people if self._gallery.member(p.person_id) is not None]
        if people:
            self._announcer.answer(people)
            self._touch(people)
        else:
            self._tell(answer.reply, fault)

    def _touch(self, people: Sequence[Shown]) -> None:
        unsure = all(person.line.unsure for person in people)
        self._outputs.haptic.play(Touch.UNSURE if unsure else Touch.RECOGNISED)

    def _tell(self, reply: Reply, fault: str) -> None:
        """An answer without a name. PEOPLE: they left the gallery since they were seen."""
        words = self._words
        if reply in (Reply.FAULT, Reply.UNSEEN):  # shown for as long as it holds
            fault = fault or words.camera_lost
            self._show(HudView((), fault, fault=True))
            self._outputs.speaker.say(spoken_fault(fault, self._config.hud.language))
            return
        shown, said = {
            Reply.UNSURE: (words.known, words.said_not_sure),
            Reply.TOO_DARK: (words.too_dark, words.too_dark),
        }.get(reply, (words.nobody_enrolled, words.nobody_enrolled))
        self._notice = shown
        self._notice_until_s = self._clock.monotonic_s() + self._config.hud.notice_s
        self._outputs.speaker.say(said)
        if reply is Reply.UNSURE:
            self._outputs.haptic.play(Touch.UNSURE)

    def _fault(self) -> str:
        """What keeps the device from matching, in the wearer's words; empty: nothing."""
        if self._covered:
            return self._words.camera_covered
        if self._camera_lost():
            return self._words.camera_lost
        return self._time_fault(self._clock.now())

    def _noted(self) -> str:
        """The last answer without a name, for a while, or until somebody is recognised."""
        if self._people or self._clock.monotonic_s() >= self._notice_until_s:
            self._notice = ""
        return self._notice

    def _govern(self, frame: Frame, sink: AlertSink) -> None:
        """One frame, with as much effort as the device has time for."""
        if self._governor is None:
            self._step(frame, sink)
            return
        if self._governor.skips(frame.sequence):
            return
        begun_s = self._clock.monotonic_s()
        self._step(frame, sink)
        self._governor.worked(self._clock.monotonic_s() - begun_s, 1 / self._config.camera.fps)
        effort = self._governor.effort
        if effort is not self._state.effort:
            _log.warning("effort: %s", effort.words)
            self._state.effort = effort

    def _step(self, frame: Frame, sink: AlertSink) -> None:
        begun_s = self._clock.monotonic_s()
        if self._widen_gate:
            self._widen_gate = False
            self._state.ask(frame.time_s, self._rules)
        self._stopwatch.start_frame()
        now = self._clock.now()
        fault = self._time_fault(now)
        gallery = self._nobody if fault else self._gallery
        result = self._pipeline.process(frame, self._state, gallery, now)
        self._people = self._seen_by_wearer(result, frame, gallery, now)
        self._show(
            hud_view(
                self._people,
                fault=fault,
                hint=self._noted() or self._hint(now),
                language=self._config.hud.language,
            )
        )
        if self._question.is_open:
            dark = too_dark(frame.image_bgr, self._rules.quality.min_brightness)
            someone = {person.person_id: person for person in self._people}
            self._question.looked(someone, unsure=result.unsure, dark=dark)
        for sighting in result.sightings:
            alert = self._alerts.alert(sighting, gallery)
            if alert is not None:
                sink.put(alert)
                self._alert_times_s.append(round(frame.time_s, 3))
        newcomers = {sighting.candidate.person_id for sighting in result.sightings}
        self._announcer.fault(fault)
        if newcomers and not self._question.is_open:  # else they are part of the answer
            people = [p for p in self._people if p.person_id in newcomers]
            self._announcer.name(people)
            self._touch(people)
        self._stopwatch.lap("present")
        self._stopwatch.end_frame()
        self._frames += 1
        self._health.worked(self._clock.monotonic_s() - begun_s)

    def _seen_by_wearer(
        self, result: FrameResult, frame: Frame, gallery: Gallery, now: datetime
    ) -> tuple[Shown, ...]:
        """Who is shown: who is recognised, and for a moment who was, while they may be (P2)."""
        faces = []
        for seen in result.recognised:
            person = self._gallery.member(seen.person_id)
            if person is not None:
                x_px = seen.box_px.centre[0]
                faces.append(
                    RecognisedFace(
                        seen.person_id, person.name, person.relation, x_px, seen.similarity
                    )
                )
        return steady(
            [p for p in self._people if gallery.is_usable(p.person_id, frame.origin, now)],
            faces,
            now_s=frame.time_s,
            frame_width_px=frame.width_px,
            threshold=self._gallery.calibration.threshold,
            settings=self._present,
        )

    def _hint(self, now: datetime) -> str:
        """What the wearer had better know while all is well; empty: nothing."""
        if self._outputs.speaker.silent:
            return self._words.no_sound
        if self._lease is None:
            return ""
        left_h = (self._lease - now).total_seconds() / 3600
        if left_h > self._config.hud.lease_warning_h:
            return ""
        return self._words.lease_ends.format(hours=math.ceil(left_h))

    def _show(self, view: HudView) -> None:
        if view != self._last_view:
            self._last_view = view
            self._outputs.display.show(view)

    def _camera_covered(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and self._source.covered

    def _camera_is_closed(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and not self._source.is_open

    def _camera_lost(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and self._source.lost

    def _follow_store(self) -> None:
        """Notices enrolments, revocations and generations that another process or a sync made.

        Who left is masked at once, also while a gallery is being built, which happens beside the
        frames.
        """
        self._purge_if_due()
        seen = self._store_state()
        if seen == self._store_seen:
            return
        self._mask_departed()
        if self._loading is None:
            self._store_seen = seen
            self._loading = self._loader.submit(self._open_gallery)

    def _take_over_gallery(self) -> None:
        """Swaps the gallery between two frames, once it is built."""
        if self._loading is not None and self._loading.done():
            loading, self._loading = self._loading, None
            self._gallery, self._barred = loading.result()
            self._mask_departed()

    def _mask_departed(self) -> None:
        """Hides whoever left since the gallery was read from the store."""
        newly = self._store.tombstones() - self._barred
        if newly:
            self._gallery = self._gallery.without_departed(newly)

    def _follow_lease(self) -> None:
        seen = self._membership.fingerprint()
        if seen != self._lease_seen:
            self._lease_seen = seen
            self._lease = self._membership.lease()
            self._fleet = self._store.fleet_floor()

    def _time_fault(self, now: datetime) -> str:
        """What the clock says against matching at all, in the wearer's words; empty: nothing.

        A clock that goes back would bring expired consents and leases to life again.
        """
        self._latest = max(self._latest, now)
        if now < self._latest - CLOCK_TOLERANCE:
            return self._words.clock_wrong
        return "" if self._lease_holds(now) else self._words.gallery_too_old

    def _lease_holds(self, now: datetime) -> bool:
        """Whether this device heard of its fleet lately enough; always, if it has none."""
        return self._fleet is None if self._lease is None else now < self._lease

    def _introduce(self, publisher: MqttPublisher) -> None:
        settings = self._config.home_assistant
        if settings.discovery:
            topic = discovery_topic(self._topics, settings.prefix)
            publisher.set_state(topic, discovery_payload(self._topics, version=__version__))

    def _tell_states(self, publisher: MqttPublisher, outbox: Outbox) -> None:
        publisher.set_state(self._topics.gallery, self._gallery_state())
        condition, now_s = self._condition(), self._clock.monotonic_s()
        if self._health.due(condition, now_s):
            publisher.set_state(self._topics.health, self._health_state(condition, now_s, outbox))

    def _condition(self) -> Condition:
        if self._covered:
            return Condition.CAMERA_COVERED
        if self._camera_lost():
            return Condition.CAMERA_LOST
        holds = self._lease_holds(self._clock.now())
        return Condition.RUNNING if holds else Condition.GALLERY_TOO_OLD

    def _health_state(self, condition: Condition, now_s: float, outbox: Outbox) -> bytes:
        pace = self._health.close(condition, now_s)
        return health_state(self._health_now(condition, pace, outbox))

    def _health_now(self, condition: Condition, pace: FramePace, outbox: Outbox) -> Health:
        counts = outbox.counts()
        return Health(
            condition=condition,
            pace=pace,
            dropped_frames=self._mailbox.dropped,
            effort=self._state.effort,
            pending_alerts=counts.pending,
            expired_alerts=counts.expired,
            forced_out_alerts=counts.forced_out,
            clock_state=self._clock.state(),
            temperature_c=read_temperature_c(),
            throttled=read_throttled(),
            memory_mb=read_memory_mb(),
            version=__version__,
        )

    def _reading(self, outbox: Outbox) -> Reading:
        """For the metrics, from any thread."""
        return Reading(
            health=self._health_now(self._condition(), NO_PACE, outbox),
            frames=self._frames,
            undecodable_frames=self._source.undecodable,
            rejections=self._state.rejections.copy(),
            lease_until=self._lease,
        )

    def _gallery_state(self) -> bytes:
        return gallery_state(
            generation=self._fleet.generation if self._fleet else None,
            lease_until=self._lease,
            target_fpir=self._gallery.calibration.target_fpir,
            model_id=self._alerts.model_id,
            purpose=self._config.purpose,
        )

    def _store_state(self) -> object:
        return self._store.fingerprint(), stations_state(self._home.folder)

    def _purge_if_due(self) -> None:
        """Erases daily whose retention ended, if the clock is right: what it erases is gone."""
        now_s = self._clock.monotonic_s()
        if now_s - self._purged_s > _DAY_S and self._clock.state() is ClockState.SYNCHRONISED:
            self._purged_s = now_s
            self._store.purge(now=self._clock.now())

    def _open_gallery(self) -> tuple[Gallery, frozenset[str]]:
        """The gallery, and the tombstones that it leaves out for certain."""
        barred = self._store.tombstones()
        sha256 = self._models.embedder.sha256
        return open_gallery(self._config, self._home, sha256, self._clock), barred

    def _summary(self, seconds: float, pending_alerts: int, broker: str) -> RunSummary:
        stages = dict(self._stopwatch.report())
        total = stages.get(TOTAL, StageTime(0.0, 0.0, 0))
        return RunSummary(
            frames=self._frames,
            dropped=self._mailbox.dropped,
            undecodable=self._source.undecodable,
            seconds=round(seconds, 2),
            fps=round(self._frames / seconds, 1) if seconds > 0 else 0.0,
            faces_detected=self._state.faces_detected,
            faces_embedded=self._state.faces_embedded,
            alerts=len(self._alert_times_s),
            alert_times_s=tuple(self._alert_times_s),
            pending_alerts=pending_alerts,
            broker=broker,
            rejections={str(k): v for k, v in sorted(self._state.rejections.items())},
            p50_ms=total.p50_ms,
            p95_ms=total.p95_ms,
            stages=stages,
        )


@contextmanager
def stop_on_signals(stop: threading.Event, ask: Callable[[], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run in order; SIGUSR1 asks "who is this?"."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        if not stop.is_set():  # a second signal must not wait for the lock the first one holds
            stop.set()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        ask()

    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {**dict.fromkeys(ending, end), signal.SIGUSR1: asked}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
