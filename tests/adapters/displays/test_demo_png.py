"""Pictures of the display, for replays only."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edge_app.adapters.displays.demo_png import DemoPngDisplay
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import draw_view
from edge_app.errors import ConfigError, StorageError
from edge_app.records import Direction, FrameOrigin, HudLine, HudView

FONTS = FontSet()
NOBODY = HudView((), "")
ANNA = HudView((HudLine("Anna", "", Direction.LEFT, unsure=False),), "")


def png_display(folder: Path) -> DemoPngDisplay:
    return DemoPngDisplay(folder, origin=FrameOrigin.REPLAY, fonts=FONTS, language="en")


def test_a_live_camera_has_no_png_display(tmp_path: Path) -> None:
    folder = tmp_path / "hud"
    with pytest.raises(ConfigError, match="replays only"):
        DemoPngDisplay(folder, origin=FrameOrigin.LIVE, fonts=FONTS, language="en")
    with pytest.raises(ConfigError, match="no language"):
        DemoPngDisplay(folder, origin=FrameOrigin.REPLAY, fonts=FONTS, language="xx")
    assert not folder.exists()


def test_each_changed_view_is_saved_once_four_times_as_large(tmp_path: Path) -> None:
    display = png_display(tmp_path / "a" / "hud")
    views = [NOBODY, NOBODY, ANNA, ANNA, NOBODY]
    for view in views:
        display.show(view)
    display.close()
    paths = sorted((tmp_path / "a" / "hud").iterdir())
    assert [path.name for path in paths] == ["hud-0001.png", "hud-0002.png", "hud-0003.png"]
    with Image.open(paths[1]) as saved:
        assert saved.size == (512, 256)
        small = saved.resize((128, 64), Image.Resampling.NEAREST)
        assert small.tobytes() == draw_view(ANNA, FONTS, "en").tobytes()


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder"):
        png_display(tmp_path / "file" / "hud")
    display = png_display(tmp_path / "hud")
    (tmp_path / "hud" / "hud-0001.png").mkdir()
    with pytest.raises(StorageError, match=r"hud-0001\.png"):
        display.show(NOBODY)
