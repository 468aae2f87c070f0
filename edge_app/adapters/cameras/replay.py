"""Frames from files: pictures, folders of pictures and videos, one after another."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_app.adapters.cameras.opencv import open_capture
from edge_app.adapters.cameras.picture import (
    PictureLimits,
    check_size,
    fit,
    load_picture,
    quoted,
)
from edge_app.errors import MediaError
from edge_app.ports import Clock
from edge_app.records import Frame, FrameOrigin, ImageBgr

_log: Final = logging.getLogger(__name__)

_FALLBACK_FPS: Final = 30.0
_PLAUSIBLE_FPS: Final = (0.1, 1000.0)
_MOST_FRAMES: Final = 1e8
_BAD_PICTURES_AT_END: Final = 30
_TS_PACKET_BYTES: Final = 188
_SNIFF_BYTES: Final = 2 * _TS_PACKET_BYTES + 1
_STILL_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"avif", b"avis")


@dataclass(frozen=True, slots=True)
class StillTiming:
    """How pictures become frames.

    still_s: seconds for which each picture is shown.
    fps:     frames per second meanwhile.
    """

    still_s: float
    fps: float


class ReplayCamera:
    """A `FrameSource` over files.

    A path is a picture, a folder of pictures (in the order of their names) or a video.
    Frame times start at 0 and are the media's own: frame i of a video at i / fps. With
    `realtime`, `read` returns each frame when its time has come; without, at once.
    """

    def __init__(
        self,
        *,
        paths: Sequence[Path],
        timing: StillTiming,
        limits: PictureLimits,
        clock: Clock,
        realtime: bool,
    ) -> None:
        self._paths = tuple(paths)
        self._timing = timing
        self._limits = limits
        self._clock = clock
        self._realtime = realtime
        self._undecodable = 0
        self._frames: Generator[Frame, None, None] | None = None
        self._started_s: float | None = None
        self._length_s: float | None = None

    @property
    def origin(self) -> FrameOrigin:
        return FrameOrigin.REPLAY

    @property
    def description(self) -> str:
        return f"replay of {', '.join(quoted(path) for path in self._paths)}"

    @property
    def undecodable(self) -> int:
        return self._undecodable

    @property
    def length_s(self) -> float | None:
        """How long it plays, as its files say; None before it is opened, or if one does not say."""
        return self._length_s

    def open(self) -> None:
        """Looks at every path. Raises MediaError on the first that cannot be read."""
        self.close()
        clips = [_clip(path, self._timing, self._limits) for path in self._paths]
        said = all(clip.frames for clip in clips)
        self._length_s = sum(clip.frames / clip.fps for clip in clips) if said else None
        self._frames = self._play(clips)

    def read(self) -> Frame | None:
        frame = None if self._frames is None else next(self._frames, None)
        if frame is not None and self._realtime:
            self._wait_until(frame.time_s)
        return frame

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()
        self._frames = None
        self._started_s = None

    def _play(self, clips: list[_Stills | _Video]) -> Generator[Frame, None, None]:
        clip_start_s, sequence = 0.0, 0
        for clip in clips:
            slot = -1
            for slot, image in clip.pictures(self._skip):
                time_s = clip_start_s + slot / clip.fps
                yield Frame(image, time_s, sequence, FrameOrigin.REPLAY)
                sequence += 1
            clip_start_s += (slot + 1) / clip.fps

    def _skip(self, reason: str, count: int) -> None:
        self._undecodable += count
        _log.warning("skipped %d that cannot be decoded: %s", count, reason)

    def _wait_until(self, time_s: float) -> None:
        now_s = self._clock.monotonic_s()
        if self._started_s is None:
            self._started_s = now_s - time_s
        self._clock.sleep(self._started_s + time_s - now_s)


Skip = Callable[[str, int], None]
"""Counts and logs pictures that cannot be decoded: (why and where, how many)."""


class _Stills:
    """Pictures, each repeated for as long as it is shown."""

    def __init__(self, paths: Sequence[Path], timing: StillTiming, limits: PictureLimits) -> None:
        self._paths = paths
        self._limits = limits
        self._repeats = max(1, round(timing.still_s * timing.fps))
        self.fps = timing.fps
        self.frames = self._repeats * len(paths)

    def pictures(self, skip: Skip) -> Iterator[tuple[int, ImageBgr]]:
        """(number of the time slot, image) pairs."""
        slot = 0
        for path in self._paths:
            try:
                image = load_picture(path, self._limits)
            except MediaError as error:
                skip(str(error), 1)
                continue
            for _ in range(self._repeats):
                yield slot, image
                slot += 1


class _Video:
    """A video file, through FFmpeg."""

    def __init__(self, path: Path, limits: PictureLimits) -> None:
        self._path = path
        self._limits = limits
        capture = self._open()
        try:
            width_px = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height_px = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            check_size(quoted(path), width_px, height_px, limits)
            fps = capture.get(cv2.CAP_PROP_FPS)
            frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if next(_decoded(capture), None) is None:
                raise _unreadable_video(path)
        finally:
            capture.release()
        plausible = math.isfinite(fps) and _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1]
        self.fps = fps if plausible else _FALLBACK_FPS
        self.frames = round(frames) if 0 < frames < _MOST_FRAMES else 0  # 0: it does not say

    def pictures(self, skip: Skip) -> Iterator[tuple[int, ImageBgr]]:
        """(number of the time slot, image) pairs; a picture that was skipped leaves its slot."""
        capture = self._open()
        slot = 0
        try:
            for bad, image in _decoded(capture):
                if bad:
                    skip(quoted(self._path), bad)
                slot += bad
                yield slot, fit(image, self._limits)
                slot += 1
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        # Absolute, so that FFmpeg cannot take a file's name for the address of something else.
        capture = open_capture(str(self._path.resolve()), cv2.CAP_FFMPEG, ())
        if not capture.isOpened():
            raise _unreadable_video(self._path)
        return capture


def _decoded(capture: cv2.VideoCapture) -> Iterator[tuple[int, ImageBgr]]:
    """(undecodable pictures before this one, image) pairs.

    OpenCV tells a bad picture and the end apart only by what follows: after a bad picture
    the next read may succeed, at the end none does.
    """
    bad = 0
    while bad < _BAD_PICTURES_AT_END:
        found, image = capture.read()
        if found:
            yield bad, np.asarray(image, dtype=np.uint8)
            bad = 0
        else:
            bad += 1


def _clip(path: Path, timing: StillTiming, limits: PictureLimits) -> _Stills | _Video:
    if path.is_dir():
        return _folder(path, timing, limits)
    if not path.exists():
        raise MediaError(f"there is no file or folder {quoted(path)}; check the path")
    if not path.is_file():
        raise MediaError(f"{quoted(path)} is neither a file nor a folder; give a picture or video")
    if _is_video(path):
        return _Video(path, limits)
    load_picture(path, limits)
    return _Stills([path], timing, limits)


def _folder(path: Path, timing: StillTiming, limits: PictureLimits) -> _Stills:
    try:
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise MediaError(f"the folder {quoted(path)} cannot be read: {error.strerror}") from error
    if not any(_is_readable(file, limits) for file in files):
        raise MediaError(f"the folder {quoted(path)} holds no picture that can be read")
    return _Stills(files, timing, limits)


def _is_readable(path: Path, limits: PictureLimits) -> bool:
    try:
        load_picture(path, limits)
    except MediaError:
        return False
    return True


def _is_video(path: Path) -> bool:
    """Whether the file begins like a video container.

    FFmpeg alone must not decide: it draws a text file as a video of its letters, fills a
    truncated JPEG with grey, and follows the paths in a playlist.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFF_BYTES)
    except OSError as error:
        raise MediaError(f"{quoted(path)} cannot be opened: {error.strerror}") from error
    return (
        (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or (head[4:8] == b"ftyp" and head[8:12] not in _STILL_BRANDS)  # MP4, MOV
        or head[4:8] in (b"moov", b"mdat", b"wide")  # MOV without a brand
        or head.startswith((b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba"))  # Matroska, MPEG-PS
        or head[::_TS_PACKET_BYTES][:3] == b"GGG"  # MPEG-TS
    )


def _unreadable_video(path: Path) -> MediaError:
    return MediaError(
        f"the video {quoted(path)} cannot be decoded; it may be cut off or of an unusual codec: "
        "convert it to H.264 MP4 or MJPEG AVI"
    )
