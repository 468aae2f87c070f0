"""The multipart/x-mixed-replace framing of MJPEG streams. Bytes in, parts out; no I/O."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from edge_app.errors import CameraError

_MAX_DASHES: Final = 72
_HEADER_END: Final = re.compile(rb"\r\n\r\n")
_CONTENT_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*$", re.I | re.M)


class _Expect(Enum):
    DELIMITER = auto()
    HEADERS = auto()
    BODY = auto()


class MultipartParser:
    """Cuts a byte stream into its parts, however the stream was chopped on its way.

    boundary: from the Content-Type header. Leading dashes are ignored, in it and in the
    stream: cameras disagree on whether the two that begin a delimiter belong to it.
    max_part_bytes: longest part, and most bytes between two parts.

    A part ends where its Content-Length says or, without one, at the next delimiter.
    Source: RFC 2046 section 5.1.1, and what cameras make of it.
    """

    def __init__(self, boundary: str, *, max_header_bytes: int, max_part_bytes: int) -> None:
        name = boundary.lstrip("-").encode("latin-1", "replace")
        if not name:
            raise CameraError("the stream names no boundary between its pictures")
        dashes = rb"-{2,%d}" % _MAX_DASHES
        self._delimiter = re.compile(dashes + re.escape(name))
        self._part_end = re.compile(rb"\r\n" + dashes + re.escape(name))
        self._longest_match = 2 + _MAX_DASHES + len(name)
        self._max_header_bytes = max_header_bytes
        self._max_part_bytes = max_part_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._expected = _Expect.DELIMITER
        self._body_bytes: int | None = None

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_part(self) -> bytes | None:
        """The body of the next part, or None until more is fed.

        Raises CameraError when the stream ends or is no multipart stream within the limits.
        """
        if self._expected is _Expect.DELIMITER:
            self._skip_delimiter()
        if self._expected is _Expect.HEADERS:
            self._read_headers()
        return self._read_body() if self._expected is _Expect.BODY else None

    def _skip_delimiter(self) -> None:
        found = self._find(self._delimiter, self._max_part_bytes)
        if found is not None:
            self._drop(found.end())
            self._expected = _Expect.HEADERS

    def _read_headers(self) -> None:
        if self._buffer.startswith(b"--"):
            raise CameraError("the camera ended its stream")
        found = self._find(_HEADER_END, self._max_header_bytes)
        if found is None:
            return
        length = _CONTENT_LENGTH.search(self._buffer[: found.start()].replace(b"\r", b""))
        self._body_bytes = None if length is None else int(length[1])
        if self._body_bytes is not None and self._body_bytes > self._max_part_bytes:
            raise _too_long(self._max_part_bytes)
        self._drop(found.end())
        self._expected = _Expect.BODY

    def _read_body(self) -> bytes | None:
        length = self._body_bytes
        if length is None:
            found = self._find(self._part_end, self._max_part_bytes)
            if found is None:
                return None
            length = found.start()
        elif len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        self._drop(length)
        self._expected = _Expect.DELIMITER
        return body

    def _find(self, pattern: re.Pattern[bytes], limit: int) -> re.Match[bytes] | None:
        """The first match, which must start within the first `limit` bytes."""
        found = pattern.search(self._buffer, self._searched)
        # A match may have begun in the last bytes; all before them have been searched.
        self._searched = max(0, len(self._buffer) - self._longest_match + 1)
        start = self._searched if found is None else found.start()
        if start > limit:
            raise _too_long(limit)
        return found

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


def _too_long(limit: int) -> CameraError:
    return CameraError(
        f"the stream holds more than {limit} bytes where a picture should have begun or ended; "
        "check that the address is that of an MJPEG stream"
    )
