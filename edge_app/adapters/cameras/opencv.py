"""OpenCV's video capture, without what it prints.

OpenCV and FFmpeg report by return value and write to stderr besides, where it would bury
the one line that says what to do. OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL, if set,
bring the chatter back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


def open_capture(
    source: str, backend: int, properties: Sequence[tuple[int, int]]
) -> cv2.VideoCapture:
    """A capture that may have failed to open. properties: (cv2.CAP_PROP_..., value) pairs."""
    return cv2.VideoCapture(source, backend, [number for pair in properties for number in pair])
