"""The pipeline over composed scenes of real faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from edge_app.adapters.cameras.scene import SceneCamera
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config, make_config
from edge_app.core.gallery import Gallery
from edge_app.core.governor import Effort
from edge_app.pipeline import FrameResult, Pipeline, Rules, State
from edge_app.ports import TensorModel
from edge_app.records import (
    Box,
    Detection,
    Float32Array,
    Frame,
    FrameOrigin,
    Landmarks,
    Rejection,
)
from tests.people import NOW, enrolment, gallery_of
from tests.scenes import FPS, Cast, scene_camera

ENROLLED, STRANGER_1, STRANGER_2 = "enrolled-3.jpg", "stranger-1.jpg", "stranger-2.png"


@dataclass
class Run:
    """What the pipeline said of every frame."""

    state: State
    results: list[tuple[float, FrameResult]] = field(default_factory=list)

    @property
    def sightings_s(self) -> list[float]:
        return [time_s for time_s, result in self.results for _ in result.sightings]

    def recognised_between(self, begin_s: float, end_s: float) -> bool:
        return any(r.recognised for t, r in self.results if begin_s <= t < end_s)


Watch = Callable[..., Run]


@pytest.fixture
def gallery(enrolled_embeddings: tuple[Float32Array, ...]) -> Gallery:
    return gallery_of([enrolment(1, enrolled_embeddings, demo=True)])


@pytest.fixture
def watch(config: Config, gallery: Gallery) -> Watch:
    models = load_models(config)

    def run(
        camera: SceneCamera,
        *,
        rules: Rules | None = None,
        of: Gallery = gallery,
        origin: FrameOrigin = FrameOrigin.REPLAY,
        now: Callable[[float], datetime] = lambda _: NOW,
        before: Callable[[float, State], None] = lambda _time, _state: None,
    ) -> Run:
        rules = rules or make_rules(config)
        pipeline = Pipeline(rules, models, NullStopwatch())
        seen = Run(State(rules))
        camera.open()
        while (frame := camera.read()) is not None:
            before(frame.time_s, seen.state)
            shown = Frame(frame.image_bgr, frame.time_s, frame.sequence, origin)
            result = pipeline.process(shown, seen.state, of, now(frame.time_s))
            seen.results.append((frame.time_s, result))
        return seen

    return run


def test_an_empty_street(watch: Watch) -> None:
    run = watch(scene_camera(1.0))
    assert run.sightings_s == []
    assert run.state.faces_embedded == 0


def test_one_enrolled_person_is_named_once(watch: Watch, cast: Cast) -> None:
    run = watch(scene_camera(2.0, cast.stand(ENROLLED, 960, 500, 120, 2.0)))
    (at_s,) = run.sightings_s
    assert at_s < 0.6
    assert run.recognised_between(1.8, 2.0)


def test_strangers_are_not(watch: Watch, cast: Cast) -> None:
    actors = [
        cast.walk(STRANGER_1, (0, 400, 500, 90), (3, 900, 480, 160)),
        cast.walk(STRANGER_2, (0, 1500, 500, 160), (3, 1300, 480, 90)),
    ]
    run = watch(scene_camera(3.0, *actors))
    assert run.state.faces_embedded >= 6
    assert run.sightings_s == []
    assert not run.recognised_between(0, 3)
    assert not any(result.unsure for _, result in run.results)


def test_two_people_who_are_enrolled_and_alike_are_known_and_not_named(
    watch: Watch, cast: Cast, enrolled_embeddings: tuple[Float32Array, ...]
) -> None:
    twins = gallery_of([enrolment(n, enrolled_embeddings, demo=True) for n in (1, 2)])
    actor = cast.stand(ENROLLED, 960, 500, 120, 2.0)
    run = watch(scene_camera(2.0, actor), of=twins)
    assert run.results[-1][1].unsure
    assert run.sightings_s == []
    later = watch(scene_camera(2.0, actor), of=twins, now=lambda _: NOW + timedelta(days=400))
    assert not any(result.unsure for _, result in later.results)  # P2: nobody's consent holds


def test_a_stranger_costs_few_embeddings(watch: Watch, cast: Cast) -> None:
    run = watch(scene_camera(4.0, cast.stand(STRANGER_1, 960, 500, 140, 4.0)))
    assert 3 <= run.state.faces_embedded <= 6


def test_a_face_that_comes_closer_is_embedded_again(watch: Watch, cast: Cast) -> None:
    walk = cast.walk(STRANGER_1, (0, 960, 500, 60), (4, 960, 500, 100))
    run = watch(scene_camera(4.0, walk))
    assert run.state.faces_embedded > 3


@pytest.mark.parametrize("width_px", [60, 90, 200, 450, 800])
def test_faces_of_60_px_and_more_are_found(watch: Watch, cast: Cast, width_px: float) -> None:
    run = watch(scene_camera(1.5, cast.stand(ENROLLED, 960, 540, width_px, 1.5)))
    assert len(run.sightings_s) == 1


def test_a_face_in_every_corner_is_found(watch: Watch, cast: Cast) -> None:
    for x in (150, 960, 1770):
        for y in (180, 540, 900):
            run = watch(scene_camera(1.0, cast.stand(ENROLLED, x, y, 80, 1.0)))
            assert len(run.sightings_s) == 1, (x, y)


def test_three_frames_are_the_least(watch: Watch, cast: Cast) -> None:
    run = watch(scene_camera(2 / FPS, cast.stand(ENROLLED, 960, 500, 120, 0.2)))
    assert run.state.faces_embedded == 2
    assert run.sightings_s == []
    run = watch(scene_camera(3 / FPS, cast.stand(ENROLLED, 960, 500, 120, 0.2)))
    assert len(run.sightings_s) == 1


def test_one_sighting_per_encounter_and_another_after_the_cool_down(
    watch: Watch, cast: Cast, config: Config
) -> None:
    visits = [
        cast.walk(ENROLLED, (begin, 960, 500, 120), (begin + 1.5, 1000, 500, 120))
        for begin in (0.0, 3.0, 7.5)
    ]
    rules = replace(make_rules(config), encounter_gap_s=3.0)
    run = watch(scene_camera(9.0, *visits), rules=rules)
    first, second = run.sightings_s
    assert first < 1
    assert second > 7.5


def test_one_bad_look_among_the_first_does_not_make_somebody_nobody(
    watch: Watch, cast: Cast
) -> None:
    """A stranger's picture for one look, then the enrolled person in the same place."""
    first = cast.walk(STRANGER_1, (0.0, 960, 500, 120), (0.05, 960, 500, 120))
    then = cast.walk(ENROLLED, (0.06, 960, 500, 120), (2.0, 960, 500, 120))
    run = watch(scene_camera(2.0, first, then))
    assert len(run.sightings_s) == 1


