"""What Home Assistant is told of a device, against the payload that is committed here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edge_app.adapters.home_assistant import discovery_payload, discovery_topic
from edge_app.adapters.mqtt import ONLINE, Topics
from tests.deploy.messages import DEPLOY

TOPICS = Topics("riverside", "glasses-1")
FIELD = re.compile(r"{{ value_json\.([a-z0-9_]+) }}")


def payload() -> Any:
    return json.loads(discovery_payload(TOPICS, version="1.2.3"))


def test_it_is_the_committed_payload() -> None:
    expected = Path(__file__).with_name("home-assistant-discovery.json")
    assert payload() == json.loads(expected.read_text())


def test_no_two_devices_share_a_topic_or_an_identity() -> None:
    one, other = Topics("a-b", "c"), Topics("a", "b-c")
    assert discovery_topic(one, "homeassistant") == "homeassistant/device/a-b/c/config"
    assert discovery_topic(one, "ha") != discovery_topic(other, "ha")
    identities = [
        json.loads(discovery_payload(topics, version="1"))["device"]["identifiers"]
        for topics in (one, other)
    ]
    assert identities[0] != identities[1]


def test_of_a_match_nothing_is_kept_but_that_there_was_one() -> None:
    """P9: Home Assistant keeps a history; no field of an event gets into it, and no state does."""
    of_matches = [c for c in payload()["components"].values() if c["state_topic"] == TOPICS.match]
    (match,) = of_matches
    assert match["platform"] == "event"
    assert json.loads(match["value_template"]) == {"event_type": match["event_types"][0]}
    assert not any("attributes" in key for c in payload()["components"].values() for key in c)


def test_every_sensor_shows_a_field_that_its_state_has() -> None:
    schemas = {TOPICS.health: "health-v1", TOPICS.gallery: "gallery-v1"}
    sensors = [c for c in payload()["components"].values() if c["platform"] == "sensor"]
    assert len(sensors) == 5
    for sensor in sensors:
        path = DEPLOY / "schemas" / f"{schemas[sensor['state_topic']]}.schema.json"
        field = FIELD.fullmatch(sensor["value_template"])
        assert field is not None
        assert field[1] in json.loads(path.read_text())["properties"]
        assert sensor["entity_category"] == "diagnostic"
    (state,) = (c for c in sensors if "options" in c)
    schema = json.loads((DEPLOY / "schemas" / "health-v1.schema.json").read_text())
    assert state["options"] == schema["properties"]["state"]["enum"]
    (field_name,) = FIELD.findall(payload()["availability_template"])
    assert json.loads(ONLINE)[field_name] == "online"  # what Home Assistant expects unless told
