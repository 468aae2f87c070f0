"""The enrolment station: from the good frames of one capture to a signed enrolment.

It averages the few frames that say most into one template: frames that disagree with the rest
are dropped (a passer-by, a bad moment), then those that repeat a better one, then those beyond
the limit, evenly over the poses. Several templates would each raise the best stranger's score
(docs/adr/0008), and more frames gain little (docs/adr/0011).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import zip_longest

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.core.consent import SCHEMA_VERSION, sign, template_id
from edge_app.core.embed import average, direction
from edge_app.core.revocation import ENTROPY_BYTES, new_code, revocation_sha256
from edge_app.enrolment.consent_notice import Notice
from edge_app.enrolment.poses import Facing, facings
from edge_app.enrolment.refused import CaptureRefusedError, Refusal
from edge_app.errors import EnrolmentError
from edge_app.records import (
    Candidate,
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Controller,
    Enrolment,
    EventType,
    Float32Array,
    FrameOrigin,
    LawfulBasis,
    Probe,
    Purpose,
    Rejection,
    Template,
)

WITHDRAWAL_METHOD = "present the revocation code on the receipt; nobody has to approve"
PII_INFORMATION = ("name", "relation", "face templates")
_MAX_NAME_LENGTH = 80


@dataclass(frozen=True, slots=True)
class EnrolmentLimits:
    """What an enrolment must reach.

    min_frames:           good frames that a live capture must have.
    max_frames:           frames that are averaged into the template.
    min_similarity:       mean cosine to the other frames below which a frame is an outlier.
    duplicate_similarity: cosine to a kept frame above which a frame adds nothing.
    relative_similarity:  comparison score with someone enrolled from which a warning is due.
    same_similarity:      score from which the two could not be told apart.
    """

    min_frames: int
    max_frames: int
    min_similarity: float
    duplicate_similarity: float
    relative_similarity: float
    same_similarity: float


@dataclass(frozen=True, slots=True)
class FleetKeeping:
    """That a fleet keeps a person, not this home's gallery. deliver: hands them over."""

    fleet: str
    deliver: Callable[[Enrolment], object]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the person, or their legal representative, agreed to."""

    notice: Notice
    lawful_basis: LawfulBasis
    controller: Controller
    jurisdiction: str
    storage_locations: tuple[str, ...]
    validity_s: int
    retention_s: int


@dataclass(frozen=True, slots=True)
class EnrolmentReport:
    """What became of the captured frames.

    frames:     good ones.
    kept:       how many were averaged, by the way they face.
    missing:    the ways that no good frame faces.
    refused:    frames that were not good, by the reason.
    look_alike: the enrolled person who comes closest, if close enough for a warning.
    """

    frames: int
    kept: Mapping[Facing, int]
    outliers: int
    duplicates: int
    surplus: int
    missing: tuple[Facing, ...]
    refused: Mapping[Rejection, int]
    demo: bool
    look_alike: Candidate | None = field(repr=False)

    def lines(self) -> tuple[str, ...]:
        """The same in plain words, one line each, without names."""
        return (*self._used(), *self._left_out(), *self._warnings())

    def _used(self) -> tuple[str, ...]:
        poses = ", ".join(f"{facing} {count}" for facing, count in self.kept.items())
        used = _count(sum(self.kept.values()), "good frame")
        return (f"one template averaged from {used} of {self.frames}: {poses}",)

    def _left_out(self) -> list[str]:
        reasons = (
            (self.outliers, "looked different from the others"),
            (self.duplicates, "added nothing to a better one"),
            (self.surplus, "went beyond the limit per person"),
        )
        said = [f"{_count(n, 'good frame')} left out: {why}" for n, why in reasons if n]
        if self.refused:
            counted = sorted(self.refused.items(), key=lambda item: -item[1])
            why = ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in counted)
            said.append(f"{_count(sum(self.refused.values()), 'frame')} refused: {why}")
        return said

    def _warnings(self) -> list[str]:
        said = []
        if self.missing:
            advice = (
                "pictures guide nobody, a live capture asks for them"
                if self.demo
                else "turned that way, this person may be missed more often; to mend it, leave and "
                "enrol again"
            )
            said.append(f"no good frame faces {' or '.join(self.missing)}: {advice}")
        if self.look_alike is not None:
            said.append(
                "this face is close to someone already enrolled: comparison score "
                f"{self.look_alike.similarity:.2f}, which is no percentage; they may be taken "
                "for each other (a relative, or the same person enrolled twice?)"
            )
        return said


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A signed enrolment, not stored yet.

    revocation_code: exists here and on the receipt only.
    """

    enrolment: Enrolment = field(repr=False)
    revocation_code: str = field(repr=False)
    report: EnrolmentReport


