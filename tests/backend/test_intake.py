from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.events import from_cloudevent
from edge_app.backend.intake import read_message
from edge_app.errors import DeliveryError
from edge_app.records import Departure
from tests.support import ROOT

EXAMPLE = (ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json").read_bytes()
TOPIC = "familiar/v1/riverside/glasses-1/event/match"


def changed(**fields: Any) -> bytes:
    event = json.loads(EXAMPLE)
    data = {key: fields.pop(key) for key in list(fields) if key in event["data"]}
    return json.dumps({**event, **fields, "data": {**event["data"], **data}}).encode()


def test_a_match_is_read() -> None:
    assert read_message(TOPIC, EXAMPLE) == from_cloudevent(EXAMPLE)


def test_a_departure_is_read_on_its_own_topic_only() -> None:
    example = ROOT / "deploy" / "schemas" / "examples" / "departure-v1.json"
    departure = read_message(TOPIC.replace("match", "departure"), example.read_bytes())
    assert isinstance(departure, Departure)
    assert departure.subject_ref == "7d9f0c8e5a3b4c21"
    for topic, payload in (
        (TOPIC, example.read_bytes()),
        (TOPIC.replace("match", "departure"), EXAMPLE),
    ):
        with pytest.raises(DeliveryError):
            read_message(topic, payload)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "familiar/v1/riverside/glasses-2/event/match",
        "familiar/v1/other/glasses-1/event/match",
        "familiar/v2/riverside/glasses-1/event/match",
        f"{TOPIC}/more",
        f"x/{TOPIC}",
    ],
)
def test_another_devices_topic_is_refused(topic: str) -> None:
    with pytest.raises(DeliveryError, match="an event"):
        read_message(topic, EXAMPLE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"\x00" * 100,
        b"[" * 16_000,
        b" " * 20_000 + EXAMPLE,
        changed(sequence="9" * 20),
        changed(gallery_generation=2**63),
        changed(tracklet={"frames": 10**30, "seconds": 1.0}),
        changed(name="Zebedee Quux"),
        changed(subject="Zebedee Quux"),
        changed(time="0000-00-00T00:00:00Z"),
    ],
)
def test_hostile_messages_are_refused_without_a_word_of_them(payload: bytes) -> None:
    with pytest.raises(DeliveryError) as refused:
        read_message(TOPIC, payload)
    assert "Zebedee" not in str(refused.value)


@given(st.binary(max_size=2_000))
def test_bytes_are_an_alert_or_refused(payload: bytes) -> None:
    with pytest.raises(DeliveryError):
        read_message(TOPIC, payload)
