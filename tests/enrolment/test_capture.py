"""Guided live capture with a person who does as told, or does not; and replayed pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_app.enrol
from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.liveness import Ask, LivenessRule
from edge_app.enrol import Applicant, EnrolmentResult, consent_notice, enrol_person
from edge_app.enrolment.capture import Capture, PoseRule
from edge_app.enrolment.poses import Facing, facings
from edge_app.errors import EnrolmentError
from edge_app.people import list_people
from edge_app.pipeline import Pipeline
from edge_app.records import Frame, FrameOrigin, ImageBgr, LawfulBasis, Rejection
from tests.heads import Relief, relief

RULE = LivenessRule(
    turn_deg=15.0, straight_deg=10.0, step_timeout_s=1.6, max_lost_s=0.1, min_relief=0.0
)
TURNS = (Ask.LEFT, Ask.UP, Ask.RIGHT)
POSES = PoseRule(frames_per_pose=1, timeout_s=1.0)
ANGLES: dict[Ask | Facing, tuple[float, float]] = {
    Ask.STRAIGHT: (0.0, 0.0),
    Ask.LEFT: (38.0, 0.0),
    Ask.RIGHT: (-38.0, 0.0),
    Ask.UP: (0.0, 20.0),
    Facing.DOWN: (0.0, -14.0),
}
Asked = Ask | Facing
LAST_FRAME = 200


class Sitter:
    """Somebody before a live camera, who also hears the guide: a FrameSource and a Guide.

    `shows` makes the picture of one moment from what was asked last.
    """

    def __init__(
        self, shows: Callable[[Asked], ImageBgr], origin: FrameOrigin = FrameOrigin.LIVE
    ) -> None:
        self.origin = origin
        self.description = "sitter"
        self.undecodable = 0
        self.asked: list[Asked] = []
        self.hints: list[str] = []
        self.is_open = False
        self._shows = shows
        self.frames_read = 0

    def open(self) -> None:
        self.is_open = True

    def read(self) -> Frame | None:
        assert self.is_open
        if self.frames_read == LAST_FRAME:
            return None
        self.frames_read += 1
        image = self._shows(self.asked[-1] if self.asked else Ask.STRAIGHT)
        return Frame(image, self.frames_read * 0.2, self.frames_read, self.origin)

    def close(self) -> None:
        self.is_open = False

    def ask(self, ask: Asked) -> None:
        self.asked.append(ask)

    def hint(self, text: str) -> None:
        self.hints.append(text)

    def progress(self, done: int, total: int) -> None:
        assert done < total


@pytest.fixture(scope="session")
def head(pipeline: Pipeline, portrait: ImageBgr) -> Relief:
    return relief(pipeline, portrait)


@pytest.fixture(scope="session")
def poses(head: Relief) -> dict[Asked, ImageBgr]:
    return {ask: head.turned(*angles) for ask, angles in ANGLES.items()}


def capture(pipeline: Pipeline, config: Config, sitter: Sitter) -> Capture:
    return Capture(
        pipeline,
        config.enrolment_quality,
        sitter,
        detector=config.scan.tile_detector,
        max_overlap=config.look.max_detection_overlap,
    )


def test_somebody_who_does_as_asked_is_captured(
    pipeline: Pipeline, config: Config, poses: dict[Asked, ImageBgr]
) -> None:
    sitter = Sitter(lambda ask: poses[ask])
    captured = capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)
    assert sitter.asked == [
        Ask.STRAIGHT, Ask.LEFT, Ask.STRAIGHT, Ask.UP, Ask.STRAIGHT, Ask.RIGHT, Ask.STRAIGHT,
        Facing.DOWN,
    ]  # fmt: skip
    assert set(facings(captured.probes)) == set(Facing)
    assert captured.refused == {}
    assert {probe.origin for probe in captured.probes} == {FrameOrigin.LIVE}
    assert not sitter.is_open


def test_a_pose_that_is_not_taken_is_not_waited_for_for_ever(
    pipeline: Pipeline, config: Config, poses: dict[Asked, ImageBgr]
) -> None:
    sitter = Sitter(lambda ask: poses[Ask.STRAIGHT if ask == Facing.DOWN else ask])
    captured = capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)
    assert set(facings(captured.probes)) == set(Facing) - {Facing.DOWN}
    assert sitter.asked[-1] is Facing.DOWN
    assert sitter.frames_read < LAST_FRAME


@pytest.mark.parametrize("others", [0, 2])
def test_nothing_is_taken_after_the_face_that_passed_left(
    pipeline: Pipeline, config: Config, poses: dict[Asked, ImageBgr], others: int
) -> None:
    """Whoever sits down after the challenge has passed none."""
    then = np.full_like(poses[Ask.STRAIGHT], 128)
    if others:
        then = np.ascontiguousarray(np.hstack([poses[Facing.DOWN]] * others))
    after: list[ImageBgr] = []

    def shows(ask: Asked) -> ImageBgr:
        if ask == Facing.DOWN:
            after.append(then)
            return then if len(after) == 1 else poses[Facing.DOWN]
        return poses[ask]

    sitter = Sitter(shows)
    captured = capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)
    assert Facing.DOWN not in facings(captured.probes)
    assert len(after) == 1


def test_refused_frames_are_counted_and_hinted_at(
    pipeline: Pipeline, config: Config, portrait: ImageBgr
) -> None:
    dark = portrait // 8
    shown = iter([portrait, dark, portrait, dark])

    class Album(Sitter):
        def read(self) -> Frame | None:
            image = next(shown, None)
            return None if image is None else Frame(image, 0.0, 0, FrameOrigin.REPLAY)

    album = Album(lambda _: portrait, FrameOrigin.REPLAY)
    captured = capture(pipeline, config, album).replayed(album)
    assert captured.refused == {Rejection.TOO_DARK: 2}
    assert len(captured.probes) == 2


@pytest.mark.parametrize(
    ("attack", "shows"),
    [
        ("a still photograph", lambda poses, ask: poses[Ask.STRAIGHT]),
        ("a recording of somebody who looks left", lambda poses, ask: poses[Ask.LEFT]),
        ("a mirror: the other turn", lambda poses, ask: poses[
            {Ask.LEFT: Ask.RIGHT, Ask.RIGHT: Ask.LEFT}.get(ask, ask)]),
        ("a photograph that is turned as asked", lambda poses, ask: squeezed(
            poses[Ask.STRAIGHT], 0.8 if ask is not Ask.STRAIGHT else 1.0)),
        ("a face that goes away when asked to turn", lambda poses, ask: (
            poses[ask] if ask is Ask.STRAIGHT else np.full_like(poses[ask], 128))),
    ],
)  # fmt: skip
def test_these_are_refused(
    pipeline: Pipeline,
    config: Config,
    poses: dict[Asked, ImageBgr],
    attack: str,
    shows: Callable[[dict[Asked, ImageBgr], Asked], ImageBgr],
) -> None:
    sitter = Sitter(lambda ask: shows(poses, ask))
    with pytest.raises(EnrolmentError, match="liveness"):
        capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)
    assert not sitter.is_open, attack


def squeezed(image: ImageBgr, share: float) -> ImageBgr:
    """A flat picture turned about the vertical, seen from afar."""
    height, width = image.shape[:2]
    matrix = np.array([[share, 0, width * (1 - share) / 2], [0, 1, 0]])
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def test_two_faces_are_too_many(pipeline: Pipeline, config: Config, portrait: ImageBgr) -> None:
    both = np.ascontiguousarray(np.hstack([portrait, portrait]))
    sitter = Sitter(lambda _: both)
    with pytest.raises(EnrolmentError, match="liveness"):
        capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)
    assert "one person only, please" in sitter.hints
    replay = Sitter(lambda _: both, FrameOrigin.REPLAY)
    with pytest.raises(EnrolmentError, match="2 faces"):
        capture(pipeline, config, replay).replayed(replay)


def test_a_camera_that_ends_early(pipeline: Pipeline, config: Config) -> None:
    sitter = Sitter(lambda _: np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(EnrolmentError, match="liveness"):
        capture(pipeline, config, sitter).live(sitter, RULE, TURNS, POSES)


def test_live_and_replayed_do_not_mix(
    pipeline: Pipeline, config: Config, portrait: ImageBgr
) -> None:
    """P4, before a single frame is read."""
    live = Sitter(lambda _: portrait)
    with pytest.raises(EnrolmentError, match="live camera"):
        capture(pipeline, config, live).replayed(live)
    replay = Sitter(lambda _: portrait, FrameOrigin.REPLAY)
    with pytest.raises(EnrolmentError, match="live capture"):
        capture(pipeline, config, replay).live(replay, RULE, TURNS, POSES)


def test_a_live_enrolment_is_signed_as_one(
    tmp_path: Path,
    config: Config,
    poses: dict[Asked, ImageBgr],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sitter = Sitter(lambda ask: poses[ask])
    monkeypatch.setattr(edge_app.enrol, "make_camera", lambda *_, **__: sitter)
    monkeypatch.setattr(edge_app.enrol, "_rule", lambda _: RULE)
    # The sitter has a time of their own, which must not run while nobody looks.
    monkeypatch.setattr(edge_app.enrol, "LatestFrames", lambda source: source)
    home = Home(tmp_path / "home", None)
    given: list[EnrolmentResult] = []

    def hand_over(result: EnrolmentResult) -> None:
        assert list_people(config, home, SystemClock()) == []
        given.append(result)

    result = enrol_person(
        config,
        home,
        Applicant("Ada", "colleague", config.purpose, LawfulBasis.EXPLICIT_CONSENT),
        consent_notice(config, config.purpose, "en"),
        sources=[],
        demo=False,
        guide=sitter,
        hand_over=hand_over,
        clock=SystemClock(),
        stop=threading.Event(),
    )
    assert given == [result]
    (person,) = list_people(config, home, SystemClock())
    assert (person.templates, person.fault) == (1, "")
    assert set(result.report.kept) == set(Facing)
    assert result.report.missing == ()
    assert set(sitter.asked) == set(Facing)
    assert 9 <= len(sitter.asked) <= 12  # all four poses may have been drawn for the challenge
