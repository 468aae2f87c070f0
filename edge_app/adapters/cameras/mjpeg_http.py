"""Network cameras that serve MJPEG over HTTP or HTTPS."""

from __future__ import annotations

import base64
import http.client
import io
import logging
import socket
import time
from typing import Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

from edge_app.adapters.cameras.multipart import MultipartParser
from edge_app.adapters.cameras.picture import decode_jpeg, worth_logging
from edge_app.errors import CameraError
from edge_app.ports import Clock
from edge_app.records import Frame, FrameOrigin

_log: Final = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 65536
_MAX_HEADER_BYTES: Final = 8192


class MjpegHttpCamera:
    """A `FrameSource` over multipart/x-mixed-replace.

    url:             http or https; a name and password in it are sent as Basic credentials
                     and shown nowhere.
    timeout_s:       the camera has vanished when no picture that can be decoded came for so
                     long, however many bytes drip in meanwhile.
    max_frame_bytes: longest JPEG.
    max_pixels:      largest width times height; larger pictures are skipped undecoded.
    """

    def __init__(
        self, *, url: str, timeout_s: float, max_frame_bytes: int, max_pixels: int, clock: Clock
    ) -> None:
        self._url = _checked(url)
        self._timeout_s = timeout_s
        self._max_frame_bytes = max_frame_bytes
        self._max_pixels = max_pixels
        self._clock = clock
        self._stream: _Stream | None = None
        self._sequence = 0
        self._undecodable = 0

    @property
    def origin(self) -> FrameOrigin:
        return FrameOrigin.LIVE

    @property
    def description(self) -> str:
        host = (self._url.netloc or "").rpartition("@")[2]
        return f"camera {self._url.scheme}://{host}{self._url.path}"

    @property
    def undecodable(self) -> int:
        return self._undecodable

    def open(self) -> None:
        self.close()
        self._sequence = 0
        try:
            self._stream = _Stream(self._url, self._timeout_s, self._max_frame_bytes)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise CameraError(
                f"{self.description} cannot be reached ({_reason(error)}); check the address and "
                "that the camera is on"
            ) from error
        except CameraError as error:
            raise CameraError(f"{self.description}: {error}") from error

    def read(self) -> Frame | None:
        if self._stream is None:
            raise CameraError(f"{self.description} is not open")
        self._stream.allow(self._timeout_s)
        while True:
            jpeg = self._next_jpeg(self._stream)
            time_s = self._clock.monotonic_s()
            sequence = self._sequence
            self._sequence += 1
            image = decode_jpeg(jpeg, self._max_pixels)
            if image is not None:
                return Frame(image, time_s, sequence, FrameOrigin.LIVE)
            self._undecodable += 1
            if worth_logging(self._undecodable):
                _log.warning("%s: %d pictures undecodable", self.description, self._undecodable)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _next_jpeg(self, stream: _Stream) -> bytes:
        try:
            return stream.next_part()
        except (OSError, http.client.HTTPException) as error:
            raise CameraError(
                f"{self.description} gives no more pictures ({_reason(error)})"
            ) from error
        except CameraError as error:
            raise CameraError(f"{self.description}: {error}") from error


class _Stream:
    """One connection, from the request to its end.

    Raises OSError, http.client.HTTPException or CameraError.
    """

    def __init__(self, url: SplitResult, timeout_s: float, max_frame_bytes: int) -> None:
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self._connection = kind[url.scheme](str(url.hostname), url.port, timeout=timeout_s)
        try:
            self._request(url)
            self._reader = _DeadlineReader(cast("socket.socket", self._connection.sock))
            self.allow(timeout_s)
            # HTTPResponse only ever calls `makefile` of its socket.
            self._response = http.client.HTTPResponse(cast("socket.socket", self._reader))
            self._response.begin()
            self._parser = self._accept(max_frame_bytes)
        except BaseException:
            self._connection.close()
            raise

    def allow(self, seconds: float) -> None:
        """Gives everything that is read until the next call this much time in all."""
        self._reader.deadline_s = time.monotonic() + seconds

    def next_part(self) -> bytes:
        while (part := self._parser.next_part()) is None:
            data = self._response.read1(_CHUNK_BYTES)
            if not data:
                raise CameraError("the camera ended its stream")
            self._parser.feed(data)
        return part

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def _request(self, url: SplitResult) -> None:
        headers = {"Accept": "multipart/x-mixed-replace"}
        if url.username is not None:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._connection.request("GET", target, headers=headers)

    def _accept(self, max_frame_bytes: int) -> MultipartParser:
        response = self._response
        if response.status != http.client.OK:
            raise CameraError(
                f"the camera answered {response.status}; check the address, and the name and "
                "password in it (http://NAME:PASSWORD@HOST/PATH)"
            )
        boundary = response.headers.get_boundary()
        if response.headers.get_content_maintype() != "multipart" or boundary is None:
            raise CameraError(
                f"the camera sends {response.headers.get_content_type()}, not an MJPEG stream "
                "(multipart/x-mixed-replace); look up its stream's address"
            )
        return MultipartParser(
            boundary, max_header_bytes=_MAX_HEADER_BYTES, max_part_bytes=max_frame_bytes
        )


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment. A timeout of the socket's own would begin anew at every
    byte, and a slow drip would hold the reader for ever."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.deadline_s = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        remaining_s = self.deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("too slow")
        self._socket.settimeout(remaining_s)
        return self._socket.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def _checked(url: str) -> SplitResult:
    """Raises CameraError unless it is an address that can be asked."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        parts.path.encode("ascii")
        parts.query.encode("ascii")
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or character < " " for character in url):
        raise CameraError(
            "the camera's address is not of the form http://HOST[:PORT]/PATH; "
            "write other characters than ASCII as %XX"
        )
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "too slow"
    return getattr(error, "strerror", None) or type(error).__name__
