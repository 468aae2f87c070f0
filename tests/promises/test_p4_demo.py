"""P4: demo templates and live frames do not exist for each other, at gallery and match."""

from dataclasses import replace

import numpy as np
import pytest

from edge_app.core.consent import ConsentFault, check
from edge_app.core.gallery import MAX_DEMO_TEMPLATES, build_gallery
from edge_app.core.match import match
from edge_app.errors import GalleryError
from edge_app.records import CollectionMethod, FrameOrigin
from tests.people import (
    CALIBRATION,
    NOW,
    USE,
    admitted,
    brute_force,
    enrolment,
    faces,
    gallery_of,
    probe,
)

FACES = faces(30)


@pytest.mark.parametrize("origin", list(FrameOrigin))
def test_probe_sees_templates_of_its_own_origin_only(origin: FrameOrigin) -> None:
    """The same face is enrolled both ways; each kind of frame finds the one of its kind."""
    people = [enrolment(1, FACES[:2]), enrolment(2, FACES[:2], demo=True)]
    gallery = gallery_of(people)
    found = match(probe(FACES[0], origin), gallery, NOW, 5)
    expected = "person-1" if origin is FrameOrigin.LIVE else "person-2"
    assert [candidate.person_id for candidate in found] == [expected]
    other = "person-2" if origin is FrameOrigin.LIVE else "person-1"
    assert not gallery.is_usable(other, origin, NOW)


def test_demo_person_does_not_exist_for_a_camera() -> None:
    gallery = gallery_of([enrolment(1, FACES[:2], demo=True)])
    assert match(probe(FACES[0], FrameOrigin.LIVE), gallery, NOW, 5) == ()


def test_photograph_is_not_searched_among_people_who_enrolled_live() -> None:
    gallery = gallery_of([enrolment(1, FACES[:2])])
    assert match(probe(FACES[0], FrameOrigin.REPLAY), gallery, NOW, 5) == ()


def test_order_of_enrolments_does_not_mix_the_sections() -> None:
    people = [enrolment(n, FACES[n : n + 1], demo=bool(n % 2)) for n in range(10)]
    gallery = gallery_of(people)
    for n in range(10):
        own = FrameOrigin.REPLAY if n % 2 else FrameOrigin.LIVE
        best = match(probe(FACES[n], own), gallery, NOW, 1)[0]
        assert best.person_id == f"person-{n}"
        assert best.similarity == pytest.approx(1.0, abs=1e-5)


def test_at_most_25_demo_templates_fit() -> None:
    assert MAX_DEMO_TEMPLATES == 25
    fits = [enrolment(n, FACES[n * 5 : n * 5 + 5], demo=True) for n in range(5)]
    gallery_of(fits)
    with pytest.raises(GalleryError, match="26 demo templates"):
        gallery_of([*fits, enrolment(6, FACES[25:26], demo=True)])


def test_live_people_are_not_limited() -> None:
    people = [enrolment(n, FACES[n : n + 1]) for n in range(30)]
    assert len(gallery_of(people).live.index) == 30


def test_demo_flag_cannot_be_dropped_from_a_signed_record() -> None:
    person = enrolment(1, FACES[:1], demo=True)
    record = replace(
        person.consent.record, demo=False, collection_method=CollectionMethod.LIVE_GUIDED_CAPTURE
    )
    laundered = replace(person, consent=replace(person.consent, record=record))
    assert check(laundered, USE, tombstones=frozenset(), now=NOW) is ConsentFault.NOT_SIGNED


def test_rows_that_are_not_the_signed_templates_are_refused() -> None:
    """Exchanging a live row for a demo one in the matrix is noticed at the gallery."""
    people = [enrolment(1, FACES[:1]), enrolment(2, FACES[1:2], demo=True)]
    admission = admitted(people)
    with pytest.raises(GalleryError, match="not what the consent records were signed for"):
        build_gallery(
            admission,
            np.stack([FACES[1], FACES[0]]),
            generation=1,
            calibration=CALIBRATION,
            index_factory=brute_force,
        )
