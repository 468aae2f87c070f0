"""What a small display shows, as pictures: for replays only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import HEIGHT_PX, WIDTH_PX, draw_view
from edge_app.core.present import phrases
from edge_app.errors import ConfigError, StorageError
from edge_app.records import FrameOrigin, HudView

_PNG_SCALE: Final = 4


class DemoPngDisplay:
    """Saves each changed view as hud-0001.png and so on, four times as large.

    It writes names into files in the clear, so it exists for replays only.
    """

    def __init__(self, folder: Path, *, origin: FrameOrigin, fonts: FontSet, language: str) -> None:
        """folder: made if it is missing; pictures of the same number are overwritten.

        Raises:
            ConfigError: the frames are live, or there is no such language.
            StorageError: the folder cannot be made.
        """
        if origin is not FrameOrigin.REPLAY:
            raise ConfigError(
                "the PNG display writes names to disk and works with replays only;"
                " choose another display for a camera"
            )
        phrases(language)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(_cannot_write(folder, error)) from error
        self._folder = folder
        self._fonts = fonts
        self._language = language
        self._last = b""
        self._count = 0

    def show(self, view: HudView) -> None:
        """Save the view unless it looks like the one before.

        Raises:
            StorageError: the picture cannot be written.
        """
        image = draw_view(view, self._fonts, self._language)
        pixels = image.tobytes()
        if pixels == self._last:
            return
        self._last = pixels
        self._count += 1
        path = self._folder / f"hud-{self._count:04d}.png"
        size = (WIDTH_PX * _PNG_SCALE, HEIGHT_PX * _PNG_SCALE)
        try:
            image.resize(size, Image.Resampling.NEAREST).save(path)
        except OSError as error:
            raise StorageError(_cannot_write(path, error)) from error

    def close(self) -> None:
        """Do nothing: the pictures stay."""


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}; free some space or choose a folder"
