"""P11: bystanders are not searched. A gated-out face is never embedded.

The embedder is a canary that keeps every face it is shown; the test then tells by a second
embedding whose faces those were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.adapters.cameras.scene import Actor
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config, make_config
from edge_app.core.embed import comparable
from edge_app.pipeline import Pipeline, State
from edge_app.ports import TensorModel
from edge_app.records import Float32Array, Purpose, Rejection
from tests.people import NOW, enrolment, gallery_of
from tests.scenes import Cast, scene_camera

ZONE = [[0.35, 0.0], [0.65, 0.0], [0.65, 1.0], [0.35, 1.0]]
OTHERS = [purpose for purpose in Purpose if purpose is not Purpose.ASSIST]
NEAR, FAR = "stranger-1.jpg", "stranger-2.png"


class Canary:
    def __init__(self, inner: TensorModel) -> None:
        self.inner = inner
        self.embeddings: list[Float32Array] = []

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def sha256(self) -> str:
        return self.inner.sha256

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        answer = self.inner(tensor)
        self.embeddings.append(comparable(answer[0]))
        return answer


Watched = tuple[list[Float32Array], State]


@pytest.fixture
def watch(enrolled_embeddings: tuple[Float32Array, ...]) -> Callable[..., Watched]:
    def run(config: Config, *actors: Actor) -> Watched:
        models = load_models(config)
        canary = Canary(models.embedder)
        rules = make_rules(config)
        pipeline = Pipeline(rules, replace(models, embedder=canary), NullStopwatch())
        state = State(rules)
        gallery = gallery_of([enrolment(1, enrolled_embeddings, demo=True)])
        camera = scene_camera(1.5, *actors)
        camera.open()
        while (frame := camera.read()) is not None:
            pipeline.process(frame, state, gallery, NOW)
        return canary.embeddings, state

    return run


@pytest.fixture(scope="session")
def identity(cast: Cast, pipeline: Pipeline) -> dict[str, Float32Array]:
    """What each stranger's embedding looks like."""
    known = {}
    for portrait in (NEAR, FAR):
        image = scene_camera(0.1, cast.stand(portrait, 960, 500, 200, 0.1)).frame(0).image_bgr
        face, _ = pipeline.aligned(image, pipeline.detect_whole(image)[0])
        known[portrait] = pipeline.embed(face)
    return known


def whose(embeddings: list[Float32Array], identity: dict[str, Float32Array]) -> set[str]:
    return {max(identity, key=lambda name: float(identity[name] @ e)) for e in embeddings}


def entry(purpose: Purpose, zone: object = ZONE) -> Config:
    return make_config({"purpose": purpose.value, "attention": {"zone": zone}})


def test_far_faces_are_not_embedded(watch: Callable[..., Watched], cast: Cast) -> None:
    config = make_config({"attention": {"max_distance_m": 1.0}})
    embeddings, state = watch(config, cast.stand(FAR, 960, 500, 110, 1.5))
    assert embeddings == []
    assert state.rejections[Rejection.TOO_FAR] > 5


def test_faces_turned_away_are_not_embedded(watch: Callable[..., Watched], cast: Cast) -> None:
    config = make_config({"attention": {"max_yaw_deg": 5.0}})
    turned = cast.walk("enrolled-2.jpg", (0, 960, 500, 160), (1.5, 960, 500, 160))
    embeddings, state = watch(config, turned)
    assert embeddings == []
    assert state.rejections[Rejection.TURNED_AWAY] > 10


def test_of_a_near_and_a_far_face_only_the_near_one_is(
    watch: Callable[..., Watched], cast: Cast, identity: dict[str, Float32Array]
) -> None:
    config = make_config({"attention": {"max_distance_m": 2.0}})
    embeddings, state = watch(
        config, cast.stand(NEAR, 600, 500, 200, 1.5), cast.stand(FAR, 1400, 500, 75, 1.5)
    )
    assert whose(embeddings, identity) == {NEAR}
    assert len(embeddings) >= 3
    assert state.rejections[Rejection.TOO_FAR] > 5


@pytest.mark.parametrize("purpose", OTHERS)
def test_outside_the_zone_nobody_is_embedded(
    watch: Callable[..., Watched],
    cast: Cast,
    identity: dict[str, Float32Array],
    purpose: Purpose,
) -> None:
    embeddings, state = watch(
        entry(purpose), cast.stand(NEAR, 960, 500, 160, 1.5), cast.stand(FAR, 300, 500, 200, 1.5)
    )
    assert whose(embeddings, identity) == {NEAR}
    assert len(embeddings) >= 3
    assert state.rejections[Rejection.OUTSIDE_ZONE] > 10


@pytest.mark.parametrize("purpose", OTHERS)
def test_asking_opens_no_zone(
    watch: Callable[..., Watched], cast: Cast, purpose: Purpose, config: Config
) -> None:
    """ "Who is this?" is the wearer's question; a gate has none."""
    rules = make_rules(entry(purpose))
    models = load_models(config)
    canary = Canary(models.embedder)
    pipeline = Pipeline(rules, replace(models, embedder=canary), NullStopwatch())
    state = State(rules)
    state.ask(0.0, rules)
    camera = scene_camera(1.0, cast.stand(NEAR, 300, 500, 200, 1.0))
    camera.open()
    while (frame := camera.read()) is not None:
        pipeline.process(frame, state, gallery_of([]), NOW)
    assert canary.embeddings == []


def test_the_canary_sings_without_the_gate(
    watch: Callable[..., Watched], cast: Cast, identity: dict[str, Float32Array]
) -> None:
    """A test that cannot fail proves nothing: within the gate both are embedded."""
    embeddings, _ = watch(
        Config(), cast.stand(NEAR, 600, 500, 200, 1.5), cast.stand(FAR, 1400, 500, 75, 1.5)
    )
    assert whose(embeddings, identity) == {NEAR, FAR}
    assert np.isfinite(embeddings).all()