def test_a_gated_face_carries_no_name(watch: Watch, cast: Cast) -> None:
    """Recognised first; then too blurred to be judged, in the same place."""
    clear = cast.walk(ENROLLED, (0.0, 960, 500, 120), (2.0, 960, 500, 120))
    soft = np.asarray(cv2.GaussianBlur(clear.image_bgr, (0, 0), 7), np.uint8)
    keys = tuple(replace(key, time_s=key.time_s + 2.0) for key in clear.path)
    run = watch(scene_camera(4.0, clear, replace(clear, image_bgr=soft, path=keys)))
    assert run.recognised_between(1.5, 2.0)
    assert run.state.rejections[Rejection.BLURRED] > 5
    assert not run.recognised_between(2.3, 4.0)


def test_a_name_does_not_stay_with_the_box(watch: Watch, cast: Cast) -> None:
    """A stranger steps into the very place where the enrolled person stood."""
    first = cast.walk(ENROLLED, (0.0, 960, 500, 120), (2.0, 960, 500, 120))
    second = cast.walk(STRANGER_1, (2.0, 960, 500, 150), (4.5, 960, 500, 150))
    run = watch(scene_camera(4.5, first, second))
    assert run.recognised_between(1.5, 2.0)
    assert not run.recognised_between(2.6, 4.5)


def test_a_consent_that_ends_while_the_person_is_in_view(
    watch: Watch, cast: Cast, enrolled_embeddings: tuple[Float32Array, ...]
) -> None:
    person = enrolment(1, enrolled_embeddings, demo=True, event_time=NOW, validity_duration_s=2)
    run = watch(
        scene_camera(4.0, cast.stand(ENROLLED, 960, 500, 120, 4.0)),
        of=gallery_of([person]),
        now=lambda time_s: NOW + timedelta(seconds=time_s),
    )
    assert run.recognised_between(1.0, 1.9)
    assert not run.recognised_between(2.1, 4.0)


def test_a_demo_template_does_not_exist_for_a_camera(watch: Watch, cast: Cast) -> None:
    camera = scene_camera(2.0, cast.stand(ENROLLED, 960, 500, 120, 2.0))
    run = watch(camera, origin=FrameOrigin.LIVE)
    assert run.state.faces_embedded >= 3
    assert run.sightings_s == []


def test_asking_lets_the_wearer_look_further(watch: Watch, cast: Cast, config: Config) -> None:
    rules = make_rules(make_config({"attention": {"max_distance_m": 1.0}}))
    camera = scene_camera(3.0, cast.stand(ENROLLED, 960, 500, 100, 3.0))
    assert watch(camera, rules=rules).sightings_s == []

    def ask(time_s: float, state: State) -> None:
        if time_s == pytest.approx(1.0):
            state.ask(time_s, rules)

    asked = watch(camera, rules=rules, before=ask)
    assert len(asked.sightings_s) == 1
    assert asked.sightings_s[0] > 1.0


