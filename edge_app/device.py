"""A running device: camera thread, pipeline, display, outbox and publisher, and their signals."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from edge_app.adapters.board import read_pressure
from edge_app.adapters.cameras.reopening import ReopeningCamera
from edge_app.adapters.departures import Departures
from edge_app.adapters.haptic import NullHaptic
from edge_app.adapters.keys import outbox_key, store_key, told_key
from edge_app.adapters.mailbox import CameraThread, Mailbox
from edge_app.adapters.mqtt import Commands, MqttPublisher, Topics
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.service_manager import ServiceManager
from edge_app.adapters.sinks import OutboxSink, TeeSink
from edge_app.adapters.stopwatch import TOTAL, LapStopwatch, StageHistogram, StageTime
from edge_app.adapters.told import Told
from edge_app.alerting import AlertMaker
from edge_app.app import Home, boot_id, load_models, make_publisher, make_rules, serve_metrics
from edge_app.config import Config
from edge_app.core.governor import Governor
from edge_app.core.health import Condition
from edge_app.errors import DeliveryError
from edge_app.following import FollowedGallery
from edge_app.pipeline import Pipeline, State
from edge_app.ports import AlertSink, Clock, Display, FrameSource, Haptic, Speaker
from edge_app.presenter import Presenter
from edge_app.records import Frame
from edge_app.reporting import Reporter
from edge_app.sync import Follower, leave, make_follower

_log = logging.getLogger(__name__)

_STORE_CHECK_S = 1.0


def _no_fleet() -> None:
    """A hint that the fleet's gallery changed means nothing to a device without a fleet."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a run's results go. `broker_url`: empty for none; alerts then wait in the outbox."""

    display: Display
    speaker: Speaker
    sinks: tuple[AlertSink, ...]
    broker_url: str
    haptic: Haptic = field(default_factory=NullHaptic)


@dataclass(frozen=True, slots=True)
class _Report:
    """Where alerts go, and who has to hear when one of these people leaves."""

    sink: AlertSink
    departures: Departures


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
        self._gallery = FollowedGallery(config, home, self._models.embedder.sha256, clock)
        self._alerts = AlertMaker(config, home, self._models, clock)
        self._presenter = Presenter(config, outputs.display, outputs.speaker, outputs.haptic, clock)
        self._mailbox = Mailbox(lossless=lossless)
        self._camera = CameraThread(source=source, mailbox=self._mailbox, stop_event=stop)
        # A replay that loses no frame takes the time it takes.
        self._governor = None if lossless else Governor()
        self._covered = False
        self._alert_times_s: list[float] = []
        self._reporter = Reporter(
            config,
            model_id=self._alerts.model_id,
            gallery=self._gallery,
            source=source,
            mailbox=self._mailbox,
            state=self._state,
            clock=clock,
            condition=self._condition,
        )

    def ask(self) -> None:
        """The wearer asks "who is this?". Safe from any thread and from signal handlers."""
        self._presenter.ask()

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
            stack.callback(self._gallery.close)
            follower = make_follower(self._config, self._home, self._clock)
            if follower is not None:
                follower.start()
                stack.callback(follower.stop)
            if self._stages is not None:
                port = self._config.metrics.port
                metrics = serve_metrics(port, self._stages, lambda: self._reporter.reading(outbox))
                stack.callback(metrics.close)
            publisher = None
            if self._outputs.broker_url:
                commands = self._commands(follower)
                stack.callback(commands.close)
                url = self._outputs.broker_url
                publisher = make_publisher(self._config, url, outbox, self._topics, commands.take)
                self._reporter.introduce(publisher)
                self._reporter.tell(publisher, outbox)
                publisher.start()
            told = Told(self._home.told_path, key=told_key(store_key(self._home.keys)))
            stack.callback(told.close)
            departures = Departures(told, outbox, topics=self._topics, clock=self._clock)
            departures.follow(self._gallery.departed)
            sink = TeeSink((OutboxSink(outbox, topic=self._topics.match), *self._outputs.sinks))
            report = _Report(sink, departures)
            stack.callback(self._presenter.close)
            started_s = self._clock.monotonic_s()
            try:
                self._camera.start()
                self._manager.ready()
                self._loop(report, publisher, outbox)
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

    def _loop(self, report: _Report, publisher: MqttPublisher | None, outbox: Outbox) -> None:
        checked_s = self._clock.monotonic_s()
        while not self._stop.is_set() and not self._mailbox.ended:
            frame = self._mailbox.get(timeout_s=0.2)
            if self._clock.monotonic_s() - checked_s >= _STORE_CHECK_S:
                checked_s = self._clock.monotonic_s()
                self._gallery.follow()
                report.departures.follow(self._gallery.departed)
                outbox.drop_expired()
                if publisher is not None:
                    self._reporter.tell(publisher, outbox)
                if self._governor is not None:
                    self._governor.feel(read_pressure())
                if publisher is not None and publisher.failed:
                    raise DeliveryError(
                        "delivery stopped by a defect; alerts wait in the outbox, start again"
                    )
            self._gallery.take_over()
            self._follow_shutter()
            self._presenter.hear()
            if self._covered:
                if self._camera_is_closed():  # else it hangs, and has to be ended from outside
                    self._manager.alive("the camera is covered by its switch")
            elif frame is not None:
                self._govern(frame, report)
                self._manager.alive("running")
            elif self._camera_lost():
                self._presenter.show_camera_lost()
                self._manager.alive("the camera is lost, and opened again now and then")
            self._presenter.answer(self._condition(), self._gallery.current)

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
        self._presenter.show_covered(covered=covered)

    def _condition(self) -> Condition:
        """The first thing that keeps the device from matching; RUNNING if nothing does."""
        if self._covered:
            return Condition.CAMERA_COVERED
        if self._camera_lost():
            return Condition.CAMERA_LOST
        return self._gallery.condition(self._clock.now())

    def _govern(self, frame: Frame, report: _Report) -> None:
        """One frame, with as much effort as the device has time for."""
        if self._governor is None:
            self._step(frame, report)
            return
        if self._governor.skips(frame.sequence):
            return
        begun_s = self._clock.monotonic_s()
        self._step(frame, report)
        self._governor.worked(self._clock.monotonic_s() - begun_s, 1 / self._config.camera.fps)
        effort = self._governor.effort
        if effort is not self._state.effort:
            _log.warning("effort: %s", effort.words)
            self._state.effort = effort

    def _step(self, frame: Frame, report: _Report) -> None:
        begun_s = self._clock.monotonic_s()
        if self._presenter.asks_further():
            self._state.ask(frame.time_s, self._rules)
        self._stopwatch.start_frame()
        now = self._clock.now()
        condition, gallery = self._gallery.condition(now), self._gallery.usable(now)
        result = self._pipeline.process(frame, self._state, gallery, now)
        self._presenter.show_frame(
            result, frame, gallery, condition=condition, now=now, lease=self._gallery.lease
        )
        for sighting in result.sightings:
            alert = self._alerts.alert(sighting, gallery)
            if alert is not None:
                report.departures.expect(
                    alert.subject_ref, gallery.tombstones_of(sighting.candidate.person_id)
                )
                report.sink.put(alert)
                self._alert_times_s.append(round(frame.time_s, 3))
        self._presenter.greet({sighting.candidate.person_id for sighting in result.sightings})
        self._stopwatch.lap("present")
        self._stopwatch.end_frame()
        self._reporter.worked(self._clock.monotonic_s() - begun_s)

    def _camera_covered(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and self._source.covered

    def _camera_is_closed(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and not self._source.is_open

    def _camera_lost(self) -> bool:
        return isinstance(self._source, ReopeningCamera) and self._source.lost

    def _summary(self, seconds: float, pending_alerts: int, broker: str) -> RunSummary:
        stages = dict(self._stopwatch.report())
        total = stages.get(TOTAL, StageTime(0.0, 0.0, 0))
        return RunSummary(
            frames=self._reporter.frames,
            dropped=self._mailbox.dropped,
            undecodable=self._source.undecodable,
            seconds=round(seconds, 2),
            fps=round(self._reporter.frames / seconds, 1) if seconds > 0 else 0.0,
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
