"""Every kind of clip before the station's own capture, by name."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.commands.evaluate_liveness import Station
from edge_app.config import Config
from edge_app.core.align import parallax_pose
from edge_app.core.liveness import Ask, observe, relief_between
from edge_app.evaluation.attacks import CAMERA, Clip, Kind, Portrait, head, portrait
from edge_app.evaluation.surfaces import Placement, Surface, draw, sheet
from edge_app.pipeline import Pipeline
from edge_app.records import Frame, ImageBgr

TURNS = (Ask.LEFT, Ask.UP, Ask.RIGHT, Ask.DOWN)
ATTACKS = [kind for kind in Kind if kind not in (Kind.HEAD, Kind.STEERED_SCREEN)]


@pytest.fixture(scope="session")
def sitter(pipeline: Pipeline, portrait: ImageBgr) -> Portrait:
    return _portrait(pipeline, portrait)


@pytest.fixture(scope="session")
def station(config: Config) -> Station:
    hasty = config.model_copy(
        update={"enrolment": config.enrolment.model_copy(update={"step_timeout_s": 5.0})}
    )
    reader = Pipeline(make_rules(config), load_models(config), NullStopwatch())
    return Station(reader, hasty)


def _portrait(pipeline: Pipeline, image: ImageBgr) -> Portrait:
    return portrait(image, pipeline.mesh(image, pipeline.detect_whole(image)[0]))


def frames(clip: Clip, count: int) -> list[Frame]:
    return [frame for _ in range(count) if (frame := clip.read()) is not None]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_head_that_does_as_asked_passes(station: Station, sitter: Portrait, seed: int) -> None:
    assert station(Clip(Kind.HEAD, sitter, seed, turns=4, seconds=120.0), TURNS)


@pytest.mark.parametrize("kind", ATTACKS)
def test_this_attack_is_refused(station: Station, sitter: Portrait, kind: Kind) -> None:
    assert not station(Clip(kind, sitter, 1, turns=4, seconds=120.0), TURNS)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_same_seed_makes_the_same_clip(sitter: Portrait, kind: Kind) -> None:
    first, second, other = (
        frames(Clip(kind, sitter, seed, turns=4, seconds=9.0), 2) for seed in (4, 4, 5)
    )
    for a, b, c in zip(first, second, other, strict=True):
        assert np.array_equal(a.image_bgr, b.image_bgr)
        assert not np.array_equal(a.image_bgr, c.image_bgr)
        assert a.image_bgr.shape == (CAMERA.height_px, CAMERA.width_px, 3)


def test_a_clip_ends(sitter: Portrait) -> None:
    clip = Clip(Kind.STILL, sitter, 1, turns=4, seconds=0.5)
    times = [frame.time_s for frame in frames(clip, 10)]
    assert len(times) == 3
    assert times == sorted(times)
    assert clip.read() is None
    assert frames(Clip(Kind.STILL, sitter, 1, turns=4, seconds=0.0), 1) == []


@pytest.mark.parametrize("yaw_deg", [-30.0, 30.0])
def test_a_solid_head_turns_as_far_as_it_is_turned(
    pipeline: Pipeline, sitter: Portrait, yaw_deg: float
) -> None:
    """With the sign of a neck, about as far as FaceMesh says: it has never seen this one."""
    poses = []
    for turned in (0.0, yaw_deg):
        canvas = np.full((CAMERA.height_px, CAMERA.width_px, 3), 90, np.uint8)
        draw(canvas, head(sitter, 1.0), Placement(turned, 0.0, 0.0, (0.0, 0.0, 0.5)), CAMERA)
        (found, *_) = pipeline.detect_whole(canvas)
        poses.append(parallax_pose(pipeline.mesh(canvas, found)))
    assert poses[1].yaw_deg - poses[0].yaw_deg == pytest.approx(yaw_deg, abs=12.0)


def test_a_head_has_relief_and_a_print_has_none(
    pipeline: Pipeline, config: Config, sitter: Portrait
) -> None:
    width_m = sitter.metres_per_px * sitter.image.shape[1]
    paper = sheet(sitter.image, width_m, float("inf"), 0.0)
    solid = head(sitter, 1.0)
    of_head = relief_of(pipeline, solid, [(25, 0), (-25, 0), (0, 18), (0, -18)])
    of_print = relief_of(pipeline, paper, [(50, 0), (-50, 0), (0, 45), (0, -40)])
    assert of_print < config.enrolment.min_relief < 0 < of_head


def relief_of(pipeline: Pipeline, surface: Surface, turns: list[tuple[int, int]]) -> float:
    """The mean over some turned views."""
    views = []
    for yaw_deg, pitch_deg in [(0, 0), *turns]:
        canvas = np.full((CAMERA.height_px, CAMERA.width_px, 3), 90, np.uint8)
        draw(canvas, surface, Placement(yaw_deg, pitch_deg, 0.0, (0.0, 0.0, 0.45)), CAMERA)
        (found, *_) = pipeline.detect_whole(canvas)
        views.append(observe(canvas, pipeline.mesh(canvas, found)))
    return float(np.mean([relief_between(views[0], turned) for turned in views[1:]]))


def test_what_is_bent_looks_bent_and_what_is_shown_moves(sitter: Portrait) -> None:
    """A clip of an attack that does nothing would be refused for nothing."""
    for kind in (Kind.MOVED, Kind.TURNED_AS_ASKED, Kind.BENT_AS_ASKED, Kind.VIDEO):
        clip = Clip(kind, sitter, 3, turns=4, seconds=9.0)
        first = frames(clip, 2)[-1].image_bgr.astype(float)
        clip.ask(Ask.LEFT)
        last = frames(clip, 15)[-1].image_bgr.astype(float)
        assert np.abs(last - first).mean() > 6, kind
