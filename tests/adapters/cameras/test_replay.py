"""Replays of pictures, folders and videos: real files, made here."""

import io
import logging
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_app.adapters.cameras.picture import PictureLimits
from edge_app.adapters.cameras.replay import ReplayCamera, StillTiming
from edge_app.adapters.clock import ManualClock
from edge_app.errors import MediaError
from edge_app.records import Frame, FrameOrigin

LIMITS = PictureLimits(min_side_px=64, max_pixels=1_000_000, fit_width_px=640, fit_height_px=360)
FPS = 10.0
STILL_FRAMES = 5


def replay(*paths: Path, clock: ManualClock | None = None, realtime: bool = False) -> ReplayCamera:
    return ReplayCamera(
        paths=paths,
        timing=StillTiming(still_s=STILL_FRAMES / FPS, fps=FPS),
        limits=LIMITS,
        clock=clock or ManualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        realtime=realtime,
    )


def read_all(camera: ReplayCamera) -> list[Frame]:
    camera.open()
    frames = []
    while (frame := camera.read()) is not None:
        frames.append(frame)
    camera.close()
    return frames


def greys(frames: list[Frame]) -> list[int]:
    return [round(float(frame.image_bgr.mean()) / 10) * 10 for frame in frames]


def still(path: Path, grey: int, size: tuple[int, int] = (100, 80)) -> Path:
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


def video(
    path: Path, greys: list[int], *, fps: float = 25.0, size: tuple[int, int] = (160, 120)
) -> Path:
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, fps, size)
    assert writer.isOpened()
    for grey in greys:
        writer.write(np.full((size[1], size[0], 3), grey, np.uint8))
    writer.release()
    return path


def jpeg_chunks(avi: bytes | bytearray) -> list[tuple[int, int]]:
    """(offset, length) of each picture in an MJPEG AVI."""
    found, at = [], avi.find(b"00dc")
    while at >= 0:
        length = int.from_bytes(avi[at + 4 : at + 8], "little")
        if avi[at + 8 : at + 10] == b"\xff\xd8":
            found.append((at + 8, length))
        at = avi.find(b"00dc", at + 4)
    return found


def refused(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        replay(path).open()
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


def test_no_path_gives_no_frame() -> None:
    assert read_all(replay()) == []


def test_a_camera_that_was_not_opened_gives_no_frame(tmp_path: Path) -> None:
    assert replay(still(tmp_path / "a.png", 50)).read() is None


def test_a_picture_is_shown_for_its_time(tmp_path: Path) -> None:
    camera = replay(still(tmp_path / "a.png", 50))
    frames = read_all(camera)
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame.origin for frame in frames} == {FrameOrigin.REPLAY}
    assert camera.origin is FrameOrigin.REPLAY
    assert greys(frames) == [50] * STILL_FRAMES


def test_a_folder_is_shown_in_the_order_of_names(tmp_path: Path) -> None:
    for name, grey in (("b.png", 100), ("a.jpg", 50), ("c.webp", 150), (".hidden.png", 200)):
        still(tmp_path / name, grey)
    (tmp_path / "deeper").mkdir()
    still(tmp_path / "deeper" / "d.png", 250)
    frames = read_all(replay(tmp_path))
    assert greys(frames) == [50] * 5 + [100] * 5 + [150] * 5
    assert [frame.sequence for frame in frames] == list(range(15))
    assert [frame.time_s for frame in frames] == pytest.approx([i / FPS for i in range(15)])


def test_undecodable_files_in_a_folder_are_skipped_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    still(tmp_path / "a.png", 50)
    (tmp_path / "b.jpg").write_text("not a picture")
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300), (9, 99, 199)).save(buffer, "JPEG")
    (tmp_path / "c.jpg").write_bytes(buffer.getvalue()[:-500])
    still(tmp_path / "d.png", 150)
    camera = replay(tmp_path)
    with caplog.at_level(logging.WARNING):
        frames = read_all(camera)
    assert greys(frames) == [50] * 5 + [150] * 5
    assert frames[5].time_s == pytest.approx(0.5)
    assert camera.undecodable == 2
    assert "b.jpg" in caplog.text
    assert "c.jpg" in caplog.text


def test_a_video_has_its_own_pace(tmp_path: Path) -> None:
    levels = [0, 50, 100, 150, 200, 250]
    frames = read_all(replay(video(tmp_path / "a.avi", levels)))
    assert greys(frames) == levels
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(6)])
    assert frames[0].image_bgr.shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("mp4v", "mp4"), ("mp4v", "mov"), ("VP80", "webm"), ("MPG2", "ts")]
)
def test_other_containers_are_read(
    tmp_path: Path, codec: str, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"video.{suffix}"
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 24, (320, 240))
    assert writer.isOpened()
    for grey in (0, 100, 200):
        writer.write(np.full((240, 320, 3), grey, np.uint8))
    writer.release()
    capfd.readouterr()
    assert greys(read_all(replay(path))) == pytest.approx([0, 100, 200], abs=10)
    assert capfd.readouterr() == ("", "")


