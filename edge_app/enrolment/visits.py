"""The visits to a station's page, and the one capture that may go on at a time.

Each visit is one browser session and ends in one enrolment at most. A capture runs in a thread of
its own, from the camera to the receipt: there it waits until the person says that they have their
code, and stores only then. Whoever stops or stays away makes that thread give up what it holds.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge_app.adapters.cameras.browser import BrowserCamera
from edge_app.adapters.cameras.watched import WatchedCamera
from edge_app.core.liveness import Ask
from edge_app.enrolment import visit as way
from edge_app.enrolment.capture import Guide
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.receipt import Receipt
from edge_app.enrolment.refused import CaptureRefusedError, Refusal
from edge_app.enrolment.station import EnrolmentReport
from edge_app.enrolment.visit import OVER, Agreed, Step, Visit
from edge_app.enrolment.words import Hint
from edge_app.errors import CameraError, EdgeAppError, EnrolmentError
from edge_app.ports import Clock

_log = logging.getLogger(__name__)

_STORED_WITHIN_S: Final = 60.0
_HINT_S: Final = 1.5
"""A hint that is not repeated is followed."""

StationCamera = BrowserCamera | WatchedCamera
HandOver = Callable[[Receipt, EnrolmentReport], None]


class Enrolling(Protocol):
    """Captures, signs, hands over and stores. Raises EdgeAppError; nothing is stored then."""

    def __call__(
        self,
        agreed: Agreed,
        language: str,
        *,
        camera: StationCamera,
        guide: Guide,
        hand_over: HandOver,
    ) -> None: ...


class UnknownVisitError(EdgeAppError):
    """There is no such visit, or it is forgotten."""


class StationBusyError(EdgeAppError):
    """Somebody else is before the camera, or too many people are at the page."""


@dataclass(frozen=True, slots=True)
class VisitLimits:
    """idle_s:    without a sign of the person for so long, a visit is over.
    gap_s:        a capture ends when its page has not asked for so long: the browser is gone.
    most_visits:  at one time.
    most_captures: that one visit may try.
    """

    idle_s: float
    gap_s: float
    most_visits: int
    most_captures: int


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the page tells the person just now."""

    step: Step
    ask: Ask | Facing | None
    hint: Hint | None
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a visit is, for its page. token: what its forms must send along."""

    visit: Visit
    token: str = field(repr=False)
    receipt: Receipt | None = field(repr=False)
    report: EnrolmentReport | None


class Visits:
    """All visits of one station. May be used from any thread; `close` ends what goes on."""

    def __init__(
        self,
        enrol: Enrolling,
        make_camera: Callable[[], StationCamera],
        limits: VisitLimits,
        clock: Clock,
    ) -> None:
        self._enrol = enrol
        self._make_camera = make_camera
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._sessions: dict[str, _Session] = {}
        self._before_the_camera: _Session | None = None

    def begin(self, language: str, before: str = "") -> str:
        """A new visit; returns the secret that names it.

        before: the name of this browser's earlier visit, which ends.

        Raises:
            StationBusyError: too many people are at the page.
        """
        with self._changed:
            self._sweep()
            earlier = self._sessions.get(before)
            if earlier is not None and earlier.visit.step not in OVER | {Step.STORING}:
                earlier.leave(None)
            if len(self._sessions) >= self._limits.most_visits:
                self._make_room()
            name = secrets.token_urlsafe(32)
            self._sessions[name] = _Session(
                way.begin(language, self._now()), self._changed, self._clock
            )
            return name

    def standing(self, name: str) -> Standing:
        """Where a visit is; counts as a sign of the person. Raises UnknownVisitError."""
        with self._changed:
            self._sweep()
            session = self._session(name)
            session.visit = way.seen(session.visit, self._now())
            return session.standing()

    def peek(self, name: str) -> Standing:
        """The same, asked by the page itself and not by the person."""
        with self._changed:
            return self._session(name).standing()

    def agree(self, name: str, agreed: Agreed) -> None:
        """Raises UnknownVisitError, StepError, as all below."""
        with self._changed:
            session = self._session(name)
            session.visit = way.agree(session.visit, agreed, self._now())

    def start(self, name: str) -> None:
        """Open the camera for this visit. Raises StationBusyError if it is in use."""
        with self._changed:
            session = self._session(name)
            moved = way.start(session.visit, self._now())
            if self._before_the_camera is not None:
                raise StationBusyError("somebody else is before the camera; wait a moment")
            session.begin_capture(moved, self._make_camera())
            self._before_the_camera = session
        threading.Thread(
            target=self._capture, args=(session,), name="enrolment", daemon=True
        ).start()

    def look(self, name: str, jpeg: bytes) -> Guidance:
        """What to tell the person now; the page asks again and again while it captures.

        jpeg: the newest picture of the browser's camera; empty if the station has its own.
        """
        with self._changed:
            session = self._session(name)
            session.asked_s = self._now()
            camera = session.camera
        if jpeg and isinstance(camera, BrowserCamera):
            camera.put(jpeg)
        return session.guidance()

    def picture(self, name: str) -> bytes | None:
        """What the station's camera sees, as JPEG, for the person before it and nobody else."""
        with self._changed:
            camera = self._session(name).camera
        return camera.picture() if isinstance(camera, WatchedCamera) else None

    def show_code(self, name: str) -> None:
        with self._changed:
            session = self._session(name)
            session.visit = way.show_code(session.visit, self._now())

    def finish(self, name: str) -> None:
        """The person has their code: store, and return when it is."""
        with self._changed:
            session = self._session(name)
            session.move(way.finish(session.visit, self._now()))
            self._changed.wait_for(lambda: session.visit.step in OVER, _STORED_WITHIN_S)

    def stop(self, name: str) -> None:
        """The person wants no more: what was captured is dropped."""
        with self._changed:
            session = self._session(name)
            session.leave(None)

    def sweep(self) -> None:
        """End the visits of those who stayed away, and forget them a while later."""
        with self._changed:
            self._sweep()

    def close(self) -> None:
        """End all visits; what is being stored may end."""
        with self._changed:
            for session in self._sessions.values():
                if session.visit.step not in OVER | {Step.STORING}:
                    session.leave(Refusal.STATION)
            self._changed.wait_for(
                lambda: all(s.visit.step in OVER for s in self._sessions.values()),
                _STORED_WITHIN_S,
            )

    def _capture(self, session: _Session) -> None:
        agreed, camera = session.visit.agreed, session.camera
        assert agreed is not None  # noqa: S101 - whoever captures has agreed, see visit.py  # nosec B101
        assert camera is not None  # noqa: S101 - as above  # nosec B101
        refusal, stored = None, False

        def hand_over(receipt: Receipt, report: EnrolmentReport) -> None:
            self._leave_the_camera(session)
            session.hand_over(receipt, report, self._now())

        try:
            self._enrol(
                agreed,
                session.visit.language,
                camera=camera,
                guide=session,
                hand_over=hand_over,
            )
            stored = True
        except CaptureRefusedError as error:
            refusal = error.why
        except CameraError as error:
            _log.warning("%s", error)
            refusal = Refusal.CAMERA
        except EdgeAppError as error:
            if session.visit.step not in OVER:
                _log.error("nobody was enrolled: %s", error)
        finally:
            with self._changed:
                self._leave_the_camera(session)
                session.capture_ended(refusal, self._limits.most_captures, stored=stored)

    def _leave_the_camera(self, session: _Session) -> None:
        with self._changed:
            if self._before_the_camera is session:
                self._before_the_camera = None

    def _session(self, name: str) -> _Session:
        session = self._sessions.get(name)
        if session is None:
            raise UnknownVisitError("there is no such visit; begin again")
        return session

    def _sweep(self) -> None:
        now_s, limits = self._now(), self._limits
        for name, session in list(self._sessions.items()):
            step = session.visit.step
            away = way.is_idle(session.visit, idle_s=limits.idle_s, now_s=now_s)
            if step is Step.CAPTURING:
                away |= now_s - session.asked_s > limits.gap_s
            if away and step in OVER:
                del self._sessions[name]
            elif away and step is not Step.STORING:
                session.leave(Refusal.IDLE)

    def _make_room(self) -> None:
        """Forget the visit that nobody looked at for longest, of those that hold nothing."""
        empty = {
            name: session.visit.seen_s
            for name, session in self._sessions.items()
            if session.visit.step in {Step.NOTICE, *OVER}
        }
        if not empty:
            raise StationBusyError("too many people are at this page; wait a moment")
        del self._sessions[min(empty, key=empty.__getitem__)]

    def _now(self) -> float:
        return self._clock.monotonic_s()


