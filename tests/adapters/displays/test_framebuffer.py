"""The framebuffer, on a file with the kernel's two answers beside it.

The structures are written here by their C types (ctypes), and read there by their layout.
"""

from __future__ import annotations

import ctypes
import fcntl
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.adapters.displays.colour import draw_colour
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.framebuffer import FramebufferDisplay
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView

FONTS = FontSet()
VIEW = HudView((HudLine("Anna", "colleague", Direction.LEFT, unsure=True),), "no sound")
U16, U32, LONG = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_ulong


class Bitfield(ctypes.Structure):
    _fields_ = (("offset", U32), ("length", U32), ("msb_right", U32))


class Variable(ctypes.Structure):
    """fb_var_screeninfo of <linux/fb.h>."""

    _fields_ = (
        ("xres", U32), ("yres", U32), ("xres_virtual", U32), ("yres_virtual", U32),
        ("xoffset", U32), ("yoffset", U32), ("bits_per_pixel", U32), ("grayscale", U32),
        ("red", Bitfield), ("green", Bitfield), ("blue", Bitfield), ("transp", Bitfield),
        ("rest", U32 * 20),
    )  # fmt: skip


class Fixed(ctypes.Structure):
    """fb_fix_screeninfo of <linux/fb.h>."""

    _fields_ = (
        ("id", ctypes.c_char * 16), ("smem_start", LONG), ("smem_len", U32), ("type", U32),
        ("type_aux", U32), ("visual", U32), ("xpanstep", U16), ("ypanstep", U16),
        ("ywrapstep", U16), ("line_length", U32), ("mmio_start", LONG), ("mmio_len", U32),
        ("accel", U32), ("capabilities", U16), ("reserved", U16 * 2),
    )  # fmt: skip


RGB565 = (16, (11, 5), (5, 6), (0, 5))
XRGB8888 = (32, (16, 8), (8, 8), (0, 8))
XBGR8888 = (32, (0, 8), (8, 8), (16, 8))
GREY8 = (8, (0, 8), (0, 8), (0, 8))


class Kernel:
    """Answers FBIOGET_VSCREENINFO and FBIOGET_FSCREENINFO for a file."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.screen, self.fixed = Variable(), Fixed()
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def is_of(
        self,
        width: int,
        height: int,
        kind: Any,
        *,
        row_extra: int = 0,
        at: tuple[int, int] = (0, 0),
    ) -> None:
        bits, *fields = kind
        self.screen = Variable(xres=width, yres=height, bits_per_pixel=bits)
        self.screen.xoffset, self.screen.yoffset = at
        for name, (offset, length) in zip(("red", "green", "blue"), fields, strict=True):
            setattr(self.screen, name, Bitfield(offset, length, 0))
        row_bytes = (width + at[0]) * bits // 8 + row_extra
        memory = row_bytes * (height + at[1])
        self.fixed = Fixed(smem_len=memory, line_length=row_bytes)
        self.path.write_bytes(b"\xaa" * memory)

    def ioctl(self, _descriptor: int, request: int, argument: bytes) -> bytes:
        answer = {0x4600: self.screen, 0x4602: self.fixed}[request]
        assert len(argument) == ctypes.sizeof(answer)
        return bytes(answer)

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """What is in view, as shape (height, width, 3): each channel filled up to 8 bits."""
        screen, size = self.screen, self.screen.bits_per_pixel // 8
        rows = np.frombuffer(self.path.read_bytes(), np.uint8)
        rows = rows.reshape(-1, self.fixed.line_length)[screen.yoffset :][: screen.yres]
        seen = rows[:, screen.xoffset * size : (screen.xoffset + screen.xres) * size]
        words = np.ascontiguousarray(seen).view(f"<u{size}").astype(np.uint32)
        return np.stack(
            [
                ((words >> field.offset) % (1 << field.length) << (8 - field.length))
                for field in (screen.red, screen.green, screen.blue)
            ],
            axis=2,
        ).astype(np.uint8)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path / "fb0", monkeypatch)


def opened(kernel: Kernel) -> FramebufferDisplay:
    return FramebufferDisplay(kernel.path, fonts=FONTS, language="en")


def test_the_structures_are_as_large_as_the_kernels() -> None:
    assert ctypes.sizeof(Variable) == 160
    assert ctypes.sizeof(Fixed) == (80 if ctypes.sizeof(LONG) == 8 else 68)


@pytest.mark.parametrize("kind", [RGB565, XRGB8888, XBGR8888])
@pytest.mark.parametrize("row_extra", [0, 64])
@pytest.mark.parametrize("at", [(0, 0), (8, 3)])
def test_the_memory_in_view_is_the_drawn_picture(
    kernel: Kernel, kind: Any, row_extra: int, at: tuple[int, int]
) -> None:
    kernel.is_of(640, 400, kind, row_extra=row_extra, at=at)
    display = opened(kernel)
    assert not kernel.pixels().any(), "what was on it before is gone"
    display.show(VIEW)
    picture = np.asarray(draw_colour(VIEW, (640, 400), FONTS, "en"))
    lost = [8 - length for _, length in kind[1:]]
    assert (kernel.pixels() == (picture >> lost) << lost).all()
    display.close()
    display.close()
    assert not kernel.pixels().any(), "no name stays on a display that was closed"
    if row_extra:
        after = np.frombuffer(kernel.path.read_bytes(), np.uint8)
        rows = after.reshape(-1, kernel.fixed.line_length)
        assert (rows[:, -row_extra:] == 0xAA).all(), "memory out of view is not ours"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k.is_of(64, 40, GREY8), "RGB565 or XRGB8888"),
        (lambda k: setattr(k.screen, "grayscale", 1), "RGB565 or XRGB8888"),
        (lambda k: setattr(k.screen.red, "offset", 30), "RGB565 or XRGB8888"),
        (lambda k: setattr(k.screen.red, "length", 0), "RGB565 or XRGB8888"),
        (lambda k: setattr(k.screen, "yoffset", 1), "do not fit its memory"),
        (lambda k: setattr(k.screen, "xres", 0), "do not fit its memory"),
        (lambda k: setattr(k.screen, "yres", 2**31), "do not fit its memory"),
        (lambda k: setattr(k.fixed, "line_length", 64), "do not fit its memory"),
        (lambda k: setattr(k.fixed, "smem_len", 0), "do not fit its memory"),
    ],
)
def test_a_screen_that_cannot_be_drawn_on(kernel: Kernel, change: Any, message: str) -> None:
    kernel.is_of(64, 40, XRGB8888)
    change(kernel)
    with pytest.raises(ConfigError, match=message):
        opened(kernel)


def test_less_memory_than_is_told(kernel: Kernel) -> None:
    kernel.is_of(64, 40, XRGB8888)
    kernel.path.write_bytes(b"")
    with pytest.raises(ConfigError, match="can be drawn on"):
        opened(kernel)


def test_no_framebuffer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        FramebufferDisplay(tmp_path / "fb7", fonts=FONTS, language="en")
    (tmp_path / "plain").write_text("")
    with pytest.raises(ConfigError, match=r"can be drawn on .*ioctl"):
        FramebufferDisplay(tmp_path / "plain", fonts=FONTS, language="en")


def test_no_language_of_that_name(kernel: Kernel) -> None:
    kernel.is_of(64, 40, XRGB8888)
    with pytest.raises(ConfigError, match="no language"):
        FramebufferDisplay(kernel.path, fonts=FONTS, language="xx")
