"""Checks the test vectors with nothing but `cryptography` and the standard library.

    python docs/formats/verify.py [FOLDER]

Written from the format documents beside it and not from Familiar's code, as another implementer
would. Prints a line for each thing that holds, and ends with status 1 at the first that does not.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
HEX32, HEX64 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{128}")
MAX_TEXT_BYTES = 64 * 2**20
CENTURY_S = 100 * 366 * 86_400
SHARD_HEADER = struct.Struct("<8sIQIII12sI12sI")


class RefusedError(Exception):
    """Bytes that a reader must not take."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise RefusedError(what)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------- canonical JSON (README.md)


def no_fraction(text: str) -> float:
    raise RefusedError(f"a number with a fraction: {text}")


def canonical(data: bytes) -> Any:
    try:
        plain = json.loads(data, parse_float=no_fraction, parse_constant=no_fraction)
        written = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        require(written.encode() == data, "not in canonical form")
    except (ValueError, RecursionError) as error:
        raise RefusedError("not JSON") from error
    return plain


def text(value: Any) -> None:
    require(type(value) is str, "not text")


def filled(value: Any) -> None:
    require(type(value) is str and value != "", "not text, or empty")


def whole(value: Any) -> None:
    require(type(value) is int and 0 <= value < 2**53, "not a whole number of 53 bits")


def duration(value: Any) -> None:
    require(type(value) is int and 0 < value <= CENTURY_S, "not a duration")


def true_or_false(value: Any) -> None:
    require(type(value) is bool, "not true or false")


def generation_or_null(value: Any) -> None:
    if value is not None:
        whole(value)


def digest(value: Any) -> None:
    require(type(value) is str and HEX32.fullmatch(value) is not None, "not 32 bytes in hex")


def time(value: Any) -> None:
    text(value)
    form = re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", value)
    require(form is not None, "not a time in UTC and whole seconds")
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise RefusedError("no such time") from error


def decimal(value: Any) -> None:
    text(value)
    try:
        number = float(value)
    except ValueError as error:
        raise RefusedError("not a decimal") from error
    require(repr(number) == value and number - number == 0, "not the shortest finite decimal")


def one_of(*values: str) -> Any:
    def check(value: Any) -> None:
        require(type(value) is str and value in values, f"not one of {values}")

    return check


def list_of(item: Any) -> Any:
    def check(value: Any) -> None:
        require(type(value) is list, "not a list")
        for each in value:
            item(each)

    return check


def object_of(**fields: Any) -> Any:
    def check(value: Any) -> None:
        require(type(value) is dict and value.keys() == fields.keys(), "other keys")
        for name, field in fields.items():
            field(value[name])

    return check


# -------------------------------------------------------- consent record (consent-record.md)

PURPOSE = one_of("assist", "entry", "care", "self_exclusion")
RECORD = object_of(
    schema_version=one_of("ISO/IEC TS 27560:2023 familiar/1"),
    record_id=filled,
    pii_principal_id=filled,
    privacy_notice=object_of(notice_id=text, language=text, text_sha256=digest),
    purpose=PURPOSE,
    pii_information=list_of(text),
    pii_controllers=list_of(object_of(party_id=text, name=text, address=text, contact=text)),
    storage_locations=list_of(text),
    retention_s=duration,
    jurisdiction=text,
    withdrawal_method=filled,
    event_time=time,
    validity_duration_s=duration,
    event_type=one_of("given", "withdrawn"),
    event_state=one_of("active", "withdrawn", "expired", "erased"),
    lawful_basis=one_of("explicit_consent", "legal_representative"),
    collection_method=one_of("live_guided_capture", "live_guided_browser_capture", "demo_replay"),
    model_sha256=digest,
    template_ids=list_of(digest),
    revocation_sha256=digest,
    demo=true_or_false,
    erasure_confirmed_generation=generation_or_null,
)


def read_record(data: bytes) -> Any:
    record = canonical(data)
    RECORD(record)
    ids = record["template_ids"]
    require(0 < len(set(ids)) == len(ids), "no template, or one twice")
    require(len(record["pii_controllers"]) > 0, "nobody answers for it")
    return record