def test_several_paths_continue_one_another(tmp_path: Path) -> None:
    paths = (
        still(tmp_path / "a.png", 50),
        video(tmp_path / "b.avi", [100, 150], fps=25),
        still(tmp_path / "c.png", 200),
    )
    frames = read_all(replay(*paths))
    assert greys(frames) == [50] * 5 + [100, 150] + [200] * 5
    assert [frame.sequence for frame in frames] == list(range(12))
    times = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.54, 0.58, 0.68, 0.78, 0.88, 0.98]
    assert [frame.time_s for frame in frames] == pytest.approx(times)
    assert all(earlier.time_s < later.time_s for earlier, later in pairwise(frames))


def test_undecodable_pictures_in_a_video_are_skipped_counted_and_leave_their_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    levels = [0, 20, 40, 60, 80, 100, 120, 140]
    path = video(tmp_path / "a.avi", levels)
    damaged = bytearray(path.read_bytes())
    for offset, length in jpeg_chunks(damaged)[3:5]:
        damaged[offset : offset + length] = bytes(length)
    path.write_bytes(damaged)
    camera = replay(path)
    with caplog.at_level(logging.WARNING):
        frames = read_all(camera)
    assert greys(frames) == [0, 20, 40, 100, 120, 140]
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in (0, 1, 2, 5, 6, 7)])
    assert camera.undecodable == 2
    assert "a.avi" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_video_that_is_cut_off_ends_early(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", [0, 20, 40, 60, 80, 100])
    whole = path.read_bytes()
    path.write_bytes(whole[: jpeg_chunks(whole)[3][0]])
    assert greys(read_all(replay(path))) == [0, 20, 40]


def test_large_videos_are_scaled_down_and_larger_ones_refused(tmp_path: Path) -> None:
    frames = read_all(replay(video(tmp_path / "a.avi", [100], size=(1280, 720))))
    assert frames[0].image_bgr.shape == (360, 640, 3)
    assert "scale it down first" in refused(video(tmp_path / "b.avi", [100], size=(1920, 1080)))
    assert "at least 64 px" in refused(video(tmp_path / "c.avi", [100], size=(32, 32)))


def test_a_replay_can_be_opened_again(tmp_path: Path) -> None:
    camera = replay(video(tmp_path / "a.avi", [0, 100]))
    assert [f.time_s for f in read_all(camera)] == [f.time_s for f in read_all(camera)]


def test_closing_in_the_middle_ends_it(tmp_path: Path) -> None:
    camera = replay(video(tmp_path / "a.avi", [0, 50, 100]))
    camera.open()
    assert camera.read() is not None
    camera.close()
    camera.close()
    assert camera.read() is None


def test_in_real_time_each_frame_comes_when_it_is_due(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(100)
    camera = replay(still(tmp_path / "a.png", 50), clock=clock, realtime=True)
    camera.open()
    came_s = []
    while camera.read() is not None:
        came_s.append(clock.monotonic_s())
    assert came_s == pytest.approx([100, 100.1, 100.2, 100.3, 100.4])


def test_in_real_time_a_slow_reader_does_not_delay_what_follows(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    camera = replay(still(tmp_path / "a.png", 50), clock=clock, realtime=True)
    camera.open()
    camera.read()
    clock.advance(0.25)
    came_s = [clock.monotonic_s() for _ in range(4) if camera.read() is not None]
    assert came_s == pytest.approx([0.25, 0.25, 0.3, 0.4])


def test_without_real_time_nothing_waits(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    read_all(replay(still(tmp_path / "a.png", 50), clock=clock))
    assert clock.monotonic_s() == 0


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert "there is no file or folder" in refused(tmp_path / "none")


def test_something_else_than_a_file_is_refused() -> None:
    assert "neither a file nor a folder" in refused(Path("/dev/null"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "holds no picture that can be read" in refused(tmp_path)


def test_a_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no")
    still(tmp_path / "b.png", 50, size=(1, 1))
    assert "holds no picture that can be read" in refused(tmp_path)


def test_a_bad_picture_is_refused_when_opened(tmp_path: Path) -> None:
    assert "at least 64 px" in refused(still(tmp_path / "a.png", 50, size=(1, 1)))


@pytest.mark.parametrize("name", ["text.jpg", "text.txt", "text.mp4", "text.nfo"])
def test_a_text_is_not_drawn_as_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("hello world\n" * 1000)
    assert "is not a picture or a video" in refused(path)


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    video(tmp_path / "secret.avi", [100])
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.avi\n#EXT-X-ENDLIST\n")
    assert "is not a picture or a video" in refused(path)


def test_a_truncated_jpeg_is_not_read_as_a_video(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(buffer, "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(buffer.getvalue()[:-2000])
    assert "damaged or cut off" in refused(path)


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF\0\0\0\0AVI LIST",
        b"\0\0\0\x18ftypmp42",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\x01\xba",
        (b"G" + bytes(187)) * 3,
    ],
)
def test_a_video_that_only_begins_like_one_is_refused(
    tmp_path: Path, head: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.avi"
    path.write_bytes(head + bytes(range(256)) * 8)
    assert "cannot be decoded" in refused(path)
    assert capfd.readouterr() == ("", "")


def test_a_phone_s_heic_picture_is_refused_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(1000))
    assert "JPEG, PNG, WebP" in refused(path)
