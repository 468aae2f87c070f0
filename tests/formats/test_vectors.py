"""The format documents' vectors, read by the script beside them and by Familiar itself."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_app.adapters.shards import open_people
from edge_app.core import consent
from edge_app.core.acknowledge import (
    SignedAcknowledgment,
    decode_acknowledgment,
    encode_acknowledgment,
    verify_acknowledgment,
)
from edge_app.core.consent import IntendedUse
from edge_app.core.keyring import (
    decode_tombstones,
    device_id,
    encode_tombstones,
    find_wrap,
    group_of,
    open_for,
    open_keyring,
    unwrap,
    wraps_name,
)
from edge_app.core.manifest import decode_manifest, encode_manifest
from edge_app.core.overview import (
    decode_overview,
    encode_evidence,
    encode_overview,
    erasure_evidence,
)
from edge_app.core.person import unpack_person
from edge_app.core.revocation import new_code, normalise_code, revocation_sha256, spoken_code
from edge_app.core.shard import shard_of
from edge_app.errors import ConsentError, EdgeAppError
from edge_app.records import Enrolment, Purpose, SignedConsent, Template

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
VECTORS = FORMATS / "vectors"
EXPECTED = json.loads((VECTORS / "vectors.json").read_bytes())
REFUSED = json.loads((VECTORS / "refused.json").read_bytes())
KEYS = EXPECTED["keys"]
FLEET, GENERATION = EXPECTED["fleet"], EXPECTED["generation"]
NAMES = sorted(path.name for path in VECTORS.iterdir())
DEVICES = [X25519PrivateKey.from_private_bytes(bytes.fromhex(k)) for k in KEYS["device_private"]]
OPERATOR = X25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS["operator_private"]))
GENERATION_KEY = bytes.fromhex(KEYS["generation_key"])
SHARD_KEYS = [bytes.fromhex(key) for key in KEYS["shard_keys"]]


def script(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(FORMATS / "verify.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def read(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


# ---------------------------------------------------------------------------- the script


def test_the_vectors_hold() -> None:
    run = script(VECTORS)
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert len(lines) == 12 + len(REFUSED)
    assert sum(line.startswith("refused: ") for line in lines) == len(REFUSED)


def test_the_script_needs_cryptography_only() -> None:
    imported = {
        line.split()[1].split(".")[0]
        for line in (FORMATS / "verify.py").read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def restated(folder: Path) -> None:
    """Let `vectors.json` state the files' digests as they are now."""
    expected = json.loads((folder / "vectors.json").read_bytes())
    expected["files"] = {n: maker().digest((folder / n).read_bytes()) for n in expected["files"]}
    (folder / "vectors.json").write_text(json.dumps(expected), encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "refused.json"])
