from dataclasses import replace

import numpy as np
import pytest

from edge_app.core.consent import ConsentFault
from edge_app.core.gallery import build_gallery, comparisons_per_search
from edge_app.errors import GalleryError
from edge_app.records import Float32Array, FrameOrigin, Purpose
from tests.people import CALIBRATION, NOW, admitted, brute_force, enrolment, faces, gallery_of

FACES = faces(6)
LIVE = enrolment(1, FACES[:2])
DEMO = enrolment(2, FACES[2:4], demo=True)
EXPIRED = enrolment(3, FACES[4:5], validity_duration_s=60)
ENTRY = enrolment(4, FACES[5:6], purpose=Purpose.ENTRY)


def test_admitting_nobody() -> None:
    admission = admitted([])
    assert (len(admission.people), admission.left_out) == (0, {})
    assert comparisons_per_search(admission.people) == 0


def test_admission_puts_live_first_and_counts_faults() -> None:
    admission = admitted([DEMO, EXPIRED, LIVE, ENTRY])
    assert [member.person_id for member in admission.people] == ["person-1", "person-2"]
    assert admission.rows.tolist() == [2, 0]
    assert comparisons_per_search(admission.people) == 2
    assert admission.left_out == {ConsentFault.EXPIRED: 1, ConsentFault.WRONG_PURPOSE: 1}


def test_nothing_personal_shows_in_a_repr() -> None:
    admission = admitted([LIVE, EXPIRED])
    for value in (admission, gallery_of([LIVE]), gallery_of([LIVE]).live, *admission.people):
        assert "Name" not in repr(value)
        assert "0." not in repr(value).replace("threshold=0.4", "").replace("fpir=0.01", "")


def test_people_are_found_by_id_unless_masked() -> None:
    gallery = gallery_of([LIVE, DEMO])
    found = gallery.member("person-2")
    assert found is not None
    assert found.name == "Name 2"
    assert gallery.member("person-9") is None
    assert not gallery.is_usable("person-9", FrameOrigin.LIVE, NOW)
    masked = gallery.without(["person-2"]).without(["person-9"])
    assert masked.member("person-2") is None
    assert masked.member("person-1") is not None
    assert masked.masked == {"person-2", "person-9"}


def test_empty_section_builds_no_index() -> None:
    built = []

    def factory(matrix: Float32Array) -> object:
        built.append(matrix.shape)
        return brute_force(matrix)

    admission = admitted([LIVE])
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
    admission = admitted([LIVE])
    with pytest.raises(GalleryError, match="not what the consent records were signed for"):
        build_gallery(
            admission,
            matrix,
            generation=1,
            calibration=CALIBRATION,
            index_factory=brute_force,
        )


def test_person_twice_is_refused() -> None:
    admission = admitted([LIVE, replace(LIVE)])
    with pytest.raises(GalleryError, match="twice"):
        build_gallery(
            admission,
            np.concatenate([FACES[:2], FACES[:2]]),
            generation=1,
            calibration=CALIBRATION,
            index_factory=brute_force,
        )
