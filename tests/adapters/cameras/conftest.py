"""A real HTTP server on loopback that can be told what to send, die and come back."""

import io
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    b"Connection: close\r\n\r\n"
)

Answer = Callable[[socket.socket], None]


def jpeg(grey: int, size: tuple[int, int] = (96, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0]), grey, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def part(body: bytes) -> bytes:
    length = str(len(body)).encode()
    return (b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: " + length + b"\r\n\r\n") + (
        body + b"\r\n"
    )


def say(data: bytes) -> Answer:
    """Sends the bytes and hangs up."""
    return lambda connection: connection.sendall(data)


class Server:
    """Answers each connection with the next of `answers`, the last again and again."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: list[Answer] = []
        self.requests: list[bytes] = []
        self.stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    def start(self, *answers: Answer) -> None:
        """The first start chooses a port; later ones use the same."""
        self.answers = list(answers)
        self.stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(0.02)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(self._listener,))
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.close()
        self._listener = self._thread = None

    def _serve(self, listener: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(10)
                self.requests.append(connection.recv(65536))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                try:
                    answer(connection)
                except (BrokenPipeError, ConnectionResetError):
                    continue  # the camera's user hung up first, which some tests are about


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()
