"""Networks that fail: connections that are half open, and a broker that never acknowledges."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import replace
from select import select

from edge_app.adapters.mqtt import BrokerAddress

_CONNACK_SUCCESS = b"\x20\x03\x00\x00\x00"
_CHUNK_BYTES = 65_536


class Network:
    """Stands between a device and a broker, and can be made to fail.

    A connection that was open while the network was frozen never carries another byte, in either
    direction, and is never closed by us: that is what a lost mobile link looks like.
    """

    def __init__(self, upstream: BrokerAddress) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = replace(upstream, port=self._server.getsockname()[1])
        self._upstream = upstream.port
        self._frozen = False
        self._open: list[_Pipe] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def freeze(self) -> None:
        with self._lock:
            self._frozen = True
            for pipe in self._open:
                pipe.frozen = True

    def thaw(self) -> None:
        """New connections are carried; those of the frozen time stay dead."""
        with self._lock:
            self._frozen = False

    def lead_to(self, port: int) -> None:
        """Hang up on everybody, and lead who comes next to another port."""
        with self._lock:
            self._upstream = port
            for pipe in self._open:
                pipe.close()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        with self._lock:
            for pipe in self._open:
                pipe.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            with self._lock, suppress(OSError):
                self._open = [pipe for pipe in self._open if pipe.is_open]
                far = socket.create_connection(("127.0.0.1", self._upstream))
                self._open.append(_Pipe(near, far, frozen=self._frozen))
                continue
            near.close()


class _Pipe:
    """Two sockets, and a thread that carries bytes between them until one of them ends."""

    def __init__(self, near: socket.socket, far: socket.socket, *, frozen: bool) -> None:
        self.frozen = frozen
        self.is_open = True
        self._ends = near, far
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _carry(self) -> None:
        near, far = self._ends
        with near, far, suppress(OSError):
            while True:
                for end in select([near, far], [], [])[0]:
                    data = end.recv(_CHUNK_BYTES)
                    if not data:
                        self.is_open = False
                        return
                    if not self.frozen:
                        (far if end is near else near).sendall(data)
        self.is_open = False


class MuteBroker:
    """Takes every connection and every message, and acknowledges none."""

    def __init__(self) -> None:
        self.taken_bytes = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                if peer.recv(_CHUNK_BYTES):
                    peer.sendall(_CONNACK_SUCCESS)
                while data := peer.recv(_CHUNK_BYTES):
                    self.taken_bytes += len(data)
