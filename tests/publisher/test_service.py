"""The operator's service over real HTTP: files for devices, a door for those who leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.adapters.revocation_client import ask_erasure, send_revocation
from edge_app.core.acknowledge import Erasure, sign_acknowledgment
from edge_app.errors import ConfigError, ConsentError, DeliveryError
from tests.fleets import CLOCK, CONFIG, Fleet, code_of, names, person, service


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    with service(fleet.operator) as address:
        yield address


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


def test_nor_do_the_other_doors(fleet: Fleet, url: str) -> None:
    """A code that was never presented, whoever has it, and one that nobody has, presented."""

    def asked(number: int) -> tuple[int, bytes]:
        body = {"code": code_of(number)}
        answer = urllib3.request("POST", f"{url}/erasure", json=body, retries=False)
        return answer.status, answer.data

    fleet.enrol([person(1)])
    fleet.publish()
    assert asked(1) == asked(99)
    for number in (1, 99):
        send_revocation(url, code_of(number))
    assert asked(1) == asked(99) == (200, b'{"left_out":false}')
    fleet.publish()
    assert asked(1) == asked(99)
    assert json.loads(asked(1)[1])["left_out"]


def test_who_is_no_device_of_the_fleet_is_answered_the_same(fleet: Fleet, url: str) -> None:
    fleet.device("gate")
    fleet.publish()
    (known,) = fleet.operator.read_book().devices
    stranger = Ed25519PrivateKey.generate()
    answers = set()
    for device_id in (known.device_id, "ab" * 32):
        body = sign_acknowledgment(
            stranger, fleet="harbour", device_id=device_id, generation=1, time=CLOCK.now()
        )
        answer = urllib3.request("POST", f"{url}/acknowledge", body=body, retries=False)
        answers.add((answer.status, answer.data))
    assert len(answers) == 1
    assert not fleet.operator.acknowledged.exists()


def test_the_book_is_read_again_when_it_changed(fleet: Fleet, url: str) -> None:
    """A device that was added while the service runs is listened to."""
    fleet.publish()
    assert ask_erasure(url, code_of(1)) is None
    gate = fleet.device("gate")
    fleet.leave(1)
    fleet.publish()
    fleet.sync(gate, url)
    assert ask_erasure(url, code_of(1)) == Erasure(2, 1, 1, 0)


@pytest.mark.parametrize("path", ["acknowledge", "erasure", "revoke"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/octet-stream"),
        (b"\0" * 1_024, "application/octet-stream"),
        (b"\0" * 1_025, "application/octet-stream"),
        (b"[" * 1_000, "application/json"),
        (b'{"code": null}', "application/json"),
        (b"\xff\xfe", "text/plain"),
    ],
    ids=["nothing", "zeros", "too much", "deep", "null", "not text"],
)
def test_garbage_is_refused_at_every_door(
    fleet: Fleet, url: str, path: str, body: bytes, kind: str
) -> None:
    fleet.publish()
    before = sorted(p for p in fleet.operator.folder.rglob("*") if p.is_file())
    answer = urllib3.request(
        "POST", f"{url}/{path}", body=body, headers={"Content-Type": kind}, retries=False
    )
    assert answer.status in {400, 403, 413}
    assert set(answer.json()) == {"error"}
    assert sorted(p for p in fleet.operator.folder.rglob("*") if p.is_file()) == before


def test_an_enrolment_is_not_taken_for_a_code(fleet: Fleet, url: str) -> None:
    fleet.enrol([person(1)])
    (sealed,) = fleet.operator.inbox.glob("*.enrolment")
    answer = urllib3.request(
        "POST",
        f"{url}/revoke",
        body=sealed.read_bytes()[:1_024],
        headers={"Content-Type": "application/octet-stream"},
        retries=False,
    )
    assert answer.status == 403
    assert not list(fleet.operator.inbox.glob("*.revocation"))


def test_an_operator_that_cannot_store_says_so(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    fleet.operator.acknowledged.write_bytes(b"a file in the folder's place")
    assert fleet.sync(gate, url).generation == 1  # the device goes on, and tries again
    fleet.operator.acknowledged.unlink()
    fleet.sync(gate, url)
    assert len(list(fleet.operator.acknowledged.glob("*.json"))) == 1


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


@pytest.mark.parametrize("door", ["revoke", "erasure", "acknowledge"])
def test_a_request_that_breaks_off_harms_nobody(
    fleet: Fleet, url: str, door: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.publish()
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as broken:
        broken.sendall(f"POST /{door} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
    send_revocation(url, code_of(1))
    assert len(list(fleet.operator.inbox.glob("*.revocation"))) == 1
    assert caplog.records == []
