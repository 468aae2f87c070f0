"""Network cameras, against a real server that behaves, misbehaves and dies."""

import base64
import logging
import socket
import time

import pytest

from edge_app.adapters.cameras.mjpeg_http import MjpegHttpCamera
from edge_app.adapters.clock import SystemClock
from edge_app.errors import CameraError
from edge_app.records import FrameOrigin
from tests.adapters.cameras.conftest import HEAD, Answer, Server, jpeg, part, say

MAX_FRAME_BYTES = 20_000
PATIENT_S = 20.0
IMPATIENT_S = 0.3


def camera(url: str, timeout_s: float = PATIENT_S) -> MjpegHttpCamera:
    return MjpegHttpCamera(
        url=url,
        timeout_s=timeout_s,
        max_frame_bytes=MAX_FRAME_BYTES,
        max_pixels=1_000_000,
        clock=SystemClock(),
    )


def fails(opened: MjpegHttpCamera, action: str) -> str:
    with pytest.raises(CameraError) as caught:
        getattr(opened, action)()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("camera http://127.0.0.1")
    opened.close()
    return message


def chunked(data: bytes, step: int) -> bytes:
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_pictures_become_live_frames(server: Server) -> None:
    server.start(say(HEAD + part(jpeg(50)) + part(jpeg(150)) + part(jpeg(250))))
    source = camera(server.url)
    assert source.origin is FrameOrigin.LIVE
    source.open()
    frames = [source.read() for _ in range(3)]
    source.close()
    for number, (frame, grey) in enumerate(zip(frames, (50, 150, 250), strict=True)):
        assert frame is not None
        assert frame.sequence == number
        assert frame.origin is FrameOrigin.LIVE
        assert frame.image_bgr.shape == (64, 96, 3)
        assert frame.image_bgr.mean() == pytest.approx(grey, abs=1)
    times = [frame.time_s for frame in frames if frame is not None]
    assert times == sorted(times)
    assert times[-1] <= SystemClock().monotonic_s()


def test_chunked_streams_are_read(server: Server) -> None:
    head = HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    server.start(say(head + chunked(part(jpeg(50)) + part(jpeg(150)), 100)))
    source = camera(server.url)
    source.open()
    assert source.read() is not None
    assert source.read() is not None
    source.close()


def test_bad_pictures_are_skipped_counted_and_logged(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = jpeg(50)
    bad = [part(b"no picture"), part(whole[:-200]), part(b""), part(jpeg(9, (1001, 1000)))]
    server.start(say(HEAD + b"".join(bad) + part(whole)))
    source = camera(server.url)
    source.open()
    with caplog.at_level(logging.WARNING):
        frame = source.read()
    source.close()
    assert frame is not None
    assert frame.sequence == 4
    assert source.undecodable == 4
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        1,
        2,
        4,
    ]
    assert capfd.readouterr() == ("", "")


def test_a_stream_that_ends_is_a_vanished_camera(server: Server) -> None:
    server.start(say(HEAD + part(jpeg(50))))
    source = camera(server.url)
    source.open()
    assert source.read() is not None
    assert "ended its stream" in fails(source, "read")


def test_a_stream_cut_off_in_a_picture_is_a_vanished_camera(server: Server) -> None:
    server.start(say(HEAD + part(jpeg(50))[:200]))
    source = camera(server.url)
    source.open()
    assert "ended its stream" in fails(source, "read")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "cannot be reached"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be reached"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "answered 401; check the address, and the name"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", "sends image/jpeg, not an MJPEG"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not an MJPEG stream"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n", "not an MJPEG"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary="--"\r\n\r\n',
            "names no boundary",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "cannot be reached"),
    ],
)
def test_what_is_no_camera_is_refused(server: Server, answer: bytes, message: str) -> None:
    server.start(say(answer))
    assert message in fails(camera(server.url), "open")


def test_nobody_there_is_refused(server: Server) -> None:
    server.start(say(b""))
    server.stop()
    assert "cannot be reached (Connection refused)" in fails(camera(server.url), "open")


@pytest.mark.parametrize(
    "flood",
    [b"x" * 200_000, b"--frame\r\n\r\n" + b"x" * 200_000, b"--frame\r\nX: " + b"y" * 200_000],
)
def test_a_flood_is_refused(server: Server, flood: bytes) -> None:
    server.start(say(HEAD + flood))
    source = camera(server.url)
    source.open()
    assert "more than" in fails(source, "read")


def drip(head: bytes, server: Server) -> Answer:
    """A byte every few milliseconds, for ever: no single wait is ever too long."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while not server.stopping.is_set():
            connection.sendall(b"x")
            time.sleep(0.005)

    return answer


def test_a_drip_in_the_answer_is_refused(server: Server) -> None:
    server.start(drip(b"HTTP/1.1 200 OK\r\nX: ", server))
    assert "too slow" in fails(camera(server.url, IMPATIENT_S), "open")


def test_a_drip_in_a_picture_is_a_vanished_camera(server: Server) -> None:
    server.start(drip(HEAD + b"--frame\r\nContent-Length: 20000\r\n\r\n", server))
    source = camera(server.url, IMPATIENT_S)
    source.open()
    assert "too slow" in fails(source, "read")


def test_a_camera_that_falls_silent_has_vanished(server: Server) -> None:
    def silent(connection: socket.socket) -> None:
        connection.sendall(HEAD + part(jpeg(50)))
        server.stopping.wait(10)

    server.start(silent)
    source = camera(server.url, IMPATIENT_S)
    source.open()
    assert source.read() is not None
    assert "too slow" in fails(source, "read")


def test_endless_bad_pictures_are_a_vanished_camera(server: Server) -> None:
    def garbage(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while not server.stopping.is_set():
            connection.sendall(part(b"no picture"))
            time.sleep(0.005)

    server.start(garbage)
    source = camera(server.url, IMPATIENT_S)
    source.open()
    assert "too slow" in fails(source, "read")
    assert source.undecodable > 0


def test_name_and_password_are_sent_and_never_shown(server: Server) -> None:
    server.start(say(b"HTTP/1.1 401 Unauthorized\r\n\r\n"))
    url = server.url.replace("http://", "http://me:p%40ss%3Aword@") + "?token=secret"
    source = camera(url)
    assert source.description == f"camera {server.url}"
    assert "p%40ss" not in fails(source, "open")
    expected = base64.b64encode(b"me:p@ss:word")
    assert b"Authorization: Basic " + expected in server.requests[0]
    assert server.requests[0].startswith(b"GET /stream?token=secret HTTP/1.1\r\n")


def test_reading_what_is_not_open_is_an_error(server: Server) -> None:
    source = camera("http://127.0.0.1:9/stream")
    assert "is not open" in fails(source, "read")


def test_it_can_be_opened_again_and_counts_anew(server: Server) -> None:
    server.start(say(HEAD + part(jpeg(50))))
    source = camera(server.url)
    for _ in range(2):
        source.open()
        frame = source.read()
        assert frame is not None
        assert frame.sequence == 0
    source.close()
    source.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http:///stream",
        "ftp://host/stream",
        "file:///etc/passwd",
        "http://host:0/",
        "http://host:99999/",
        "http://host:port/",
        "http://[::1/",
        "http://host/a b",
        "http://host/a\r\nX: y",
        "http://host/strässe",
    ],
)
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(CameraError, match="is not of the form"):
        camera(url)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_cannot_exist_is_one_error(host: str) -> None:
    source = camera(f"http://{host}/stream")
    with pytest.raises(CameraError, match="cannot be reached"):
        source.open()