def verify_person(person: Mapping[str, Any], stations: Mapping[str, bytes]) -> None:
    """The signature is a trusted station's, and covers these templates in this order."""
    require(person["station_id"] in stations, "an unknown station")
    key = Ed25519PublicKey.from_public_bytes(stations[person["station_id"]])
    try:
        key.verify(bytes.fromhex(person["signature"]), person["record"].encode())
    except InvalidSignature as error:
        raise RefusedError("not signed by its station") from error
    ids = [sha256(bytes.fromhex(template)) for template in person["templates"]]
    require(read_record(person["record"].encode())["template_ids"] == ids, "other templates")


def tombstones_of(record: Mapping[str, Any]) -> list[str]:
    of_record = sha256(b"familiar record\x00" + record["record_id"].encode())
    return sorted([of_record, record["revocation_sha256"]])


# ------------------------------------------------------------------- people (shard.md)

PEOPLE = object_of(
    people=list_of(
        object_of(name=text, relation=text, consent=text, station_id=text, signature=text)
    )
)


def inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, MAX_TEXT_BYTES)
    except zlib.error as error:
        raise RefusedError("not compressed") from error
    require(inflater.eof and not inflater.unused_data, "cut off, too large or followed by more")
    return found


def read_people(packed: bytes, rows: bytes, dim: int) -> list[dict[str, Any]]:
    """As `vectors.json` describes people."""
    plain = canonical(inflate(packed))
    PEOPLE(plain)
    templates = [rows[n : n + 4 * dim] for n in range(0, len(rows), 4 * dim or 1)]
    found = []
    for entry in plain["people"]:
        require(max(len(entry["name"]), len(entry["relation"])) <= 200, "a long name")
        require(HEX64.fullmatch(entry["signature"]) is not None, "not a signature")
        record = read_record(entry["consent"].encode())
        count = len(record["template_ids"])
        require(count <= min(64, len(templates)), "templates are missing")
        mine, templates = templates[:count], templates[count:]
        found.append(
            {
                "name": entry["name"],
                "relation": entry["relation"],
                "person_id": record["pii_principal_id"],
                "record": entry["consent"],
                "station_id": entry["station_id"],
                "signature": entry["signature"],
                "tombstones": tombstones_of(record),
                "templates": [template.hex() for template in mine],
            }
        )
    require(not templates, "templates of nobody")
    return found


# ------------------------------------------------------------------------------ manifest

MANIFEST = object_of(
    format=whole,
    fleet=text,
    purpose=PURPOSE,
    generation=whole,
    min_generation=whole,
    operator_key=digest,
    model_sha256=digest,
    calibration=object_of(
        threshold=decimal, target_fpir=decimal, max_templates=whole, model_sha256=digest
    ),
    published=time,
    stations=list_of(object_of(name=text, public_key=digest)),
    shards=list_of(
        object_of(number=whole, sha256=digest, size_bytes=whole, people=whole, templates=whole)
    ),
    wrap_groups=whole,
    devices=whole,
    tombstones=whole,
)


def read_manifest(data: bytes) -> Any:
    manifest = canonical(data)
    MANIFEST(manifest)
    require(manifest["format"] == 1, "another format")
    require(re.fullmatch("[a-z0-9-]{1,64}", manifest["fleet"]) is not None, "no fleet's name")
    require(0 < manifest["min_generation"] <= manifest["generation"], "no generation")
    same = manifest["calibration"]["model_sha256"] == manifest["model_sha256"]
    require(same, "another model's threshold")
    require(1 <= manifest["wrap_groups"] <= 256, "the groups of wraps")
    numbers = [shard["number"] for shard in manifest["shards"]]
    require(numbers == list(range(len(numbers))), "the shards' numbers")
    require(all(s["size_bytes"] <= 2**26 for s in manifest["shards"]), "a large shard")
    return manifest


# ---------------------------------------------------------- binary formats, and the code


def bound(fleet: str, generation: int) -> bytes:
    return fleet.encode() + b"\x00" + struct.pack("<Q", generation)


