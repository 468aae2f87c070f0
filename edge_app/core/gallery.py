"""The gallery: everyone who may be recognised right now, as one immutable value.

Two doors lead in. `admit` lets a person pass only with a valid consent (P2); `build_gallery`
refuses a threshold that does not hold at this size (P8), more demo templates than the promise
allows, and rows that are not the signed templates. Live and demo templates are kept in two
sections with an index each, so that neither kind of frame can reach the other's (P4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_app.core.calibrate import require_holds
from edge_app.core.consent import ConsentFault, IntendedUse, template_id
from edge_app.core.roster import Member, Register, Roster, Rows, fault_of
from edge_app.errors import GalleryError
from edge_app.records import Calibration, Float32Array, FrameOrigin, Purpose

MAX_DEMO_TEMPLATES: Final = 25
"""A demo is for a handful of people; more would be the enrolment by folder that P4 rules out."""


class SearchIndex(Protocol):
    """Finds the nearest templates. Rows are numbered 0 to `len(index) - 1`."""

    def __len__(self) -> int: ...

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:
        """(rows int64, similarities float32), both (min(count, len),), best first.

        embedding: shape (dim,), comparable (`core/embed.py`). Similarities are exact.
        """
        ...


IndexFactory = Callable[[Float32Array], SearchIndex]
"""Makes an index of a matrix, shape (n, dim), n > 0, float32, comparable rows. It is never written
again."""


class _NoTemplates:
    """The index of an empty section."""

    def __len__(self) -> int:
        return 0

    def search(self, embedding: Float32Array, count: int) -> tuple[NDArray[Any], Float32Array]:  # noqa: ARG002 - SearchIndex
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """Who may be used for `use`, live enrolments before demo ones, and why others may not.

    rows: where in the register these people are.
    """

    use: IntendedUse
    people: Roster
    rows: Rows = field(repr=False)
    left_out: Mapping[ConsentFault, int]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """The templates for one origin of frames.

    person_of_row: shape (len(index),): whose template an index row is, as a row of `people`.
    """

    index: SearchIndex = field(repr=False)
    people: Roster
    person_of_row: Rows = field(repr=False)

    @classmethod
    def of(cls, people: Roster, matrix: Float32Array, index_factory: IndexFactory) -> Section:
        index = index_factory(matrix) if len(matrix) else _NoTemplates()
        return cls(index, people, people.person_of_template())


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """One generation of enrolled people. Swapped between two frames, never changed.

    masked: people who left since the indices were built; they are matched no more.
    """

    generation: int
    purpose: Purpose
    model_sha256: str
    calibration: Calibration
    live: Section
    demo: Section
    masked: frozenset[str] = field(repr=False)

    @classmethod
    def empty(cls, *, purpose: Purpose, model_sha256: str, calibration: Calibration) -> Gallery:
        """A gallery of nobody, generation 0."""
        nobody = Section(_NoTemplates(), Roster.empty(), np.empty(0, np.intp))
        return cls(0, purpose, model_sha256, calibration, nobody, nobody, frozenset())

    def section(self, origin: FrameOrigin) -> Section:
        """The only templates that exist for a frame of this origin (P4)."""
        return self.live if origin is FrameOrigin.LIVE else self.demo

    def member(self, person_id: str) -> Member | None:
        """The person, unless unknown or masked."""
        if person_id in self.masked:
            return None
        for section in (self.live, self.demo):
            for row in section.people.rows_of(person_id):
                return section.people.member(row)
        return None

    def tombstones_of(self, person_id: str) -> frozenset[str]:
        """The digests of which any one among the tombstones bars this person; none if unknown."""
        return frozenset(
            digest
            for section in (self.live, self.demo)
            for row in section.people.rows_of(person_id)
            for digest in section.people.tombstones_of(row)
        )

    def is_usable(self, person_id: str, origin: FrameOrigin, now: datetime) -> bool:
        """Whether this person may be matched with a frame of this origin at this moment."""
        people = self.section(origin).people
        rows = people.rows_of(person_id)
        return person_id not in self.masked and any(people.is_valid(row, now) for row in rows)

    def without(self, person_ids: Iterable[str]) -> Gallery:
        """This gallery with these people masked; the indices are shared."""
        return replace(self, masked=self.masked | frozenset(person_ids))

    def without_departed(self, tombstones: AbstractSet[str]) -> Gallery:
        """This gallery with everyone masked whom one of these tombstones bars."""
        return self.without(
            section.people.person_id(row)
            for section in (self.live, self.demo)
            for row in section.people.departed(tombstones)
        )


def admit(
    register: Register, use: IntendedUse, *, tombstones: AbstractSet[str], now: datetime
) -> Admission:
    """Sort out whose templates may be used now; the verdicts are those of `consent.check`.

    now: aware, UTC.
    """
    faults = register.faults(
        purpose=use.purpose,
        model_sha256=use.model_sha256,
        stations=use.trusted_stations,
        tombstones=tombstones,
        now=now,
    )
    demo, fit = register.roster.demo, faults == 0
    rows = np.concatenate([np.flatnonzero(fit & ~demo), np.flatnonzero(fit & demo)])
    left_out = Counter(map(fault_of, faults[~fit].tolist()))
    return Admission(use, register.roster.take(rows), rows, left_out)


def comparisons_per_search(people: Roster) -> int:
    """With how many templates the larger section compares a probe: what FPIR depends on."""
    demo = int(people.columns["templates"][people.demo].sum())
    return max(demo, people.templates - demo)


def build_gallery(
    admission: Admission,
    matrix: Float32Array,
    *,
    generation: int,
    calibration: Calibration,
    index_factory: IndexFactory,
) -> Gallery:
    """Build the gallery of the admitted people.

    matrix: shape (n, dim), float32: their templates row by row, in the admission's order.

    Raises:
        CalibrationError: the threshold does not hold for this model or so many templates (P8).
        GalleryError: too many demo templates (P4), a person twice, or the rows are not the
            templates that were signed for.
    """
    people = admission.people
    require_holds(
        calibration,
        comparisons=comparisons_per_search(people),
        model_sha256=admission.use.model_sha256,
    )
    live = people.take(np.flatnonzero(~people.demo))
    demo = people.take(np.flatnonzero(people.demo))
    _require_signed_rows(live, matrix[: live.templates])
    _require_signed_rows(demo, matrix[live.templates :])
    _require_each_once(people)
    _require_few_demos(demo)
    return Gallery(
        generation,
        admission.use.purpose,
        admission.use.model_sha256,
        calibration,
        Section.of(live, matrix[: live.templates], index_factory),
        Section.of(demo, matrix[live.templates :], index_factory),
        frozenset(),
    )


def _require_signed_rows(people: Roster, matrix: Float32Array) -> None:
    """What is going to be searched must be, byte for byte, what the consents name."""
    present = b"".join(bytes.fromhex(template_id(row)) for row in matrix)
    if present != people.template_ids.tobytes():
        raise GalleryError(
            "the template matrix is not what the consent records were signed for; "
            "load the gallery again"
        )


def _require_each_once(people: Roster) -> None:
    digests, counts = np.unique(people.columns["id_digest"], return_counts=True)
    for row in np.flatnonzero(np.isin(people.columns["id_digest"], digests[counts > 1])):
        if len(people.rows_of(people.person_id(row))) > 1:
            raise GalleryError("a person is in the gallery twice; remove one of the two records")


def _require_few_demos(demo: Roster) -> None:
    if demo.templates > MAX_DEMO_TEMPLATES:
        raise GalleryError(
            f"the gallery holds {demo.templates} demo templates and at most {MAX_DEMO_TEMPLATES} "
            "are allowed; remove demo people, or enrol live"
        )
