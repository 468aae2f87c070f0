from dataclasses import replace

import numpy as np
import pytest

from edge_app.core.consent import ConsentFault
from edge_app.core.gallery import (
    Admission,
    admit,
    build_gallery,
    comparisons_per_search,
)
from edge_app.errors import GalleryError
from edge_app.records import Float32Array, FrameOrigin, Purpose
from tests.people import CALIBRATION, NOW, USE, brute_force, enrolment, faces, gallery_of

FACES = faces(6)
LIVE = enrolment(1, FACES[:2])
DEMO = enrolment(2, FACES[2:4], demo=True)
EXPIRED = enrolment(3, FACES[4:5], validity_duration_s=60)
ENTRY = enrolment(4, FACES[5:6], purpose=Purpose.ENTRY)


def test_admitting_nobody() -> None:
    admission = admit([], USE, tombstones=frozenset(), now=NOW)
    assert (admission.enrolments, admission.left_out) == ((), ())
    assert comparisons_per_search(admission.enrolments) == 0


def test_admission_puts_live_first_and_counts_faults() -> None:
    people = [DEMO, EXPIRED, LIVE, ENTRY]
    admission = admit(people, USE, tombstones=frozenset(), now=NOW)
    assert admission.enrolments == (LIVE, DEMO)
    assert admission.left_out_by_fault == {
        ConsentFault.EXPIRED: 1,
        ConsentFault.WRONG_PURPOSE: 1,
    }
    assert [(e.enrolment, e.fault) for e in admission.left_out] == [
        (EXPIRED, ConsentFault.EXPIRED),
        (ENTRY, ConsentFault.WRONG_PURPOSE),
    ]


def test_nothing_personal_shows_in_a_repr() -> None:
    admission = admit([LIVE, EXPIRED], USE, tombstones=frozenset(), now=NOW)
    for value in (admission, gallery_of([LIVE]), gallery_of([LIVE]).live):
        assert "Name" not in repr(value)
        assert "0." not in repr(value).replace("threshold=0.4", "").replace("fpir=0.01", "")


def test_people_are_found_by_id_unless_masked() -> None:
    gallery = gallery_of([LIVE, DEMO])
    found = gallery.enrolment("person-2")
    assert found is not None
    assert found.name == "Name 2"
    assert gallery.enrolment("person-9") is None
    assert not gallery.is_usable("person-9", FrameOrigin.LIVE, NOW)
    masked = gallery.without(["person-2"]).without(["person-9"])
    assert masked.enrolment("person-2") is None
    assert masked.enrolment("person-1") is not None
    assert masked.masked == {"person-2", "person-9"}


def test_empty_section_builds_no_index() -> None:
    built = []

    def factory(matrix: Float32Array) -> object:
        built.append(matrix.shape)
        return brute_force(matrix)

    admission = admit([LIVE], USE, tombstones=frozenset(), now=NOW)
    build_gallery(
        admission,
        FACES[:2],
        generation=1,
        calibration=CALIBRATION,
        index_factory=factory,  # type: ignore[arg-type]  # a recording stand-in
    )
    assert built == [(2, 192)]


@pytest.mark.parametrize(
    "matrix",
    [FACES[:0], FACES[:1], FACES[:3], FACES[1::-1], np.full((2, 192), np.nan, np.float32)],
    ids=["no rows", "row missing", "row too many", "rows swapped", "not numbers"],
)
def test_rows_must_be_the_signed_templates(matrix: Float32Array) -> None:
    admission = admit([LIVE], USE, tombstones=frozenset(), now=NOW)
    with pytest.raises(GalleryError, match="not what the consent records were signed for"):
        build_gallery(
            admission,
            matrix,
            generation=1,
            calibration=CALIBRATION,
            index_factory=brute_force,
        )


def test_person_twice_is_refused() -> None:
    admission = Admission(USE, (LIVE, replace(LIVE)), ())
    with pytest.raises(GalleryError, match="twice"):
        build_gallery(
            admission,
            np.concatenate([FACES[:2], FACES[:2]]),
            generation=1,
            calibration=CALIBRATION,
            index_factory=brute_force,
        )
