"""The wearer's display as a web page, for glasses with a browser.

Names go to whoever holds the token in the address, and to nobody else: the page is served to this
machine only, or encrypted, and neither the address nor a name is ever logged.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import ipaddress
import json
import logging
import re
import secrets
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_app.core.present import phrases
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudView

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)

_BEAT_S: Final = 2.0
_SILENCE_S: Final = 6.0
"""How long the page believes what it shows without hearing from the device."""
_MAX_STREAMS: Final = 4
_MAX_CONNECTIONS: Final = 16
_CLOSE_S: Final = 2


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where the page is served.

    host:  an IP address of this device, or "localhost".
    name:  what the glasses call it; empty: the host, or the device's own name if that is any.
    token: the secret part of the address: 32 URL-safe characters or more.
    certificate_file, key_file: PEM files; both or none.
    """

    host: str
    name: str
    port: int
    token: str = field(repr=False)
    certificate_file: Path | None
    key_file: Path | None

    @property
    def url(self) -> str:
        """What is opened on the glasses. It is a secret."""
        scheme = "https" if self.certificate_file else "http"
        name = self.name or (socket.gethostname() if _is_any(self.host) else self.host)
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{self.port}/{self.token}/"


class WebDisplay:
    """Serves the page in a thread of its own; `show` never waits."""

    def __init__(self, address: PageAddress, *, language: str) -> None:
        """Raises ConfigError if the address is no place to serve names at, or is taken."""
        page = _page(language)
        _require_private(address)
        self._streams = _Streams()
        listener = _listen(address)
        try:
            self._server = _server(address, _application(page, address.token, self._streams))
        except BaseException:
            listener.close()
            raise
        self._thread = threading.Thread(
            target=self._serve, args=(listener,), name="page", daemon=True
        )
        self._thread.start()

    def show(self, view: HudView) -> None:
        """Send the view to the page, at once or when it comes back."""
        self._streams.show(view)

    def close(self) -> None:
        """Take the names off the page, and stop serving it."""
        self._streams.close()
        self._server.should_exit = True
        self._thread.join()

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            self._server.run(sockets=[listener])


class _Streams:
    """The newest view, and the pages that follow it: written by one thread, read in a loop of
    another."""

    def __init__(self) -> None:
        self._view = HudView((), "")
        self._lock = threading.Lock()
        self._wake: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._closed = False

    @property
    def full(self) -> bool:
        with self._lock:
            return len(self._wake) >= _MAX_STREAMS

    def show(self, view: HudView) -> None:
        with self._lock:
            self._view = view
            self._wake_all()

    def close(self) -> None:
        with self._lock:
            self._view = HudView((), "")
            self._closed = True
            self._wake_all()

    async def events(self) -> AsyncIterator[str]:
        """Every view from now on, and in between a sign of life."""
        changed = asyncio.Event()
        with self._lock:
            self._wake[changed] = asyncio.get_running_loop()
        try:
            sent = None
            while True:
                with self._lock:
                    view, closed = self._view, self._closed
                    changed.clear()
                yield _event("beat", None) if view == sent else _event("view", asdict(view))
                sent = view
                if closed:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), _BEAT_S)
                except TimeoutError:
                    continue
        finally:
            with self._lock:
                del self._wake[changed]

    def _wake_all(self) -> None:
        for changed, loop in self._wake.items():
            with suppress(RuntimeError):  # the loop has ended, and its pages with it
                loop.call_soon_threadsafe(changed.set)


def _event(kind: str, data: Any) -> str:
    """One server-sent event; JSON in ASCII holds no line break."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _page(language: str) -> tuple[bytes, dict[str, str]]:
    """The page in a language, and its headers: it may run its own script and style, no other."""
    words = phrases(language)
    text = (files(__package__) / "page.html").read_text(encoding="utf-8")
    for name, value in {
        "language": language,
        "probably": words.probably_mark,
        "lost": words.display_lost,
        "known": words.known,
        "silence_ms": str(round(_SILENCE_S * 1000)),
        **{str(way): words.directions[way] for way in Direction},
    }.items():
        text = text.replace(f"{{{name}}}", html.escape(value))
    policy = [
        "default-src 'none'",
        "img-src data:",
        "connect-src 'self'",
        *(f"{kind}-src '{_hash(text, kind)}'" for kind in ("script", "style")),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return text.encode(), {**_HEADERS, "Content-Security-Policy": "; ".join(policy)}


def _hash(text: str, tag: str) -> str:
    (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()


_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _application(page: tuple[bytes, dict[str, str]], token: str, streams: _Streams) -> Starlette:
    """Two doors behind the token; everything else is answered the same, token or not."""
    from starlette.applications import Starlette  # noqa: PLC0415 - other displays need no server
    from starlette.responses import Response, StreamingResponse  # noqa: PLC0415 - the same
    from starlette.routing import Route  # noqa: PLC0415 - the same

    text, headers = page

    def nothing() -> Response:
        return Response(status_code=404, headers=_HEADERS)

    def holds_token(request: Request) -> bool:
        given = request.path_params["token"].encode(errors="replace")
        return secrets.compare_digest(given, token.encode())

    async def serve_page(request: Request) -> Response:
        if not holds_token(request):
            return nothing()
        return Response(text, media_type="text/html", headers=headers)

    async def serve_events(request: Request) -> Response:
        if not holds_token(request):
            return nothing()
        if streams.full:
            return Response(status_code=503, headers=_HEADERS)
        return StreamingResponse(streams.events(), media_type="text/event-stream", headers=_HEADERS)

    async def not_found(_request: Request, _error: Exception) -> Response:
        return nothing()

    routes = [Route("/{token}/", serve_page), Route("/{token}/events", serve_events)]
    application = Starlette(routes=routes, exception_handlers={404: not_found, 405: not_found})
    application.router.redirect_slashes = False
    return application


def _server(address: PageAddress, application: Starlette) -> Any:
    import uvicorn  # noqa: PLC0415 - other displays need no server

    config = uvicorn.Config(
        application,
        ssl_certfile=address.certificate_file,
        ssl_keyfile=address.key_file,
        log_config=None,
        log_level="critical",  # addresses hold the token
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_CLOSE_S,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the page's certificate cannot be used ({error}); check hud.web.certificate_file and "
            "hud.web.key_file"
        ) from error
    return uvicorn.Server(config)


def _require_private(address: PageAddress) -> None:
    encrypted = address.certificate_file is not None and address.key_file is not None
    if not encrypted and not _is_loopback(address.host):
        raise ConfigError(
            f"names would go in the clear to {address.host}; name hud.web.certificate_file and "
            "hud.web.key_file, or serve the page at 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    return host == "localhost" or _ip(host).is_loopback


def _is_any(host: str) -> bool:
    return host != "localhost" and _ip(host).is_unspecified


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"hud.web.host: {host!r} is no address; write 127.0.0.1, or one of this device"
        ) from error


def _listen(address: PageAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"the page cannot be served at {address.host}, port {address.port} "
            f"({error.strerror}); end what serves there, or choose another hud.web.port"
        ) from error
