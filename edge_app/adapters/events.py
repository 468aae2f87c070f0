"""Alerts and departures as CloudEvents on the wire, and back.

CloudEvents 1.0, JSON format, structured mode. The fields are those of
`deploy/schemas/{match,departure}-v1.schema.json` and no others: every text field has a pattern
that a name, a picture or an embedding cannot satisfy (P9), in both directions.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edge_app.errors import DeliveryError
from edge_app.records import NODE_NAME_PATTERN, Alert, ClockState, Departure, Purpose

CONTENT_TYPE: Final = JSONFormat.CONTENT_TYPE
EVENT_TYPE: Final = "org.familiar.match.v1"
DEPARTURE_TYPE: Final = "org.familiar.departure.v1"
DATA_SCHEMA: Final = "urn:familiar:schema:match-data:v1"
DEPARTURE_SCHEMA: Final = "urn:familiar:schema:departure-data:v1"
"""What a site or a device may be called: it becomes part of a topic and of a URN."""

SUBJECT_REF_PATTERN: Final = "[0-9a-f-]{16,64}"

_MAX_EVENT_BYTES: Final = 16_384
_SEQUENCE_DIGITS: Final = 20


def new_alert_id(unix_ms: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7): 48 bits of time, then 74 random bits.

    unix_ms: milliseconds since 1970, in 0 to 2**48 - 1.
    random:  10 bytes from a cryptographic source.
    """
    if len(random) != 10:
        raise ValueError(f"a UUIDv7 takes 10 random bytes, not {len(random)}")
    fields = bytearray(unix_ms.to_bytes(6, "big") + random)
    fields[6] = 0x70 | (fields[6] & 0x0F)
    fields[8] = 0x80 | (fields[8] & 0x3F)
    return str(uuid.UUID(bytes=bytes(fields)))


def to_cloudevent(alert: Alert) -> bytes:
    """Return the event as UTF-8 JSON on one line.

    Raises:
        DeliveryError: a field holds what may not leave the device, e.g. a name as `subject_ref`.
    """
    try:
        data = _MatchData(
            subject_ref=alert.subject_ref,
            consent_record_id=alert.consent_record_id,
            score=alert.score,
            threshold=alert.threshold,
            target_fpir=alert.target_fpir,
            model_id=alert.model_id,
            gallery_generation=alert.gallery_generation,
            tracklet=_Tracklet(frames=alert.tracklet_frames, seconds=alert.tracklet_s),
            clock_state=alert.clock_state,
            boot_id=alert.boot_id,
            purpose=alert.purpose,
            demo=alert.demo,
        )
        envelope = _Envelope(
            specversion="1.0",
            id=alert.alert_id,
            source=f"urn:familiar:{alert.site}:{alert.device}",
            type=EVENT_TYPE,
            time=alert.time,
            subject=alert.subject_ref,
            datacontenttype="application/json",
            dataschema=DATA_SCHEMA,
            sequence=f"{alert.sequence:0{_SEQUENCE_DIGITS}d}",
            expirytime=alert.expiry_time,
            dataclassification="confidential",
        )
    except ValidationError as error:
        raise DeliveryError(
            f"alert may not leave the device: {_first_problem(error)}; correct what built it"
        ) from error
    event = CloudEvent(envelope.model_dump(), data.model_dump())
    return JSONFormat().write(event)


def from_cloudevent(payload: bytes) -> Alert:
    """Return the alert that `to_cloudevent` wrote.

    Raises:
        DeliveryError: not such an event: too long, not JSON, a field missing, unknown, or
            of the wrong form.
    """
    envelope, data = _read(payload, _Envelope, _MatchData)
    _, _, site, device = envelope.source.split(":")
    return Alert(
        alert_id=envelope.id,
        site=site,
        device=device,
        purpose=data.purpose,
        subject_ref=data.subject_ref,
        consent_record_id=data.consent_record_id,
        score=data.score,
        threshold=data.threshold,
        target_fpir=data.target_fpir,
        model_id=data.model_id,
        gallery_generation=data.gallery_generation,
        tracklet_frames=data.tracklet.frames,
        tracklet_s=data.tracklet.seconds,
        time=envelope.time,
        expiry_time=envelope.expirytime,
        sequence=int(envelope.sequence),
        clock_state=data.clock_state,
        boot_id=data.boot_id,
        demo=data.demo,
    )


def departure_to_cloudevent(departure: Departure) -> bytes:
    """Return the event as UTF-8 JSON on one line. Its fields are made by the program itself."""
    envelope = _DepartureEnvelope(
        specversion="1.0",
        id=departure.departure_id,
        source=f"urn:familiar:{departure.site}:{departure.device}",
        type=DEPARTURE_TYPE,
        time=departure.time,
        subject=departure.subject_ref,
        datacontenttype="application/json",
        dataschema=DEPARTURE_SCHEMA,
        expirytime=departure.expiry_time,
        dataclassification="confidential",
    )
    data = _DepartureData(subject_ref=departure.subject_ref)
    return JSONFormat().write(CloudEvent(envelope.model_dump(), data.model_dump()))