def read_shard(data: bytes, fleet: str, number: int, key: bytes) -> list[dict[str, Any]]:
    size = SHARD_HEADER.size
    require(len(data) >= size, "cut off")
    magic, stated, _, people, templates, dim, *rest = SHARD_HEADER.unpack_from(data)
    people_nonce, people_length, rows_nonce, rows_length = rest
    require(magic == b"FAMSHD\x00\x01", "another format")
    require(stated == number, "another shard")
    require(dim <= 4_096 and templates <= 64 * people, "too many")
    require(rows_length == templates * dim * 4 + 16 and people_length > 16, "the lengths")
    require(len(data) == size + people_length + rows_length, "cut off")
    cipher, middle = AESGCM(key), size + people_length
    associated = b"\x00" + fleet.encode() + b"\x00" + data[:size]
    try:
        packed = cipher.decrypt(people_nonce, data[size:middle], b"people" + associated)
        rows = cipher.decrypt(rows_nonce, data[middle:], b"templates" + associated)
    except InvalidTag as error:
        raise RefusedError("altered") from error
    found = read_people(packed, rows, dim)
    require(len(found) == people, "people are missing")
    return found


def shard_of(person_id: str, shards: int) -> int:
    digest_bytes = hashlib.sha256(b"familiar shard\x00" + person_id.encode()).digest()
    return int.from_bytes(digest_bytes[:8], "little") % shards


def read_keyring(data: bytes, fleet: str, generation: int, key: bytes) -> dict[int, bytes]:
    require(len(data) >= 20 and data[:8] == b"FAMKEY\x00\x01", "another format")
    try:
        entries = AESGCM(key).decrypt(data[8:20], data[20:], bound(fleet, generation))
    except InvalidTag as error:
        raise RefusedError("altered") from error
    require(len(entries) % 36 == 0, "cut off")
    return dict(struct.iter_unpack("<I32s", entries))


def read_wraps(data: bytes) -> dict[str, bytes]:
    require(data[:8] == b"FAMWRP\x00\x01" and (len(data) - 8) % 112 == 0, "no wraps")
    return {data[n : n + 32].hex(): data[n + 32 : n + 112] for n in range(8, len(data), 112)}


def unwrap(wrapped: bytes, device: X25519PrivateKey, fleet: str, generation: int) -> bytes:
    public = device.public_key().public_bytes_raw()
    info = b"familiar wrap 1\x00" + bound(fleet, generation) + public
    try:
        key = HPKE.decrypt(wrapped, device, info)
    except (InvalidTag, ValueError) as error:
        raise RefusedError("not for this device") from error
    require(len(key) == 32, "not a key")
    return key


def read_tombstones(data: bytes) -> list[str]:
    require(len(data) % 32 == 0, "cut off")
    return [data[n : n + 32].hex() for n in range(0, len(data), 32)]


def read_enrolment(data: bytes, operator: X25519PrivateKey, fleet: str) -> dict[str, Any]:
    try:
        message = HPKE.decrypt(data, operator, b"familiar to operator 1\x00" + fleet.encode())
    except (InvalidTag, ValueError) as error:
        raise RefusedError("not for this operator") from error
    require(len(message) >= 12, "cut off")
    packed_bytes, count, dim = struct.unpack_from("<III", message)
    begin = 12 + packed_bytes
    require(0 < count <= 64 and len(message) == begin + count * dim * 4, "the lengths")
    people = read_people(message[12:begin], message[begin:], dim)
    require(len(people) == 1, "not one person")
    return people[0]


def read_code(typed: str) -> str:
    code = "".join(c for c in typed.upper() if c.isalnum())
    code = code.replace("O", "0").replace("I", "1").replace("L", "1")
    require(len(code) == 26 and all(c in ALPHABET for c in code), "no code")
    number = 0
    for symbol in code:
        number = number * 32 + ALPHABET.index(symbol)
    require(number % 1021 == 0, "a wrong symbol")
    return code


def read_revocation(data: bytes, operator: X25519PrivateKey, fleet: str) -> str:
    try:
        message = HPKE.decrypt(data, operator, b"familiar to operator 1\x00" + fleet.encode())
        return read_code(message.decode())
    except (InvalidTag, ValueError) as error:
        raise RefusedError("not for this operator, or not text") from error


# ----------------------------------------------------- acknowledgment (acknowledgment.md)

ACKNOWLEDGMENT = object_of(
    statement=object_of(format=whole, fleet=text, device_id=digest, generation=whole, time=time),
    signature=text,
)


