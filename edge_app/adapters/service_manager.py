"""Tells the service manager that the program is ready, alive, and how it is (sd_notify(3))."""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

_log = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0


class ServiceManager:
    """Whoever started this program, if it wants to know; never raises, never waits."""

    def __init__(self, address: str | None) -> None:
        """Name the socket, as in NOTIFY_SOCKET; None or empty: nobody wants to know."""
        self._address = address or ""
        self._told_s = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """The program is up: to be told once, when frames can come."""
        self._tell("READY=1")

    def alive(self, status: str) -> None:
        """Work was done just now. Told once a second at most, or when the status is another.

        status: a line about the program, for its administrator; nothing personal.
        """
        now_s = time.monotonic()
        if status != self._status or now_s - self._told_s >= _INTERVAL_S:
            self._told_s, self._status = now_s, status
            self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The program ends in order."""
        self._tell("STOPPING=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract socket's name.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message.encode(), address)
        except BlockingIOError:
            pass  # it is behind with reading: the next one will do
        except OSError as error:
            _log.warning("the service manager cannot be told: %s", error.strerror)
            self._address = ""
