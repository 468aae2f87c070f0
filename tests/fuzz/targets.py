"""The parsers of what comes from outside: each takes any bytes, and either reads them or says no.

A target returns normally, or raises `EdgeAppError`; whatever else it raises is a defect.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_app.backend.intake import read_message
from edge_app.config import examine_config, read_toml
from edge_app.config_text import line_of, to_toml
from edge_app.core.acknowledge import decode_acknowledgment, sign_acknowledgment
from edge_app.core.consent import decode, encode
from edge_app.core.keyring import (
    decode_tombstones,
    encode_wraps,
    find_wrap,
    open_for,
    open_keyring,
    seal_for,
    seal_keyring,
    unwrap,
    wrap,
)
from edge_app.core.manifest import (
    DeviceKey,
    StationKey,
    decode_manifest,
    encode_manifest,
    identity_json,
)
from edge_app.core.overview import decode_overview
from edge_app.core.person import pack_people, pack_person, unpack_people, unpack_person
from edge_app.core.request import (
    Reply,
    RevokeRequest,
    Status,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from edge_app.core.revocation import new_code, normalise_code
from edge_app.core.shard import open_shard, read_header, seal_shard, templates_into
from edge_app.errors import ConfigError, EdgeAppError
from edge_app.publisher.folder import read_device, read_fleet, read_station
from tests.core.test_fleet_formats import MANIFEST
from tests.fuzz.service import (
    FLEET,
    SOUND_BODY,
    SOUND_PATH,
    acknowledge,
    ask_erasure,
    get,
    post,
    post_sealed,
)
from tests.people import NOW, enrolment, faces, record
from tests.support import ROOT

_KEY: Final = bytes(32)
_DEVICE: Final = X25519PrivateKey.from_private_bytes(b"\x01" * 32)
_PUBLIC: Final = _DEVICE.public_key().public_bytes_raw()
_SIGNER: Final = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
_ID: Final = "ab" * 32
_PERSON: Final = enrolment(1, faces(2))
_TEXT, _MATRIX = pack_people([_PERSON])


_SCHEMAS: Final = ROOT / "deploy" / "schemas" / "examples"
_VECTORS: Final = ROOT / "docs" / "formats" / "vectors"


def _event(kind: str) -> Callable[[bytes], object]:
    """As a backend reads it."""
    topic = f"familiar/v1/riverside/glasses-1/event/{kind}"
    return lambda data: read_message(topic, data)


def _shard(data: bytes) -> None:
    header = read_header(data)
    raw = bytearray(header.templates * header.dim * 4)
    templates_into(data, memoryview(raw), fleet="f", number=0, key=_KEY)
    matrix = np.frombuffer(raw, "<f4").reshape(-1, header.dim or 1)
    open_shard(data, matrix, fleet="f", number=0, key=_KEY)


def _public(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Of a file that somebody hands to the operator or the station."""

    def target(data: bytes) -> object:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return read(Path(file.name))

    return target


def _config(data: bytes) -> None:
    """A configuration file, as `familiar config check` reads it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        text = read_toml(Path(file.name))
        config, faults = examine_config(tomllib.loads(text))
        for fault in faults:
            line_of(text, fault)
        if config is None:
            raise ConfigError(faults[0].replace("\n", " "))
        to_toml(config.model_dump(mode="json"))


TARGETS: Final[Mapping[str, tuple[Callable[[bytes], object], bytes]]] = {
    "manifest": (decode_manifest, encode_manifest(MANIFEST)),
    "shard": (
        _shard,
        seal_shard(
            [_PERSON],
            fleet="f",
            number=0,
            generation=1,
            key=_KEY,
            nonces=(b"a" * 12, b"b" * 12),
        ),
    ),
    "people": (lambda data: unpack_people(data, _MATRIX), _TEXT),
    "person": (unpack_person, pack_person(_PERSON)),
    "keyring": (
        lambda data: open_keyring(data, fleet="f", generation=1, key=_KEY),
        seal_keyring({0: _KEY}, fleet="f", generation=1, key=_KEY, nonce=b"n" * 12),
    ),
    "wrap": (
        lambda data: unwrap(data, _DEVICE, fleet="f", generation=1),
        wrap(_KEY, _PUBLIC, fleet="f", generation=1),
    ),
    "wraps": (lambda data: find_wrap(data, _ID), encode_wraps({_ID: bytes(80)})),
    "tombstones": (decode_tombstones, bytes(64)),
    "envelope": (
        lambda data: open_for(_DEVICE, data, fleet="f"),
        seal_for(_PUBLIC, b"message", fleet="f"),
    ),
    "consent": (decode, encode(record(1, faces(1)))),
    "acknowledgment": (
        decode_acknowledgment,
        sign_acknowledgment(_SIGNER, fleet="f", device_id=_ID, generation=1, time=NOW),
    ),
    "overview": (decode_overview, (_VECTORS / "overview.json").read_bytes()),
    "code": (
        lambda data: normalise_code(data.decode("utf-8", "replace")),
        new_code(bytes(15)).encode(),
    ),
    "request": (decode_request, encode_request(RevokeRequest(new_code(bytes(15))))),
    "reply": (decode_reply, encode_reply(Reply(Status.LEFT, "has left"))),
    "match-event": (_event("match"), (_SCHEMAS / "match-v1-assist.json").read_bytes()),
    "departure-event": (_event("departure"), (_SCHEMAS / "departure-v1.json").read_bytes()),
    "device-file": (_public(read_device), identity_json(DeviceKey("gate", _ID, _ID))),
    "station-file": (_public(read_station), identity_json(StationKey("desk", _ID))),
    "fleet-file": (
        _public(read_fleet),
        b'{"fleet":"f","format":1,"operator_key":"' + _ID.encode() + b'","purpose":"assist"}',
    ),
    "config": (_config, (ROOT / "tests" / "fuzz" / "config.toml").read_bytes()),
    "service-body": (post, SOUND_BODY),
    "service-sealed": (post_sealed, new_code(bytes(15)).encode()),
    "service-erasure": (ask_erasure, SOUND_BODY),
    "service-acknowledge": (
        acknowledge,
        sign_acknowledgment(_SIGNER, fleet=FLEET, device_id=_ID, generation=1, time=NOW),
    ),
    "service-path": (get, SOUND_PATH),
}
"""Name -> (the parser, something it reads)."""


def try_one(name: str, data: bytes) -> None:
    """Let a target have these bytes."""
    target, _ = TARGETS[name]
    try:
        target(data)
    except EdgeAppError as error:
        message = str(error)
        if not message or "\n" in message:
            raise AssertionError(f"not one line: {message!r}") from error