class _Session:
    """One visit with what it holds; a `Guide` for its capture."""

    def __init__(self, visit: Visit, changed: threading.Condition, clock: Clock) -> None:
        self.visit = visit
        self.camera: StationCamera | None = None
        self.asked_s = 0.0
        self._token = secrets.token_urlsafe(32)
        self._changed = changed
        self._clock = clock
        self._receipt: Receipt | None = None
        self._report: EnrolmentReport | None = None
        self._ask: Ask | Facing | None = None
        self._hint: Hint | None = None
        self._hinted_s = 0.0
        self._progress = (0, 0)

    def standing(self) -> Standing:
        return Standing(self.visit, self._token, self._receipt, self._report)

    def begin_capture(self, moved: Visit, camera: StationCamera) -> None:
        self.visit, self.camera = moved, camera
        self.asked_s = self._clock.monotonic_s()
        self._ask, self._hint, self._progress = None, None, (0, 0)

    def guidance(self) -> Guidance:
        with self._changed:
            fresh = self._clock.monotonic_s() - self._hinted_s <= _HINT_S
            return Guidance(
                self.visit.step, self._ask, self._hint if fresh else None, *self._progress
            )

    def move(self, visit: Visit) -> None:
        """To another step; what belongs to the person is dropped when it is over."""
        with self._changed:
            self.visit = visit
            if visit.step is not Step.CAPTURING and self.camera is not None:
                self.camera.stop()
                self.camera = None
            if visit.step in OVER:
                self._receipt = self._report = None
            self._changed.notify_all()

    def leave(self, why: Refusal | None) -> None:
        self.move(way.go(self.visit, why))

    def hand_over(self, receipt: Receipt, report: EnrolmentReport, now_s: float) -> None:
        """Return when the person has their receipt. Raises EnrolmentError if they stop."""
        with self._changed:
            self.move(way.captured(self.visit, now_s))
            self._receipt, self._report = receipt, report
            waiting = {Step.SUMMARY, Step.RECEIPT}
            self._changed.wait_for(lambda: self.visit.step not in waiting)
            if self.visit.step is not Step.STORING:
                raise EnrolmentError("the person stopped; nothing was stored")

    def capture_ended(self, why: Refusal | None, most_captures: int, *, stored: bool) -> None:
        """What comes of it, unless the visit is over by now. why: it was refused."""
        now_s = self._clock.monotonic_s()
        if stored:
            self.move(way.stored(self.visit, now_s))
        elif why is not None and self.visit.step is Step.CAPTURING:
            self.move(way.refuse(self.visit, why, most_captures=most_captures, now_s=now_s))
        elif self.visit.step not in OVER:
            self.move(way.fail(self.visit, Refusal.STATION))

    # The guide, called by the thread that captures.

    def ask(self, ask: Ask | Facing) -> None:
        with self._changed:
            self._ask, self._hint = ask, None

    def hint(self, hint: Hint) -> None:
        with self._changed:
            self._hint, self._hinted_s = hint, self._clock.monotonic_s()

    def progress(self, done: int, total: int) -> None:
        with self._changed:
            self._progress = (done, total)
