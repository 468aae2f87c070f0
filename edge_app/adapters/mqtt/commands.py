"""What a device does when it is told to over MQTT: look for a new gallery, let people leave."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import Full, Queue
from typing import Final

from edge_app.adapters.mqtt.link import Incoming, Outgoing
from edge_app.adapters.mqtt.topics import REPLY_NAME_PATTERN, Topics
from edge_app.core.request import Reply, RevokeRequest, Status, decode_request, encode_reply
from edge_app.errors import ConsentError, DeliveryError, EdgeAppError

_log = logging.getLogger(__name__)

REQUESTS_PER_S: Final = 1.0
BURST: Final = 10
_WAITING: Final = 8
_REPLY_EXPIRY_S: Final = 60
_MOST_CORRELATION_BYTES: Final = 64

_LEFT: Final = Reply(
    Status.LEFT, "whoever holds this code has left this device's gallery, and stays out"
)
_BUSY: Final = Reply(Status.BUSY, "too many requests; try again in a minute")
_FAILED: Final = Reply(
    Status.FAILED,
    "the device cannot store it now; try again, or present the code at the operator or a desk",
)
_UNSUPPORTED: Final = Reply(
    Status.UNSUPPORTED,
    "requests need MQTT 5: a response topic below reply/ of this device, and correlation data",
)


_Job = tuple[RevokeRequest, Callable[[Reply], None]]


class Commands:
    """Takes commands from the publisher's thread, and obeys requests one by one in its own.

    No payload is ever logged: it may hold a code.
    """

    def __init__(
        self,
        topics: Topics,
        *,
        revoke: Callable[[str], object],
        gallery_changed: Callable[[], None],
        monotonic_s: Callable[[], float],
    ) -> None:
        """Begin to obey.

        revoke:          lets the holder of a code leave; raises EdgeAppError.
        gallery_changed: is told of every hint; returns at once.
        """
        self._topics = topics
        self._revoke = revoke
        self._gallery_changed = gallery_changed
        self._limit = _RateLimit(monotonic_s)
        self._reply_topic = re.compile(re.escape(topics.reply("")) + REPLY_NAME_PATTERN)
        self._waiting: Queue[_Job | None] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)
        self._thread.start()

    def take(self, message: Incoming, send: Callable[[Outgoing], None]) -> None:
        """Obey a command, now or soon. send: for answers, from any thread."""
        if message.topic == self._topics.gallery_changed:
            self._gallery_changed()  # what it says is not looked at: it has no authority
        elif message.topic == self._topics.request:
            self._take_request(message, send)

    def close(self) -> None:
        """Finish what was taken, and take no more."""
        self._waiting.put(None)
        self._thread.join()

    def _take_request(self, message: Incoming, send: Callable[[Outgoing], None]) -> None:
        topic, correlation = message.response_topic or "", message.correlation or b""
        if (
            not self._reply_topic.fullmatch(topic)
            or not 1 <= len(correlation) <= _MOST_CORRELATION_BYTES
        ):
            topic, correlation = self._topics.reply("unaddressed"), b""

        def answer(reply: Reply) -> None:
            message = Outgoing(topic, encode_reply(reply), expiry_s=_REPLY_EXPIRY_S)
            send(replace(message, correlation=correlation or None))

        if not self._limit.allows():
            answer(_BUSY)
            return
        if not correlation:
            answer(_UNSUPPORTED)
            return
        try:
            self._waiting.put_nowait((decode_request(message.payload), answer))
        except (DeliveryError, ConsentError) as error:
            answer(Reply(Status.MALFORMED, str(error)))
        except Full:
            answer(_BUSY)

    def _run(self) -> None:
        while (taken := self._waiting.get()) is not None:
            request, answer = taken
            answer(self._obey(request))

    def _obey(self, request: RevokeRequest) -> Reply:
        try:
            self._revoke(request.code)
        except EdgeAppError as error:
            # Not to the asker: what failed may tell whether anybody has the code.
            _log.warning("a revocation over MQTT failed: %s", error)
            return _FAILED
        except Exception as error:  # noqa: BLE001 - whoever leaves next finds the door open
            _log.error("a revocation over MQTT failed by a defect: %s", type(error).__name__)
            return _FAILED
        return _LEFT


class _RateLimit:
    """A bucket of `BURST` requests that fills by `REQUESTS_PER_S`."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._left = float(BURST)
        self._seen_s = monotonic_s()

    def allows(self) -> bool:
        now_s = self._monotonic_s()
        self._left = min(BURST, self._left + (now_s - self._seen_s) * REQUESTS_PER_S)
        self._seen_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
