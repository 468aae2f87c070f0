"""The operator's web service: the repository for devices, and a door for those who leave.

Whoever presents a code is answered the same, whether anybody has it: the door tells nothing of
who is enrolled. The code takes effect at the next publication.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge_app.adapters.durable import exclusive, write_durably
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import ConsentError, StorageError
from edge_app.publisher.folder import REVOCATION_SUFFIX, OperatorFolder

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


def make_service(folder: OperatorFolder) -> Starlette:
    """The service for one operator's folder."""

    async def revoke(request: Request) -> JSONResponse:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_REQUEST_BYTES:
                return _fault(413, "a request holds a code, and nothing else")
        try:
            code = json.loads(bytes(body))["code"]
            if not isinstance(code, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            return _fault(400, 'send {"code": "..."} with the code on your receipt')
        try:
            await run_in_threadpool(note_revocation, folder.inbox, code)
        except ConsentError as error:
            return _fault(400, str(error))
        except StorageError:
            return _fault(503, "the operator cannot store it now; try again later")
        return JSONResponse({"noted": True}, status_code=202)

    for name in ("metadata", "targets"):
        (folder.repository / name).mkdir(mode=0o700, exist_ok=True)
    return Starlette(
        routes=[
            Route("/revoke", revoke, methods=["POST"]),
            Mount("/metadata", StaticFiles(directory=folder.repository / "metadata")),
            Mount("/targets", StaticFiles(directory=folder.repository / "targets")),
        ]
    )


def serve(folder: OperatorFolder, *, host: str, port: int) -> None:
    """Serve until a signal ends it. No request is logged: a code must reach no log."""
    uvicorn.run(make_service(folder), host=host, port=port, log_level="warning", access_log=False)


def _fault(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)
