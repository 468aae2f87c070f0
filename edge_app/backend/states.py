"""What devices say of themselves, kept as the newest word of each kind.

Every instance of the backend hears all of them in the order in which they were said, so whichever
writes last writes what is true. What a later version says besides is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from edge_app.adapters.mqtt import Incoming
from edge_app.backend.database import Execute, from_unix_ms, unix_ms
from edge_app.errors import DeliveryError
from edge_app.records import NODE_NAME_PATTERN, ClockState, Purpose

STAYS: Final = timedelta(days=30)
"""How long a device that says nothing is remembered."""

_TOPIC: Final = re.compile(
    rf"familiar/v1/({NODE_NAME_PATTERN})/({NODE_NAME_PATTERN})/state/([a-z]+)"
)
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Word = Annotated[str, Field(max_length=64)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Availability(_Said):
    """The broker says `offline` for a device that is gone."""

    state: Literal["online", "offline"]


class GalleryWord(_Said):
    """lease_until: the device stops to match then; None without a fleet."""

    generation: _Count | None
    lease_until: AwareDatetime | None
    purpose: Purpose


class OutboxWord(_Said):
    """Alerts by number: still to be delivered, too old, and dropped as the oldest."""

    pending: _Count
    expired: _Count
    forced_out: _Count


class HealthWord(_Said):
    """state: see `core.health.Condition`. What the device does not know is None."""

    state: _Word
    frames_per_s: float | None
    frame_p95_ms: float | None
    effort: _Word
    outbox: OutboxWord
    clock_state: ClockState
    temperature_c: float | None
    throttled: bool | None
    version: _Word


_KINDS: Final[dict[str, type[_Said]]] = {
    "availability": Availability,
    "gallery": GalleryWord,
    "health": HealthWord,
}


@dataclass(frozen=True, slots=True)
class Said:
    """A state that came. word: None where the device takes it back; retained: said before."""

    site: str
    device: str
    kind: str
    word: _Said | None
    retained: bool


@dataclass(frozen=True, slots=True)
class DeviceStates:
    """heard: when it last said anything that was new, by the backend's clock."""

    site: str
    device: str
    availability: Availability | None
    gallery: GalleryWord | None
    health: HealthWord | None
    heard: datetime


def is_state(message: Incoming) -> bool:
    """Whether a message is said to be a state."""
    return "/state/" in message.topic


def read_state(message: Incoming) -> Said:
    """What a device says of itself.

    Raises:
        DeliveryError: no such state. The text holds nothing of its content.
    """
    found = _TOPIC.fullmatch(message.topic)
    kind = None if found is None else _KINDS.get(found[3])
    if found is None or kind is None:
        raise DeliveryError("a state came on a topic that has none")
    try:
        word = kind.model_validate_json(message.payload) if message.payload else None
    except ValidationError:
        raise DeliveryError(f"a device's {found[3]} is none") from None
    return Said(found[1], found[2], found[3], word, message.retained)


def keep_state(execute: Execute, said: Said, *, now: datetime) -> None:
    """Keep a device's word, within a transaction."""
    key = {"site": said.site, "device": said.device, "kind": said.kind}
    if said.word is None:
        execute(_TAKE_BACK, key)
        return
    row = {**key, "payload": said.word.model_dump_json(), "now_ms": unix_ms(now)}
    # What is retained comes again at every connection, and was said some time ago.
    execute(_SAY_AGAIN if said.retained else _SAY, row)


def device_states(execute: Execute) -> tuple[DeviceStates, ...]:
    """Of every device, by name; within a transaction."""
    devices: dict[tuple[str, str], dict[str, Any]] = {}
    for site, device, kind, payload, received_ms in execute(_ALL).fetchall():
        known = devices.setdefault((site, device), {"heard_ms": 0})
        known[kind] = payload
        known["heard_ms"] = max(known["heard_ms"], received_ms)
    return tuple(
        DeviceStates(
            site,
            device,
            _word(Availability, known.get("availability")),
            _word(GalleryWord, known.get("gallery")),
            _word(HealthWord, known.get("health")),
            from_unix_ms(known["heard_ms"]),
        )
        for (site, device), known in sorted(devices.items())
    )


def note_collecting(execute: Execute, instance: str, *, now: datetime) -> None:
    """An instance of the backend has the broker; within a transaction."""
    execute(_COLLECTS, {"instance": instance, "now_ms": unix_ms(now)})


def last_collecting(execute: Execute) -> datetime | None:
    """When any instance last had the broker; None: never. Within a transaction."""
    (last_ms,) = execute("SELECT MAX(alive_ms) FROM collecting").fetchone()
    return None if last_ms is None else from_unix_ms(last_ms)


def drop_silent(execute: Execute, *, now: datetime) -> None:
    """Forget devices that have said nothing for long; within a transaction."""
    execute(_DROP, {"last_ms": unix_ms(now - STAYS)})


_SAY: Final = (
    "INSERT INTO device_state (site, device, kind, payload, received_ms)"
    " VALUES (:site, :device, :kind, :payload, :now_ms)"
    " ON CONFLICT (site, device, kind) DO UPDATE SET payload = :payload, received_ms = :now_ms"
)
_SAY_AGAIN: Final = f"{_SAY} WHERE device_state.payload <> :payload"
_TAKE_BACK: Final = (
    "DELETE FROM device_state WHERE site = :site AND device = :device AND kind = :kind"
)
_ALL: Final = "SELECT site, device, kind, payload, received_ms FROM device_state"
_DROP: Final = (
    "DELETE FROM device_state WHERE NOT EXISTS (SELECT 1 FROM device_state AS other"
    " WHERE other.site = device_state.site AND other.device = device_state.device"
    " AND other.received_ms > :last_ms)"
)

_COLLECTS: Final = (
    "INSERT INTO collecting (instance, alive_ms) VALUES (:instance, :now_ms)"
    " ON CONFLICT (instance) DO UPDATE SET alive_ms = :now_ms"
)

_Kind = TypeVar("_Kind", bound=_Said)


def _word(kind: type[_Kind], payload: str | None) -> _Kind | None:
    return None if payload is None else kind.model_validate_json(payload)
