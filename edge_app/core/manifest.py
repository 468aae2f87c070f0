"""The manifest: what one generation of a fleet's gallery consists of, and whom it is for.

It is a target of the fleet's TUF repository, so its authenticity and freshness are settled
before it is read; here are its form, and the rules that a device applies to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edge_app.core.canonical import from_json, to_json
from edge_app.core.consent import station_id
from edge_app.core.keyring import device_id
from edge_app.errors import GalleryError
from edge_app.records import NODE_NAME_PATTERN, Calibration, Purpose

MANIFEST_NAME: Final = "manifest.json"
KEYRING_NAME: Final = "keyring.bin"
TOMBSTONES_NAME: Final = "tombstones.bin"

FORMAT: Final = 1
MAX_MANIFEST_BYTES: Final = 4 * 2**20
MAX_SHARD_BYTES: Final = 64 * 2**20
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StationKey:
    """An enrolment station, as in its `station.json`. public_key: Ed25519, raw, in hex."""

    name: str
    public_key: str

    @property
    def station_id(self) -> str:
        return station_id(bytes.fromhex(self.public_key))


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device of the fleet, as in its `device.json`.

    public_key:  X25519, raw, in hex: galleries are sealed to it.
    signing_key: Ed25519, public, raw, in hex: the device acknowledges what it installed with it.
    """

    name: str
    public_key: str
    signing_key: str

    @property
    def device_id(self) -> str:
        return device_id(bytes.fromhex(self.public_key))


@dataclass(frozen=True, slots=True)
class ShardRef:
    """One shard of people. sha256: of its file, which is `shard/<sha256>.bin`."""

    number: int
    sha256: str
    size_bytes: int
    people: int
    templates: int

    @property
    def name(self) -> str:
        return shard_name(self.sha256)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation.

    min_generation: whatever is older must not be used any more.
    operator_key:   raw X25519, in hex: what only the operator may read is sealed to it.
    wrap_groups:    files that the devices' wrapped keys are spread over.
    """

    format: int
    fleet: str
    purpose: Purpose
    generation: int
    min_generation: int
    operator_key: str
    model_sha256: str
    calibration: Calibration
    published: datetime
    stations: tuple[StationKey, ...]
    shards: tuple[ShardRef, ...]
    wrap_groups: int
    devices: int
    tombstones: int

    @property
    def people(self) -> int:
        return sum(shard.people for shard in self.shards)

    @property
    def trusted_stations(self) -> dict[str, bytes]:
        """Station id -> raw public key."""
        return {s.station_id: bytes.fromhex(s.public_key) for s in self.stations}


def identity_json(key: StationKey | DeviceKey) -> bytes:
    """The content of `station.json` or `device.json`, which are handed to the operator."""
    return to_json(key, _malformed)


def shard_name(sha256: str) -> str:
    return f"shard/{sha256}.bin"


def encode_manifest(manifest: Manifest) -> bytes:
    """Its canonical bytes. Raises GalleryError if a field is out of range."""
    data = to_json(manifest, _malformed)
    _require_sound(manifest)
    return data


def decode_manifest(data: bytes) -> Manifest:
    """The manifest whose canonical bytes these are.

    Raises:
        GalleryError: anything else.
    """
    manifest = from_json(data, Manifest, _malformed)
    _require_sound(manifest)
    return manifest


def require_for(manifest: Manifest, *, fleet: str, purpose: Purpose, model_sha256: str) -> None:
    """Pass if this device may use the generation at all.

    Raises:
        GalleryError: it is for another fleet, purpose or embedder.
    """
    if manifest.fleet != fleet:
        raise GalleryError(
            f'this gallery is the fleet "{manifest.fleet}"\'s, and the device belongs to '
            f'"{fleet}"; correct --url'
        )
    if manifest.purpose is not purpose:
        raise GalleryError(
            f'this gallery is for the purpose "{manifest.purpose}", and the device serves '
            f'"{purpose}"; people did not agree to that: set purpose, or correct --url'
        )
    if manifest.model_sha256 != model_sha256:
        raise GalleryError(
            "this gallery's templates were made by another embedder than this device has; "
            "update the program, or have the operator publish for this one"
        )


def require_newer(manifest: Manifest, *, floor: int, now: datetime, newest: datetime) -> None:
    """Pass if the generation goes forward.

    floor:  the newest generation this device ever installed.
    newest: the latest time it ever saw; all times aware, UTC.

    Raises:
        GalleryError: a rollback, or a clock that cannot be right.
    """
    if manifest.generation < floor:
        raise GalleryError(
            f"the server offers generation {manifest.generation}, and this device has used "
            f"{floor}: whoever left in between would come back; nothing was changed, tell the "
            "operator"
        )
    if now < newest - _CLOCK_TOLERANCE:
        raise GalleryError(
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, and this device has already seen "
            f"{newest:%Y-%m-%d %H:%M}; set the clock, by which consents are judged"
        )
    if manifest.published > now + _CLOCK_TOLERANCE:
        raise GalleryError(
            f"this gallery was published at {manifest.published:%Y-%m-%d %H:%M} UTC, which is "
            f"still to come by this device's clock, {now:%Y-%m-%d %H:%M}; set the clock"
        )


def _require_sound(manifest: Manifest) -> None:
    def require(condition: bool, where: str, expected: str) -> None:
        if not condition:
            raise _malformed(where, expected)

    require(manifest.format == FORMAT, "format", f"{FORMAT}")
    named = re.fullmatch(NODE_NAME_PATTERN, manifest.fleet) is not None
    require(named, "fleet", "a name of a-z, 0-9 and -")
    forward = 0 < manifest.min_generation <= manifest.generation
    require(forward, "min_generation", "at least 1 and at most the generation")
    require(bool(_DIGEST.fullmatch(manifest.model_sha256)), "model_sha256", "SHA-256 in hex")
    same = manifest.calibration.model_sha256 == manifest.model_sha256
    require(same, "calibration", "of the same model")
    require(1 <= manifest.wrap_groups <= 256, "wrap_groups", "1 to 256")
    require(bool(_KEY.fullmatch(manifest.operator_key)), "operator_key", "an X25519 key in hex")
    keys = all(_KEY.fullmatch(station.public_key) for station in manifest.stations)
    require(keys, "stations", "a list of Ed25519 keys in hex")
    numbers = [shard.number for shard in manifest.shards]
    require(numbers == list(range(len(numbers))), "shards", "numbered from 0")
    for shard in manifest.shards:
        require(bool(_DIGEST.fullmatch(shard.sha256)), "shards", "named by SHA-256 in hex")
        require(shard.size_bytes <= MAX_SHARD_BYTES, "shards", "of a size a device can take")


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(
        f"the gallery's manifest is malformed: {where} is not {expected}; update the program, or "
        "tell the operator"
    )
