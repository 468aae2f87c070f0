"""An identity provider over HTTP on this machine, for tests: it signs what it is told to.

It checks what a real one would refuse: who asks, where it sends back to, and PKCE.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT_ID = "familiar"
CLIENT_SECRET = "a secret of both"  # noqa: S105 - the tests' own


@dataclass
class Provider:
    """What it says is changed by tests.

    claims: over the right ones; None takes one away. metadata: the same for its description.
    encode: how a token is signed, if not with its first key.
    answers: instead of what is at a path: status, headers and body.
    """

    issuer: str
    now: Callable[[], int]
    keys: list[RSAKey | ECKey] = field(default_factory=list)
    public: list[RSAKey | ECKey] | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    user_info: dict[str, Any] = field(default_factory=dict)
    encode: Callable[[dict[str, Any]], str] | None = None
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    secret: str = CLIENT_SECRET
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def sign_in(self, url: str, **changes: str) -> dict[str, str]:
        """A browser that goes there and agrees; what it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], **changes}

    def described(self) -> dict[str, Any]:
        right = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }
        return {k: v for k, v in {**right, **self.metadata}.items() if v is not None}

    def jwks(self) -> dict[str, Any]:
        shown = self.keys if self.public is None else self.public
        return dict(KeySet(list(shown)).as_dict(private=False))

    def token(self, authorization: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        basic = base64.b64encode(urlencode({CLIENT_ID: self.secret}).replace("=", ":").encode())
        plain = base64.b64encode(f"{CLIENT_ID}:{self.secret}".encode())
        allowed = {f"Basic {basic.decode()}", f"Basic {plain.decode()}"} if self.secret else {""}
        if authorization not in allowed:
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        )
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        right = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "248289761001", "nonce": asked["nonce"],
            "iat": self.now(), "exp": self.now() + 300, "preferred_username": "ann",
            "groups": ["carers"],
        }  # fmt: skip
        claims = {k: v for k, v in {**right, **self.claims}.items() if v is not None}
        encode = self.encode or self._encode
        return 200, {
            "access_token": "of-access",
            "token_type": "Bearer",
            "id_token": encode(claims),
        }

    def _encode(self, claims: dict[str, Any]) -> str:
        key = self.keys[0]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        header = {"alg": algorithm, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[algorithm])


@contextmanager
def provider(now: Callable[[], int], key: RSAKey | ECKey) -> Iterator[Provider]:
    """One at a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            one.asked.append(path)
            if path in one.answers:
                self._send(*one.answers[path])
            elif path == "/.well-known/openid-configuration":
                self._send_json(200, one.described())
            elif path == "/userinfo" and self.headers["Authorization"] == "Bearer of-access":
                self._send_json(200, one.user_info)
            elif path == "/jwks":
                self._send_json(200, one.jwks())
            else:
                self._send_json(404, {})

        def do_POST(self) -> None:
            one.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path in one.answers:
                self._send(*one.answers[self.path])
                return
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send_json(*one.token(self.headers.get("Authorization", ""), form))

        def log_message(self, *_: object) -> None:
            pass

        def _send_json(self, status: int, value: dict[str, Any]) -> None:
            self._send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one = Provider(f"http://127.0.0.1:{server.server_port}", now, [key])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield one
        finally:
            server.shutdown()
            thread.join(30)
