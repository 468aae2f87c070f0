"""One POST against real servers: honest, hostile, and none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from edge_app.adapters.post import BYTES, Answer, post
from edge_app.errors import ConfigError, DeliveryError

Behave = Callable[[socket.socket, threading.Event], None]


@contextmanager
def server(behave: Behave) -> Iterator[str]:
    """One connection is handed to `behave`, with an event that ends the test."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                connection.recv(65_536)
                with suppress(OSError):  # hung up on, as the tests want it
                    behave(connection, over)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def send(url: str, deadline_s: float = 10.0) -> Answer:
    return post(url, "door", b"body", kind=BYTES, deadline_s=deadline_s)


def saying(answer: bytes) -> Behave:
    return lambda connection, _: connection.sendall(answer)


def test_an_answer_comes_back() -> None:
    with server(saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nOK")) as url:
        assert send(url) == Answer(202, b"OK")


def test_the_door_is_below_the_address() -> None:
    seen: list[bytes] = []

    def run(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            seen.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, args=(listener,))
        thread.start()
        send(f"http://127.0.0.1:{listener.getsockname()[1]}/fleet/")
        thread.join()
    assert seen[0].startswith(b"POST /fleet/door HTTP/1.1\r\n")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and its own certificate for localhost, in one file."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None)
    )
    path = tmp_path / "localhost.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_whoever_cannot_prove_the_address_gets_nothing(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate) if trusted else "/dev/null")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            seen.append(tls.recv(65_536))
            tls.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: behave(listener.accept()[0]), daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        if trusted:
            assert send(url).status == 202
        else:
            with pytest.raises(DeliveryError, match="not reached"):
                send(url)
        thread.join(20)
    assert bool(seen) is trusted


def test_a_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 307 Go\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"
    with server(saying(answer)) as url:
        assert send(url).status == 307


def test_an_endless_answer_is_cut() -> None:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x" * 65_536)

    with server(behave) as url:
        assert len(send(url).body) == 65_536


def dripping(head: bytes, drop: bytes) -> Behave:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.02):
            connection.sendall(drop)

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        lambda _connection, over: over.wait(20),
        dripping(b"HTTP/1.1 2", b"0"),
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["silence", "status", "header", "body", "body without a length"],
)
def test_a_server_that_takes_its_time_is_hung_up_on(behave: Behave) -> None:
    with server(behave) as url, pytest.raises(DeliveryError, match="took too long"):
        send(url, deadline_s=0.3)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP", b"\0" * 100, b"\r\n" * 50],
    ids=["nothing", "cut off", "zeros", "lines"],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with server(saying(answer)) as url, pytest.raises(DeliveryError, match="not reached"):
        send(url)


def test_nobody_is_there() -> None:
    with pytest.raises(DeliveryError, match="not reached"):
        send("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://host:99999", "http://[", "file:///etc/passwd"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not an http"):
        send(url)