def read_acknowledgment(data: bytes, fleet: str, device_id: str, key: bytes) -> Any:
    require(len(data) <= 1_024, "too large")
    plain = canonical(data)
    ACKNOWLEDGMENT(plain)
    statement = plain["statement"]
    require(statement["format"] == 1 and statement["generation"] > 0, "format or generation")
    require((statement["fleet"], statement["device_id"]) == (fleet, device_id), "another's")
    require(HEX64.fullmatch(plain["signature"]) is not None, "not a signature")
    written = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    message = b"familiar acknowledgment 1\x00" + written.encode()
    try:
        verifier = Ed25519PublicKey.from_public_bytes(key)
        verifier.verify(bytes.fromhex(plain["signature"]), message)
    except InvalidSignature as error:
        raise RefusedError("not signed by the device") from error
    return statement


# ------------------------------------------------------ overview, evidence (overview.md)


def or_null(check: Any) -> Any:
    def checked(value: Any) -> None:
        if value is not None:
            check(value)

    return checked


DEVICE = object_of(
    name=text,
    device_id=digest,
    signing_key=digest,
    removed=generation_or_null,
    said=or_null(object_of(received=time, signed=ACKNOWLEDGMENT)),
)
OVERVIEW = object_of(
    format=whole,
    fleet=text,
    purpose=PURPOSE,
    generation=whole,
    published=or_null(time),
    made=time,
    lease_s=whole,
    fresh_until=time,
    expiries=list_of(object_of(role=text, expires=time)),
    waiting=whole,
    refused=whole,
    people=list_of(
        object_of(
            record_id=filled,
            since=whole,
            station_id=digest,
            valid_until=time,
            ends=time,
            leaving=or_null(one_of("withdrawn", "untrusted_station")),
        )
    ),
    devices=list_of(DEVICE),
    stations=list_of(object_of(name=text, station_id=digest, trusted=true_or_false)),
    departures=list_of(
        object_of(
            digest=text,
            since=whole,
            erasure=object_of(generation=whole, devices=whole, acknowledged=whole, removed=whole),
        )
    ),
)
EVIDENCE = object_of(
    format=whole,
    fleet=text,
    digest=text,
    generation=whole,
    made=time,
    erased=list_of(DEVICE),
    pending=list_of(DEVICE),
    unreachable=list_of(DEVICE),
)


