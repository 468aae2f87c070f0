"""A device and its operator's service: what is installed comes back, who leaves is passed on."""

from __future__ import annotations

import http.server
import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_app.adapters.keys import device_signing_key
from edge_app.adapters.relay import Relay
from edge_app.adapters.revocation_client import ask_erasure, send_revocation
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.core.acknowledge import Erasure
from edge_app.core.revocation import revocation_sha256
from edge_app.errors import ConfigError, ConsentError, GalleryError, KeyFileError, StorageError
from edge_app.operate import (
    add_device,
    add_station,
    remove_device,
    remove_station,
    renew,
    rotate_root,
    status,
)
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.repository import ROOT_KEYS
from edge_app.sync import Leaving, Told, leave
from tests.fleets import CLOCK, CONFIG, Fleet, ShiftedClock, code_of, names, person, served, service


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    with service(fleet.operator) as address:
        yield address


def acknowledged(fleet: Fleet, clock: ShiftedClock = CLOCK) -> dict[str, int | None]:
    return {d.name: d.acknowledged for d in status(fleet.operator, clock).devices}


def waiting(home: Home) -> int:
    return home.relay().waiting


# ---------------------------------------------------------------------------- what is installed


def test_an_installation_is_acknowledged(fleet: Fleet, url: str) -> None:
    gates = [fleet.device("gate-1"), fleet.device("gate-2")]
    fleet.publish()
    assert acknowledged(fleet) == {"gate-1": None, "gate-2": None}
    fleet.sync(gates[0], url)
    assert acknowledged(fleet) == {"gate-1": 1, "gate-2": None}
    fleet.enrol([person(1)])
    fleet.publish()
    for gate in gates:
        fleet.sync(gate, url)
    assert acknowledged(fleet) == {"gate-1": 2, "gate-2": 2}


def test_a_server_for_files_alone_takes_nothing_and_hinders_nothing(fleet: Fleet) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    with served(fleet.operator.repository) as url:
        assert fleet.sync(gate, url).generation == 1
    assert acknowledged(fleet) == {"gate": None}
    with service(fleet.operator) as url:  # and the next look makes up for it
        assert not fleet.sync(gate, url).changed
    assert acknowledged(fleet) == {"gate": 1}


def test_it_is_said_once_a_day(fleet: Fleet, url: str) -> None:
    """An operator who had to restore a backup hears of it again."""
    gate = fleet.device("gate")
    fleet.publish()
    fleet.sync(gate, url)
    file = next(fleet.operator.acknowledged.glob("*.json"))
    file.unlink()
    fleet.sync(gate, url)
    assert not file.exists()
    relay, key = gate.relay(), device_signing_key(gate.keys)
    (device,) = status(fleet.operator, CLOCK).devices
    for shift, due in ((0, False), (20, False), (25, True), (26, False), (-5, True), (-5, False)):
        now = CLOCK.now() + timedelta(hours=shift)
        args: dict[str, Any] = {
            "key": key,
            "device_id": device.device_id,
            "now": now,
            "deadline_s": 10,
        }
        assert relay.acknowledge(url, 1, **args) is due, shift
    assert file.exists()


class _YesMan(http.server.BaseHTTPRequestHandler):
    """Takes everything, and passes on nothing: whoever sits between on plain HTTP."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


def test_a_server_that_only_says_yes_makes_nobody_forgotten(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)
    with served(fleet.folder, _YesMan) as liar:
        gate.membership().join(liar, fleet.root)
        assert leave(CONFIG, gate, code_of(1), at_once=True).operator is Told.TOLD
    assert fleet.publish().left == 0
    fleet.sync(gate, url)
    assert fleet.publish().left == 1


@pytest.mark.parametrize("days", [-400, 3_650])
def test_a_device_with_a_wrong_clock_speaks_all_the_same(fleet: Fleet, url: str, days: int) -> None:
    """Its time is noted, and judges nothing: the operator's own does."""
    gate = fleet.device("gate")
    fleet.publish()
    fleet.sync(gate, url)
    fleet.enrol([person(1)])
    fleet.publish()
    relay, shifted = gate.relay(), ShiftedClock(timedelta(days=days))
    (device,) = status(fleet.operator, CLOCK).devices
    relay.acknowledge(
        url,
        2,
        key=device_signing_key(gate.keys),
        device_id=device.device_id,
        now=shifted.now(),
        deadline_s=10,
    )
    (device,) = status(fleet.operator, CLOCK).devices
    assert device.acknowledged == 2
    assert device.received is not None
    assert abs(CLOCK.now() - device.received) < timedelta(hours=1)


