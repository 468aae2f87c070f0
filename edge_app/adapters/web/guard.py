"""What holds for every request to a page of ours, whatever is behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers send "Origin: null" with the page's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Asked by the names that it has, by its own pages alone, and kept by no browser.

    names:  host names and addresses by which the service is asked; "*.example.org" is any one name
            below. Another one is somebody else's name that was made to point here.
    camera: its pages use the browser's camera.
    """

    def __init__(
        self, app: ASGIApp, *, names: Collection[str], tls: bool, camera: bool = False
    ) -> None:
        self._app = app
        allowed = "camera=(self)" if camera else "camera=()"
        self._headers = {
            **_HEADERS,
            "Permissions-Policy": f"{allowed}, microphone=(), geolocation=()",
        }
        self._names = frozenset(name.lower() for name in names)
        self._scheme = "https" if tls else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSocket is spoken here

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, guarded)

    def _refused(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._is_known(_name(host)):
            return PlainTextResponse("Nothing is here by this name.", 421)
        if method in {"GET", "HEAD"}:
            return None
        elsewhere = headers.get("sec-fetch-site", "same-origin") != "same-origin"
        if elsewhere or headers.get("origin", "").lower() != f"{self._scheme}://{host}".lower():
            return PlainTextResponse("Only pages from here may ask this.", 403)
        return None

    def _is_known(self, name: str) -> bool:
        _, _, parent = name.partition(".")
        return name in self._names or f"*.{parent}" in self._names


def _name(host: str) -> str:
    """The name in a Host header, without the port; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