def said_generation(device: Mapping[str, Any], fleet: str) -> int:
    """What the device signed that it holds; 0 for nothing."""
    if device["said"] is None:
        return 0
    signed = json.dumps(
        device["said"]["signed"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    key = bytes.fromhex(device["signing_key"])
    statement = read_acknowledgment(signed.encode(), fleet, device["device_id"], key)
    return int(statement["generation"])


def read_overview(data: bytes) -> Any:
    require(len(data) <= 2**26, "too large")
    overview = canonical(data)
    OVERVIEW(overview)
    newest = overview["generation"]
    require(overview["format"] == 1, "another format")
    require(re.fullmatch("[a-z0-9-]{1,64}", overview["fleet"]) is not None, "no fleet's name")
    require(0 < overview["lease_s"] <= 366 * 86_400, "the lease")
    require((newest == 0) == (overview["published"] is None), "the time of the generation")
    records = [person["record_id"] for person in overview["people"]]
    require(records == sorted(set(records)), "the order of people")
    require(all(0 < person["since"] <= newest for person in overview["people"]), "a generation")
    for of, name in (("devices", "device_id"), ("stations", "station_id")):
        ids = [each[name] for each in overview[of]]
        require(len(set(ids)) == len(ids), f"{of} twice")
    for device in overview["devices"]:
        said_generation(device, overview["fleet"])
        require((device["removed"] or 0) <= newest, "a removal that is still to come")
    for gone in overview["departures"]:
        come = gone["erasure"]
        require(re.fullmatch("[0-9a-f]{12}", gone["digest"]) is not None, "a departure's digest")
        require(gone["since"] < come["generation"] <= newest, "a departure's generation")
        require(come["acknowledged"] <= come["devices"], "more devices than there are")
    return overview


def read_evidence(data: bytes) -> Any:
    """Compare the keys of the devices in `erased` with those that the devices themselves show."""
    evidence = canonical(data)
    EVIDENCE(evidence)
    require(evidence["format"] == 1, "another format")
    for device in evidence["erased"]:
        held = said_generation(device, evidence["fleet"])
        require(held >= evidence["generation"], "a device that may have the person")
    return evidence


# ------------------------------------------------------------------------------- vectors


class Vectors:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected = json.loads(self.read("vectors.json"))
        self.fleet, self.generation = self.expected["fleet"], self.expected["generation"]
        keys = self.expected["keys"]
        station = bytes.fromhex(keys["station_public"])
        self.stations = {sha256(station): station}
        self.operator = X25519PrivateKey.from_private_bytes(bytes.fromhex(keys["operator_private"]))
        self.devices = [
            X25519PrivateKey.from_private_bytes(bytes.fromhex(key))
            for key in keys["device_private"]
        ]
        self.signing_key = bytes.fromhex(keys["signing_public"])
        self.generation_key = bytes.fromhex(keys["generation_key"])
        self.shard_keys = [bytes.fromhex(key) for key in keys["shard_keys"]]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def check(self) -> Iterator[str]:
        """Yields what was found to hold."""
        for name, digest in self.expected["files"].items():
            require(sha256(self.read(name)) == digest, f"the digest of {name}")
        yield f"{len(self.expected['files'])} files have the digests that are stated"
        yield self.record()
        yield self.codes()
        yield self.manifest()
        yield self.tombstones()
        yield self.keys()
        yield self.shards()
        yield self.enrolment()
        yield self.revocation()
        yield self.acknowledgment()
        yield self.overview()
        yield self.evidence()
        yield from self.refusals()

    def record(self) -> str:
        data, person = self.read("consent-record.json"), self.expected["people"][0]
        require(person["record"].encode() == data, "the record's bytes")
        require(tombstones_of(read_record(data)) == person["tombstones"], "its tombstones")
        for each in self.expected["people"]:
            verify_person(each, self.stations)
        return f"consent-record.json: sound; {len(self.expected['people'])} people are signed for"

    def codes(self) -> str:
        for vector in self.expected["codes"]:
            number = int(vector["entropy"], 16) << 10
            number += -number % 1021
            code = "".join(ALPHABET[number >> 5 * place & 31] for place in range(25, -1, -1))
            require(code == vector["code"], "a revocation code")
            require(all(read_code(typed) == code for typed in vector["typed"]), "a typed code")
            require(read_code(vector["spoken"]) == code, "a spoken code")
            spoken = "-".join(code[n : n + 4] for n in range(0, 26, 4))
            require(spoken == vector["spoken"], "a code in groups")
            require(sha256(code.encode()) == vector["sha256"], "a code's digest")
        return f"{len(self.expected['codes'])} revocation codes"

    def manifest(self) -> str:
        manifest = read_manifest(self.read("manifest.json"))
        require(manifest["fleet"] == self.fleet, "the fleet")
        require(manifest["generation"] == self.generation, "the generation")
        for station in manifest["stations"]:
            require(sha256(bytes.fromhex(station["public_key"])) in self.stations, "a station")
        for shard in manifest["shards"]:
            data = self.read(f"shard-{shard['number']}.bin")
            require(sha256(data) == shard["sha256"], "a shard's digest")
            require(len(data) == shard["size_bytes"], "a shard's size")
        return f"manifest.json: sound, and names {len(manifest['shards'])} shards"

    def tombstones(self) -> str:
        found = read_tombstones(self.read("tombstones.bin"))
        require(found == sorted(set(found)) == self.expected["tombstones"], "the tombstones")
        return f"tombstones.bin: {len(found)}, sorted"

    def keys(self) -> str:
        groups = read_manifest(self.read("manifest.json"))["wrap_groups"]
        for device in self.devices:
            name = sha256(device.public_key().public_bytes_raw())
            wraps = read_wraps(self.read(f"wraps-{int(name[:8], 16) % groups}.bin"))
            require(list(wraps) == sorted(wraps), "the order of wraps")
            key = unwrap(wraps[name], device, self.fleet, self.generation)
            require(key == self.generation_key, "the generation's key")
        for name, of, group in self.expected["group_of"]:
            require(int(name[:8], 16) % of == group, "a device's group")
        keyring = read_keyring(
            self.read("keyring.bin"), self.fleet, self.generation, self.generation_key
        )
        require(keyring == dict(enumerate(self.shard_keys)), "the shards' keys")
        return f"wraps-*.bin, keyring.bin: {len(self.devices)} devices open {len(keyring)} keys"

    def shards(self) -> str:
        found = []
        for number, key in enumerate(self.shard_keys):
            people = read_shard(self.read(f"shard-{number}.bin"), self.fleet, number, key)
            of = len(self.shard_keys)
            placed = all(shard_of(person["person_id"], of) == number for person in people)
            require(placed, "a person in another shard")
            found += people
        people = sorted(self.expected["people"], key=lambda person: str(person["person_id"]))
        require(sorted(found, key=lambda person: str(person["person_id"])) == people, "the people")
        for name, of, number in self.expected["shard_of"]:
            require(shard_of(name, of) == number, "a person's shard")
        return f"{len(self.shard_keys)} shards: {len(found)} people"

    def enrolment(self) -> str:
        person = read_enrolment(self.read("enrolment.sealed"), self.operator, self.fleet)
        require(person == self.expected["people"][self.expected["enrolment_of"]], "the person")
        return "enrolment.sealed: one person"

    def revocation(self) -> str:
        code = read_revocation(self.read("revocation.sealed"), self.operator, self.fleet)
        expected = self.expected["codes"][self.expected["revocation_of"]]["code"]
        require(code == expected, "the code")
        return "revocation.sealed: a code"

    def read_acknowledgment(self, data: bytes) -> Any:
        device = self.expected["device_ids"][0]
        return read_acknowledgment(data, self.fleet, device, self.signing_key)

    def acknowledgment(self) -> str:
        statement = self.read_acknowledgment(self.read("acknowledgment.json"))
        require(statement["generation"] == self.generation, "the generation")
        return "acknowledgment.json: signed by its device"

    def overview(self) -> str:
        overview = read_overview(self.read("overview.json"))
        require(overview == self.expected["overview"], "what it says")
        return f"overview.json: sound; {len(overview['people'])} people without their names"

    def evidence(self) -> str:
        overview = self.expected["overview"]
        gone, fleet = overview["departures"][0], overview["fleet"]
        evidence = read_evidence(self.read("evidence.json"))
        for name in ("fleet", "made"):
            require(evidence[name] == overview[name], f"the {name}")
        generation = gone["erasure"]["generation"]
        require(evidence["digest"] == gone["digest"], "the departure")
        require(evidence["generation"] == generation, "the generation")
        devices = overview["devices"]
        erased = [d for d in devices if said_generation(d, fleet) >= generation]
        silent = [d for d in devices if d not in erased]
        pending = [device for device in silent if device["removed"] is None]
        lost = [d for d in silent if d["removed"] is not None and d["removed"] >= gone["since"]]
        found = [evidence[name] for name in ("erased", "pending", "unreachable")]
        require(found == [erased, pending, lost], "the devices")
        return f"evidence.json: signed by {len(erased)} of {len(devices)} devices"

    def refusals(self) -> Iterator[str]:
        """Everything in `refused.json` is refused."""
        readers: dict[str, Callable[[bytes], object]] = {
            "consent": read_record,
            "signed": lambda data: verify_person(json.loads(data), self.stations),
            "manifest": read_manifest,
            "shard": lambda data: read_shard(data, self.fleet, 0, self.shard_keys[0]),
            "keyring": lambda data: read_keyring(
                data, self.fleet, self.generation, self.generation_key
            ),
            "wraps": read_wraps,
            "wrap": lambda data: unwrap(data, self.devices[0], self.fleet, self.generation),
            "tombstones": read_tombstones,
            "enrolment": lambda data: read_enrolment(data, self.operator, self.fleet),
            "code": lambda data: read_code(data.decode()),
            "revocation": lambda data: read_revocation(data, self.operator, self.fleet),
            "acknowledgment": self.read_acknowledgment,
            "overview": read_overview,
        }
        for case in json.loads(self.read("refused.json")):
            what = f"{case['format']}: {case['why']}"
            try:
                readers[case["format"]](bytes.fromhex(case["bytes"]))
            except RefusedError as error:
                yield f"refused: {what} ({error})"
            else:
                raise RefusedError(f"this was not refused: {what}")


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "vectors"
    try:
        for line in Vectors(folder).check():
            sys.stdout.write(line + "\n")
    except (RefusedError, LookupError, ValueError, TypeError, OSError) as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        return 0
    sys.stderr.write(f"the vectors in {folder} do not hold: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
