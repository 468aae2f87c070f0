"""Composed scenes: the truth they state is what they show."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.adapters.cameras.picture import PictureLimits
from edge_app.adapters.cameras.replay import ReplayCamera, StillTiming
from edge_app.adapters.cameras.scene import (
    Actor,
    Degradation,
    Key,
    PanZoom,
    Scene,
    SceneCamera,
    write_mjpeg_avi,
)
from edge_app.adapters.clock import SystemClock
from edge_app.errors import StorageError
from edge_app.records import Box, FrameOrigin, ImageBgr

WHITE = np.full((100, 80, 3), 255, np.uint8)


def scene(*actors: Actor, **more: Any) -> Scene:
    return Scene(
        width_px=480, height_px=270, fps=10.0, duration_s=1.0, seed=7, actors=actors, **more
    )


def actor(*keys: Key, image: ImageBgr = WHITE) -> Actor:
    return Actor("somebody", image, keys)


def white_box(image: ImageBgr) -> Box | None:
    """Where the image is whiter than any backdrop."""
    rows, columns = np.nonzero(image.min(axis=2) > 225)
    if not rows.size:
        return None
    return Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_an_empty_scene_is_its_backdrop() -> None:
    camera = SceneCamera(scene())
    first, last = camera.frame(0).image_bgr, camera.frame(9).image_bgr
    assert (first.shape, first.dtype.name) == ((270, 480, 3), "uint8")
    assert np.array_equal(first, last)
    assert first.std() > 5
    assert white_box(first) is None
    assert camera.truth(0.0) == ()


def test_it_plays_every_frame_once_and_can_be_played_again() -> None:
    camera = SceneCamera(scene())
    assert camera.read() is None
    for _ in range(2):
        camera.open()
        frames = [frame for _ in range(20) if (frame := camera.read()) is not None]
        assert [frame.sequence for frame in frames] == list(range(10))
        assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(10)])
        assert {frame.origin for frame in frames} == {FrameOrigin.REPLAY}
        camera.close()
        assert camera.read() is None


def test_the_same_scene_gives_the_same_frames_and_another_seed_others() -> None:
    degraded = scene(actor(Key(0, 100, 100, 50)), degradation=Degradation(0, 0.5, 8))
    one, two = SceneCamera(degraded), SceneCamera(degraded)
    one.frame(0)
    assert np.array_equal(one.frame(5).image_bgr, two.frame(5).image_bgr)
    other = Scene(480, 270, 10.0, 1.0, 8, ())
    assert not np.array_equal(
        SceneCamera(scene()).frame(0).image_bgr, SceneCamera(other).frame(0).image_bgr
    )


def test_an_actor_is_there_from_the_first_key_to_the_last() -> None:
    camera = SceneCamera(scene(actor(Key(0.2, 100, 100, 40), Key(0.6, 300, 150, 80))))
    assert [bool(camera.truth(i / 10)) for i in range(10)] == [2 <= i <= 6 for i in range(10)]
    backdrop = camera.frame(0).image_bgr
    shown = [not np.array_equal(camera.frame(i).image_bgr, backdrop) for i in range(10)]
    assert shown == [2 <= i <= 6 for i in range(10)]


def test_between_keys_place_and_size_change_linearly() -> None:
    camera = SceneCamera(scene(actor(Key(0.0, 100, 100, 40), Key(0.8, 300, 150, 80))))
    (truth,) = camera.truth(0.4)
    assert truth.label == "somebody"
    assert truth.box_px == Box(170, 88, 230, 163)


@settings(max_examples=30, deadline=None)
@given(st.floats(-150, 600), st.floats(-150, 400), st.floats(20, 300), st.integers(0, 9))
def test_the_truth_is_where_the_pixels_are(
    centre_x: float, centre_y: float, width: float, number: int
) -> None:
    keys = (Key(0, centre_x, centre_y, width), Key(1, centre_x + 50, centre_y, width))
    camera = SceneCamera(scene(actor(*keys)))
    empty = SceneCamera(scene()).frame(0).image_bgr
    image = camera.frame(number).image_bgr
    truth = camera.truth(number / 10)
    changed = np.nonzero((image != empty).any(axis=2))
    if not truth:
        assert changed[0].size == 0
        return
    box = truth[0].box_px
    assert 0 <= box.x0 < box.x1 <= 480
    assert 0 <= box.y0 < box.y1 <= 270
    if changed[0].size:
        # The outermost pixels are too transparent to change every grey level.
        assert box.x0 <= changed[1].min()
        assert changed[1].max() < box.x1
        assert box.y0 <= changed[0].min()
        assert changed[0].max() < box.y1
    whole = box.x0 > 0 and box.x1 < 480 and box.y0 > 0 and box.y1 < 270
    if whole:
        assert changed[1].max() - changed[1].min() + 1 >= box.width - 2


def test_edges_are_soft_and_the_middle_is_the_cut_out_itself() -> None:
    camera = SceneCamera(scene(actor(Key(0, 240, 135, 80))))
    row = camera.frame(0).image_bgr[135, 195:285, 0].astype(int)
    assert row[45] == 255
    steps = np.abs(np.diff(row))
    assert steps.max() < 80


def test_actors_cover_one_another_in_order() -> None:
    black = actor(Key(0, 240, 135, 80), image=np.zeros_like(WHITE))
    camera = SceneCamera(scene(actor(Key(0, 240, 135, 80)), black))
    assert camera.frame(0).image_bgr[135, 240].tolist() == [0, 0, 0]
    assert len(camera.truth(0.0)) == 2


def test_degradation_blurs_darkens_and_adds_noise() -> None:
    stripes = np.where(np.arange(100)[:, None, None] % 8 < 4, 40, 200).astype(np.uint8)
    striped = actor(
        Key(0, 240, 135, 80), image=np.ascontiguousarray(stripes.repeat(80, 1).repeat(3, 2))
    )
    plain = SceneCamera(scene(striped)).frame(0).image_bgr

    def degraded(blur_sigma_px: float, gain: float, noise_sigma: float) -> ImageBgr:
        how = Degradation(blur_sigma_px, gain, noise_sigma)
        return SceneCamera(scene(striped, degradation=how)).frame(0).image_bgr

    assert np.array_equal(degraded(0, 1, 0), plain)
    sharpness = cv2.Laplacian(plain, cv2.CV_64F).std()
    assert cv2.Laplacian(degraded(3, 1, 0), cv2.CV_64F).std() < sharpness / 2
    assert degraded(0, 0.5, 0).mean() == pytest.approx(plain.mean() / 2, rel=0.02)
    middle = (slice(30, 90), slice(30, 150))  # neither black nor white is near
    noise = degraded(0, 1, 8)[middle].astype(float) - plain[middle]
    assert noise.std() == pytest.approx(8, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.3)


def test_noise_changes_from_frame_to_frame() -> None:
    camera = SceneCamera(scene(degradation=Degradation(0, 1, 8)))
    assert not np.array_equal(camera.frame(0).image_bgr, camera.frame(1).image_bgr)


def still() -> ImageBgr:
    image = np.full((540, 960, 3), 100, np.uint8)
    image[200:300, 400:480] = 255
    return image


def test_the_camera_pans_and_zooms_over_a_still() -> None:
    subject = ("known", Box(400, 200, 480, 300))
    keys = (Key(0, 480, 270, 960), Key(0.5, 440, 250, 480), Key(1, 400, 250, 240))
    camera = SceneCamera(scene(backdrop=PanZoom(still(), keys, (subject,))))
    for number in range(10):
        (truth,) = camera.truth(number / 10)
        found = white_box(camera.frame(number).image_bgr)
        assert found is not None
        for side in ("x0", "y0", "x1", "y1"):
            assert getattr(found, side) == pytest.approx(getattr(truth.box_px, side), abs=2.5)


def test_a_subject_outside_the_shown_part_is_not_in_view() -> None:
    subject = ("known", Box(400, 200, 480, 300))
    camera = SceneCamera(scene(backdrop=PanZoom(still(), (Key(0, 120, 70, 240),), (subject,))))
    assert camera.truth(0) == ()
    assert white_box(camera.frame(0).image_bgr) is None


@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0, 5000))
@settings(max_examples=30, deadline=None)
def test_a_pan_never_leaves_the_still(x: float, y: float, width: float) -> None:
    camera = SceneCamera(scene(backdrop=PanZoom(still(), (Key(0, x, y, width),), ())))
    image = camera.frame(0).image_bgr
    assert image.shape == (270, 480, 3)
    assert image.min() >= 99


def test_a_stored_scene_is_the_same_film(tmp_path: Path) -> None:
    source = SceneCamera(scene(actor(Key(0, 100, 100, 60), Key(1, 300, 150, 60))))
    path = tmp_path / "scene.avi"
    write_mjpeg_avi(path, source, 10.0)
    replay = ReplayCamera(
        paths=[path],
        timing=StillTiming(still_s=1, fps=10),
        limits=PictureLimits(64, 1_000_000, 1920, 1080),
        clock=SystemClock(),
        realtime=False,
    )
    replay.open()
    for number in range(10):
        frame = replay.read()
        assert frame is not None
        assert frame.time_s == pytest.approx(number / 10)
        difference = frame.image_bgr.astype(int) - source.frame(number).image_bgr
        assert np.abs(difference).mean() < 3
    assert replay.read() is None


def test_a_film_that_cannot_be_written_is_one_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StorageError, match="folder exists and is writable"):
        write_mjpeg_avi(tmp_path / "none" / "scene.avi", SceneCamera(scene()), 10.0)
    assert capfd.readouterr() == ("", "")
