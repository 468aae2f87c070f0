"""Alert <-> CloudEvent: exact fields, nothing that may not leave the device, strict reading."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge_app.adapters.events import from_cloudevent, new_alert_id, to_cloudevent
from edge_app.errors import DeliveryError
from edge_app.records import Alert, ClockState, Purpose

SCHEMAS = Path(__file__).parents[2] / "deploy" / "schemas"
SCHEMA = json.loads((SCHEMAS / "match-v1.schema.json").read_text())
EXAMPLES = sorted((SCHEMAS / "examples").glob("match-v1-*.json"))
ALERT = from_cloudevent(EXAMPLES[0].read_bytes())

hex_ids = st.text("0123456789abcdef-", min_size=16, max_size=64)
node_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=64)
cosines = st.floats(-1, 1)
times = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
alerts = st.builds(
    Alert,
    alert_id=st.builds(
        new_alert_id, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)
    ),
    site=node_names,
    device=node_names,
    purpose=st.sampled_from(Purpose),
    subject_ref=hex_ids,
    consent_record_id=hex_ids,
    score=cosines,
    threshold=cosines,
    target_fpir=st.floats(1e-12, 1 - 1e-12),
    model_id=st.from_regex(r"[A-Za-z0-9_.:@-]{1,128}", fullmatch=True),
    gallery_generation=st.integers(0, 2**63),
    tracklet_frames=st.integers(1, 10**6),
    tracklet_s=st.floats(0, 1e6),
    time=times,
    expiry_time=times,
    sequence=st.integers(0, 10**20 - 1),
    clock_state=st.sampled_from(ClockState),
    boot_id=hex_ids,
    demo=st.booleans(),
)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(SCHEMA)
    return Draft202012Validator(SCHEMA)


def changed(**changes: Any) -> Alert:
    return replace(ALERT, **changes)


def test_the_event_has_exactly_the_fields_of_the_design() -> None:
    event = json.loads(to_cloudevent(ALERT))
    assert event == json.loads(EXAMPLES[0].read_text())
    assert set(event) == {
        "specversion", "id", "source", "type", "time", "subject", "datacontenttype",
        "dataschema", "sequence", "expirytime", "dataclassification", "data",
    }  # fmt: skip
    assert set(event["data"]) == {
        "subject_ref", "consent_record_id", "score", "threshold", "target_fpir", "model_id",
        "gallery_generation", "tracklet", "clock_state", "boot_id", "purpose", "demo",
    }  # fmt: skip
    assert event["id"] == ALERT.alert_id
    assert event["subject"] == event["data"]["subject_ref"] == ALERT.subject_ref
    assert event["source"] == f"urn:familiar:{ALERT.site}:{ALERT.device}"


@given(alerts)
def test_every_alert_survives_the_way_there_and_back(alert: Alert) -> None:
    payload = to_cloudevent(alert)
    assert from_cloudevent(payload) == alert
    assert b"\n" not in payload


@given(alerts)
def test_every_event_is_valid_under_the_published_schema(alert: Alert) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(to_cloudevent(alert)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_and_readable(path: Path, validator: Draft202012Validator) -> None:
    validator.validate(json.loads(path.read_text()))
    from_cloudevent(path.read_bytes())


def test_the_availability_examples_are_valid() -> None:
    schema = json.loads((SCHEMAS / "availability-v1.schema.json").read_text())
    paths = sorted((SCHEMAS / "examples").glob("availability-v1-*.json"))
    assert len(paths) == 2
    for path in paths:
        Draft202012Validator(schema).validate(json.loads(path.read_text()))


def test_a_time_in_another_zone_is_sent_as_utc() -> None:
    eastern = ALERT.time.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert to_cloudevent(changed(time=eastern)) == to_cloudevent(ALERT)


# --- P9: no image, embedding, name or position ------------------------------------------

EMBEDDING = np.arange(192, dtype=np.float32) / 192
SECRETS: list[Any] = [
    "Anna Andersson",
    "anna",
    "Åsa",
    "李",
    "59.3293,18.0686",
    base64.b64encode(EMBEDDING.tobytes()).decode(),
    EMBEDDING.tobytes().hex(),
    "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQ",
    "first line\nsecond line",
    "",
]
TEXT_FIELDS = (
    "alert_id",
    "site",
    "device",
    "subject_ref",
    "consent_record_id",
    "model_id",
    "boot_id",
)


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: repr(secret)[:20])
@pytest.mark.parametrize(
    "field", [name for name in TEXT_FIELDS if name not in ("model_id", "site", "device")]
)
def test_no_name_embedding_image_or_position_fits_into_an_identifier(
    field: str, secret: str
) -> None:
    with pytest.raises(DeliveryError) as caught:
        to_cloudevent(changed(**{field: secret}))
    message = str(caught.value)
    assert "\n" not in message
    if secret:
        assert secret not in message, "the error itself must not carry the name"


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: repr(secret)[:20])
@pytest.mark.parametrize("field", ["model_id", "site", "device"])
def test_no_embedding_or_image_fits_into_the_other_texts(field: str, secret: str) -> None:
    if len(secret) > 64 or not secret.isascii() or " " in secret or "\n" in secret:
        with pytest.raises(DeliveryError):
            to_cloudevent(changed(**{field: secret}))


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _objects(value)


def test_the_schema_is_closed_at_every_level() -> None:
    found = list(_objects(SCHEMA))
    assert len(found) == 3
    for schema in found:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])


def test_every_text_of_the_schema_has_a_pattern_or_is_fixed() -> None:
    for schema in _objects(SCHEMA):
        for name, rule in schema["properties"].items():
            if rule.get("type") == "string":
                assert "pattern" in rule, name
            else:
                assert {"const", "enum", "$ref"} & set(rule) or rule["type"] in (
                    "number", "integer", "boolean", "object",
                ), name  # fmt: skip
            assert rule.get("type") != "array", f"{name}: an array could hold an embedding"


@pytest.mark.parametrize(
    "extra",
    ["name", "image", "crop", "embedding", "probe", "box", "position", "latitude", "relation"],
)
@pytest.mark.parametrize("where", ["envelope", "data", "tracklet"])
def test_no_field_can_be_added(extra: str, where: str, validator: Draft202012Validator) -> None:
    event = json.loads(to_cloudevent(ALERT))
    target = {"envelope": event, "data": event["data"], "tracklet": event["data"]["tracklet"]}[
        where
    ]
    target[extra] = "x"
    assert not validator.is_valid(event)
    with pytest.raises(DeliveryError):
        from_cloudevent(json.dumps(event).encode())


def test_the_alert_record_has_no_field_the_schema_does_not_know() -> None:
    assert {field.name for field in fields(Alert)} == {
        "alert_id", "site", "device", "purpose", "subject_ref", "consent_record_id", "score",
        "threshold", "target_fpir", "model_id", "gallery_generation", "tracklet_frames",
        "tracklet_s", "time", "expiry_time", "sequence", "clock_state", "boot_id", "demo",
    }  # fmt: skip


# --- what is not an alert ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", float("nan")),
        ("score", float("inf")),
        ("score", 1.5),
        ("threshold", -1.1),
        ("target_fpir", 0.0),
        ("target_fpir", 1.0),
        ("gallery_generation", -1),
        ("tracklet_frames", 0),
        ("tracklet_s", -0.1),
        ("sequence", -1),
        ("sequence", 10**20),
        ("time", datetime(2026, 3, 1)),  # noqa: DTZ001
        ("alert_id", str(uuid.UUID(int=4 << 76 | 8 << 60))),
        ("site", "Home"),
        ("site", "a/b"),
        ("device", "x" * 65),
        ("demo", "yes"),
    ],
)
def test_an_alert_that_breaks_the_schema_is_refused(field: str, value: Any) -> None:
    with pytest.raises(DeliveryError, match="correct what built it"):
        to_cloudevent(changed(**{field: value}))


def _events() -> list[tuple[str, bytes]]:
    good = json.loads(to_cloudevent(ALERT))

    def event(**changes: Any) -> bytes:
        return json.dumps({**good, **changes}).encode()

    def data(**changes: Any) -> bytes:
        return event(data={**good["data"], **changes})

    cases = {
        "empty": b"",
        "not json": b"{",
        "not utf-8": b"\xff\xfe",
        "a list": b"[]",
        "a number": b"1",
        "null": b"null",
        "an empty object": b"{}",
        "deep": b"[" * 20_000 + b"]" * 20_000,
        "deep but short": b"[" * 8_000,
        "long": to_cloudevent(ALERT)[:-1] + b" " * 20_000 + b"}",
        "another version": event(specversion="0.3"),
        "another type": event(type="org.familiar.match.v2"),
        "another schema": event(dataschema="urn:x"),
        "another source": event(source="urn:other:a:b"),
        "three names in the source": event(source="urn:familiar:a:b:c"),
        "data as text": event(data="x"),
        "data as base64": event(data=None, data_base64="AAAA"),
        "no zone": event(time="2026-03-01T12:00:00"),
        "a number as time": event(expirytime=1_772_366_400),
        "no time": event(time="Anna"),
        "no expiry time": event(expirytime="Anna"),
        "a name as source": event(source="Anna"),
        "a name as subject": event(subject="Anna"),
        "a huge year": event(time="99999-01-01T00:00:00Z"),
        "sequence as a number": event(sequence=1),
        "another subject": event(subject="ffffffffffffffff"),
        "score as text": data(score="0.7"),
        "score not a number": to_cloudevent(ALERT).replace(b"0.712", b"NaN"),
        "demo as a number": data(demo=1),
        "unknown purpose": data(purpose="other"),
    }
    cases |= {f"without {name}": changed_without(good, name) for name in good}
    return list(cases.items())


def changed_without(event: dict[str, Any], name: str) -> bytes:
    return json.dumps({key: value for key, value in event.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("case", "payload"), _events(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_reading_refuses(case: str, payload: bytes) -> None:
    with pytest.raises(DeliveryError) as caught:
        from_cloudevent(payload)
    assert "\n" not in str(caught.value)
    assert "Anna" not in str(caught.value), "what was refused is not repeated"


def test_reading_refuses_every_event_that_was_cut_off() -> None:
    payload = to_cloudevent(ALERT)
    for length in range(len(payload)):
        with pytest.raises(DeliveryError):
            from_cloudevent(payload[:length])


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "time", "data", "x"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_reading_hostile_bytes_raises_nothing_else(payload: bytes) -> None:
    with pytest.raises(DeliveryError):
        from_cloudevent(payload)


# --- UUIDv7 -----------------------------------------------------------------------------


def test_the_alert_id_is_the_example_of_rfc_9562() -> None:
    # Appendix A.6: 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    random = bytes.fromhex("0cc3") + bytes.fromhex("18c4dc0c0c07398f")
    assert new_alert_id(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(
    st.integers(0, 2**48 - 2),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_alert_ids_are_uuidv7_and_sort_by_time(unix_ms: int, one: bytes, other: bytes) -> None:
    first, second = new_alert_id(unix_ms, one), new_alert_id(unix_ms + 1, other)
    assert first < second
    parsed = uuid.UUID(first)
    assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, uuid.RFC_4122, unix_ms)


@pytest.mark.parametrize("random", [b"", bytes(9), bytes(11)])
def test_an_alert_id_needs_ten_random_bytes(random: bytes) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        new_alert_id(0, random)