def test_the_script_notices_an_altered_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(VECTORS, folder)
    altered = bytearray((folder / name).read_bytes())
    altered[len(altered) // 2] ^= 1
    (folder / name).write_bytes(altered)
    if name != "vectors.json":
        restated(folder)
    run = script(folder)
    assert run.returncode == 1
    assert run.stderr.startswith("the vectors in ")
    assert run.stderr.count("\n") == 1


def test_the_script_notices_what_should_have_been_refused(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(VECTORS, folder)
    sound = [{"format": "tombstones", "why": "nothing is wrong", "bytes": "00" * 32}]
    (folder / "refused.json").write_text(json.dumps(sound), encoding="utf-8")
    run = script(folder)
    assert run.returncode == 1
    assert "this was not refused: tombstones: nothing is wrong" in run.stderr


# ----------------------------------------------------------------------------- the maker


def maker() -> Any:
    return loaded("make_vectors")


def loaded(script_name: str) -> Any:
    spec = importlib.util.spec_from_file_location(script_name, FORMATS / f"{script_name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_vectors_are_what_the_code_writes_today(tmp_path: Path) -> None:
    """Byte by byte, but for what zlib's version changes, and digests of that."""
    maker().write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    assert script(tmp_path).returncode == 0
    compressed = {"shard-0.bin", "shard-1.bin", "enrolment.sealed", "manifest.json"}
    for name in set(NAMES) - compressed - {"vectors.json", "refused.json"}:
        assert (tmp_path / name).read_bytes() == read(name), name
    stated = json.loads((tmp_path / "vectors.json").read_bytes())
    assert {**stated, "files": None} == {**EXPECTED, "files": None}
    refused = json.loads((tmp_path / "refused.json").read_bytes())
    assert [(c["format"], c["why"]) for c in refused] == [(c["format"], c["why"]) for c in REFUSED]


def test_every_reason_is_given_once() -> None:
    reasons = [(case["format"], case["why"]) for case in REFUSED]
    assert len(set(reasons)) == len(reasons)
    assert {kind for kind, _ in reasons} == READERS.keys()


# ------------------------------------------------------------------------------ our code


def described(person: Enrolment) -> dict[str, Any]:
    return {
        "name": person.name,
        "relation": person.relation,
        "person_id": person.person_id,
        "record": consent.encode(person.consent.record).decode(),
        "station_id": person.consent.station_id,
        "signature": person.consent.signature.hex(),
        "tombstones": sorted(consent.tombstone_ids(person.consent.record)),
        "templates": [template.embedding.tobytes().hex() for template in person.templates],
    }


def signed_person(data: bytes) -> None:
    """A person as `vectors.json` describes them, judged as the device judges them."""
    person = json.loads(data)
    rows = [np.frombuffer(bytes.fromhex(text), "<f4") for text in person["templates"]]
    enrolment = Enrolment(
        person["name"],
        person["relation"],
        SignedConsent(
            consent.decode(person["record"].encode()),
            person["station_id"],
            bytes.fromhex(person["signature"]),
        ),
        tuple(Template(consent.template_id(row), row) for row in rows),
    )
    manifest = decode_manifest(read("manifest.json"))
    use = IntendedUse(Purpose.ENTRY, manifest.model_sha256, manifest.trusted_stations)
    fault = consent.check(enrolment, use, tombstones=frozenset(), now=manifest.published)
    if fault is not None:
        raise ConsentError(fault.value)


def shard(data: bytes, number: int = 0) -> tuple[Enrolment, ...]:
    key = SHARD_KEYS[number]
    return open_people(data, fleet=FLEET, number=number, key=key)[0].people


def wrapped(data: bytes) -> bytes:
    return unwrap(data, DEVICES[0], fleet=FLEET, generation=GENERATION)


def keyring(data: bytes) -> Mapping[int, bytes]:
    return open_keyring(data, fleet=FLEET, generation=GENERATION, key=GENERATION_KEY)


def enrolment(data: bytes) -> Enrolment:
    return unpack_person(open_for(OPERATOR, data, fleet=FLEET))


def revocation(data: bytes) -> str:
    return normalise_code(open_for(OPERATOR, data, fleet=FLEET).decode(errors="replace"))


def acknowledgment(data: bytes) -> SignedAcknowledgment:
    signed = decode_acknowledgment(data)
    key = bytes.fromhex(KEYS["signing_public"])
    device = EXPECTED["device_ids"][0]
    verify_acknowledgment(signed, signing_key=key, fleet=FLEET, device_id=device)
    return signed


READERS: Mapping[str, Callable[[bytes], object]] = {
    "consent": consent.decode,
    "signed": signed_person,
    "manifest": decode_manifest,
    "shard": shard,
    "keyring": keyring,
    "wraps": lambda data: find_wrap(data, "ab" * 32),
    "wrap": wrapped,
    "tombstones": decode_tombstones,
    "enrolment": enrolment,
    "code": lambda data: normalise_code(data.decode()),
    "revocation": revocation,
    "acknowledgment": acknowledgment,
    "overview": decode_overview,
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case['format']}: {case['why']}")
def test_what_must_be_refused_is(case: Mapping[str, str]) -> None:
    with pytest.raises(EdgeAppError) as error:
        READERS[case["format"]](bytes.fromhex(case["bytes"]))
    assert "\n" not in str(error.value)


def test_manifest() -> None:
    manifest = decode_manifest(read("manifest.json"))
    assert encode_manifest(manifest) == read("manifest.json")
    assert (manifest.fleet, manifest.generation) == (FLEET, GENERATION)
    assert (manifest.calibration.threshold, manifest.calibration.target_fpir) == (0.4375, 1e-5)


def test_tombstones() -> None:
    found = decode_tombstones(read("tombstones.bin"))
    assert sorted(found) == EXPECTED["tombstones"]
    assert encode_tombstones(found) == read("tombstones.bin")


def test_consents() -> None:
    record = consent.decode(read("consent-record.json"))
    assert consent.encode(record) == read("consent-record.json")
    for person in EXPECTED["people"]:
        signed_person(json.dumps(person).encode())


def test_keys() -> None:
    for device in DEVICES:
        name = device_id(device.public_key().public_bytes_raw())
        found = find_wrap(read(wraps_name(group_of(name, 2))), name)
        assert found is not None
        assert unwrap(found, device, fleet=FLEET, generation=GENERATION) == GENERATION_KEY
    assert keyring(read("keyring.bin")) == dict(enumerate(SHARD_KEYS))


def test_shards_and_enrolment() -> None:
    found = [one for n in range(len(SHARD_KEYS)) for one in shard(read(f"shard-{n}.bin"), n)]
    assert sorted((described(one) for one in found), key=by_id) == sorted(
        EXPECTED["people"], key=by_id
    )
    person = described(enrolment(read("enrolment.sealed")))
    assert person == EXPECTED["people"][EXPECTED["enrolment_of"]]


def by_id(person: Mapping[str, Any]) -> str:
    return str(person["person_id"])


def test_revocation_codes() -> None:
    for vector in EXPECTED["codes"]:
        code = new_code(bytes.fromhex(vector["entropy"]))
        assert code == vector["code"]
        assert {normalise_code(typed) for typed in (*vector["typed"], vector["spoken"])} == {code}
        assert spoken_code(code) == vector["spoken"]
        assert revocation_sha256(code) == vector["sha256"]


def test_what_a_device_tells_the_operator() -> None:
    signed = acknowledgment(read("acknowledgment.json"))
    assert signed.statement.generation == GENERATION
    assert encode_acknowledgment(signed) == read("acknowledgment.json")
    whose = EXPECTED["codes"][EXPECTED["revocation_of"]]
    assert revocation(read("revocation.sealed")) == whose["code"]


def test_what_an_operator_shows() -> None:
    overview = decode_overview(read("overview.json"))
    assert encode_overview(overview) == read("overview.json")
    evidence = erasure_evidence(overview, overview.departures[0])
    assert encode_evidence(evidence) == read("evidence.json")


def test_what_places_people_and_devices() -> None:
    assert all(shard_of(name, of) == number for name, of, number in EXPECTED["shard_of"])
    assert all(group_of(name, of) == group for name, of, group in EXPECTED["group_of"])


# --------------------------------------------------------------- two readers of one document

VALUES: Sequence[Any] = (
    *(None, True, 0, 1, 7, -1, 2**53 - 1, 2**53, 10**400, 0.5, "", "x", [], {}, [[]]),
    *("ab" * 32, "AB" * 32, "ab" * 64, "1.0", "1", "-0.0", "1e-05", "inf", "0x1", "\u0661", "1_0"),
    *("2026-02-01T09:30:00Z", "2026-02-01T09:30:00", "20260201T093000Z", "0000-01-01T00:00:00Z"),
    *("2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "entry", "care", "\u2028", "\x7f\x1f"),
)


def places(plain: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    for key in list(plain) if isinstance(plain, dict) else range(len(plain)):
        yield plain, key
        if isinstance(plain[key], dict | list):
            yield from places(plain[key])


def altered_json(data: bytes) -> Iterator[bytes]:
    """Canonical JSON with another value in each place."""
    for number in range(len(list(places(json.loads(data))))):
        for value in VALUES:
            plain = json.loads(data)
            container, key = list(places(plain))[number]
            container[key] = value
            text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            yield text.encode()


def takes(read_it: Callable[[bytes], object], refusal: type[Exception], data: bytes) -> bool:
    try:
        read_it(data)
    except refusal:
        return False
    return True


@pytest.mark.parametrize(
    ("theirs", "ours", "name"),
    [
        ("read_record", consent.decode, "consent-record.json"),
        ("read_manifest", decode_manifest, "manifest.json"),
        ("read_overview", decode_overview, "overview.json"),
    ],
)
def test_the_script_and_we_take_the_same(
    theirs: str, ours: Callable[[bytes], object], name: str
) -> None:
    verify = loaded("verify")
    taken = refused = 0
    for data in altered_json(read(name)):
        ok = takes(ours, EdgeAppError, data)
        assert ok == takes(getattr(verify, theirs), verify.RefusedError, data), data
        taken, refused = taken + ok, refused + (not ok)
    assert taken > 50
    assert refused > 500
