"""The tombstones of one device: who left and never comes back (P3).

One digest a line, as `consent.tombstone_ids` makes them, appended and fsynced before anything
else happens to a revocation. The file holds random digests only. It must not be restored
from a backup that is older than a revocation.

Leaving must work on a full disk too: the file `reserve` holds room on it, which is given up when
somebody leaves and taken again when that is done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_app.adapters.durable import append_durably, storage_error
from edge_app.errors import GalleryError

RESERVE_NAME: Final = "reserve"
_RESERVE_BYTES: Final = 65_536  # a thousand tombstones, or one more copy of a small gallery
_LINE: Final = re.compile(rb"[0-9a-f]{64}")


class Tombstones:
    """The file. Writers hold `durable.exclusive` on its folder."""

    def __init__(self, path: Path) -> None:
        """Name the file; it need not exist."""
        self._path = path
        self._reserve_path = path.with_name(RESERVE_NAME)

    def read(self) -> frozenset[str]:
        """All digests. A last line that was cut off was never confirmed, and does not count.

        Raises:
            GalleryError: the file cannot be read, or holds something else.
        """
        lines = self._content().split(b"\n")[:-1]
        if not all(map(_LINE.fullmatch, lines)):
            raise GalleryError(
                f"the tombstones in {self._path} were altered, so nobody can be matched safely; "
                "restore the newest copy of this file"
            )
        return frozenset(line.decode("ascii") for line in lines)

    def add(self, digests: Iterable[str]) -> None:
        """Make these durable, in addition to those that are there.

        Raises:
            GalleryError: the file cannot be read, or holds something else.
            StorageError: it cannot be written; then none of them may count as revoked.
        """
        new = sorted(frozenset(digests) - self.read())
        if new:
            self._drop_cut_off_line()
            with suppress(OSError):
                self._reserve_path.unlink()
            append_durably(self._path, "".join(f"{digest}\n" for digest in new).encode("ascii"))

    @contextmanager
    def room_kept(self) -> Iterator[None]:
        """Take room on the disk for the next to leave, at the end and as far as there is any."""
        try:
            yield
        finally:
            with suppress(OSError):
                self._keep_room()

    def _keep_room(self) -> None:
        descriptor = os.open(self._reserve_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
        except OSError:
            self._reserve_path.unlink()
            raise
        finally:
            os.close(descriptor)

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise GalleryError(
                f"cannot read {self._path}: {error.strerror}; check its owner and permissions"
            ) from error

    def _drop_cut_off_line(self) -> None:
        content = self._content()
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            return
        try:
            os.truncate(self._path, whole)
        except OSError as error:
            raise storage_error(self._path, error) from error
