"""The operator's service over real HTTP: files for devices, a door for those who leave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import uvicorn

from edge_app.adapters.revocation_client import send_revocation
from edge_app.errors import ConfigError, ConsentError, DeliveryError
from edge_app.publisher.service import make_service
from tests.fleets import CONFIG, Fleet, code_of, names, person


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    settings = uvicorn.Config(make_service(fleet.operator), log_level="error", access_log=False)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def test_devices_sync_from_it(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    assert fleet.sync(gate, url).people == 1


def test_whoever_presents_a_code_is_out_at_the_next_publication(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    fleet.sync(gate, url)
    send_revocation(url, code_of(1).lower())
    assert fleet.publish().left == 1
    fleet.sync(gate, url)
    assert names(CONFIG, gate) == {"Name 2"}


def test_the_door_tells_nothing_of_who_is_enrolled(fleet: Fleet, url: str) -> None:
    fleet.enrol([person(1)])
    fleet.publish()
    answers = [
        urllib3.request("POST", f"{url}/revoke", json={"code": code_of(n)}, retries=False)
        for n in (1, 99)
    ]
    assert len({(answer.status, answer.data) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"code": 7}', 400),
        (b'{"code": "too short"}', 400),
        (b'{"code": "' + b"A" * 5_000 + b'"}', 413),
        (b"[" * 900, 400),
    ],
    ids=str,
)
def test_anything_else_is_refused_and_leaves_nothing(
    fleet: Fleet, url: str, body: bytes, status: int
) -> None:
    answer = urllib3.request("POST", f"{url}/revoke", body=body, retries=False)
    assert answer.status == status
    assert not list(fleet.operator.inbox.glob("*.revocation"))


@pytest.mark.parametrize("path", ["/book.sealed", "/keys/book.key", "/targets/../book.sealed"])
def test_nothing_but_the_repository_is_served(url: str, path: str) -> None:
    assert urllib3.request("GET", url + path, retries=False).status == 404


def test_a_wrong_code_never_leaves_this_machine(url: str) -> None:
    with pytest.raises(ConsentError):
        send_revocation(url, "ABCD")


@pytest.mark.parametrize("url", ["http://192.0.2.1", "ftp://127.0.0.1", "", "https://"])
def test_a_code_is_sent_encrypted_or_not_at_all(url: str) -> None:
    with pytest.raises(ConfigError, match="sent encrypted only"):
        send_revocation(url, code_of(1))


def test_an_operator_that_is_not_there() -> None:
    with pytest.raises(DeliveryError, match="not reached"):
        send_revocation("http://127.0.0.1:1", code_of(1))
