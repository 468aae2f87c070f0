"""The gallery: everyone who may be recognised right now, as one immutable value.

Two doors lead in. `admit` lets a person pass only with a valid consent (P2); `build_gallery`
refuses a threshold that does not hold at this size (P8), more demo templates than the promise
allows, and rows that are not the signed templates. Live and demo templates are kept in two
sections with an index each, so that neither kind of frame can reach the other's (P4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_app.core.calibrate import require_holds
from edge_app.core.consent import ConsentFault, IntendedUse, check, template_id, time_fault
from edge_app.errors import GalleryError
from edge_app.records import Calibration, Enrolment, Float32Array, FrameOrigin, Purpose

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
class LeftOut:
    """A stored person who may not be used, and why; for the wearer's own list of people."""

    enrolment: Enrolment = field(repr=False)
    fault: ConsentFault


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """Who may be used for `use`, live enrolments before demo ones, and who was left out."""

    use: IntendedUse
    enrolments: tuple[Enrolment, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...]

    @property
    def left_out_by_fault(self) -> Mapping[ConsentFault, int]:
        """Counts only, fit for a log line."""
        return Counter(entry.fault for entry in self.left_out)


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """The templates for one origin of frames.

    people:       by person id, in the order of their templates.
    id_of_row:    whose template an index row is.
    """

    index: SearchIndex = field(repr=False)
    people: Mapping[str, Enrolment] = field(repr=False)
    id_of_row: Sequence[str] = field(repr=False)


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
        nobody = Section(_NoTemplates(), {}, ())
        return cls(0, purpose, model_sha256, calibration, nobody, nobody, frozenset())

    def section(self, origin: FrameOrigin) -> Section:
        """The only templates that exist for a frame of this origin (P4)."""
        return self.live if origin is FrameOrigin.LIVE else self.demo

    def enrolment(self, person_id: str) -> Enrolment | None:
        """The person, unless unknown or masked."""
        if person_id in self.masked:
            return None
        return self.live.people.get(person_id) or self.demo.people.get(person_id)

    def is_usable(self, person_id: str, origin: FrameOrigin, now: datetime) -> bool:
        """Whether this person may be matched with a frame of this origin at this moment."""
        person = self.section(origin).people.get(person_id)
        if person is None or person_id in self.masked:
            return False
        return time_fault(person.consent.record, now) is None

    def without(self, person_ids: Iterable[str]) -> Gallery:
        """This gallery with these people masked; the indices are shared."""
        return replace(self, masked=self.masked | frozenset(person_ids))


def admit(
    enrolments: Iterable[Enrolment],
    use: IntendedUse,
    *,
    tombstones: AbstractSet[str],
    now: datetime,
) -> Admission:
    """Sort out whose templates may be used now, with `consent.check`.

    now: aware, UTC.
    """
    admitted: list[Enrolment] = []
    left_out: list[LeftOut] = []
    for enrolment in enrolments:
        fault = check(enrolment, use, tombstones=tombstones, now=now)
        if fault is None:
            admitted.append(enrolment)
        else:
            left_out.append(LeftOut(enrolment, fault))
    admitted.sort(key=_is_demo)
    return Admission(use, tuple(admitted), tuple(left_out))


def comparisons_per_search(enrolments: Iterable[Enrolment]) -> int:
    """With how many templates the larger section compares a probe: what FPIR depends on."""
    templates: Counter[bool] = Counter()
    for enrolment in enrolments:
        templates[_is_demo(enrolment)] += len(enrolment.templates)
    return max(templates.values(), default=0)


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
    people = admission.enrolments
    require_holds(
        calibration,
        comparisons=comparisons_per_search(people),
        model_sha256=admission.use.model_sha256,
    )
    live = tuple(person for person in people if not _is_demo(person))
    demo = tuple(person for person in people if _is_demo(person))
    _require_signed_rows((*live, *demo), matrix)
    _require_few_demos(demo)
    live_rows = sum(len(person.templates) for person in live)
    return Gallery(
        generation,
        admission.use.purpose,
        admission.use.model_sha256,
        calibration,
        _section(live, matrix[:live_rows], index_factory),
        _section(demo, matrix[live_rows:], index_factory),
        frozenset(),
    )


def _is_demo(enrolment: Enrolment) -> bool:
    return enrolment.consent.record.demo


def _section(
    people: tuple[Enrolment, ...], matrix: Float32Array, index_factory: IndexFactory
) -> Section:
    return Section(
        index_factory(matrix) if len(matrix) else _NoTemplates(),
        {person.person_id: person for person in people},
        tuple(person.person_id for person in people for _ in person.templates),
    )


def _require_signed_rows(people: tuple[Enrolment, ...], matrix: Float32Array) -> None:
    """What is going to be searched must be, byte for byte, what the consents name."""
    signed = [signed_id for p in people for signed_id in p.consent.record.template_ids]
    if [template_id(row) for row in matrix] != signed:
        raise GalleryError(
            "the template matrix is not what the consent records were signed for; "
            "load the gallery again"
        )
    if len({person.person_id for person in people}) != len(people):
        raise GalleryError("a person is in the gallery twice; remove one of the two records")


def _require_few_demos(demo: tuple[Enrolment, ...]) -> None:
    templates = sum(len(person.templates) for person in demo)
    if templates > MAX_DEMO_TEMPLATES:
        raise GalleryError(
            f"the gallery holds {templates} demo templates and at most {MAX_DEMO_TEMPLATES} are "
            "allowed; remove demo people, or enrol live"
        )
