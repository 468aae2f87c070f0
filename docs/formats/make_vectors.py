"""Writes the test vectors: a small fleet of made-up people with random templates, no faces.

    python docs/formats/make_vectors.py [FOLDER]

Everything comes from fixed names, so the files come out the same every time. For that, HPKE's
ephemeral keys are fixed too and its sealing is written out here, from RFC 9180; the library, which
rightly lets nobody choose them, has to open what this seals. (Another zlib may compress the same
text otherwise: then shards and the enrolment are other bytes of the same meaning.)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from edge_app.core.acknowledge import (
    Erasure,
    Receipt,
    decode_acknowledgment,
    sign_acknowledgment,
)
from edge_app.core.consent import SCHEMA_VERSION, encode, sign, template_id, tombstone_ids
from edge_app.core.keyring import (
    KEYRING_MAGIC,
    device_id,
    encode_tombstones,
    encode_wraps,
    group_of,
    seal_keyring,
    wraps_name,
)
from edge_app.core.manifest import FORMAT, Manifest, ShardRef, StationKey, encode_manifest
from edge_app.core.overview import (
    DepartureEntry,
    DeviceEntry,
    ExpiryEntry,
    Leaving,
    Overview,
    PersonEntry,
    StationEntry,
    encode_evidence,
    encode_overview,
    erasure_evidence,
)
from edge_app.core.person import pack_people, pack_person
from edge_app.core.revocation import new_code, revocation_sha256, spoken_code
from edge_app.core.shard import seal_shard, shard_of
from edge_app.records import (
    Calibration,
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Controller,
    Enrolment,
    EventType,
    LawfulBasis,
    PrivacyNotice,
    Purpose,
    Template,
)

FOLDER: Final = Path(__file__).parent / "vectors"
FLEET: Final = "north-gate"
GENERATION: Final = 7
DIM: Final = 8
SHARDS: Final = 2
GROUPS: Final = 2
MODEL: Final = hashlib.sha256(b"a made-up embedder").hexdigest()
PUBLISHED: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PEOPLE: Final = (
    ("Zoë", "Schwester"),
    ("李娜", "colleague"),
    ("Ada", "friend"),
    ('O\'Neil "Bo"\n', ""),
)
SHARD_HEADER: Final = struct.Struct("<8sIQIII12sI12sI")


def secret(name: str, length: int = 32) -> bytes:
    """Bytes that anybody can compute: never use the keys of these vectors for anything else."""
    return hashlib.shake_128(b"familiar test vector: " + name.encode()).digest(length)


STATION: Final = Ed25519PrivateKey.from_private_bytes(secret("station"))
OPERATOR: Final = X25519PrivateKey.from_private_bytes(secret("operator"))
DEVICES: Final = tuple(
    X25519PrivateKey.from_private_bytes(secret(f"device {number}")) for number in range(3)
)
SIGNER: Final = Ed25519PrivateKey.from_private_bytes(secret("device 0, signing"))
SHARD_KEYS: Final = {number: secret(f"shard key {number}") for number in range(SHARDS)}


def raw(key: X25519PrivateKey | Ed25519PrivateKey) -> bytes:
    """The public half."""
    return key.public_key().public_bytes_raw()


# ---------------------------------------------------------------------------------- HPKE


def hpke_seal(plain: bytes, public_key: bytes, info: bytes, ephemeral: str) -> bytes:
    """RFC 9180, base mode, one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM."""
    own = X25519PrivateKey.from_private_bytes(secret(f"ephemeral: {ephemeral}"))
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    shared = own.exchange(X25519PublicKey.from_public_bytes(public_key))
    prk = extract(kem, b"", b"eae_prk", shared)
    shared_secret = expand(kem, prk, b"shared_secret", raw(own) + public_key, 32)
    hashes = extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    context = b"\x00" + hashes
    prk = extract(suite, shared_secret, b"secret", b"")
    key = expand(suite, prk, b"key", context, 32)
    nonce = expand(suite, prk, b"base_nonce", context, 12)
    return raw(own) + AESGCM(key).encrypt(nonce, plain, b"")


def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")


def expand(suite: bytes, prk: bytes, label: bytes, context: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
    return HKDFExpand(SHA256(), length, info).derive(prk)


def wrap(
    device: int, *, key: bytes | None = None, fleet: str = FLEET, generation: int = GENERATION
) -> bytes:
    """The generation's key for a device."""
    public = raw(DEVICES[device])
    info = b"familiar wrap 1\0" + fleet.encode() + b"\0" + struct.pack("<Q", generation) + public
    return hpke_seal(key or secret("generation key"), public, info, f"wrap {device}")


