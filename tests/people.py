"""Made-up people with made-up faces, for tests of consent, gallery and store."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.core.calibrate import ImpostorTail, TailFit
from edge_app.core.consent import SCHEMA_VERSION, IntendedUse, sign, station_id, template_id
from edge_app.core.gallery import Admission, Gallery, SearchIndex, admit, build_gallery
from edge_app.core.roster import register
from edge_app.records import (
    Calibration,
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Controller,
    Enrolment,
    EventType,
    Float32Array,
    FrameOrigin,
    LawfulBasis,
    Pose,
    PrivacyNotice,
    Probe,
    Purpose,
    Quality,
    Template,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DIM = 192
MODEL_SHA256 = "ab" * 32
STATION = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
STATION_KEY = STATION.public_key().public_bytes_raw()
USE = IntendedUse(Purpose.ASSIST, MODEL_SHA256, {station_id(STATION_KEY): STATION_KEY})
CALIBRATION = Calibration(0.4, 0.01, 100_000, MODEL_SHA256)
TAIL = ImpostorTail(
    model_sha256=MODEL_SHA256,
    best=TailFit(0.2, 0.05, 0.0),
    resampled=tuple(TailFit(0.19 + n / 5000, 0.045 + n / 10_000, 0.0) for n in range(101)),
    tail_fraction=0.01,
    people=2_000,
    comparisons=4_000_000,
    template_pictures=5,
    data="made up",
)
CONTROLLER = Controller("wearer", "Ada", "1 Test Street", "ada@example.org")


def faces(count: int, seed: int = 0, dim: int = DIM) -> Float32Array:
    """Unit vectors in random directions, shape (count, dim), float32."""
    drawn = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def record(number: int, embeddings: Iterable[Float32Array], **changes: Any) -> ConsentRecord:
    """A valid consent, given one day ago for a year."""
    demo = bool(changes.get("demo", False))
    method = CollectionMethod.DEMO_REPLAY if demo else CollectionMethod.LIVE_GUIDED_CAPTURE
    return replace(
        ConsentRecord(
            schema_version=SCHEMA_VERSION,
            record_id=f"record-{number}",
            pii_principal_id=f"person-{number}",
            privacy_notice=PrivacyNotice("familiar-assist-1", "en", "cd" * 32),
            purpose=Purpose.ASSIST,
            pii_information=("name", "face templates"),
            pii_controllers=(CONTROLLER,),
            storage_locations=("this device",),
            retention_s=366 * 86_400,
            jurisdiction="nowhere",
            withdrawal_method="code",
            event_time=NOW - timedelta(days=1),
            validity_duration_s=365 * 86_400,
            event_type=EventType.GIVEN,
            event_state=ConsentState.ACTIVE,
            lawful_basis=LawfulBasis.EXPLICIT_CONSENT,
            collection_method=method,
            model_sha256=MODEL_SHA256,
            template_ids=tuple(template_id(embedding) for embedding in embeddings),
            revocation_sha256=f"{number:064x}",
            demo=demo,
            erasure_confirmed_generation=None,
        ),
        **changes,
    )


def enrolment(number: int, embeddings: Iterable[Float32Array], **changes: Any) -> Enrolment:
    """A person with a consent that our station signed."""
    embeddings = tuple(embeddings)
    signed = sign(record(number, embeddings, **changes), STATION)
    templates = tuple(Template(template_id(embedding), embedding) for embedding in embeddings)
    return Enrolment(f"Name {number}", "friend", signed, templates)


def probe(embedding: Float32Array, origin: FrameOrigin = FrameOrigin.LIVE) -> Probe:
    return Probe(embedding, quality(1.0), 0.0, origin)


def quality(score: float) -> Quality:
    return Quality(60.0, 1.0, 120.0, 40.0, Pose(0.0, 0.0, 0.0), score)


class BruteForce:
    """The plainest possible index."""

    def __init__(self, matrix: Float32Array) -> None:
        self._matrix = matrix

    def __len__(self) -> int:
        return len(self._matrix)

    def search(self, embedding: Float32Array, count: int) -> tuple[Any, Float32Array]:
        similarities = np.asarray([row @ embedding for row in self._matrix], dtype=np.float32)
        rows = np.argsort(-similarities, kind="stable")[:count]
        return rows, similarities[rows]


def brute_force(matrix: Float32Array) -> SearchIndex:
    return BruteForce(matrix)


def admitted(
    people: Sequence[Enrolment],
    use: IntendedUse = USE,
    *,
    tombstones: frozenset[str] = frozenset(),
    now: datetime = NOW,
) -> Admission:
    """The way everybody is admitted, without a store."""
    return admit(register(people, use.trusted_stations), use, tombstones=tombstones, now=now)


def gallery_of(
    people: Sequence[Enrolment],
    *,
    now: datetime = NOW,
    calibration: Calibration = CALIBRATION,
    tombstones: frozenset[str] = frozenset(),
) -> Gallery:
    """The way every gallery comes about, without a store."""
    admission = admitted(people, tombstones=tombstones, now=now)
    rows = [t.embedding for person in people for t in person.templates]
    matrix = np.stack(rows) if rows else np.empty((0, DIM), dtype=np.float32)
    everyone = register(people, USE.trusted_stations).roster
    return build_gallery(
        admission,
        matrix[everyone.template_rows(admission.rows)],
        generation=1,
        calibration=calibration,
        index_factory=brute_force,
    )
