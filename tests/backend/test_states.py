from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.mqtt import OFFLINE, ONLINE, Incoming
from edge_app.backend.database import Database
from edge_app.backend.states import (
    STAYS,
    DeviceStates,
    device_states,
    drop_silent,
    is_state,
    keep_state,
    read_state,
)
from edge_app.errors import DeliveryError
from tests.support import ROOT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EXAMPLES = ROOT / "deploy" / "schemas" / "examples"
HEALTH = (EXAMPLES / "health-v1-running.json").read_bytes()


@pytest.fixture
def opened(database: str, tmp_path: Path) -> Iterator[Database]:
    with closing(Database(database, tmp_path)) as one:
        yield one


def came(kind: str, payload: bytes, *, device: str = "gate-1", retained: bool = False) -> Incoming:
    topic = f"familiar/v1/riverside/{device}/state/{kind}"
    return Incoming(topic, payload, None, None, retained=retained)


def note(database: Database, message: Incoming, now: datetime = NOW) -> None:
    with database.writing() as execute:
        keep_state(execute, read_state(message), now=now)


def known(database: Database) -> tuple[DeviceStates, ...]:
    with database.reading() as execute:
        return device_states(execute)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*-v1*.json")), ids=lambda path: path.stem)
def test_every_example_of_a_state_is_one(path: Path) -> None:
    kind = path.stem.partition("-")[0]
    message = came(kind, path.read_bytes())
    if kind not in {"availability", "gallery", "health"} or "changed" in path.stem:
        return
    assert read_state(message).word is not None


def test_devices_are_known_by_what_they_said_last(opened: Database) -> None:
    assert known(opened) == ()
    note(opened, came("availability", ONLINE))
    note(opened, came("health", HEALTH), NOW + MINUTE)
    note(opened, came("availability", OFFLINE), NOW + 2 * MINUTE)
    note(opened, came("availability", ONLINE, device="gate-0"))
    first, second = known(opened)
    assert (first.device, first.health, first.gallery, first.heard) == ("gate-0", None, None, NOW)
    assert second.availability is not None
    assert second.availability.state == "offline"
    assert second.health is not None
    assert second.health.outbox.pending == 0
    assert second.heard == NOW + 2 * MINUTE


def test_what_was_said_before_we_came_is_as_old_as_it_was(opened: Database) -> None:
    note(opened, came("availability", ONLINE, retained=True))
    note(opened, came("availability", ONLINE, retained=True), NOW + MINUTE)
    assert known(opened)[0].heard == NOW
    note(opened, came("availability", OFFLINE, retained=True), NOW + 2 * MINUTE)
    assert known(opened)[0].heard == NOW + 2 * MINUTE
    note(opened, came("availability", OFFLINE), NOW + 3 * MINUTE)
    assert known(opened)[0].heard == NOW + 3 * MINUTE


def test_what_is_taken_back_is_gone(opened: Database) -> None:
    note(opened, came("availability", ONLINE))
    note(opened, came("availability", b""))
    note(opened, came("health", b""))
    assert known(opened) == ()


def test_a_silent_device_is_forgotten_whole_and_not_before(opened: Database) -> None:
    note(opened, came("availability", ONLINE))
    note(opened, came("health", HEALTH), NOW + MINUTE)
    for now, left in ((NOW + STAYS, 1), (NOW + STAYS + MINUTE, 0)):
        with opened.writing() as execute:
            drop_silent(execute, now=now)
        assert len(known(opened)) == left


def test_what_is_not_ours_is_not_kept(opened: Database) -> None:
    with_more = HEALTH.rstrip().removesuffix(b"}") + b', "wearer": "canary"}'
    note(opened, came("health", with_more))
    with opened.reading() as execute:
        assert "canary" not in str(execute("SELECT payload FROM device_state").fetchall())


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("availability", b"online"), ("availability", b'{"state":"canary"}'),
        ("availability", b'{"state":"online"'), ("availability", b"\xff"),
        ("health", b"{}"), ("health", b"null"), ("health", b"[" * 60_000),
        ("health", HEALTH.replace(b'"pending": 0', b'"pending": -1')),
        ("health", HEALTH.replace(b'"pending": 0', b'"pending": 9223372036854775808')),
        ("health", HEALTH.replace(b'"running"', b'"' + b"canary" * 20 + b'"')),
        ("mood", b'{"state":"canary"}'), ("", b"{}"), ("health/more", HEALTH),
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused_and_never_quoted(kind: str, payload: bytes) -> None:
    with pytest.raises(DeliveryError) as refused:
        read_state(came(kind, payload))
    assert "canary" not in str(refused.value)


@given(st.sampled_from(["availability", "gallery", "health"]), st.binary(max_size=200))
def test_bytes_are_a_state_or_refused(kind: str, payload: bytes) -> None:
    message = came(kind, payload)
    assert is_state(message)
    try:
        read_state(message)
    except DeliveryError:
        return