def sealed(message: bytes, fleet: str = FLEET, ephemeral: str = "enrolment") -> bytes:
    """A message for the operator."""
    info = b"familiar to operator 1\0" + fleet.encode()
    return hpke_seal(message, raw(OPERATOR), info, ephemeral)


# -------------------------------------------------------------------------------- people


def code(number: int) -> str:
    return new_code(secret(f"code {number}", 15))


def person(number: int) -> Enrolment:
    name, relation = PEOPLE[number]
    drawn = np.random.default_rng(number).standard_normal((1 + number % 2, DIM))
    rows = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f4")
    templates = tuple(Template(template_id(row), row) for row in rows)
    record = ConsentRecord(
        schema_version=SCHEMA_VERSION,
        record_id=secret(f"record {number}", 16).hex(),
        pii_principal_id=secret(f"person {number}", 16).hex(),
        privacy_notice=PrivacyNotice("familiar-entry-1", "en", secret("notice").hex()),
        purpose=Purpose.ENTRY,
        pii_information=("name", "face templates"),
        pii_controllers=(Controller("club", "The Club", "1 Test Street", "club@example.org"),),
        storage_locations=("the club's gates, encrypted",),
        retention_s=400 * 86_400,
        jurisdiction="nowhere",
        withdrawal_method="the code on the receipt",
        event_time=datetime(2026, 2, 1 + number, 9, 30, 0, tzinfo=UTC),
        validity_duration_s=365 * 86_400,
        event_type=EventType.GIVEN,
        event_state=ConsentState.ACTIVE,
        lawful_basis=LawfulBasis.EXPLICIT_CONSENT,
        collection_method=CollectionMethod.LIVE_GUIDED_CAPTURE,
        model_sha256=MODEL,
        template_ids=tuple(template.template_id for template in templates),
        revocation_sha256=revocation_sha256(code(number)),
        demo=False,
        erasure_confirmed_generation=None,
    )
    return Enrolment(name, relation, sign(record, STATION), templates)


EVERYONE: Final = tuple(map(person, range(len(PEOPLE))))


def described(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "name": enrolment.name,
        "relation": enrolment.relation,
        "person_id": enrolment.person_id,
        "record": encode(enrolment.consent.record).decode(),
        "station_id": enrolment.consent.station_id,
        "signature": enrolment.consent.signature.hex(),
        "tombstones": sorted(tombstone_ids(enrolment.consent.record)),
        "templates": [template.embedding.tobytes().hex() for template in enrolment.templates],
    }


# --------------------------------------------------------------------------------- files


def sound() -> dict[str, bytes]:
    """File name -> what every reader must take."""
    files = {
        "consent-record.json": encode(EVERYONE[0].consent.record),
        **{f"shard-{number}.bin": shard(number) for number in range(SHARDS)},
        "keyring.bin": keyring(SHARD_KEYS),
        **{wraps_name(group): wraps(group) for group in range(GROUPS)},
        "tombstones.bin": encode_tombstones(frozenset(map(revocation_sha256, left_codes()))),
        "enrolment.sealed": sealed(pack_person(EVERYONE[1])),
        "revocation.sealed": sealed(code(2).encode(), ephemeral="revocation"),
        "acknowledgment.json": acknowledgment(),
        "overview.json": encode_overview(OVERVIEW),
        "evidence.json": encode_evidence(erasure_evidence(OVERVIEW, OVERVIEW.departures[0])),
    }
    files["manifest.json"] = encode_manifest(manifest(files))
    return files


