"""The wearer's page: served to who holds the token, over nothing that others can read."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_app.adapters.displays.web import PageAddress, WebDisplay
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

TOKEN = "w" * 43
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused without TLS
ANNA = HudView((HudLine("Anna </script>\n\u2028", "colleague", Direction.LEFT, True),), "no sound")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def address(**changes: Any) -> PageAddress:
    values = {
        "host": "127.0.0.1",
        "name": "",
        "port": free_port(),
        "token": TOKEN,
        "certificate_file": None,
        "key_file": None,
        **changes,
    }
    return PageAddress(**values)


class Page:
    """A served page, and a browser's side of it."""

    def __init__(self) -> None:
        self.address = address()
        self.display = WebDisplay(self.address, language="de")

    def ask(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.address.port, 30)) as link:
            link.request(method, path)
            answer = link.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()

    def follow(self) -> Stream:
        return Stream(self.address.port)


class Stream:
    """One open stream of events."""

    def __init__(self, port: int) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", port, 30)
        self._link.request("GET", f"/{TOKEN}/events")
        self.answer = self._link.getresponse()

    def next(self, kind: str = "view") -> Any:
        """The data of the next event of a kind."""
        while True:
            lines = [self.answer.readline().decode() for _ in range(3)]
            assert lines[2] == "\n", lines
            if lines[0] == f"event: {kind}\n":
                return json.loads(lines[1].removeprefix("data: "))

    def close(self) -> None:
        self.answer.close()
        self._link.close()


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page()
    yield served
    served.display.close()


# --- who is served ------------------------------------------------------------------------


def test_the_page_is_served_behind_the_token_in_the_wearers_language(page: Page) -> None:
    status, headers, body = page.ask(f"/{TOKEN}/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b'lang="de"' in body
    assert b"wahrscheinlich" in body
    assert not re.search(rb"\{(language|probably|lost|known|left|ahead|right|silence_ms)\}", body)


@pytest.mark.parametrize(
    "path",
    ["/", "//", f"/{TOKEN}", f"/{TOKEN}x/", f"/{TOKEN[1:]}/", "/%FF%00/", f"/{TOKEN}/other",
     "/events", f"/{TOKEN[1:]}/events", f"/{TOKEN}/../", "/favicon.ico", "/" + "x" * 5000],
)  # fmt: skip
def test_everybody_else_is_answered_the_same(page: Page, path: str) -> None:
    page.display.show(ANNA)
    assert page.ask(path) == page.ask("/nothing")
    assert page.ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_to_be_changed(page: Page, method: str) -> None:
    assert page.ask(f"/{TOKEN}/", method)[0] == 404


def test_nothing_is_kept_and_nothing_of_others_is_run(page: Page) -> None:
    _, headers, body = page.ask(f"/{TOKEN}/")
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in body
    for path in (f"/{TOKEN}/", "/nothing"):
        assert page.ask(path)[1]["cache-control"] == "no-store"


# --- what is sent -------------------------------------------------------------------------


def test_a_page_that_comes_late_gets_what_is_shown_now_and_then_every_change(page: Page) -> None:
    page.display.show(ANNA)
    stream = page.follow()
    assert stream.answer.getheader("cache-control") == "no-store"
    assert stream.answer.getheader("content-type", "").startswith("text/event-stream")
    assert stream.next() == {
        "lines": [
            {
                "name": "Anna </script>\n\u2028",
                "relation": "colleague",
                "direction": "left",
                "unsure": True,
            }
        ],
        "status": "no sound",
        "fault": False,
    }
    page.display.show(HudView((), "Kamera fehlt", fault=True))
    assert stream.next() == {"lines": [], "status": "Kamera fehlt", "fault": True}
    stream.close()


def test_a_page_hears_that_the_device_lives(page: Page) -> None:
    stream = page.follow()
    stream.next()
    assert stream.next("beat") is None
    stream.close()


def test_closing_takes_the_names_off_every_page(page: Page) -> None:
    page.display.show(ANNA)
    streams = [page.follow() for _ in range(3)]
    for stream in streams:
        assert stream.next()["lines"]
    page.display.close()
    for stream in streams:
        assert stream.next() == {"lines": [], "status": "", "fault": False}
        assert stream.answer.readline() == b""
        stream.close()
    page.display.show(ANNA)  # nobody is there any more: no harm


def test_pages_that_go_away_make_room_for_others(page: Page) -> None:
    for _ in range(3):
        streams = [page.follow() for _ in range(4)]
        for stream in streams:
            stream.next()
        assert page.ask(f"/{TOKEN}/events")[0] == 503
        for stream in streams:
            stream.close()
        page.display.show(ANNA)  # who is written to is found to be gone
        _until_there_is_room(page)


def _until_there_is_room(page: Page) -> None:
    for _ in range(200):
        stream = page.follow()
        stream.close()
        if stream.answer.status == 200:
            return
        threading.Event().wait(0.05)
    pytest.fail("the streams that ended are still counted")


def test_many_changes_end_in_the_last(page: Page) -> None:
    stream = page.follow()
    for number in range(2000):
        page.display.show(HudView((), str(number)))
    while stream.next()["status"] != "1999":
        pass
    stream.close()


def test_nonsense_does_not_stop_it(page: Page) -> None:
    for nonsense in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 100_000):
        with closing(socket.create_connection(("127.0.0.1", page.address.port), 30)) as link:
            link.sendall(nonsense)
    assert page.ask(f"/{TOKEN}/")[0] == 200


