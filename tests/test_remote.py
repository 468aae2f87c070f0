"""Real devices, told over a real broker: a person leaves, a new gallery is there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_app.adapters.mqtt import Topics
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import Config, make_config
from edge_app.core.request import Status
from edge_app.device import Device, Outputs
from edge_app.errors import ConfigError, ConsentError, DeliveryError
from edge_app.publisher.broker import BrokerFolder
from edge_app.publisher.certificates import Role
from edge_app.remote import hint_gallery_changed, revoke_at_device
from tests.adapters.test_mqtt import Subscriber, subscribed, until
from tests.brokers import PASSWORD, FleetMosquitto, Mosquitto
from tests.fleets import CLOCK, Fleet, code_of, person, served
from tests.test_device import Screen
from tests.test_fleet_cli import familiar
from tests.test_fleet_device import Watching

TOPICS = Topics("home", "gate")
CONFIG = make_config({"device": "gate", "sync": {"interval_s": 3600, "backoff_s": 1}})


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def url(mosquitto: Mosquitto) -> str:
    return f"mqtt://user:{PASSWORD}@127.0.0.1:{mosquitto.port}"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@contextmanager
def running(home: Home, url: str, config: Config = CONFIG) -> Iterator[Device]:
    """A device that sees black frames, in a thread, until the test is done with it."""
    camera = Watching()
    device = Device(
        config, home, source=camera, lossless=True,
        outputs=Outputs(Screen(), NullSpeaker(), (), url), clock=CLOCK, stop=threading.Event(),
    )  # fmt: skip
    thread = threading.Thread(target=device.run)
    thread.start()
    try:
        yield device
    finally:
        camera.done.set()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def followed(fleet: Fleet) -> Iterator[Home]:
    """A device's home in a fleet that is served, with one person."""
    home = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    with served(fleet.operator.repository) as address:
        fleet.sync(home, address)
        yield home


def online(subscriber: Subscriber) -> Callable[[], Any]:
    return lambda: subscriber.on(TOPICS.availability)


def galleries(subscriber: Subscriber) -> list[Any]:
    return [json.loads(payload) for payload in subscriber.on(TOPICS.gallery)]


def test_who_leaves_over_mqtt_is_masked_and_the_gallery_state_tells_nothing(
    followed: Home, mosquitto: Mosquitto, url: str
) -> None:
    with subscribed(mosquitto) as subscriber, running(followed, url) as device:
        until(online(subscriber), "the device is there")
        assert device._gallery.current.member("person-1") is not None
        reply = revoke_at_device(CONFIG, url, "gate", code_of(1))
        assert reply.status is Status.LEFT
        until(lambda: device._gallery.current.member("person-1") is None, "the person is masked")
        assert revoke_at_device(CONFIG, url, "gate", code_of(2)) == reply
        until(lambda: len(device._gallery._store.tombstones()) >= 2, "both are barred")
        files = [path for path in followed.folder.rglob("*") if path.is_file()]
        assert not any(code_of(1).encode() in path.read_bytes() for path in files)
        time.sleep(1.2)  # a second look at the store
        (state,) = galleries(subscriber)
        assert state["generation"] == 1


def test_a_hint_makes_a_device_look_at_once(
    fleet: Fleet, followed: Home, mosquitto: Mosquitto, url: str
) -> None:
    with subscribed(mosquitto) as subscriber, running(followed, url) as device:
        until(lambda: galleries(subscriber), "the device is there")
        fleet.enrol([person(2)])
        generation = fleet.publish().generation
        assert hint_gallery_changed(CONFIG, url, ["gate", "gate", "other"], generation) == 2
        until(lambda: device._gallery.current.member("person-2") is not None, "it is installed")
        until(lambda: galleries(subscriber)[-1]["generation"] == 2, "the state tells of it")
        first, *_, last = galleries(subscriber)
        assert first["generation"] == 1
        assert set(last) == {"generation", "lease_until", "target_fpir", "model_id", "purpose"}
        assert last["purpose"] == "assist"
        assert last["lease_until"].endswith("Z")


