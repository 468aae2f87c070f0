"""The operator's web service: the repository for devices, and doors for devices and for those who
leave.

POST /revoke       a code as `{"code": "..."}`, or sealed to the operator by a device that relays
                   it. It takes effect at the next publication.
POST /erasure      the same `{"code": "..."}`: how far its holder's erasure has come
POST /acknowledge  a device's statement of what it has installed (`core/acknowledge.py`)

Whoever presents a code is answered the same, whether anybody has it: the doors tell nothing of
who is enrolled. A code that was never presented is answered the same, too, whoever has it. What is
told of one that was needs the code: 120 random bits, which nobody guesses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge_app.adapters.durable import exclusive, file_state, write_durably
from edge_app.adapters.post import ACKNOWLEDGE_DOOR, BYTES, ERASURE_DOOR, REVOKE_DOOR
from edge_app.core.keyring import open_for
from edge_app.core.manifest import DeviceKey
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import ConsentError, GalleryError, KeyFileError, StorageError
from edge_app.ports import Clock
from edge_app.publisher.acknowledged import Acknowledgments, erasure, everyone
from edge_app.publisher.folder import BOOK_NAME, REVOCATION_SUFFIX, Book, Departed, OperatorFolder

_log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 1_024


def note_revocation(inbox: Path, code: str) -> Path:
    """Put a revocation into an operator's inbox; returns its file.

    Raises:
        ConsentError: not a revocation code.
        StorageError: the inbox cannot be written.
    """
    code = normalise_code(code)
    path = inbox / f"{revocation_sha256(code)[:32]}{REVOCATION_SUFFIX}"
    with exclusive(inbox):
        write_durably(path, code.encode())
    return path


_BODY_WITHIN_S: Final = 20.0
"""A request that drips in for longer is cut off: it holds up a worker."""


class Desk:
    """What the service does behind its doors; for whatever brings requests to it."""

    def __init__(self, folder: OperatorFolder, clock: Clock) -> None:
        """Open at an operator's folder. Raises ConfigError if it holds no fleet."""
        self._folder = folder
        self._clock = clock
        self._fleet = folder.fleet().fleet
        self._book = _BookReader(folder)
        self._acknowledgments = Acknowledgments(folder.acknowledged, self._fleet)

    def revoke(self, code: str) -> None:
        """Have the holder of a code left out from the next publication on.

        Raises:
            ConsentError: not a revocation code.
            StorageError: it cannot be noted.
        """
        note_revocation(self._folder.inbox, code)

    def revoke_sealed(self, data: bytes) -> None:
        """The same, with a code that a device sealed to this operator.

        Raises:
            GalleryError: not sealed to this operator. ConsentError, StorageError, KeyFileError.
        """
        code = open_for(self._folder.operator_key(), data, fleet=self._fleet)
        self.revoke(code.decode(errors="replace"))

    def erasure(self, code: str) -> dict[str, int | bool]:
        """How far the erasure of a code's holder has come.

        Without their being left out yet, only that: the same for every code there can be.

        Raises:
            ConsentError: not a revocation code.
            GalleryError, KeyFileError: the operator's book cannot be read.
        """
        digest = revocation_sha256(normalise_code(code))
        book, departed, _ = self._book.read()
        if digest not in departed:
            return {"left_out": False}
        receipts = self._acknowledgments.read(everyone(book))
        return {"left_out": True, **asdict(erasure(book, departed[digest], receipts))}

    def acknowledge(self, data: bytes) -> None:
        """Keep what a device says it has installed.

        Raises:
            GalleryError: not from a device of this fleet, or the book cannot be read.
            KeyFileError, StorageError: it cannot be kept.
        """
        book, _, devices = self._book.read()
        self._acknowledgments.keep(
            data, devices=devices, generation=book.generation, now=self._clock.now()
        )


class _BookReader:
    """The book with its indices, read again when it was written."""

    def __init__(self, folder: OperatorFolder) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._state: tuple[int, int, int] | None = None
        self._read: tuple[Book, dict[str, Departed], dict[str, DeviceKey]] | None = None

    def read(self) -> tuple[Book, dict[str, Departed], dict[str, DeviceKey]]:
        """The book, who left by digest, and the devices by id. Raises GalleryError, KeyFileError"""
        with self._turn:
            state = file_state(self._folder.folder / BOOK_NAME)
            if self._read is None or state != self._state:
                book = self._folder.read_book()
                departed = {entry.digest: entry for entry in book.departed}
                self._read = book, departed, {d.device_id: d for d in book.devices}
                self._state = state
            return self._read


def make_service(folder: OperatorFolder, clock: Clock) -> Starlette:
    """The service for one operator's folder. Raises ConfigError if it holds no fleet."""
    desk = Desk(folder, clock)

    async def revoke(request: Request, body: bytes) -> JSONResponse:
        if request.headers.get("content-type") == BYTES:
            await run_in_threadpool(desk.revoke_sealed, body)
        else:
            await run_in_threadpool(desk.revoke, _code(body))
        return JSONResponse({"noted": True}, status_code=202)

    async def ask(_request: Request, body: bytes) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(desk.erasure, _code(body)))

    async def acknowledge(_request: Request, body: bytes) -> JSONResponse:
        await run_in_threadpool(desk.acknowledge, body)
        return JSONResponse({"noted": True}, status_code=202)

    for name in ("metadata", "targets"):
        (folder.repository / name).mkdir(mode=0o700, exist_ok=True)
    return Starlette(
        routes=[
            Route(f"/{REVOKE_DOOR}", _door(revoke), methods=["POST"]),
            Route(f"/{ERASURE_DOOR}", _door(ask), methods=["POST"]),
            Route(f"/{ACKNOWLEDGE_DOOR}", _door(acknowledge), methods=["POST"]),
            Mount("/metadata", StaticFiles(directory=folder.repository / "metadata")),
            Mount("/targets", StaticFiles(directory=folder.repository / "targets")),
        ]
    )


def serve(folder: OperatorFolder, clock: Clock, *, host: str, port: int) -> None:
    """Serve until a signal ends it. No request is logged: a code must reach no log."""
    service = make_service(folder, clock)
    uvicorn.run(
        service, host=host, port=port, log_config=None, log_level="warning", access_log=False
    )


def _door(
    behind: Callable[[Request, bytes], Awaitable[JSONResponse]],
) -> Callable[[Request], Awaitable[JSONResponse]]:
    """Reads a small body, and turns errors into answers that tell nothing of anybody."""

    async def opened(request: Request) -> JSONResponse:
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_REQUEST_BYTES:
                        return _fault(413, f"a request holds at most {MAX_REQUEST_BYTES} bytes")
        except (TimeoutError, ClientDisconnect):
            return _fault(408, "the request was cut off; send it again")
        try:
            return await behind(request, bytes(body))
        except ConsentError as error:
            return _fault(400, str(error))
        except (StorageError, KeyFileError) as error:
            _log.error("%s", error)
            return _fault(503, "the operator cannot take it now; try again later")
        except GalleryError:
            return _fault(403, "this is not from the fleet, or not for this operator")

    return opened


def _code(body: bytes) -> str:
    """The code in a request. Raises ConsentError."""
    try:
        code = json.loads(body)["code"]
        if isinstance(code, str):
            return code
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ConsentError('send {"code": "..."} with the code on your receipt')


def _fault(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)
