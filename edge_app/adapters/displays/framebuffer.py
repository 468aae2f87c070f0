"""A colour display behind a Linux framebuffer, /dev/fbN.

The structures are those of <linux/fb.h>. Kernel drivers for DRM displays make such a device too.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_app.adapters.displays.colour import draw_colour
from edge_app.adapters.displays.fonts import FontSet
from edge_app.core.present import phrases
from edge_app.errors import ConfigError
from edge_app.records import HudView

_log = logging.getLogger(__name__)

_FBIOGET_VSCREENINFO: Final = 0x4600
_FBIOGET_FSCREENINFO: Final = 0x4602
_VAR: Final = struct.Struct("8I12I20I")
"""fb_var_screeninfo: sizes, four bit fields (offset, length, most significant bit right), rest."""
_FIX: Final = struct.Struct("@16sL4I3HI L2IH2H0L")
"""fb_fix_screeninfo: name, where memory starts, its size, kind, steps, bytes of a row, rest."""
_MAX_SIDE_PX: Final = 8192


@dataclass(frozen=True, slots=True)
class Screen:
    """What of the memory is in view, and how a pixel is packed.

    first_byte:  where the visible part begins; row_bytes: from one row to the next.
    fields:      (offset, length) in bits of red, green and blue in a little-endian word.
    """

    width_px: int
    height_px: int
    pixel_bytes: int
    first_byte: int
    row_bytes: int
    memory_bytes: int
    fields: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    def pack(self, image: Image.Image) -> NDArray[np.uint8]:
        """An RGB picture as rows of packed pixels, shape (height, width * pixel_bytes)."""
        channels = np.asarray(image, np.uint32)
        word = np.zeros(channels.shape[:2], np.uint32)
        for channel, (offset, length) in enumerate(self.fields):
            word |= (channels[:, :, channel] >> (8 - length)) << offset
        packed = word.astype("<u2" if self.pixel_bytes == 2 else "<u4")
        return packed.view(np.uint8)


class FramebufferDisplay:
    """Draws on the whole of a framebuffer; black while there is nothing to show.

    One that stops answering is logged once: it must not stop the alerts.
    """

    def __init__(self, path: Path, *, fonts: FontSet, language: str) -> None:
        """path: e.g. /dev/fb0. It is black afterwards.

        Raises:
            ConfigError: it cannot be opened, has pixels of another kind, or there is no such
                language.
        """
        phrases(language)
        self._path = path
        self._fonts = fonts
        self._language = language
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be opened ({error.strerror}); name a framebuffer in "
                "hud.framebuffer, and add this user to the group video"
            ) from error
        try:
            self._screen = read_screen(path, descriptor)
            self._memory = mmap.mmap(descriptor, self._screen.memory_bytes)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} is no framebuffer that can be drawn on ({error}); name another in "
                "hud.framebuffer"
            ) from error
        finally:
            os.close(descriptor)
        self._blank()

    def show(self, view: HudView) -> None:
        """Draw the view."""
        size_px = self._screen.width_px, self._screen.height_px
        self._write(self._screen.pack(draw_colour(view, size_px, self._fonts, self._language)))

    def close(self) -> None:
        """Leave it black, so that no name stays on it."""
        if not self._memory.closed:
            self._blank()
            self._memory.close()

    def _blank(self) -> None:
        row_bytes = self._screen.width_px * self._screen.pixel_bytes
        self._write(np.zeros((self._screen.height_px, row_bytes), np.uint8))

    def _write(self, rows: NDArray[np.uint8]) -> None:
        screen = self._screen
        begin = screen.first_byte
        for row in rows:
            self._memory[begin : begin + row.size] = row.tobytes()
            begin += screen.row_bytes


def read_screen(path: Path, descriptor: int) -> Screen:
    """Ask a framebuffer for its geometry.

    Raises:
        ConfigError: its pixels are not of 16 or 32 bits in red, green and blue, or what it tells
            does not fit together.
        OSError: it is no framebuffer.
    """
    var = _VAR.unpack(fcntl.ioctl(descriptor, _FBIOGET_VSCREENINFO, bytes(_VAR.size)))
    fix = _FIX.unpack(fcntl.ioctl(descriptor, _FBIOGET_FSCREENINFO, bytes(_FIX.size)))
    width, height, _, _, x_offset, y_offset, pixel_bits, grey = var[:8]
    (red, green, blue) = ((var[i], var[i + 1]) for i in (8, 11, 14))
    memory_bytes, row_bytes = fix[2], fix[9]
    fields = (red, green, blue)
    packed = all(0 < length <= 8 and at + length <= pixel_bits for at, length in fields)
    if pixel_bits not in {16, 32} or grey or not packed:
        raise ConfigError(
            f"{path} has pixels of {pixel_bits} bits in an order that is not supported; set it to "
            "RGB565 or XRGB8888"
        )
    pixel_bytes = pixel_bits // 8
    first_byte = y_offset * row_bytes + x_offset * pixel_bytes
    last_byte = first_byte + (height - 1) * row_bytes + width * pixel_bytes
    sides = 0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX
    if not sides or row_bytes < width * pixel_bytes or last_byte > memory_bytes:
        raise ConfigError(f"{path} tells of {width} x {height} pixels that do not fit its memory")
    return Screen(width, height, pixel_bytes, first_byte, row_bytes, memory_bytes, fields)
