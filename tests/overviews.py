"""A fleet's overview with somebody in every state, for what shows it."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.core.acknowledge import (
    Erasure,
    Receipt,
    decode_acknowledgment,
    sign_acknowledgment,
)
from edge_app.core.overview import (
    DepartureEntry,
    DeviceEntry,
    ExpiryEntry,
    Leaving,
    Overview,
    PersonEntry,
    StationEntry,
)
from edge_app.records import Purpose

STATION = "a" * 64


def an_overview(now: datetime, *, people: int = 120) -> Overview:
    """Devices: one in order, one that is behind, one removed. now: aware, UTC."""
    made = now.replace(microsecond=0)
    return Overview(
        format=1,
        fleet="riverside",
        purpose=Purpose.ENTRY,
        generation=42,
        published=made - timedelta(days=2),
        made=made,
        lease_s=86_400,
        fresh_until=made + timedelta(hours=20),
        expiries=(ExpiryEntry("root", made + timedelta(days=300)),),
        waiting=1,
        refused=0,
        people=tuple(_person(number, made) for number in range(people)),
        devices=(_device(1, 42, made), _device(2, 41, made), _device(3, None, made, removed=30)),
        stations=(StationEntry("front desk", STATION, trusted=True),),
        departures=(
            DepartureEntry("0123456789ab", 3, Erasure(41, 2, 2, 1)),
            DepartureEntry("ba9876543210", 3, Erasure(42, 2, 1, 1)),
        ),
    )


def _person(number: int, made: datetime) -> PersonEntry:
    until = made + timedelta(days=5 * number - 10)
    return PersonEntry(
        record_id=f"{number:04x}ad5b-d9cb-469f-a165-70867728950e",
        since=1 + number % 42,
        station_id=STATION,
        valid_until=until,
        ends=until + timedelta(days=30),
        leaving=Leaving.WITHDRAWN if number == 3 else None,
    )


def _device(
    number: int, generation: int | None, made: datetime, *, removed: int | None = None
) -> DeviceEntry:
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    device_id = f"{number:02x}" * 32
    said = None
    if generation is not None:
        signed = sign_acknowledgment(
            key, fleet="riverside", device_id=device_id, generation=generation, time=made
        )
        said = Receipt(made - timedelta(minutes=number), decode_acknowledgment(signed))
    return DeviceEntry(
        f"gate-{number}", device_id, key.public_key().public_bytes_raw().hex(), removed, said
    )