def left_codes() -> list[str]:
    """Of people who left before."""
    return [code(100 + number) for number in range(3)]


def shard(number: int, fleet: str = FLEET) -> bytes:
    return seal_shard(
        [one for one in EVERYONE if shard_of(one.person_id, SHARDS) == number],
        fleet=fleet,
        number=number,
        generation=GENERATION - number,
        key=SHARD_KEYS[number],
        nonces=(secret(f"people nonce {number}", 12), secret(f"templates nonce {number}", 12)),
    )


def keyring(keys: Mapping[int, bytes], fleet: str = FLEET, generation: int = GENERATION) -> bytes:
    return seal_keyring(
        keys,
        fleet=fleet,
        generation=generation,
        key=secret("generation key"),
        nonce=secret("keyring nonce", 12),
    )


def wraps(group: int) -> bytes:
    ids = [device_id(raw(device)) for device in DEVICES]
    mine = [number for number, name in enumerate(ids) if group_of(name, GROUPS) == group]
    return encode_wraps({ids[number]: wrap(number) for number in mine})


def acknowledgment(
    fleet: str = FLEET, device: int = 0, signer: Ed25519PrivateKey = SIGNER
) -> bytes:
    return sign_acknowledgment(
        signer,
        fleet=fleet,
        device_id=device_id(raw(DEVICES[device])),
        generation=GENERATION,
        time=PUBLISHED,
    )


def seen_person(number: int) -> PersonEntry:
    record = EVERYONE[number].consent.record
    return PersonEntry(
        record_id=record.record_id,
        since=1 + number,
        station_id=EVERYONE[number].consent.station_id,
        valid_until=record.event_time + timedelta(seconds=record.validity_duration_s),
        ends=record.event_time + timedelta(seconds=record.retention_s),
        leaving=Leaving.WITHDRAWN if number == 2 else None,
    )


def seen_device(number: int, *, said: bytes | None, removed: int | None = None) -> DeviceEntry:
    receipt = None if said is None else Receipt(PUBLISHED, decode_acknowledgment(said))
    name = device_id(raw(DEVICES[number]))
    return DeviceEntry(f"gate-{number}", name, raw(SIGNER).hex(), removed, receipt)


OVERVIEW: Final = Overview(
    format=1,
    fleet=FLEET,
    purpose=Purpose.ENTRY,
    generation=GENERATION,
    published=PUBLISHED,
    made=PUBLISHED + timedelta(minutes=1),
    lease_s=86_400,
    fresh_until=PUBLISHED + timedelta(days=1),
    expiries=(ExpiryEntry("timestamp", PUBLISHED + timedelta(days=1)),),
    waiting=1,
    refused=0,
    people=tuple(sorted(map(seen_person, range(len(PEOPLE))), key=lambda p: p.record_id)),
    devices=(
        seen_device(0, said=acknowledgment()),
        seen_device(1, said=None),
        seen_device(2, said=None, removed=GENERATION - 1),
    ),
    stations=(StationEntry("desk-1", EVERYONE[0].consent.station_id, trusted=True),),
    departures=(
        DepartureEntry(
            revocation_sha256(code(100))[:12],
            since=2,
            erasure=Erasure(generation=5, devices=2, acknowledged=1, removed=1),
        ),
    ),
)


def manifest(files: Mapping[str, bytes]) -> Manifest:
    refs = []
    for number in range(SHARDS):
        data = files[f"shard-{number}.bin"]
        held = [one for one in EVERYONE if shard_of(one.person_id, SHARDS) == number]
        templates = sum(len(one.templates) for one in held)
        refs.append(ShardRef(number, digest(data), len(data), len(held), templates))
    return Manifest(
        format=FORMAT,
        fleet=FLEET,
        purpose=Purpose.ENTRY,
        generation=GENERATION,
        min_generation=GENERATION,
        operator_key=raw(OPERATOR).hex(),
        model_sha256=MODEL,
        calibration=Calibration(0.4375, 1e-05, 60_000, MODEL),
        published=PUBLISHED,
        stations=(StationKey("desk-1", raw(STATION).hex()),),
        shards=tuple(refs),
        wrap_groups=GROUPS,
        devices=len(DEVICES),
        tombstones=len(left_codes()),
    )


