"""The AsyncAPI document is sound, complete, and true of what goes over the wire."""

from __future__ import annotations

import json
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.mqtt import Outgoing, Topics, ask, tell_all
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.core.request import Status
from edge_app.core.revocation import new_code
from edge_app.device import Device, Outputs
from edge_app.errors import DeliveryError
from edge_app.remote import hint_gallery_changed, revoke_at_device
from models import build
from tests.adapters.test_mqtt import LINK, Subscriber, subscribed, until
from tests.brokers import PASSWORD, Mosquitto
from tests.deploy.messages import DEPLOY, DOCUMENT, channels, require_described, resolve
from tests.enrolling import enrol_portraits
from tests.scenes import Cast, scene_camera
from tests.support import ROOT
from tests.test_fleet_device import Watching

TOPICS = Topics("home", "glasses")
SCHEMAS = DEPLOY / "schemas"
SPECIFICATION = build.Package(
    registry="npm",
    version="6.11.1",
    archive="asyncapi-specs-6.11.1.tgz",
    archive_sha256="01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928",
    licence="Apache-2.0",
)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def schemas() -> list[Path]:
    return sorted(SCHEMAS.glob("*.schema.json"))


# --- the document ---------------------------------------------------------------------------


@pytest.mark.network
def test_the_document_is_asyncapi_3() -> None:
    archive = build.fetch("@asyncapi/specs", SPECIFICATION, ROOT / "build" / "asyncapi")
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/schemas/3.0.0.json")
        assert member is not None
        validator = Draft7Validator(json.load(member))
    validator.validate(DOCUMENT)
    assert not validator.is_valid({**DOCUMENT, "channels": []})
    assert not validator.is_valid({**DOCUMENT, "unknown": 1})


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 15
    for reference in found:
        assert resolve(reference) is not None


def test_every_topic_is_described_and_every_description_is_of_a_topic() -> None:
    topics = {
        TOPICS.match,
        TOPICS.departure,
        TOPICS.availability,
        TOPICS.gallery,
        TOPICS.health,
        TOPICS.gallery_changed,
        TOPICS.request,
        TOPICS.reply("{id}"),
    }
    properties = {name for name, part in vars(Topics).items() if isinstance(part, property)}
    assert len(topics) == len(properties - {"root", "client_id", "commands"}) + 1
    described = {
        channel["address"].replace("{site}", "home").replace("{device}", "glasses")
        for channel in DOCUMENT["channels"].values()
    }
    assert described == topics


def test_alerts_and_answers_are_not_retained_and_states_are() -> None:
    retained = {channel.name: channel.retain for channel in channels()}
    assert retained == {
        "match": False,
        "departure": False,
        "availability": True,
        "gallery": True,
        "health": True,
        "galleryChanged": True,
        "request": False,
        "reply": False,
    }


def test_every_operation_has_a_channel_and_every_message_is_used() -> None:
    used = {entry["channel"]["$ref"] for entry in DOCUMENT["operations"].values()}
    used |= {
        entry["reply"]["channel"]["$ref"]
        for entry in DOCUMENT["operations"].values()
        if "reply" in entry
    }
    assert used == {f"#/channels/{name}" for name in DOCUMENT["channels"]}
    sent = set(references(DOCUMENT["channels"]))
    for kind in ("messages", "parameters"):
        assert {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]} <= sent


# --- the schemas ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", schemas(), ids=lambda path: path.name)
def test_a_schema_is_closed_and_has_examples(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    name = path.name.removesuffix(".schema.json")
    assert schema["$id"] == "urn:familiar:schema:" + re.sub(r"-(v\d+)$", r":\1", name)
    examples = sorted((SCHEMAS / "examples").glob(f"{name}*.json"))
    assert examples
    for example in examples:
        payload = json.loads(example.read_text())
        validator.validate(payload)
        assert not validator.is_valid({**payload, "more": 1})
        for key in payload:
            assert not validator.is_valid({k: v for k, v in payload.items() if k != key})


def test_every_schema_and_example_is_of_the_document() -> None:
    named = {reference for reference in references(DOCUMENT) if not reference.startswith("#")}
    assert named == {f"./schemas/{path.name}" for path in schemas()}
    for example in (SCHEMAS / "examples").iterdir():
        assert any(
            example.name.startswith(path.name.removesuffix(".schema.json")) for path in schemas()
        )


def test_the_answers_are_those_of_the_program() -> None:
    schema = json.loads((SCHEMAS / "reply-v1.schema.json").read_text())
    assert schema["properties"]["status"]["enum"] == [status.value for status in Status]


# --- the wire -------------------------------------------------------------------------------


def drive(home: Home, source: Any, url: str) -> threading.Thread:
    device = Device(
        make_config({}), home, source=source, lossless=True,
        outputs=Outputs(NullDisplay(), NullSpeaker(), (), url), clock=SystemClock(),
        stop=threading.Event(),
    )  # fmt: skip
    thread = threading.Thread(target=device.run)
    thread.start()
    return thread


def test_every_message_of_a_real_device_is_as_described(
    tmp_path: Path, media: Path, cast: Cast
) -> None:
    home = Home(tmp_path / "home", None)
    person = enrol_portraits(make_config({}), home, media)
    with Mosquitto(tmp_path / "mosquitto") as broker:
        url = f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"
        with subscribed(broker) as subscriber:
            camera = scene_camera(2.0, cast.stand("enrolled-3.jpg", 960, 500, 120, 2.0))
            drive(home, camera, url).join(120)
            home.store().remove(person.person_id)
            command_while_it_runs(home, broker, url, subscriber)
            seen = [require_described(message) for message in list(subscriber.messages)]
        assert set(seen) == {channel.name for channel in channels()}
        assert (seen.count("match"), seen.count("departure")) == (1, 1)
        assert seen.count("reply") == 4
        with subscribed(broker) as late:
            until(lambda: len(late.messages) >= 4, "what is retained arrives")
            kept = {require_described(message) for message in late.messages}
        assert kept == {c.name for c in channels() if c.retain}


def command_while_it_runs(home: Home, broker: Mosquitto, url: str, subscriber: Subscriber) -> None:
    config, watching = make_config({}), Watching()
    there = len(subscriber.on(TOPICS.availability))
    thread = drive(home, watching, url)
    until(lambda: len(subscriber.on(TOPICS.availability)) > there, "the device is back")
    hint_gallery_changed(config, url, ["glasses"], 3)
    revoke_at_device(config, url, "glasses", new_code(bytes(15)))
    with suppress(DeliveryError):
        revoke_at_device(config, url, "glasses", new_code(bytes(15)))
    ask(
        broker.address, tls=None, topics=TOPICS, client_id="asker", link=LINK, timeout_s=30,
        payload=json.dumps({"request": "revoke", "code": "A" * 26}).encode(),
    )  # fmt: skip
    example = json.loads((SCHEMAS / "examples" / "request-v1-revoke.json").read_text())
    lost = Outgoing(TOPICS.request, json.dumps(example).encode())
    tell_all(broker.address, tls=None, messages=[lost], client_id="teller", link=LINK)
    until(lambda: subscriber.on(TOPICS.reply("unaddressed")), "the last is answered")
    watching.done.set()
    thread.join(60)
    until(lambda: b"offline" in subscriber.on(TOPICS.availability)[-1], "it is gone")