def test_who_has_not_spoken_in_a_lease_is_stale(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.device("drawer")
    fleet.publish()
    fleet.sync(gate, url)
    assert not any(d.stale for d in status(fleet.operator, CLOCK).devices)
    later = ShiftedClock(timedelta(hours=25))
    assert {d.name: d.stale for d in status(fleet.operator, later).devices} == {
        "gate": False,
        "drawer": True,
    }


def test_a_device_that_was_removed_is_not_listened_to(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    remove_device(fleet.operator, "gate")
    fleet.device("other")
    with served(fleet.operator.repository) as files:
        fleet.sync(gate, files)  # the generation that it could read
    fleet.sync(gate, url)
    assert not list(fleet.operator.acknowledged.glob("*.json"))
    assert acknowledged(fleet) == {"other": None}
    assert status(fleet.operator, CLOCK).removed == 1
    add_device(fleet.operator, gate.folder / "device.json")
    assert status(fleet.operator, CLOCK).removed == 0


# ------------------------------------------------------------------------------ who leaves here


def test_leaving_at_a_device_reaches_the_whole_fleet(fleet: Fleet, url: str) -> None:
    here, there = fleet.device("here"), fleet.device("there")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    for gate in (here, there):
        fleet.sync(gate, url)
    assert leave(CONFIG, here, code_of(1), at_once=True) == Leaving(True, Told.TOLD)
    assert names(CONFIG, here) == {"Name 2"}
    assert waiting(here) == 1  # until the signed gallery says so
    assert fleet.publish().left == 1
    fleet.sync(there, url)
    assert names(CONFIG, there) == {"Name 2"}
    fleet.sync(here, url)
    assert waiting(here) == 0


def test_an_operator_that_is_away_is_told_later(fleet: Fleet) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    with service(fleet.operator) as url:
        fleet.sync(gate, url)
        port = int(url.rpartition(":")[2])
    assert leave(CONFIG, gate, code_of(1), at_once=True) == Leaving(True, Told.WAITING)
    assert fleet.publish().left == 0
    with service(fleet.operator, port=port) as url:
        fleet.sync(gate, url)
        assert fleet.publish().left == 1
        fleet.sync(gate, url)
    assert waiting(gate) == 0


def test_a_device_may_leave_it_to_the_next_look(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)
    assert leave(CONFIG, gate, code_of(1), at_once=False) == Leaving(True, Told.WAITING)
    assert not list(fleet.operator.inbox.glob("*.revocation"))
    fleet.sync(gate, url)
    assert fleet.publish().left == 1


def test_leaving_again_changes_nothing(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)
    assert leave(CONFIG, gate, code_of(1), at_once=True).was_here
    assert leave(CONFIG, gate, code_of(1), at_once=True) == Leaving(False, Told.TOLD)
    assert waiting(gate) == 1
    assert len(list(fleet.operator.inbox.glob("*.revocation"))) == 1


def test_a_home_of_its_own_has_nobody_to_tell(tmp_path: Path) -> None:
    home = Home(tmp_path / "own", None)
    assert leave(CONFIG, home, code_of(1), at_once=True) == Leaving(False, Told.NO_FLEET)
    assert waiting(home) == 0
    with pytest.raises(ConsentError):
        leave(CONFIG, home, "no code", at_once=True)


def test_a_full_disk_is_no_reason_to_stay(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tombstone has its room; what cannot be kept for later is told at once."""
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)

    def full(_relay: Relay, _code: str) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Relay, "keep", full)
    assert leave(CONFIG, gate, code_of(1), at_once=False) == Leaving(True, Told.NOT_KEPT)
    assert leave(CONFIG, gate, code_of(1), at_once=True) == Leaving(False, Told.TOLD)
    assert names(CONFIG, gate) == set()
    assert fleet.publish().left == 1


def test_the_operator_hears_of_it_even_if_the_store_here_cannot_be_written(
    fleet: Fleet, url: str
) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)
    store = gate.folder / "store" / "gallery.sealed"
    store.write_bytes(b"damaged")
    with pytest.raises(GalleryError):
        leave(CONFIG, gate, code_of(1), at_once=True)
    assert revocation_sha256(code_of(1)) in gate.store().tombstones()
    assert fleet.publish().left == 1


def test_a_code_travels_sealed_and_reaches_no_log(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """A device's fleet may be served over plain HTTP: whoever listens learns no code."""
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    with served(fleet.operator.repository) as url:
        fleet.sync(gate, url)
    caplog.set_level("DEBUG")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        gate.membership().join(f"http://127.0.0.1:{listener.getsockname()[1]}", fleet.root)
        config = make_config({"sync": {"tell_deadline_s": 1}})
        assert leave(config, gate, code_of(1), at_once=True).operator is Told.WAITING
        connection, _ = listener.accept()
        with connection:
            sent = connection.recv(65_536)
    assert b"POST /revoke" in sent
    for secret in (code_of(1), revocation_sha256(code_of(1))):
        assert secret.encode() not in sent
        assert secret not in caplog.text
    assert waiting(gate) == 1


# ------------------------------------------------------------------------------- how far it came


def test_the_person_asks_how_far_it_has_come(fleet: Fleet, url: str) -> None:
    gates = [fleet.device(f"gate-{n}") for n in range(3)]
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    for gate in gates:
        fleet.sync(gate, url)
    assert ask_erasure(url, code_of(1)) is None
    send_revocation(url, code_of(1))
    assert ask_erasure(url, code_of(1)) is None
    fleet.publish()
    assert ask_erasure(url, code_of(1)) == Erasure(2, 3, 0, 0)
    for done, gate in enumerate(gates[:2]):
        fleet.sync(gate, url)
        assert ask_erasure(url, code_of(1)) == Erasure(2, 3, done + 1, 0)
    remove_device(fleet.operator, "gate-2")
    assert ask_erasure(url, code_of(1)) == Erasure(2, 2, 2, 1)
    (departure,) = status(fleet.operator, CLOCK).departures
    assert departure.erasure == Erasure(2, 2, 2, 1)
    assert revocation_sha256(code_of(1)).startswith(departure.digest)
    assert "Name" not in json.dumps(str(departure))


def test_since_when_somebody_was_here_survives_later_generations(fleet: Fleet) -> None:
    fleet.enrol([person(1)])
    fleet.publish()
    for number in (2, 3):
        fleet.enrol([person(number)])
        fleet.publish()
    fleet.leave(1)
    fleet.leave(3)
    fleet.leave(99)
    fleet.publish()
    departed = {d.digest: (d.since, d.generation) for d in fleet.operator.read_book().departed}
    assert [departed[revocation_sha256(code_of(n))] for n in (1, 3, 99)] == [(1, 4), (3, 4), (0, 4)]


# ------------------------------------------------------------------------------------- what is due


def test_lists_that_end_soon_are_renewed_with_the_timestamp(fleet: Fleet) -> None:
    fleet.publish()
    before = {e.role: e.expires for e in status(fleet.operator, CLOCK).expiries}
    renew(fleet.operator, CLOCK)
    assert status(fleet.operator, CLOCK).expiries[1].expires == before["targets"]
    late = ShiftedClock(timedelta(days=340))
    assert {e.role for e in status(fleet.operator, late).expiries if e.soon} >= {"targets"}
    renew(fleet.operator, late)
    after = {e.role: e for e in status(fleet.operator, late).expiries}
    assert not any(e.soon for e in after.values())
    assert after["targets"].expires > before["targets"] + timedelta(days=300)


# ----------------------------------------------------------------------------------- keys and order


def test_the_operators_online_keys_may_be_credentials(fleet: Fleet, tmp_path: Path) -> None:
    assert set(status(fleet.operator, CLOCK).keys_in_files) == {
        *("operator", "book", "targets", "snapshot", "timestamp"),
        *ROOT_KEYS,
    }
    fleet.publish()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for key in (fleet.operator.folder / "keys").glob("*.key"):
        key.rename(credentials / key.name)
    with pytest.raises(KeyFileError):
        status(fleet.operator, CLOCK)
    fleet.operator = OperatorFolder(fleet.operator.folder, credentials)
    fleet.enrol([person(1)])
    assert fleet.publish().people == 1
    assert status(fleet.operator, CLOCK).keys_in_files == ()
    with pytest.raises(KeyFileError, match="root-1"):  # those are files, wherever they are kept
        rotate_root(fleet.operator, CLOCK)


def test_removing_again_changes_nothing(fleet: Fleet) -> None:
    fleet.device("gate")
    fleet.publish()
    assert remove_device(fleet.operator, "gate")
    before = fleet.operator.read_book()
    assert not remove_device(fleet.operator, "gate")
    assert not remove_device(fleet.operator, before.removed[0].device.device_id[:12])
    assert fleet.operator.read_book() == before
    assert remove_station(fleet.operator, "glasses")
    assert not remove_station(fleet.operator, "glasses")
    for remove in (remove_device, remove_station):
        with pytest.raises(ConfigError, match=r"no .* is called"):
            remove(fleet.operator, "never-there")
    add_station(fleet.operator, fleet.station.folder / "station.json")
    assert fleet.operator.read_book().removed_stations == ()
    assert remove_station(fleet.operator, "glasses")