def expected(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What the files hold, and the keys to open them with."""
    devices = [device_id(raw(device)) for device in DEVICES]
    names = ["", "a", "person-1", "Zoë", *(one.person_id for one in EVERYONE)]
    return {
        "fleet": FLEET,
        "generation": GENERATION,
        "keys": {
            "station_public": raw(STATION).hex(),
            "operator_private": OPERATOR.private_bytes_raw().hex(),
            "device_private": [device.private_bytes_raw().hex() for device in DEVICES],
            "signing_public": raw(SIGNER).hex(),
            "generation_key": secret("generation key").hex(),
            "shard_keys": [key.hex() for key in SHARD_KEYS.values()],
        },
        "device_ids": devices,
        "people": [described(one) for one in EVERYONE],
        "overview": json.loads(files["overview.json"]),
        "record_of": 0,
        "enrolment_of": 1,
        "revocation_of": 2,
        "tombstones": sorted(map(revocation_sha256, left_codes())),
        "codes": [
            {
                "entropy": secret(f"code {number}", 15).hex(),
                "code": code(number),
                "spoken": spoken_code(code(number)),
                "typed": [
                    spoken_code(code(number)).lower(),
                    " " + code(number).replace("0", "o").replace("1", "l") + "\n",
                ],
                "sha256": revocation_sha256(code(number)),
            }
            for number in range(len(PEOPLE))
        ],
        "shard_of": [[name, of, shard_of(name, of)] for name in names for of in (1, 2, 256)],
        "group_of": [[name, of, group_of(name, of)] for name in devices for of in (1, 2, 100)],
        "files": {name: digest(data) for name, data in sorted(files.items())},
    }


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------------ what is refused


def refused(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    """(format, why, bytes that a reader of it must refuse)."""
    yield from (("consent", *case) for case in bad_consents(files["consent-record.json"]))
    yield from (("signed", *case) for case in bad_signatures())
    yield from (("manifest", *case) for case in bad_manifests(files["manifest.json"]))
    yield from (("shard", *case) for case in bad_shards(files["shard-0.bin"]))
    yield from (("keyring", *case) for case in bad_keyrings(files["keyring.bin"]))
    yield from (("wraps", *case) for case in bad_wraps())
    yield from (("wrap", *case) for case in bad_single_wraps())
    yield "tombstones", "not a whole number of digests", files["tombstones.bin"][:-1]
    yield from (("enrolment", *case) for case in bad_enrolments(files["enrolment.sealed"]))
    yield from (("code", *case) for case in bad_codes())
    yield from (("revocation", *case) for case in bad_revocations(files["revocation.sealed"]))
    whole = files["acknowledgment.json"]
    yield from (("acknowledgment", *case) for case in bad_acknowledgments(whole))
    yield from (("overview", *case) for case in bad_overviews(files["overview.json"]))


def changed(data: bytes, **changes: Any) -> bytes:
    """Canonical JSON with other values."""
    plain = {**json.loads(data), **changes}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def flipped(data: bytes, place: int) -> bytes:
    """One bit of one byte changed."""
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def bad_json(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What no reader of canonical JSON takes."""
    plain = json.loads(data)
    key = min(plain)
    first, rest = changed(b"{}", **{key: plain.pop(key)}), changed(b"{}", **plain)
    yield "empty", b""
    yield "cut off", data[:-1]
    yield "not UTF-8", data.replace(b'"', b'"\xff', 1)
    yield "half of a surrogate pair", data.replace(b'"', b'"\\ud800', 1)
    yield "white space", data.replace(b",", b", ", 1)
    yield "a line end", data + b"\n"
    yield "a byte order mark", b"\xef\xbb\xbf" + data
    yield "a key that is there twice", first[:-1] + b"," + data[1:]
    yield "a key too many", changed(data, zz="")
    yield "a key is missing", rest
    yield "keys in another order", rest[:-1] + b"," + first[1:]
    yield "an escape that is not needed", data.replace(b"en", b"\\u0065n", 1)
    yield "nested without end", b"[" * 5_000


def bad_consents(data: bytes) -> Iterator[tuple[str, bytes]]:
    record = json.loads(data)
    yield from bad_json(data)
    template = record["template_ids"][0]
    for why, changes in (
        ("another schema", {"schema_version": "ISO/IEC TS 27560:2023 familiar/2"}),
        ("a purpose that does not exist", {"purpose": "security"}),
        ("a number with a fraction", {"retention_s": 86_400.5}),
        ("a whole number written as a fraction", {"retention_s": 86_400.0}),
        ("a negative number", {"erasure_confirmed_generation": -1}),
        ("a number above 2^53 - 1", {"erasure_confirmed_generation": 2**53}),
        ("true in the place of a number", {"retention_s": True}),
        ("no time at all", {"validity_duration_s": 0}),
        ("longer than a century", {"validity_duration_s": 100 * 366 * 86_400 + 1}),
        ("a time with a fraction", {"event_time": "2026-02-01T09:30:00.5Z"}),
        ("a time zone", {"event_time": "2026-02-01T09:30:00+00:00"}),
        ("a day that does not exist", {"event_time": "2026-02-30T09:30:00Z"}),
        ("capitals in a digest", {"model_sha256": record["model_sha256"].upper()}),
        ("a digest that is short", {"revocation_sha256": "ab" * 31}),
        ("no template", {"template_ids": []}),
        ("a template twice", {"template_ids": [template, template]}),
        ("nobody who answers for it", {"pii_controllers": []}),
        ("an empty id", {"record_id": ""}),
        ("text in the place of a list", {"storage_locations": "here"}),
        ("text in the place of true or false", {"demo": "false"}),
    ):
        yield why, changed(data, **changes)


def bad_signatures() -> Iterator[tuple[str, bytes]]:
    """As JSON: a person as `vectors.json` describes them."""
    whole, other = described(EVERYONE[0]), described(EVERYONE[2])
    stranger = Ed25519PrivateKey.from_private_bytes(secret("another station"))
    forged = described(
        Enrolment("", "", sign(EVERYONE[0].consent.record, stranger), EVERYONE[0].templates)
    )
    record = whole["record"].replace('"entry"', '"care"')
    for why, changes in (
        ("a station that the manifest does not name", forged),
        ("another station's signature", {"signature": forged["signature"]}),
        ("the signature of another record", {"signature": other["signature"]}),
        ("a signature with one bit changed", {"signature": flip_hex(whole["signature"])}),
        ("a record that was changed after it was signed", {"record": record}),
        ("somebody else's template", {"templates": other["templates"]}),
        ("a template with one bit changed", {"templates": [flip_hex(whole["templates"][0])]}),
        ("a template too many", {"templates": whole["templates"] + other["templates"]}),
        ("no template", {"templates": []}),
    ):
        yield why, json.dumps({**whole, **changes}, ensure_ascii=False).encode()


def flip_hex(text: str) -> str:
    return flipped(bytes.fromhex(text), 0).hex()


def bad_manifests(data: bytes) -> Iterator[tuple[str, bytes]]:
    plain = json.loads(data)
    shards, station, calibration = plain["shards"], plain["stations"][0], plain["calibration"]
    yield from bad_json(data)
    for why, changes in (
        ("another format", {"format": 2}),
        ("a fleet's name with a capital", {"fleet": "North-gate"}),
        ("a fleet's name of 65 characters", {"fleet": "a" * 65}),
        ("generation 0", {"generation": 0, "min_generation": 0}),
        ("a smallest generation that is later", {"min_generation": GENERATION + 1}),
        (
            "another embedder's threshold",
            {"calibration": {**calibration, "model_sha256": "0" * 64}},
        ),
        ("a threshold as a number", {"calibration": {**calibration, "threshold": 0.4375}}),
        (
            "a decimal that is not the shortest",
            {"calibration": {**calibration, "threshold": "0.43750"}},
        ),
        ("a decimal that is no number", {"calibration": {**calibration, "threshold": "nan"}}),
        ("no group of wraps", {"wrap_groups": 0}),
        ("257 groups of wraps", {"wrap_groups": 257}),
        ("a station's key that is short", {"stations": [{**station, "public_key": "ab"}]}),
        ("shards in another order", {"shards": shards[::-1]}),
        ("a shard is missing", {"shards": shards[1:]}),
        ("a shard that is too large", {"shards": [{**shards[0], "size_bytes": 2**26 + 1}]}),
        (
            "a shard's path in the place of its digest",
            {"shards": [{**shards[0], "sha256": "../" + "a" * 61}]},
        ),
    ):
        yield why, changed(data, **changes)


def bad_shards(data: bytes) -> Iterator[tuple[str, bytes]]:
    header = SHARD_HEADER.unpack_from(data)
    middle = SHARD_HEADER.size + header[7]
    yield "empty", b""
    yield "cut off in the header", data[: SHARD_HEADER.size - 1]
    yield "cut off at the end", data[:-1]
    yield "a byte too many", data + b"\0"
    yield "another magic", flipped(data, 7)
    yield "another generation in the header", flipped(data, 12)
    yield "another count of people in the header", flipped(data, 20)
    yield "a bit of the people's text changed", flipped(data, SHARD_HEADER.size)
    yield "a bit of the templates changed", flipped(data, middle)
    yield "a bit of the last tag changed", flipped(data, -1)
    yield "in the place of another shard", shard(1)
    yield "another fleet's", shard(0, fleet="south-gate")
    yield "more templates than people can have", pack_shard(b"", b"\0" * 32, people=0, templates=1)
    two = [one for one in EVERYONE if shard_of(one.person_id, SHARDS) == 0]
    text, matrix = pack_people(two)
    rows = matrix.tobytes()
    plain = zlib.decompress(text)
    for why, bad, raw_rows in (
        ("templates are missing", text, rows[: -DIM * 4]),
        ("templates too many", text, rows + rows[: DIM * 4]),
        ("no compressed text", plain, rows),
        ("bytes after the compressed text", text + b"\0", rows),
        ("a compressed text that is cut off", text[:-1], rows),
        ("text that is not canonical", zlib.compress(plain + b"\n"), rows),
        ("a name of 201 characters", renamed(plain, "n" * 201), rows),
        ("a signature that is short", renamed(plain, "", signature="ab"), rows),
    ):
        count = len(raw_rows) // (DIM * 4)
        yield why, pack_shard(bad, raw_rows, people=len(two), templates=count)
    yield "people are missing", pack_shard(text, rows, people=len(two) + 1, templates=len(matrix))


def renamed(plain: bytes, name: str, **changes: Any) -> bytes:
    people = json.loads(plain)["people"]
    return zlib.compress(
        changed(b"{}", people=[{**people[0], "name": name, **changes}, *people[1:]])
    )


def pack_shard(text: bytes, rows: bytes, *, people: int, templates: int) -> bytes:
    """Sealed with the right key, whatever is in it."""
    nonces = secret("people nonce 0", 12), secret("templates nonce 0", 12)
    header = SHARD_HEADER.pack(
        b"FAMSHD\x00\x01",
        0,
        GENERATION,
        people,
        templates,
        DIM,
        nonces[0],
        len(text) + 16,
        nonces[1],
        len(rows) + 16,
    )
    cipher, bound = AESGCM(SHARD_KEYS[0]), b"\0" + FLEET.encode() + b"\0" + header
    return (
        header
        + cipher.encrypt(nonces[0], text, b"people" + bound)
        + cipher.encrypt(nonces[1], rows, b"templates" + bound)
    )


def bad_keyrings(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "cut off in the nonce", data[:19]
    yield "cut off at the end", data[:-1]
    yield "another magic", flipped(data, 7)
    yield "a bit changed", flipped(data, 20)
    yield "another fleet's", keyring(SHARD_KEYS, fleet="south-gate")
    yield "an older generation's", keyring(SHARD_KEYS, generation=GENERATION - 1)
    nonce, bound = (
        secret("keyring nonce", 12),
        FLEET.encode() + b"\0" + struct.pack("<Q", GENERATION),
    )
    short = AESGCM(secret("generation key")).encrypt(nonce, bytes(35), bound)
    yield "sealed, but not a whole number of keys", KEYRING_MAGIC + nonce + short


def bad_wraps() -> Iterator[tuple[str, bytes]]:
    data = encode_wraps({"ab" * 32: bytes(80)})
    yield "empty", b""
    yield "another magic", flipped(data, 7)
    yield "cut off", data[:-1]
    yield "a byte too many", data + b"\0"


def bad_single_wraps() -> Iterator[tuple[str, bytes]]:
    """For device 0."""
    yield "empty", b""
    yield "another device's", wrap(1)
    yield "an older generation's", wrap(0, generation=GENERATION - 1)
    yield "another fleet's", wrap(0, fleet="south-gate")
    yield "a bit of the encapsulated key changed", flipped(wrap(0), 0)
    yield "a bit of the key changed", flipped(wrap(0), 40)
    yield "a key of 31 bytes", wrap(0, key=bytes(31))


def bad_enrolments(data: bytes) -> Iterator[tuple[str, bytes]]:
    whole = pack_person(EVERYONE[1])
    two, matrix = pack_people(EVERYONE[:2])
    lengths = struct.Struct("<III")
    yield "empty", b""
    yield "cut off", data[:-1]
    yield "a bit changed", flipped(data, 60)
    yield "another fleet's", sealed(whole, fleet="south-gate")
    yield "nothing in it", sealed(b"")
    yield "a message that is cut off", sealed(whole[:-1])
    yield "a message with a byte too many", sealed(whole + b"\0")
    text, _ = pack_people([EVERYONE[1]])
    yield "no template", sealed(lengths.pack(len(text), 0, DIM) + text)
    rows = bytes(65 * DIM * 4)
    yield "65 templates", sealed(lengths.pack(len(text), 65, DIM) + text + rows)
    packed = lengths.pack(len(two), *matrix.shape) + two + matrix.tobytes()
    yield "two people", sealed(packed)


def bad_codes() -> Iterator[tuple[str, bytes]]:
    whole = code(0)
    other = "Y" if whole[3] == "Z" else "Z"
    place = next(n for n in range(25) if whole[n] != whole[n + 1])
    swapped = whole[:place] + whole[place + 1] + whole[place] + whole[place + 2 :]
    yield "empty", b""
    yield "a symbol is missing", whole[:-1].encode()
    yield "a symbol too many", (whole + "0").encode()
    yield "a wrong symbol", (whole[:3] + other + whole[4:]).encode()
    yield "two neighbours that changed places", swapped.encode()
    yield "a letter that no code has", ("U" + whole[1:]).encode()
    yield "a letter that is not ASCII", ("é" + whole[1:]).encode()


def bad_revocations(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "a bit changed", flipped(data, -1)
    yield "another fleet's", sealed(code(2).encode(), fleet="south-gate", ephemeral="revocation")
    yield "sealed, but not a code", sealed(code(2)[:-1].encode(), ephemeral="revocation")
    yield "sealed, but not UTF-8", sealed(b"\xff" * 26, ephemeral="revocation")


def bad_acknowledgments(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Of device 0."""
    plain = json.loads(data)
    statement, signature = plain["statement"], plain["signature"]
    yield from bad_json(data)
    for why, changes in (
        ("another format", {"format": 2}),
        ("generation 0", {"generation": 0}),
        ("a later generation than was signed", {"generation": GENERATION + 1}),
        ("another time than was signed", {"time": "2026-03-01T12:00:01Z"}),
        ("a time with a fraction", {"time": "2026-03-01T12:00:00.5Z"}),
        ("no fleet's name", {"fleet": ""}),
    ):
        yield why, changed(data, statement={**statement, **changes})
    yield "a signature that is short", changed(data, signature=signature[2:])
    yield "a signature with one bit changed", changed(data, signature=flip_hex(signature))
    bare = SIGNER.sign(changed(b"{}", **statement)).hex()
    yield "a signature without its context", changed(data, signature=bare)
    yield "more than 1,024 bytes", changed(data, statement={**statement, "fleet": "f" * 1_024})
    yield "another fleet's", acknowledgment(fleet="south-gate")
    yield "another device's", acknowledgment(device=1)
    yield "another device's signature", acknowledgment(signer=STATION)


def bad_overviews(data: bytes) -> Iterator[tuple[str, bytes]]:
    plain = json.loads(data)
    people, devices, gone = plain["people"], plain["devices"], plain["departures"][0]
    said, come = devices[0]["said"], gone["erasure"]
    yield from bad_json(data)
    for why, changes in (
        ("another format", {"format": 2}),
        ("no fleet's name", {"fleet": ""}),
        ("another fleet than was signed for", {"fleet": "south-gate"}),
        ("a generation without its time", {"published": None}),
        ("no lease", {"lease_s": 0}),
        ("a lease of more than a year", {"lease_s": 31_622_401}),
        ("people in another order", {"people": people[::-1]}),
        ("a person twice", {"people": [people[0], *people]}),
        ("a person without a record", {"people": [{**people[0], "record_id": ""}]}),
        ("a person of a later generation", {"people": [{**people[0], "since": GENERATION + 1}]}),
        ("a person of generation 0", {"people": [{**people[0], "since": 0}]}),
        ("another reason to leave", {"people": [{**people[0], "leaving": "tired"}]}),
        ("a person's name", {"people": [{**people[0], "name": "Ada"}]}),
        ("a device twice", {"devices": [devices[0], *devices]}),
        ("a device that will be removed", {"devices": [{**devices[1], "removed": GENERATION + 1}]}),
        ("another device's statement", {"devices": [{**devices[1], "said": said}]}),
        ("a statement by another key", {"devices": [{**devices[0], "signing_key": "00" * 32}]}),
        ("a station twice", {"stations": plain["stations"] * 2}),
        ("a code's whole digest", {"departures": [{**gone, "digest": "ab" * 32}]}),
        ("who left before they came", {"departures": [{**gone, "since": come["generation"]}]}),
        (
            "more devices than there are",
            {"departures": [{**gone, "erasure": {**come, "acknowledged": 3}}]},
        ),
    ):
        yield why, changed(data, **changes)
    for why, statement in (
        ("a later generation than was signed", {"generation": GENERATION + 1}),
        ("another time than was signed", {"time": "2026-03-01T12:00:01Z"}),
    ):
        signed = {**said["signed"], "statement": {**said["signed"]["statement"], **statement}}
        yield why, changed(data, devices=[{**devices[0], "said": {**said, "signed": signed}}])
    spaced = {**said["signed"], "signature": said["signed"]["signature"].upper()}
    bad = {**devices[0], "said": {**said, "signed": spaced}}
    yield "a signature in capitals", changed(data, devices=[bad])


# --------------------------------------------------------------------------------- write


def vectors() -> Mapping[str, bytes]:
    """File name -> content."""
    files = sound()
    bad = [{"format": kind, "why": why, "bytes": data.hex()} for kind, why, data in refused(files)]
    return {**files, "vectors.json": as_json(expected(files)), "refused.json": as_json(bad)}


def as_json(content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def write(folder: Path) -> None:
    """Write every file into this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in vectors().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
