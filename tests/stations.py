"""A page of the program as a process of its own, and somebody who asks it as a browser does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import urllib3

from edge_app.adapters.web.serve import TlsIdentity
from edge_app.publisher.certificates import (
    Role,
    client_certificate,
    key_pem,
    new_authority,
    new_key,
    pem,
    server_certificate,
)
from tests.support import ROOT

NAME = "Zebedee Quux"


def certified(folder: Path, *, days: int = 1, client: bool = False) -> TlsIdentity:
    """A page's certificate and key in `folder`, with ca.pem beside them."""
    begin = datetime.now(UTC) - timedelta(days=2)
    authority = new_authority("test", now=begin, lifetime=timedelta(days=9))
    key = new_key()
    lifetime, public = timedelta(days=2 + days), key.public_key()
    hosts = ["localhost", "127.0.0.1", "*.example.org", "::1"]
    leaf = (
        client_certificate(authority, public, "d", Role.DESK, now=begin, lifetime=lifetime)
        if client
        else server_certificate(authority, public, hosts, now=begin, lifetime=lifetime)
    )
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    (folder / "page.pem").write_bytes(pem(leaf))
    (folder / "page.key").write_bytes(key_pem(key))
    return TlsIdentity(folder / "page.pem", folder / "page.key")


@dataclass
class Asker:
    """One browser: its cookie, and the token of the page it saw last."""

    url: str
    pool: urllib3.PoolManager
    cookie: str = ""
    set_cookie: str = ""
    token: str = ""
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        sent = {"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin", **headers}
        answer = self.pool.request(
            method, self.url + path, body=body, headers=sent, redirect=False, retries=False
        )
        if set_cookie := answer.headers.get("set-cookie"):
            self.set_cookie = set_cookie
            self.cookie = set_cookie.partition(";")[0]
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.text = answer.data.decode()
            found = re.search(r'(?:data-token|name="token" value)="([^"]+)"', self.text)
            self.token = found[1] if found else self.token
        return answer

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return self.ask("GET", path)

    def post(self, path: str, **fields: str) -> urllib3.BaseHTTPResponse:
        body = urlencode({"token": self.token, **fields}).encode()
        return self.ask("POST", path, body, Origin=self.url)

    def call(self, path: str, body: bytes = b"") -> urllib3.BaseHTTPResponse:
        """As the page's own script asks."""
        return self.ask("POST", path, body, Origin=self.url, **{"X-Token": self.token})

    def to(self, answer: urllib3.BaseHTTPResponse) -> str:
        """Follow an answer that leads elsewhere; returns where."""
        assert answer.status == 303, answer.data
        self.get(answer.headers["location"])
        return str(answer.headers["location"])

    def agrees(self, language: str = "en", **begin: str) -> None:
        assert self.to(self.post(f"/{language}/begin", **begin)) == f"/{language}/notice"
        fields = {"name": NAME, "relation": "friend", "read": "yes", "agree": "yes"}
        where = self.to(self.post(f"/{language}/agree", **fields))
        assert where == f"/{language}/capture", self.text

    def code(self) -> str:
        found = re.search(r'id="code"[^>]*>([^<]+)<', self.text)
        assert found is not None
        return found[1]


@dataclass
class Serving:
    url: str
    home: Path
    said: Path
    pid: int

    def asker(self, pool: urllib3.PoolManager | None = None) -> Asker:
        return Asker(self.url, pool or urllib3.PoolManager())

    def lines(self) -> list[str]:
        return self.said.read_text().splitlines()

    def admission(self) -> str:
        """The present code, as the operator reads it."""
        codes = re.findall(r"admitted with (\S+)", self.said.read_text())
        return str(codes[-1])


@contextmanager
def serving(
    folder: Path, *options: str | Path, config: str = "", page: str = "station"
) -> Iterator[Serving]:
    """The station's page, or another one, in `folder`/home at a free port, until it is left."""
    home, said = folder / "home", folder / "said.txt"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(config)
    command = [sys.executable, "-m", "edge_app", "--home", str(home), "-v", page, "serve"]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    with said.open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", *map(str, options)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
    try:
        yield Serving(_address(process, said), home, said, process.pid)
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in said.read_text(), said.read_text()


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    while True:
        found = re.search(r"(https?://\S+)/ is the page", said.read_text())
        if found:
            return found[1]
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(said.read_text())