def test_a_device_without_a_fleet_takes_a_hint_and_a_code(
    tmp_path: Path, mosquitto: Mosquitto, url: str
) -> None:
    with subscribed(mosquitto) as subscriber, running(Home(tmp_path / "own", None), url):
        until(online(subscriber), "the device is there")
        hint_gallery_changed(CONFIG, url, ["gate"], 7)
        assert revoke_at_device(CONFIG, url, "gate", code_of(1)).status is Status.LEFT
        (state,) = galleries(subscriber)
        assert (state["generation"], state["lease_until"]) == (None, None)


def test_a_code_is_not_sent_in_clear_nor_if_it_is_none() -> None:
    with pytest.raises(ConfigError, match="mqtts"):
        revoke_at_device(CONFIG, "mqtt://broker.example", "gate", code_of(1))
    with pytest.raises(ConsentError):
        revoke_at_device(CONFIG, "mqtts://broker.example", "gate", "no code")
    with pytest.raises(ConfigError, match="device"):
        revoke_at_device(CONFIG, "mqtt://localhost", "a/b", code_of(1))


def test_a_device_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_app.remote.ask", lambda *_a, **_k: b'{"status":"busy","detail":"x"}')
    with pytest.raises(DeliveryError, match="the device answers: x"):
        revoke_at_device(CONFIG, "mqtt://localhost", "gate", code_of(1))


def test_over_the_fleets_own_broker(tmp_path: Path, followed: Home, fleet: Fleet) -> None:
    """Device, desk and operator, each with its own certificate, over TLS."""
    broker = FleetMosquitto(tmp_path / "broker")
    authority = BrokerFolder(tmp_path / "operator")
    authority.init("localhost", broker.served, now=CLOCK.now())

    def config(client: str, role: Role) -> Config:
        folder, _ = authority.add(client, role, now=CLOCK.now())
        files = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"}
        mqtt = {f"{what}_file": str(folder / name) for what, name in files.items()}
        return make_config({**CONFIG.model_dump(), "mqtt": {**CONFIG.mqtt.model_dump(), **mqtt}})

    url = str(broker.address)
    at_device, at_desk = config("home/gate", Role.DEVICE), config("desk-1", Role.DESK)
    with broker, running(followed, url, at_device) as device:

        def left() -> bool:
            with suppress(DeliveryError):  # it may not be connected yet
                return revoke_at_device(at_desk, url, "gate", code_of(1)).status is Status.LEFT
            return False

        until(left, "the device answers")
        until(lambda: device._gallery.current.member("person-1") is None, "the person is masked")
        fleet.enrol([person(2)])
        generation = fleet.publish().generation
        with pytest.raises(DeliveryError, match="may publish"):
            hint_gallery_changed(at_desk, url, ["gate"], generation)
        operator = config("operator", Role.OPERATOR)
        assert hint_gallery_changed(operator, url, ["gate"], generation) == 1
        until(lambda: device._gallery.current.member("person-2") is not None, "it is installed")


def test_the_commands(fleet: Fleet, followed: Home, mosquitto: Mosquitto, url: str) -> None:
    cwd = fleet.folder
    with subscribed(mosquitto) as subscriber, running(followed, url) as device:
        until(online(subscriber), "the device is there")
        revoke = ("revoke", code_of(1), "--broker", url, "--device", "gate")
        done = familiar(*revoke, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("The device answers: whoever holds this code has left")
        until(lambda: device._gallery.current.member("person-1") is None, "the person is masked")
        fleet.enrol([person(3)])
        done = familiar(
            "operator", "publish", "--dir", str(fleet.operator.folder), "--broker", url, "--json",
            cwd=cwd,
        )  # fmt: skip
        assert done.returncode == 0
        assert done.stderr == "1 device of this site told.\n"
        until(lambda: device._gallery.current.member("person-3") is not None, "it is installed")
    done = familiar("revoke", code_of(1), "--broker", url, cwd=cwd)
    assert done.returncode == 2
    assert "--device" in done.stderr
