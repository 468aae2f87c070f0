"""The flow of deploy/node-red in a real Node-RED, with a fleet's broker: `make check-node-red`."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.events import from_cloudevent, new_alert_id, to_cloudevent
from edge_app.adapters.mqtt import Outgoing, Topics
from edge_app.app import Home
from edge_app.config import Config
from edge_app.publisher.broker import BrokerFolder
from edge_app.publisher.certificates import Role
from tests.adapters.test_mqtt import until
from tests.brokers import FleetMosquitto, free_port
from tests.enrolling import enrol_portraits
from tests.integrations.programs import Program, device_running, started
from tests.publisher.test_broker import NOW, Site, heard, until_pumped
from tests.scenes import Cast, scene_camera
from tests.support import ROOT

NODE_RED = ROOT / "build" / "node-red" / "node_modules" / "node-red" / "red.js"
FLOW = ROOT / "deploy" / "node-red" / "flow.json"
TOPICS = Topics("home", "glasses")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    mosquitto = FleetMosquitto(tmp_path / "mosquitto")
    authority = BrokerFolder(tmp_path / "operator")
    authority.init("localhost", mosquitto.served, now=NOW)
    with mosquitto, ExitStack() as stack:
        yield Site(mosquitto, authority, stack)


@pytest.fixture
def node_red(tmp_path: Path, site: Site) -> Iterator[Program]:
    """With the flow imported and deployed, as its README says."""
    files, port = site.files("node-red", Role.BACKEND), free_port()
    folder = tmp_path / "node-red"
    folder.mkdir()
    settings = {"uiHost": "127.0.0.1", "uiPort": port, "telemetry": {"enabled": False}}
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)};")
    environment = {
        "FAMILIAR_BROKER": "localhost",
        "FAMILIAR_BROKER_PORT": str(site.mosquitto.port),
        "FAMILIAR_CA_FILE": str(files.ca),
        "FAMILIAR_CERTIFICATE_FILE": str(files.certificate),
        "FAMILIAR_KEY_FILE": str(files.key),
    }
    with started(("node", NODE_RED, "--userDir", folder), folder, environment) as program:
        until(lambda: program.ended() or "Started flows" in program.text, "it starts")
        import_flow(port)
        until(lambda: program.ended() or "Connected to broker" in program.text, "it connects")
        assert not program.ended(), program.text
        yield program


def import_flow(port: int) -> None:
    """What its editor does after Import and Deploy."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/flows",
        data=FLOW.read_bytes(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        assert answer.status == 204


def said(program: Program, node: str) -> list[str]:
    """What a debug node of the flow put out."""
    mark = f"[debug:{node}] "
    return [line.partition(mark)[2] for line in list(program.lines) if mark in line]


def test_a_match_of_a_real_device_becomes_one_line(
    node_red: Program, site: Site, tmp_path: Path, media: Path, cast: Cast
) -> None:
    home = Home(tmp_path / "device", None)
    person = enrol_portraits(Config(), home, media)
    backend = site.listening(TOPICS.match)
    files = site.files("home/glasses")
    mqtt = {
        "ca_file": str(files.ca),
        "certificate_file": str(files.certificate),
        "key_file": str(files.key),
    }
    scene = scene_camera(2.0, cast.stand("enrolled-3.jpg", 960, 500, 120, 2.0))
    url = f"mqtts://localhost:{site.mosquitto.port}"
    with device_running(home, scene, url, mqtt=mqtt):
        heard(backend, TOPICS.match)
        until(lambda: said(node_red, "somebody was matched"), "it is put out")
    until(lambda: len(said(node_red, "a device came or went")) == 2, "its presence is put out")
    assert said(node_red, "a device came or went") == [
        "home/glasses is online",
        "home/glasses is offline",
    ]
    (event,) = (m.payload for m in backend.received)
    alert = from_cloudevent(event)
    (line,) = said(node_red, "somebody was matched")
    assert line == (
        f"home/glasses: probably somebody who is enrolled. Score {alert.score}, threshold "
        f"{alert.threshold}; of 1,000 strangers, 3 would reach it."
    )
    assert alert.subject_ref not in node_red.text
    assert person.person_id not in node_red.text

    device = site.connect_with(files)
    late = replace(alert, alert_id=new_alert_id(1, bytes(10)), expiry_time=datetime.now(UTC))
    other = replace(late, alert_id=new_alert_id(2, bytes(10)), score=0.999)
    other = replace(other, expiry_time=datetime.now(UTC) + timedelta(minutes=5))
    for payload in (event, b"no event", b'"neither"', to_cloudevent(late), to_cloudevent(other)):
        before = len(device.acknowledged)
        device.publish(Outgoing(TOPICS.match, payload))
        until_pumped(device, lambda before=before: len(device.acknowledged) > before)
    until(lambda: "0.999" in said(node_red, "somebody was matched")[-1], "the new one is put out")
    assert len(said(node_red, "somebody was matched")) == 2, "no other is"
