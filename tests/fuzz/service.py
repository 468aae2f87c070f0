"""The operator's service, asked without a network in between: any body, and any path."""

from __future__ import annotations

import asyncio
import atexit
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette

from edge_app.adapters.clock import SystemClock
from edge_app.core.revocation import new_code
from edge_app.operate import init
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.service import make_service
from edge_app.records import Purpose

SOUND_BODY: Final = b'{"code": "' + new_code(bytes(15)).encode() + b'"}'
SOUND_PATH: Final = b"/targets/shard/one.bin"
_SERVED: Final = b"what anybody may have"
_KEPT: Final = b"what nobody may have"


@cache
def _service() -> tuple[Callable[[str, str, bytes], tuple[int, bytes]], Path]:
    """(ask: from method, path and body to status and answer; the operator's folder)."""
    scratch = tempfile.TemporaryDirectory()
    atexit.register(scratch.cleanup)
    folder, clock = OperatorFolder(Path(scratch.name) / "operator"), SystemClock()
    init(folder, "fuzz", Purpose.ASSIST, clock)
    shards = folder.repository / "targets" / "shard"
    shards.mkdir(parents=True, exist_ok=True)
    (shards / "one.bin").write_bytes(_SERVED)
    (folder.folder / "kept").write_bytes(_KEPT)
    (folder.repository / "kept").write_bytes(_KEPT)
    app = make_service(folder, clock)
    runner = asyncio.Runner()
    atexit.register(runner.close)

    def ask(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return runner.run(_answer(app, method, path, body))

    return ask, folder.folder


async def _answer(app: Starlette, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    said: list[Any] = []
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()  # the connection stays open
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


def post(data: bytes) -> None:
    """Whatever somebody sends to the door: noted, or refused; nothing else is written."""
    ask, folder = _service()
    status, answer = ask("POST", "/revoke", data)
    if status not in {202, 400, 413} or (data == SOUND_BODY and status != 202):
        raise AssertionError(f"{status}: {answer!r}")
    noted = [path for path in folder.rglob("*.revocation") if path.is_file()]
    if (status == 202) != bool(noted) or any(len(path.read_bytes()) != 26 for path in noted):
        raise AssertionError(f"{status}, and {len(noted)} noted")
    for path in noted:
        path.unlink()


def ask(data: bytes) -> None:
    """The same bytes at the other doors: nothing is told, taken or written."""
    ask_service, folder = _service()
    status, answer = ask_service("POST", "/erasure", data)
    told = status == 200 and answer == b'{"left_out":false}'
    if not told and status not in {400, 413}:
        raise AssertionError(f"{status}: {answer!r}")
    status, answer = ask_service("POST", "/acknowledge", data)
    if status not in {403, 413} or (folder / "acknowledged").exists():
        raise AssertionError(f"{status}: {answer!r}")


def get(data: bytes) -> None:
    """Whatever path somebody asks for: a file that is served, or none."""
    ask, _ = _service()
    status, answer = ask("GET", data.decode("utf-8", "replace"), b"")
    sound = (status == 200) == (answer == _SERVED) and (data != SOUND_PATH or status == 200)
    if status not in {200, 307, 400, 404, 405} or not sound:
        raise AssertionError(f"{status}: {answer!r}")
