from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.gallery import Gallery, SearchIndex
from edge_app.core.match import match
from edge_app.records import Enrolment, Float32Array, FrameOrigin
from tests.people import (
    CALIBRATION,
    MODEL_SHA256,
    NOW,
    USE,
    brute_force,
    enrolment,
    faces,
    gallery_of,
    probe,
)


def person(number: int, embeddings: Float32Array, *, expired: bool, demo: bool) -> Enrolment:
    return enrolment(
        number,
        list(embeddings),
        demo=demo,
        event_time=NOW - timedelta(days=2),
        validity_duration_s=(1 if expired else 3) * 86_400,
    )


def gallery_before_expiry(people: list[Enrolment]) -> Gallery:
    """Loaded the day before, so that some of its people expire while it is in use."""
    return gallery_of(people, now=NOW - timedelta(days=1, seconds=1))


def test_empty_gallery_knows_nobody() -> None:
    gallery = Gallery.empty(purpose=USE.purpose, model_sha256=MODEL_SHA256, calibration=CALIBRATION)
    for origin in FrameOrigin:
        assert match(probe(faces(1)[0], origin), gallery, NOW, 5) == ()


def test_one_candidate_per_person_with_the_best_of_their_templates() -> None:
    embeddings = faces(3)
    gallery = gallery_of([enrolment(1, list(embeddings))])
    (candidate,) = match(probe(embeddings[1]), gallery, NOW, 5)
    assert candidate.similarity == pytest.approx(1.0, abs=1e-6)


def test_asking_for_nobody_gives_nobody() -> None:
    embeddings = faces(1)
    assert match(probe(embeddings[0]), gallery_of([enrolment(1, embeddings)]), NOW, 0) == ()


def test_probe_without_meaning_ends_and_names_nobody() -> None:
    embeddings = faces(40)
    gallery = gallery_of([enrolment(n, embeddings[n : n + 1]) for n in range(40)])
    broken = np.full(embeddings.shape[1], np.nan, dtype=np.float32)
    found = match(probe(broken), gallery, NOW, 2)
    assert not any(c.similarity >= CALIBRATION.threshold for c in found)


def test_person_behind_many_expired_ones_is_found() -> None:
    """200 expired people rank above the only one who may be found."""
    towards = faces(1)[0]
    away = faces(201, seed=1)
    near = (0.95 * towards + 0.1 * away).astype(np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    far = (0.3 * towards + away[200]).astype(np.float32)
    far /= np.linalg.norm(far)
    people = [person(n, near[n : n + 1], expired=True, demo=False) for n in range(200)]
    people.append(person(200, far[None], expired=False, demo=False))
    gallery = gallery_before_expiry(people)
    assert len(gallery.live.index) == 201
    assert [c.person_id for c in match(probe(towards), gallery, NOW, 1)] == ["person-200"]


class CountingIndex:
    """Counts the rows it was asked for."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._index)

    def search(self, embedding: Float32Array, count: int) -> tuple[Any, Float32Array]:
        self.asked.append(count)
        return self._index.search(embedding, count)


def test_usual_search_asks_the_index_once() -> None:
    from dataclasses import replace

    embeddings = faces(100)
    gallery = gallery_of([enrolment(n, embeddings[n : n + 1]) for n in range(100)])
    index = CountingIndex(gallery.live.index)
    counted = replace(gallery, live=replace(gallery.live, index=index))
    match(probe(embeddings[5]), counted, NOW, 5)
    assert len(index.asked) == 1
    assert index.asked[0] < 100


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Enrolment], frozenset[str], Float32Array]:
    """People with one to four templates, live or demo, some expired, some masked."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people = []
    for number in range(draw(st.integers(0, 12))):
        count = draw(st.integers(1, 4))
        drawn = random.standard_normal((count, 8)).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        demo = number < 4 and draw(st.booleans())
        people.append(person(number, drawn, expired=draw(st.booleans()), demo=demo))
    masked = frozenset(f"person-{n}" for n in draw(st.sets(st.integers(0, 12), max_size=4)))
    towards = random.standard_normal(8).astype(np.float32)
    return people, masked, towards / np.linalg.norm(towards)


@settings(deadline=None, max_examples=150)
@given(situations(), st.integers(0, 8), st.sampled_from(FrameOrigin))
def test_match_equals_brute_force_over_usable_people(
    situation: tuple[list[Enrolment], frozenset[str], Float32Array],
    count: int,
    origin: FrameOrigin,
) -> None:
    people, masked, towards = situation
    gallery = gallery_before_expiry(people).without(masked)
    usable = {
        p.person_id: max(float(t.embedding @ towards) for t in p.templates)
        for p in people
        if p.consent.record.demo == (origin is FrameOrigin.REPLAY)
        and p.consent.record.validity_duration_s > 2 * 86_400
        and p.person_id not in masked
    }
    expected = sorted(usable.items(), key=lambda item: -item[1])[:count]
    found = match(probe(towards, origin), gallery, NOW, count)
    assert [c.person_id for c in found] == [name for name, _ in expected]
    assert [c.similarity for c in found] == pytest.approx([s for _, s in expected], abs=1e-6)


def test_brute_force_index_is_what_it_says() -> None:
    rows, similarities = brute_force(faces(3)).search(faces(3)[2], 2)
    assert rows[0] == 2
    assert similarities.shape == (2,)