def departure_from_cloudevent(payload: bytes) -> Departure:
    """Return the departure that `departure_to_cloudevent` wrote. Raises as `from_cloudevent`."""
    envelope, data = _read(payload, _DepartureEnvelope, _DepartureData)
    _, _, site, device = envelope.source.split(":")
    return Departure(
        envelope.id, site, device, data.subject_ref, envelope.time, envelope.expirytime
    )


def _read(
    payload: bytes, envelope_type: type[_EnvelopeT], data_type: type[_DataT]
) -> tuple[_EnvelopeT, _DataT]:
    if len(payload) > _MAX_EVENT_BYTES:
        raise DeliveryError(
            f"event of {len(payload)} bytes is longer than {_MAX_EVENT_BYTES}; check its sender"
        )
    try:
        event = JSONFormat().read(_complete_event, payload)
        envelope = envelope_type.model_validate(event.get_attributes())
        data = data_type.model_validate(event.get_data())
    except ValidationError as error:
        raise DeliveryError(f"not such an event: {_first_problem(error)}") from error
    except (
        BaseCloudEventException,
        ValueError,  # not UTF-8, not JSON, not a time
        TypeError,  # JSON, but a list, a number or a text
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DeliveryError(
            f"not a CloudEvent ({type(error).__name__}); check its sender"
        ) from error
    if envelope.subject != data.subject_ref:
        raise DeliveryError("not such an event: subject and data.subject_ref differ")
    return envelope, data


def _complete_event(attributes: dict[str, Any], data: Any) -> CloudEvent:
    """Refuse what CloudEvent would fill in by itself: the version and, worse, the present time."""
    if missing := {"specversion", "time"} - attributes.keys():
        raise ValueError(f"without {' and '.join(sorted(missing))}")
    return CloudEvent(attributes, data)


def _first_problem(error: ValidationError) -> str:
    """Name the field and the rule. Never the value: it may be the very name that was kept in."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'data'}: {first['msg']}"


def _parse_time(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("not a time of RFC 3339") from None  # without the value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("time needs a zone; use UTC")
    return value.astimezone(UTC)


_Uuid7 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
_Pseudonym = Annotated[str, Field(pattern=f"^{SUBJECT_REF_PATTERN}$")]
_Timestamp = Annotated[datetime, BeforeValidator(_parse_time), AfterValidator(_to_utc)]
_Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Tracklet(_Strict):
    frames: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _MatchData(_Strict):
    subject_ref: _Pseudonym
    consent_record_id: _Pseudonym
    score: _Cosine
    threshold: _Cosine
    target_fpir: Annotated[float, Field(gt=0, lt=1)]
    model_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@-]{1,128}$")]
    gallery_generation: Annotated[int, Field(ge=0)]
    tracklet: _Tracklet
    clock_state: Annotated[ClockState, Field(strict=False)]
    boot_id: _Pseudonym
    purpose: Annotated[Purpose, Field(strict=False)]
    demo: bool


class _DepartureData(_Strict):
    subject_ref: _Pseudonym


class _CommonEnvelope(_Strict):
    specversion: Literal["1.0"]
    id: _Uuid7
    source: Annotated[
        str, Field(pattern=rf"^urn:familiar:{NODE_NAME_PATTERN}:{NODE_NAME_PATTERN}$")
    ]
    time: _Timestamp
    subject: _Pseudonym
    datacontenttype: Literal["application/json"]
    expirytime: _Timestamp
    dataclassification: Literal["confidential"]


class _Envelope(_CommonEnvelope):
    type: Literal["org.familiar.match.v1"]
    dataschema: Literal["urn:familiar:schema:match-data:v1"]
    sequence: Annotated[str, Field(pattern=rf"^[0-9]{{{_SEQUENCE_DIGITS}}}$")]


class _DepartureEnvelope(_CommonEnvelope):
    type: Literal["org.familiar.departure.v1"]
    dataschema: Literal["urn:familiar:schema:departure-data:v1"]


_EnvelopeT = TypeVar("_EnvelopeT", bound=_CommonEnvelope)
_DataT = TypeVar("_DataT", _MatchData, _DepartureData)


def _keys() -> tuple[str, ...]:
    tracklet = (f"data.tracklet.{key}" for key in _Tracklet.model_fields)
    data = (f"data.{key}" for key in _MatchData.model_fields if key != "tracklet")
    return (*_Envelope.model_fields, *data, *tracklet)


KEYS: Final = _keys()
"""Every single value of an event, dotted: `source`, `data.purpose`, `data.tracklet.frames`."""
