"""Files that are either the old or the new one after a power cut, and are never in between.

Stage in the same folder, fsync, rename, fsync the folder. Writers of one folder take turns
with `exclusive`; that is why the staged file has a fixed name, which the next write reuses,
so that nothing is left behind by a process that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_app.errors import StorageError

LOCK_NAME: Final = "lock"
STAGED_SUFFIX: Final = ".new"
PRIVATE_MODE: Final = 0o600
_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; choose another folder with --home",
    errno.EACCES: "permission denied; check the owner of the folder or choose one with --home",
    errno.ENOTDIR: "a part of its path is a file; choose another folder with --home",
}


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one-line error for a path that could not be written."""
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check the disk")
    return StorageError(f"cannot write {path}: {remedy}")


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it, that only its owner may enter.

    Raises:
        StorageError: it cannot be created.
    """
    try:
        # `parents=True` would give the folders above what the umask gives.
        for missing in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder against every other writer, in this process and in others.

    Raises:
        StorageError: the folder or its lock file cannot be created.
    """
    make_private_folder(folder)
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(folder / LOCK_NAME, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_durably(
    path: Path, *parts: bytes | bytearray | memoryview, mode: int = PRIVATE_MODE
) -> None:
    """Replace the file by these parts. Hold `exclusive` meanwhile.

    mode: the file's, whatever the umask; by default only its owner may read it.

    Raises:
        StorageError: it could not be written; the file that was there is still there.
    """
    write_all_durably({path: parts}, mode=mode)


def write_all_durably(
    files: Mapping[Path, Sequence[bytes | bytearray | memoryview]], *, mode: int = PRIVATE_MODE
) -> None:
    """Replace several files, in this order. Hold `exclusive` meanwhile.

    All of them are on the disk before the first takes its place, so that a full disk changes
    none. A process killed in between leaves the first ones new and the others old.

    Raises:
        StorageError: they could not be written; the files that were there are still there.
    """
    path = next(iter(files))
    staged = {path: path.with_name(path.name + STAGED_SUFFIX) for path in files}
    try:
        for path, parts in files.items():
            _write(staged[path], os.O_TRUNC, parts, mode)
        for path in files:
            staged[path].replace(path)
            sync_folder(path.parent)
    except OSError as error:
        for left_over in staged.values():
            with suppress(OSError):
                left_over.unlink()
        raise storage_error(path, error) from error


def write_new(path: Path, *parts: bytes | bytearray | memoryview) -> None:
    """Write a file under a name that nobody else uses; durable but for the name (`sync_folder`).

    Raises:
        StorageError: it could not be written; nothing is left of it.
    """
    try:
        _write(path, os.O_EXCL, parts)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise storage_error(path, error) from error


def append_durably(path: Path, data: bytes) -> None:
    """Add to the end of the file, creating it if need be. Hold `exclusive` meanwhile.

    Raises:
        StorageError: it could not be written; a part of the data may be at the end.
    """
    try:
        _write(path, os.O_APPEND, (data,))
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(
    path: Path,
    how: int,
    parts: Sequence[bytes | bytearray | memoryview],
    mode: int = PRIVATE_MODE,
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how
    descriptor = os.open(path, flags, PRIVATE_MODE)
    try:
        if mode != PRIVATE_MODE:
            os.fchmod(descriptor, mode)
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_state(path: Path) -> tuple[int, int, int]:
    """Changes whenever the file is replaced or written; zeros if there is none."""
    try:
        state = path.stat()
    except OSError:
        return (0, 0, 0)
    return (state.st_ino, state.st_mtime_ns, state.st_size)
