from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.adapters.cameras.timed import TimedReplay
from edge_app.errors import MediaError
from edge_app.records import FrameOrigin
from tests.adapters.cameras.test_replay import replay


def picture(path: Path) -> Path:
    cv2.imwrite(str(path), np.full((240, 320, 3), 128, np.uint8))
    return path


def played(*paths: Path) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    camera = TimedReplay(replay(*paths), lambda done, of: told.append((done, of)))
    assert camera.origin is FrameOrigin.REPLAY
    camera.open()
    while camera.read() is not None:
        pass
    assert camera.read() is None
    camera.close()
    return told


def test_a_replay_is_as_long_as_its_files(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    assert replay(one).length_s is None
    camera = replay(one, two)
    camera.open()
    length_s = camera.length_s
    assert length_s is not None
    last = 0.0
    while (frame := camera.read()) is not None:
        last = frame.time_s
    assert last < length_s <= last + 1
    camera.close()


def test_it_tells_how_far_it_has_come_once_a_second(tmp_path: Path) -> None:
    told = played(*(picture(tmp_path / f"{number}.png") for number in range(5)))
    assert told
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len({of for _, of in told}) == 1
    assert all(done <= of for done, of in told)


def test_what_cannot_be_opened_tells_nothing(tmp_path: Path) -> None:
    told: list[int] = []
    camera = TimedReplay(replay(tmp_path / "none.png"), lambda done, _: told.append(done))
    with pytest.raises(MediaError):
        camera.open()
    assert camera.read() is None
    assert told == []