def test_neither_names_nor_the_address_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        page = Page()
        page.display.show(ANNA)
        stream = page.follow()
        stream.next()
        page.ask(f"/{TOKEN}/")
        page.ask("/wrong/")
        stream.close()
        page.display.close()
    assert TOKEN not in caplog.text
    assert "Anna" not in caplog.text
    assert TOKEN not in repr(page.address)


# --- where it is served -------------------------------------------------------------------


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "fe80::1"])
def test_names_do_not_go_to_others_in_the_clear(host: str) -> None:
    with pytest.raises(ConfigError, match="in the clear"):
        WebDisplay(address(host=host), language="en")


@pytest.mark.parametrize("host", ["", "example.org", "127.0.0.1/8", "127.1"])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        WebDisplay(address(host=host), language="en")


def test_a_port_that_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"hud\.web\.port"):
            WebDisplay(address(port=port), language="en")


def test_no_language_of_that_name() -> None:
    with pytest.raises(ConfigError, match="no language"):
        WebDisplay(address(), language="xx")


@pytest.mark.parametrize(
    ("host", "name", "tls", "url"),
    [
        ("127.0.0.1", "", False, f"http://127.0.0.1:8470/{TOKEN}/"),
        ("::1", "", False, f"http://[::1]:8470/{TOKEN}/"),
        ("192.0.2.1", "", True, f"https://192.0.2.1:8470/{TOKEN}/"),
        (EVERYWHERE, "", True, f"https://{socket.gethostname()}:8470/{TOKEN}/"),
        (EVERYWHERE, "glasses.local", True, f"https://glasses.local:8470/{TOKEN}/"),
    ],
)
def test_the_address_that_the_glasses_open(host: str, name: str, tls: bool, url: str) -> None:
    files = {"certificate_file": Path("c"), "key_file": Path("k")} if tls else {}
    assert address(host=host, name=name, port=8470, **files).url == url


def test_elsewhere_it_is_encrypted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "page.key", tmp_path / "page.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=glasses",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    served = address(host=EVERYWHERE, certificate_file=certificate, key_file=key)
    display = WebDisplay(served, language="en")
    trust = ssl.create_default_context(cafile=str(certificate))
    with closing(
        http.client.HTTPSConnection("127.0.0.1", served.port, timeout=30, context=trust)
    ) as link:
        link.request("GET", f"/{TOKEN}/")
        assert link.getresponse().status == 200
        assert link.sock.version() in {"TLSv1.2", "TLSv1.3"}
    display.close()


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    garbage = tmp_path / "page.crt"
    garbage.write_text("no certificate")
    for name in (garbage, tmp_path / "missing"):
        served = address(host=EVERYWHERE, certificate_file=name, key_file=name)
        with pytest.raises(ConfigError, match=r"hud\.web\.certificate_file"):
            WebDisplay(served, language="en")
    with closing(socket.create_server(("127.0.0.1", served.port))):
        pass  # the port is free again