def enrol(
    probes: Sequence[Probe],
    *,
    name: str,
    relation: str,
    agreement: Agreement,
    demo: bool,
    by_browser: bool = False,
    limits: EnrolmentLimits,
    enrolled: Sequence[Enrolment],
    model_sha256: str,
    station: Ed25519PrivateKey,
    now: datetime,
    entropy: Callable[[int], bytes],
) -> Enrolled:
    """Make the template, write down the consent, and sign it.

    probes:   good frames of one capture.
    demo:     for replayed frames, and for no others (P4).
    by_browser: the frames came from a browser's camera; the record says so.
    enrolled: everyone already in the gallery, to warn of look-alikes and refuse doubles.
    now:      aware, UTC.
    entropy:  a source of so many random bytes, such as `secrets.token_bytes`.

    Raises:
        EnrolmentError: the frames do not do (too few, not of one person, live and replayed
            ones mixed, or of the other kind than `demo` says), the name cannot be shown, the
            legal basis does not go with the purpose, or the face is enrolled already.
    """
    require_presentable(name, relation)
    require_basis(agreement.lawful_basis, agreement.notice.purpose)
    _require_origin(probes, demo=demo)
    kept, report = _select(probes, limits, demo=demo)
    code = new_code(entropy(ENTROPY_BYTES))
    embedding = average(np.stack([probe.embedding for probe in kept]))
    templates = (Template(template_id(embedding), embedding),)
    record = ConsentRecord(
        schema_version=SCHEMA_VERSION,
        record_id=_random_id(entropy),
        pii_principal_id=_random_id(entropy),
        privacy_notice=agreement.notice.privacy_notice,
        purpose=agreement.notice.purpose,
        pii_information=PII_INFORMATION,
        pii_controllers=(agreement.controller,),
        storage_locations=agreement.storage_locations,
        retention_s=agreement.retention_s,
        jurisdiction=agreement.jurisdiction,
        withdrawal_method=WITHDRAWAL_METHOD,
        event_time=now.replace(microsecond=0),
        validity_duration_s=agreement.validity_s,
        event_type=EventType.GIVEN,
        event_state=ConsentState.ACTIVE,
        lawful_basis=agreement.lawful_basis,
        collection_method=_method(demo=demo, by_browser=by_browser),
        model_sha256=model_sha256,
        template_ids=tuple(template.template_id for template in templates),
        revocation_sha256=revocation_sha256(code),
        demo=demo,
        erasure_confirmed_generation=None,
    )
    enrolment = Enrolment(name, relation, sign(record, station), templates)
    look_alike = _look_alike(enrolment, enrolled, limits.relative_similarity)
    if look_alike is not None and look_alike.similarity >= limits.same_similarity:
        raise CaptureRefusedError(
            Refusal.ENROLLED_ALREADY,
            "this face is enrolled already, or too like somebody's to be told apart: nothing was "
            "stored; remove the other record first if it is the same person's",
        )
    return Enrolled(enrolment, code, replace(report, look_alike=look_alike))


def _method(*, demo: bool, by_browser: bool) -> CollectionMethod:
    if demo:
        return CollectionMethod.DEMO_REPLAY
    if by_browser:
        return CollectionMethod.LIVE_GUIDED_BROWSER_CAPTURE
    return CollectionMethod.LIVE_GUIDED_CAPTURE


def require_presentable(name: str, relation: str) -> None:
    """Names go to terminals and displays as they are, so control characters stay out."""
    if not 0 < len(name.strip()) <= _MAX_NAME_LENGTH or not name.isprintable():
        raise EnrolmentError(
            f"give a name of 1 to {_MAX_NAME_LENGTH} characters on one line, as the display "
            "shall show it"
        )
    if len(relation) > _MAX_NAME_LENGTH or not relation.isprintable():
        raise EnrolmentError(
            f"give a relation of at most {_MAX_NAME_LENGTH} characters on one line"
        )


def require_basis(basis: LawfulBasis, purpose: Purpose) -> None:
    if basis is LawfulBasis.LEGAL_REPRESENTATIVE and purpose is not Purpose.CARE:
        raise EnrolmentError(
            "a legal representative can consent for the purpose care only; let the person "
            "enrol themselves"
        )


def _require_origin(probes: Sequence[Probe], *, demo: bool) -> None:
    origins = {probe.origin for probe in probes}
    if not origins:
        raise CaptureRefusedError(
            Refusal.NOT_GOOD_ENOUGH, "no frame was good enough; nothing was stored, capture again"
        )
    if len(origins) > 1:
        raise EnrolmentError("live and replayed frames are mixed; enrol from one of them")
    if demo and FrameOrigin.LIVE in origins:
        raise EnrolmentError("a demo enrolment takes replayed frames; leave --demo away")
    if not demo and FrameOrigin.REPLAY in origins:
        raise EnrolmentError(
            "enrolment is a live capture; replayed frames make demo templates only, with --demo"
        )


