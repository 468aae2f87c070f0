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
from edge_app.adapters.post import ACKNOWLEDGE_DOOR, BYTES, ERASURE_DOOR, JSON, REVOKE_DOOR
from edge_app.core.keyring import seal_for
from edge_app.core.revocation import new_code
from edge_app.operate import init
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.service import make_service
from edge_app.records import Purpose

FLEET: Final = "fuzz"
SOUND_BODY: Final = b'{"code": "' + new_code(bytes(15)).encode() + b'"}'
SOUND_PATH: Final = b"/targets/shard/one.bin"
_SERVED: Final = b"what anybody may have"
_KEPT: Final = b"what nobody may have"


@cache
def _service() -> tuple[Callable[[str, str, bytes, str], tuple[int, bytes]], OperatorFolder]:
    """(ask: from method, path, body and its type to status and answer; the operator's folder)."""
    scratch = tempfile.TemporaryDirectory()
    atexit.register(scratch.cleanup)
    folder, clock = OperatorFolder(Path(scratch.name) / "operator"), SystemClock()
    init(folder, FLEET, Purpose.ASSIST, clock)
    shards = folder.repository / "targets" / "shard"
    shards.mkdir(parents=True, exist_ok=True)
    (shards / "one.bin").write_bytes(_SERVED)
    (folder.folder / "kept").write_bytes(_KEPT)
    (folder.repository / "kept").write_bytes(_KEPT)
    app = make_service(folder, clock)
    runner = asyncio.Runner()
    atexit.register(runner.close)

    def ask(method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        return runner.run(_answer(app, method, path, body, kind))

    return ask, folder


async def _answer(
    app: Starlette, method: str, path: str, body: bytes, kind: str
) -> tuple[int, bytes]:
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
        "headers": [(b"content-type", kind.encode())],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


def post(data: bytes) -> None:
    """Whatever somebody sends to the door: noted, or refused; nothing else is written."""
    status = _revoke(data, JSON, {202, 400, 413})
    if data == SOUND_BODY and status != 202:
        raise AssertionError(f"a code was answered with {status}")


def post_sealed(data: bytes) -> None:
    """The same of what a device relays, sealed to this operator or not."""
    _revoke(data, BYTES, {400, 403, 413})
    _, folder = _service()
    key = folder.operator_key().public_key().public_bytes_raw()
    _revoke(seal_for(key, data, fleet=FLEET), BYTES, {202, 400, 413})


def ask_erasure(data: bytes) -> None:
    """Whoever asks after an erasure hears the same of every code there can be."""
    ask, _ = _service()
    status, answer = ask("POST", f"/{ERASURE_DOOR}", data, JSON)
    if status not in {200, 400, 413} or (status == 200) != (answer == b'{"left_out":false}'):
        raise AssertionError(f"{status}: {answer!r}")


def acknowledge(data: bytes) -> None:
    """Nothing is kept of a device that is not of the fleet."""
    ask, _ = _service()
    status, answer = ask("POST", f"/{ACKNOWLEDGE_DOOR}", data, JSON)
    if status not in {403, 413}:
        raise AssertionError(f"{status}: {answer!r}")


def _revoke(data: bytes, kind: str, expected: set[int]) -> int:
    ask, folder = _service()
    status, answer = ask("POST", f"/{REVOKE_DOOR}", data, kind)
    if status not in expected:
        raise AssertionError(f"{status}: {answer!r}")
    noted = list(folder.inbox.glob("*.revocation"))
    if (status == 202) != bool(noted) or any(len(path.read_bytes()) != 26 for path in noted):
        raise AssertionError(f"{status}, and {len(noted)} noted")
    for path in noted:
        path.unlink()
    return status


def get(data: bytes) -> None:
    """Whatever path somebody asks for: a file that is served, or none."""
    ask, _ = _service()
    status, answer = ask("GET", data.decode("utf-8", "replace"), b"", JSON)
    sound = (status == 200) == (answer == _SERVED) and (data != SOUND_PATH or status == 200)
    if status not in {200, 307, 400, 404, 405} or not sound:
        raise AssertionError(f"{status}: {answer!r}")
