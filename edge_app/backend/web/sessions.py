"""Who is signed in. Sessions are in memory only: a restart signs everybody out."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Final

from edge_app.backend.roles import Role
from edge_app.ports import Clock

_NAME_BYTES: Final = 32
_MOST: Final = 1_000
_MOST_STREAMS: Final = 4


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who signed in.

    who:   as the audit trail names them.
    stamp: of a local account: changes with its password and role. Empty: of an identity provider.
    """

    who: str
    role: Role
    stamp: str = field(default="", repr=False)


@dataclass(slots=True)
class Session:
    """token: what the session's own pages send back; streams: live views that are open."""

    person: SignedIn
    token: str = field(repr=False)
    begun_s: float
    used_s: float
    streams: int = 0


class Sessions:
    """By the name in the browser's cookie, which nobody guesses."""

    def __init__(self, clock: Clock, *, longest_s: float, idle_s: float) -> None:
        """longest_s: when everybody has to sign in again; idle_s: who does nothing, sooner."""
        self._clock = clock
        self._longest_s = longest_s
        self._idle_s = idle_s
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, person: SignedIn) -> str:
        """A new session; returns its name. The one unused for longest makes room if need be."""
        now_s = self._clock.monotonic_s()
        name = secrets.token_urlsafe(_NAME_BYTES)
        with self._lock:
            self._sweep(now_s)
            if len(self._sessions) >= _MOST:
                del self._sessions[min(self._sessions, key=lambda n: self._sessions[n].used_s)]
            token = secrets.token_urlsafe(_NAME_BYTES)
            self._sessions[name] = Session(person, token, now_s, now_s)
        return name

    def find(self, name: str) -> Session | None:
        """The session of that name, if it has not ended; asking for it is using it."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._sweep(now_s)
            session = self._sessions.get(name)
            if session is not None:
                session.used_s = now_s
            return session

    def end(self, name: str) -> None:
        """Sign out."""
        with self._lock:
            self._sessions.pop(name, None)

    def left_s(self, session: Session) -> float:
        """Until everybody has to sign in again."""
        return max(0.0, session.begun_s + self._longest_s - self._clock.monotonic_s())

    def has_room(self, session: Session) -> bool:
        """Whether the session may have one more live view."""
        with self._lock:
            return session.streams < _MOST_STREAMS

    def open_stream(self, session: Session) -> None:
        """Count one more live view."""
        with self._lock:
            session.streams += 1

    def close_stream(self, session: Session) -> None:
        """One live view less; idleness counts from now."""
        with self._lock:
            session.streams -= 1
            session.used_s = self._clock.monotonic_s()

    def _sweep(self, now_s: float) -> None:
        def is_over(session: Session) -> bool:
            # Who watches does nothing for hours, and must not miss an encounter for that.
            idle = session.streams == 0 and now_s - session.used_s > self._idle_s
            return idle or now_s - session.begun_s > self._longest_s

        for name in [name for name, session in self._sessions.items() if is_over(session)]:
            del self._sessions[name]