def _select(
    probes: Sequence[Probe], limits: EnrolmentLimits, *, demo: bool
) -> tuple[list[Probe], EnrolmentReport]:
    """The probes that are averaged, and what became of the others."""
    poses, cosines = facings(probes), _cosines(probes)
    agreeing = _agreeing(cosines, limits.min_similarity)
    if 2 * len(agreeing) <= len(probes):
        raise CaptureRefusedError(
            Refusal.NOT_ONE_PERSON,
            "the frames do not look like one person; nothing was stored, capture again with "
            "one face in view",
        )
    found = {poses[i] for i in agreeing}
    if not demo:
        _require_enough(len(agreeing), found, limits)
    best_first = sorted(agreeing, key=lambda i: probes[i].quality.score, reverse=True)
    distinct = _distinct(best_first, cosines, limits.duplicate_similarity)
    kept = _evenly(distinct, poses)[: limits.max_frames]
    counts = Counter(poses[i] for i in kept)
    report = EnrolmentReport(
        frames=len(probes),
        kept={pose: counts[pose] for pose in Facing if counts[pose]},
        outliers=len(probes) - len(agreeing),
        duplicates=len(agreeing) - len(distinct),
        surplus=len(distinct) - len(kept),
        missing=tuple(pose for pose in Facing if pose not in found),
        refused={},
        demo=demo,
        look_alike=None,
    )
    return [probes[i] for i in kept], report


def _require_enough(frames: int, found: Collection[Facing], limits: EnrolmentLimits) -> None:
    if frames < limits.min_frames:
        raise CaptureRefusedError(
            Refusal.NOT_GOOD_ENOUGH,
            f"{_count(frames, 'good frame')} instead of {limits.min_frames}; nothing was "
            "stored, capture again and hold still a little longer",
        )
    if Facing.STRAIGHT not in found:
        raise CaptureRefusedError(
            Refusal.NOT_GOOD_ENOUGH,
            "no good frame looks straight at the camera; nothing was stored, capture again with "
            "the camera at eye height",
        )


def _cosines(probes: Sequence[Probe]) -> Float32Array:
    """Of all with all. Comparison scores are lower where both faces are easy to read."""
    directions = np.stack([direction(probe.embedding) for probe in probes])
    return directions @ directions.T


def _agreeing(cosines: Float32Array, min_similarity: float) -> list[int]:
    """Drop the frame least like the rest until all that remain are like each other."""
    kept = np.arange(len(cosines))
    while len(kept) > 1:
        among = cosines[np.ix_(kept, kept)]
        to_the_rest = (among.sum(axis=1) - among.diagonal()) / (len(kept) - 1)
        worst = int(to_the_rest.argmin())
        if to_the_rest[worst] >= min_similarity:
            break
        kept = np.delete(kept, worst)
    return [int(position) for position in kept]


def _distinct(
    best_first: Sequence[int], cosines: Float32Array, duplicate_similarity: float
) -> list[int]:
    """Without those that a better one makes superfluous."""
    kept: list[int] = []
    for position in best_first:
        if np.all(cosines[position, kept] <= duplicate_similarity):
            kept.append(position)
    return kept


def _evenly(best_first: Sequence[int], poses: Sequence[Facing]) -> list[int]:
    """The best of every pose, the straight one first, then the second of every pose, and so on."""
    by_pose = ([i for i in best_first if poses[i] is pose] for pose in Facing)
    rounds = zip_longest(*by_pose)
    return [i for taken in rounds for i in taken if i is not None]


def _look_alike(
    newcomer: Enrolment, enrolled: Sequence[Enrolment], relative_similarity: float
) -> Candidate | None:
    """Compares only with templates of the newcomer's kind: a photograph is not searched
    among people who enrolled live (P4)."""
    matrix = _matrix(newcomer)
    demo = newcomer.consent.record.demo
    candidates = [
        Candidate(person.person_id, float((_matrix(person) @ matrix.T).max()))
        for person in enrolled
        if person.consent.record.demo == demo
    ]
    closest = max(candidates, key=lambda c: c.similarity, default=None)
    if closest is None or closest.similarity < relative_similarity:
        return None
    return closest


def _matrix(person: Enrolment) -> Float32Array:
    return np.stack([template.embedding for template in person.templates])


def _random_id(entropy: Callable[[int], bytes]) -> str:
    return str(uuid.UUID(bytes=entropy(16), version=4))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
