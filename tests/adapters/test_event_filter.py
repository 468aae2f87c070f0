from __future__ import annotations

import json
from typing import Any

import pytest

from edge_app.adapters.event_filter import parse_conditions
from edge_app.adapters.events import KEYS
from edge_app.errors import ConfigError
from tests.support import ROOT

EVENT: dict[str, Any] = json.loads(
    (ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json").read_text()
)


def leaves(value: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, part in value.items():
        name = f"{prefix}{key}"
        found |= leaves(part, f"{name}.") if isinstance(part, dict) else {name}
    return found


def test_no_filter_takes_everything() -> None:
    assert parse_conditions([]) == ()


def test_the_keys_are_those_of_an_event() -> None:
    assert set(KEYS) == leaves(EVENT)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.purpose=assist", True),
        ("data.purpose=care", False),
        ("data.purpose=", False),
        ("data.demo=false", True),
        ("data.demo=0", False),
        ("data.demo=False", False),
        ("data.tracklet.frames=5", True),
        ("data.tracklet.frames=5.0", True),
        ("data.tracklet.frames=true", False),
        ('data.tracklet.frames="5"', False),
        ("data.score=0.712", True),
        ("data.score=" + "[" * 100_000, False),
        ("source=urn:familiar:riverside:glasses-1", True),
        ("sequence=17", False),
    ],
)
def test_a_condition_compares_one_value(text: str, holds: bool) -> None:
    (condition,) = parse_conditions([text])
    assert condition.holds(EVENT) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write KEY=VALUE"),
        ("data.purpose", "write KEY=VALUE"),
        ("purpose=care", "'data.purpose'"),
        ("data=1", "no event has the key 'data'"),
        ("data.tracklet=1", "no event has the key"),
        ("=1", "no event has the key ''"),
        ("data.name=Anna", "no event has the key"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_conditions([text])
