"""A real Home Assistant finds a real device over a real broker: `make check-home-assistant`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_app.adapters.home_assistant import discovery_payload, discovery_topic
from edge_app.adapters.mqtt import Topics
from edge_app.app import Home
from edge_app.config import Config
from tests.adapters.test_mqtt import until
from tests.brokers import PASSWORD, Mosquitto
from tests.enrolling import enrol_portraits
from tests.integrations.programs import Program, device_running, sending, started
from tests.scenes import Cast, scene_camera
from tests.support import ROOT
from tests.test_fleet_device import Watching

PYTHON = ROOT / "build" / "home-assistant" / "bin" / "python"
CORE = Path(__file__).with_name("home_assistant_core.py")
NAMES = "camera", "frame_rate", "gallery_generation", "lease_until", "match", "state", "temperature"


class HomeAssistant:
    """What it says of itself."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def told(self, key: str) -> list[Any]:
        lines = (json.loads(line) for line in list(self._program.lines))
        return [line for line in lines if key in line]

    def complaints(self) -> list[str]:
        return [line["complaint"] for line in self.told("complaint")]

    def complains_of(self, names: list[str]) -> bool:
        """Whether there is a complaint for each of these devices of the site "spoiled"."""
        said = self.complaints()
        return all(any(f"spoiled/{name}" in line for line in said) for name in names)

    def entities(self, device: str) -> dict[str, list[dict[str, Any]]]:
        """The history of each entity of a device, by its short name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.told("entity"):
            domain, _, name = line["entity"].partition(".")
            prefix = f"familiar_{device}_"
            if name.startswith(prefix):
                found.setdefault(name.removeprefix(prefix), []).append({"domain": domain, **line})
        return found

    def states(self, name: str) -> list[str]:
        """All states that an entity of home/glasses had, one after the other."""
        return [line["state"] for line in self.entities("home_glasses").get(name, [])]


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def home_assistant(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[HomeAssistant]:
    folder = tmp_path / "home-assistant"
    folder.mkdir()
    command = (PYTHON, CORE, folder, str(mosquitto.port), "user", PASSWORD)
    with started(command, folder) as program:
        until(lambda: program.ended() or "home_assistant" in program.text, "it starts")
        assert "ConfigEntryState.LOADED" in program.text, program.text
        yield HomeAssistant(program)


def test_it_shows_a_device_from_its_start_to_its_end(
    home_assistant: HomeAssistant, mosquitto: Mosquitto, tmp_path: Path, media: Path, cast: Cast
) -> None:
    home = Home(tmp_path / "device", None)
    person = enrol_portraits(Config(), home, media)
    url = f"mqtt://user:{PASSWORD}@127.0.0.1:{mosquitto.port}"
    wanted = {"discovery": True}
    with device_running(home, Watching(), url, home_assistant=wanted):
        until(lambda: home_assistant.states("state")[-1:] == ["running"], "it is found")
        until(lambda: home_assistant.states("camera")[-1:] == ["on"], "its camera is there")
        until(lambda: home_assistant.states("match")[-1:] == ["unknown"], "nobody was matched")
    until(lambda: home_assistant.states("match")[-1] == "unavailable", "it is gone")
    scene = scene_camera(2.0, cast.stand("enrolled-3.jpg", 960, 500, 120, 2.0))
    with device_running(home, scene, url, home_assistant=wanted):
        until(lambda: home_assistant.states("match")[-1].startswith("20"), "somebody was matched")
    until(lambda: home_assistant.states("match")[-1] == "unavailable", "it is gone again")
    entities = home_assistant.entities("home_glasses")
    assert tuple(sorted(entities)) == NAMES
    assert entities["match"][0]["domain"] == "event"
    (matched,) = (line for line in entities["match"] if line["state"].startswith("20"))
    assert matched["attributes"]["event_type"] == "match"
    assert matched["attributes"].keys() == {"event_type", "event_types", "friendly_name"}
    assert person.person_id not in json.dumps(home_assistant.told("entity"))
    assert home_assistant.complaints() == []


def test_it_reads_every_state_that_a_device_of_a_fleet_has(
    home_assistant: HomeAssistant, mosquitto: Mosquitto
) -> None:
    topics = Topics("riverside", "glasses-1")
    with sending(mosquitto) as send:
        introduce(send, topics)
        until(lambda: "lease_until" in home_assistant.entities("riverside_glasses_1"), "found")

        def shown(name: str) -> str:
            return str(home_assistant.entities("riverside_glasses_1")[name][-1]["state"])

        for topic, example in (
            (topics.availability, "availability-v1-online"),
            (topics.gallery, "gallery-v1-fleet"),
            (topics.health, "health-v1-running"),
        ):
            send(topic, json.dumps(read(example)).encode())
        sent = read("health-v1-running") | read("gallery-v1-fleet")
        until(lambda: shown("temperature") == str(sent["temperature_c"]), "the temperature")
        until(lambda: shown("frame_rate") == str(sent["frames_per_s"]), "the frame rate")
        until(lambda: shown("gallery_generation") == str(sent["generation"]), "the generation")
        until(lambda: shown("lease_until")[:19] == sent["lease_until"][:19], "the lease")
        until(lambda: shown("camera") == "on", "the camera")
        send(topics.health, json.dumps(read("health-v1-camera-lost")).encode())
        until(lambda: shown("state") == "camera lost", "the state")
        until(lambda: shown("camera") == "off", "the lost camera")
        send(topics.health, json.dumps(read("health-v1-running")).encode())
        until(lambda: shown("camera") == "on", "the camera again")
        send(topics.health, json.dumps(read("health-v1-camera-covered")).encode())
        until(lambda: shown("camera") == "off", "the covered camera")
        send(topics.gallery, json.dumps(read("gallery-v1-own")).encode())
        until(lambda: shown("lease_until") == shown("gallery_generation") == "unknown", "no fleet")
        send(topics.availability, json.dumps(read("availability-v1-offline")).encode())
        until(lambda: shown("state") == "unavailable", "offline")
    assert home_assistant.complaints() == []


def no_topic(payload: dict[str, Any]) -> None:
    del payload["components"]["state"]["state_topic"]


def wrong_class(payload: dict[str, Any]) -> None:
    payload["components"]["state"]["device_class"] = "mood"


def wrong_category(payload: dict[str, Any]) -> None:
    payload["components"]["state"]["entity_category"] = "secret"


def no_identity(payload: dict[str, Any]) -> None:
    payload["device"]["identifiers"] = []


def no_components(payload: dict[str, Any]) -> None:
    del payload["components"]


def test_it_refuses_what_is_spoiled(home_assistant: HomeAssistant, mosquitto: Mosquitto) -> None:
    """Else its consent to the payload would mean nothing."""
    spoils = no_topic, wrong_class, wrong_category, no_identity, no_components
    names = [str(number) for number in range(len(spoils))]
    with sending(mosquitto) as send:
        for spoil, name in zip(spoils, names, strict=True):
            introduce(send, Topics("spoiled", name), spoil)
        until(lambda: home_assistant.complains_of(names), "it complains of each")
        introduce(send, Topics("good", "one"))
        until(lambda: "state" in home_assistant.entities("good_one"), "the good one is found")
    for name in names:
        assert "state" not in home_assistant.entities(f"spoiled_{name}")


def introduce(
    send: Callable[[str, bytes], None],
    topics: Topics,
    spoil: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    payload = json.loads(discovery_payload(topics, version="1.2.3"))
    spoil(payload)
    send(discovery_topic(topics, "homeassistant"), json.dumps(payload).encode())


def read(example: str) -> dict[str, Any]:
    path = ROOT / "deploy" / "schemas" / "examples" / f"{example}.json"
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded
