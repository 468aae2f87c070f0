"""The C library's heap: what was freed goes back to the system (glibc; mallopt(3))."""

from __future__ import annotations

import ctypes
from typing import Final

_ARENA_MAX: Final = -8


def share_one_heap() -> None:
    """One heap for all threads, before there are any: each would keep what it once needed.

    Does nothing on another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Returns freed memory to the system; after something large was worked on."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