class ScriptedMesh:
    """A FaceMesh that answers with one presence after the other."""

    name, sha256 = "facemesh", "0" * 64

    def __init__(self, *presence: float) -> None:
        self.presence = list(presence)
        self.seen: list[Float32Array] = []

    def __call__(self, tensor: Float32Array) -> tuple[Float32Array, ...]:
        self.seen.append(tensor)
        share = self.presence.pop(0)
        logit = np.log(share / (1 - share))
        return np.zeros((1, 1404), np.float32), np.full((1, 1), logit, np.float32)


@pytest.mark.parametrize(
    ("answers", "presence"), [((0.95,), 0.95), ((0.6, 0.3), 0.3), ((0.02, 0.8), 0.8)]
)
def test_a_second_look_decides_where_the_first_leaves_doubt(
    config: Config, answers: tuple[float, ...], presence: float
) -> None:
    mesh = ScriptedMesh(*answers)
    pipeline = Pipeline(
        make_rules(config), replace(load_models(config), mesh=mesh), NullStopwatch()
    )
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    points = np.array([(90, 95), (110, 95)] + [(100, 100)] * 4, np.float32)
    found = Detection(Box(80, 80, 120, 120), Landmarks(points), 0.9)
    assert pipeline.mesh(noise, found).presence == pytest.approx(presence, abs=1e-5)
    assert mesh.presence == []
    if len(answers) == 2:
        first, second = mesh.seen
        assert second.shape == first.shape
        assert second.std() < first.std() / 2  # smoothed


class CountingMesh:
    """FaceMesh, and how often it was asked."""

    def __init__(self, mesh: TensorModel) -> None:
        self._mesh = mesh
        self.name, self.sha256 = mesh.name, mesh.sha256
        self.calls = 0

    def __call__(self, tensor: Float32Array) -> tuple[Float32Array, ...]:
        self.calls += 1
        return self._mesh(tensor)


@pytest.mark.parametrize(("rest_s", "least", "most"), [(0.0, 16, 21), (0.3, 6, 8)])
def test_a_face_that_is_known_rests_between_close_looks(
    config: Config, gallery: Gallery, cast: Cast, rest_s: float, least: int, most: int
) -> None:
    models = load_models(config)
    mesh = CountingMesh(models.mesh)
    rules = replace(make_rules(config), rest_s=rest_s)
    pipeline, state = Pipeline(rules, replace(models, mesh=mesh), NullStopwatch()), State(rules)
    camera = scene_camera(3.0, cast.stand(ENROLLED, 960, 500, 120, 3.0))
    for number in range(round(3 * FPS)):
        if number == FPS:
            mesh.calls = 0
        seen = pipeline.process(camera.frame(number), state, gallery, NOW).recognised
        assert seen or number < FPS
    assert least <= mesh.calls <= most


@pytest.mark.parametrize("swap_s", [2.0, 2.1, 2.2, 2.3, 2.4])
def test_a_rest_ends_when_the_face_changes(
    config: Config, gallery: Gallery, cast: Cast, swap_s: float
) -> None:
    """Somebody else in the same place, at the same size, whenever the last close look was."""
    rules = replace(make_rules(config), rest_s=0.5)
    pipeline, state = Pipeline(rules, load_models(config), NullStopwatch()), State(rules)
    first = cast.walk(ENROLLED, (0.0, 960, 500, 120), (swap_s, 960, 500, 120))
    second = cast.walk(STRANGER_1, (swap_s, 960, 500, 120), (3.0, 960, 500, 120))
    camera = scene_camera(3.0, first, second)
    for number in range(round((swap_s + 0.2) * FPS)):
        seen = pipeline.process(camera.frame(number), state, gallery, NOW).recognised
        assert seen or not FPS < number < swap_s * FPS
    assert not seen


def test_with_less_effort_a_crowd_is_looked_at_in_turns_and_named_all_the_same(
    config: Config, gallery: Gallery, cast: Cast
) -> None:
    rules = make_rules(config)
    pipeline = Pipeline(rules, load_models(config), NullStopwatch())
    actors = [
        cast.stand(ENROLLED if x == 240 else STRANGER_1, x, 500, 120, 2.0)
        for x in (240, 720, 1200, 1680)
    ]
    for effort, most in ((Effort.FULL, 4), (Effort.FEWER_LOOKS, 2)):
        state, named = State(rules), False
        state.effort = effort
        for number in range(30):
            before = state.faces_embedded
            frame = scene_camera(2.0, *actors).frame(number)
            named |= bool(pipeline.process(frame, state, gallery, NOW).recognised)
            assert state.faces_embedded - before <= most
        assert named
        assert state.faces_embedded >= 12
