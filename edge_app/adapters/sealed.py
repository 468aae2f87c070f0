"""Memory for templates: written once, then unchangeable, and never on a disk (P5).

An anonymous file (`memfd_create`) is written, sealed against every later change, and mapped
read-only. Its pages are locked where the process may lock them, so that they are not swapped
out, and left out of core dumps. The memory goes when the last array on it does.

What this cannot do: numpy and the cipher keep small parts of templates in ordinary memory
while they compute, and a locked page can still be hibernated. `disk_swaps` tells whether the
machine swaps to a disk at all; the shipped systemd unit forbids it.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from edge_app.errors import GalleryError
from edge_app.records import Enrolment, Float32Array

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_LIBC: Final = ctypes.CDLL(None)
_SWAPS: Final = Path("/proc/swaps")


class SealedMemory:
    """Bytes that were written once."""

    def __init__(self, mapping: mmap.mmap, *, locked: bool) -> None:
        """Take a read-only mapping; use `filled` or `written` to make one."""
        self._mapping = mapping
        self._locked = locked

    @classmethod
    def filled(cls, size_bytes: int, fill: Callable[[memoryview], None]) -> SealedMemory:
        """Seal what `fill` writes into a view of `size_bytes` (at least one) zero bytes.

        `fill` must not keep the view. Whatever it raises passes through; the memory is gone
        then.

        Raises:
            GalleryError: the system gives no such memory.
        """

        def write(descriptor: int) -> None:
            _reserve(descriptor, size_bytes)
            mapping = mmap.mmap(descriptor, size_bytes)
            _protect(mapping)
            view = memoryview(mapping)
            try:
                fill(view)
            except BaseException:
                # Whoever handles it may hold parts of the view: the memory goes with them.
                with suppress(BufferError):
                    view.release()
                    mapping.close()
                raise
            view.release()
            mapping.close()

        return cls.written(write, lambda _path: None)

    @classmethod
    def written(cls, write: Callable[[int], None], load: Callable[[str], None]) -> SealedMemory:
        """Seal what `write` puts into a descriptor, then let `load` open it by a path.

        `write` must leave no writable mapping. The path is valid during `load` only; what was
        mapped from it stays. Whatever either raises passes through.

        Raises:
            GalleryError: the system gives no such memory.
        """
        try:
            descriptor = os.memfd_create("templates", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        except OSError as error:
            raise _no_memory(error) from error
        try:
            write(descriptor)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            path = descriptor_path(descriptor)
            mapping = _map_read_only(path)
            locked = _protect(mapping)
            load(path)
        finally:
            os.close(descriptor)
        return cls(mapping, locked=locked)

    def __len__(self) -> int:
        """Size in bytes."""
        return len(self._mapping)

    @property
    def locked(self) -> bool:
        """Whether the pages are locked into memory; if not, a swap may see them."""
        return self._locked

    def matrix(self, dim: int) -> Float32Array:
        """All of it as a read-only array, shape (n, dim), float32."""
        return np.frombuffer(self._mapping, dtype="<f4").reshape(-1, dim)


def seal_templates(people: Sequence[Enrolment]) -> Float32Array:
    """A sealed copy of these people's templates, shape (n, dim), row by row in their order.

    The templates must all be of one dimension; (0, 0) if there are none.

    Raises:
        GalleryError: the system gives no such memory.
    """
    rows = [template.embedding for person in people for template in person.templates]
    if not rows:
        return np.empty((0, 0), dtype=np.float32)
    dim = rows[0].size

    def fill(view: memoryview) -> None:
        target = np.frombuffer(view, dtype="<f4").reshape(-1, dim)
        for row, embedding in zip(target, rows, strict=True):
            row[:] = embedding

    return SealedMemory.filled(len(rows) * dim * 4, fill).matrix(dim)


def descriptor_path(descriptor: int) -> str:
    """A path by which this process can open a descriptor anew."""
    return f"/proc/self/fd/{descriptor}"


def disk_swaps() -> tuple[str, ...]:
    """Active swap areas that are not compressed memory (zram). Empty if unknown."""
    try:
        lines = _SWAPS.read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return ()
    areas = (line.split()[0] for line in lines if line.strip())
    return tuple(area for area in areas if not Path(area).name.startswith("zram"))


def _reserve(descriptor: int, size_bytes: int) -> None:
    try:
        # Truncating alone would promise pages: where a limit is hit, a later write kills us.
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        raise _no_memory(error) from error


def _map_read_only(path: str) -> mmap.mmap:
    """Map through a read-only descriptor: before Linux 6.7 a sealed one can't be mapped else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _no_memory(error) from error


def _protect(mapping: mmap.mmap) -> bool:
    """Keep the pages out of core dumps and, if allowed (RLIMIT_MEMLOCK), out of swap."""
    mapping.madvise(mmap.MADV_DONTDUMP)
    address = np.frombuffer(mapping, dtype=np.uint8).ctypes.data
    return bool(_LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(mapping))) == 0)


def _no_memory(error: OSError) -> GalleryError:
    return GalleryError(
        f"cannot get sealed memory for the templates: {error.strerror}; free some memory, and "
        "run on Linux 3.17 or newer with /proc mounted"
    )
