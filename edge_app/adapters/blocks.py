"""A store's people on the disk, in encrypted pieces of which only changed ones are written.

A file is named by its random id and never changes. Numbers are little-endian:

    magic 8 | store id 16 | block id 16 | people 4 | templates 4 | dim 4 |
    three times: nonce 12, length 4 | columns | templates | records, each AES-256-GCM

Each segment is authenticated with its name and the whole header, so that segments of different
blocks and stores do not mix; which blocks there are, and of how many people, says the gallery's
index. Columns and templates are what a device needs to match. The records, with every consent in
full, are opened to list, to export and to erase.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.durable import make_private_folder, storage_error, sync_folder, write_new
from edge_app.adapters.sealed import SealedMemory, seal_templates
from edge_app.core.person import pack_people, unpack_people
from edge_app.core.roster import Register, Rows, decode_register, encode_register, joined
from edge_app.errors import GalleryError
from edge_app.records import Enrolment, Float32Array

PEOPLE_PER_BLOCK: Final = 128
"""About how many: fewer, and a gallery is all files; more, and one change rewrites many."""

_MAGIC: Final = b"FAMBLK\x00\x01"
_HEADER: Final = struct.Struct("<8s16s16sIII12sI12sI12sI")
_ID_BYTES: Final = 16
_TAG_BYTES: Final = 16
_SEGMENTS: Final = ("columns", "templates", "records")
_INCOMING: Final = "incoming"


class BlockMissingError(GalleryError):
    """A block is not there: damage, or the index was replaced since it was read."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block, as the index names it.

    source:   SHA-256 of the fleet's shard that it holds unchanged; or empty.
    verified: every signature in it could be checked.
    """

    block_id: str
    source: str
    people: int
    templates: int
    dim: int
    verified: bool


class _Header(NamedTuple):
    """The clear part. segments: three times (nonce, length)."""

    magic: bytes
    store_id: bytes
    block_id: bytes
    people: int
    templates: int
    dim: int
    columns_nonce: bytes
    columns_length: int
    templates_nonce: bytes
    templates_length: int
    records_nonce: bytes
    records_length: int


class Blocks:
    """The folder with the blocks of one store. Writers hold `durable.exclusive` on the store."""

    def __init__(self, folder: Path, store_id: bytes, key: bytes) -> None:
        """Name the folder, which need not exist. key: 32 bytes, of this store alone."""
        self._folder = folder
        self._store_id = store_id
        self._cipher = AESGCM(key)

    # ------------------------------------------------------------------------- reading

    def register(self, ref: BlockRef) -> Register:
        """Raises GalleryError: damaged, altered, or of another number of people."""
        register = decode_register(self._segment(ref, "columns"))
        if (len(register), register.roster.templates) != (ref.people, ref.templates):
            raise self._damaged(ref)
        return register

    def templates_into(self, ref: BlockRef, view: memoryview) -> None:
        """Decrypt the templates into a view of their size. Raises GalleryError."""
        self._decrypt(ref, "templates", view)

    def matrix(self, ref: BlockRef) -> Float32Array:
        """The templates in sealed memory, shape (n, dim). Raises GalleryError."""
        size_bytes = ref.templates * ref.dim * 4
        if not size_bytes:
            return np.empty((0, 0), np.float32)
        return SealedMemory.filled(size_bytes, lambda view: self.templates_into(ref, view)).matrix(
            ref.dim
        )

    def people(self, ref: BlockRef) -> tuple[Enrolment, ...]:
        """Everyone in a block, in full. Raises GalleryError."""
        people = unpack_people(self._segment(ref, "records"), self.matrix(ref))
        if len(people) != ref.people:
            raise self._damaged(ref)
        return people

    # ------------------------------------------------------------------------- writing

    def write(self, people: Sequence[Enrolment], register: Register) -> BlockRef:
        """A new block of these people, in the register's order. Raises StorageError."""
        matrix, (text, _) = seal_templates(people), pack_people(people)
        return self._write(self._folder, "", register, matrix, text)

    def stage(self, source: str, register: Register, matrix: Float32Array, text: bytes) -> BlockRef:
        """A new block that is not in use before `take_in`; one process at a time does this.

        text: as `person.pack_people` makes it. Raises StorageError.
        """
        return self._write(self._folder / _INCOMING, source, register, matrix, text)

    def without(self, ref: BlockRef, rows: Rows) -> BlockRef | None:
        """A block like this one without some of its people; None if nobody is left.

        Raises GalleryError, StorageError.
        """
        kept = np.setdiff1d(np.arange(ref.people), rows)
        if not len(kept):
            return None
        people = self.people(ref)
        return self.write([people[row] for row in kept], self.register(ref).take(kept))

    def with_one_more(self, ref: BlockRef, person: Enrolment, register: Register) -> BlockRef:
        """A block like this one with somebody at its end. Raises GalleryError, StorageError."""
        return self.write((*self.people(ref), person), joined([self.register(ref), register]))

    def take_in(self, refs: Iterable[BlockRef]) -> None:
        """Put staged blocks beside the others. Raises StorageError."""
        for ref in refs:
            staged = self._folder / _INCOMING / ref.block_id
            try:
                if staged.exists():
                    staged.replace(self._path(ref))
            except OSError as error:
                raise storage_error(staged, error) from error

    def settle(self) -> None:
        """Make the names of all blocks durable. Raises StorageError."""
        try:
            make_private_folder(self._folder)
            sync_folder(self._folder)
        except OSError as error:
            raise storage_error(self._folder, error) from error

    def remove_all_but(self, refs: Iterable[BlockRef]) -> None:
        """Delete every other block, as far as that can be done now."""
        kept = {ref.block_id for ref in refs}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.is_file() and path.name not in kept:
                    path.unlink()

    def clear_staged(self) -> None:
        """Delete what an earlier `stage` left behind."""
        with suppress(OSError):
            for path in (self._folder / _INCOMING).iterdir():
                path.unlink()

    # ------------------------------------------------------------------------- segments

    def _path(self, ref: BlockRef) -> Path:
        return self._folder / ref.block_id

    def _write(
        self, folder: Path, source: str, register: Register, matrix: Float32Array, text: bytes
    ) -> BlockRef:
        block_id = secrets.token_bytes(_ID_BYTES)
        templates, dim = matrix.shape
        contents: tuple[Any, ...] = (
            encode_register(register),
            matrix.reshape(-1).view(np.uint8).data,
            text,
        )
        nonces = [secrets.token_bytes(12) for _ in _SEGMENTS]
        lengths = [memoryview(content).nbytes + _TAG_BYTES for content in contents]
        pairs = [value for pair in zip(nonces, lengths, strict=True) for value in pair]
        clear = _HEADER.pack(
            _MAGIC, self._store_id, block_id, len(register), templates, dim, *pairs
        )
        sealed = [
            self._cipher.encrypt(nonce, content, name.encode() + b"\0" + clear)
            for name, nonce, content in zip(_SEGMENTS, nonces, contents, strict=True)
        ]
        make_private_folder(folder)
        write_new(folder / block_id.hex(), clear, *sealed)
        return BlockRef(block_id.hex(), source, len(register), templates, dim, register.verified)

    def _segment(self, ref: BlockRef, name: str) -> bytes:
        return self._decrypt(ref, name, None)

    def _decrypt(self, ref: BlockRef, name: str, into: memoryview | None) -> bytes:
        path = self._path(ref)
        try:
            with path.open("rb") as file:
                clear = file.read(_HEADER.size)
                header = self._header(ref, clear, os.fstat(file.fileno()).st_size)
                lengths = dict(zip(_SEGMENTS, header[7::2], strict=True))
                nonces = dict(zip(_SEGMENTS, header[6::2], strict=True))
                before = _SEGMENTS[: _SEGMENTS.index(name)]
                file.seek(_HEADER.size + sum(lengths[earlier] for earlier in before))
                sealed = file.read(lengths[name])
        except FileNotFoundError as error:
            raise BlockMissingError(
                f"{path} is gone; restore the newest copy of {self._folder.parent}, or move it "
                "away and begin anew"
            ) from error
        except OSError as error:
            raise GalleryError(
                f"cannot read {path}: {error.strerror}; check its owner and permissions"
            ) from error
        bound = name.encode() + b"\0" + clear
        try:
            if into is None:
                return self._cipher.decrypt(nonces[name], sealed, bound)
            self._cipher.decrypt_into(nonces[name], sealed, bound, into)
        except InvalidTag as error:
            raise self._damaged(ref) from error
        return b""

    def _header(self, ref: BlockRef, clear: bytes, size_bytes: int) -> _Header:
        if len(clear) < _HEADER.size:
            raise self._damaged(ref)
        header = _Header(*_HEADER.unpack(clear))
        stated = (header.magic, header.store_id, header.block_id.hex())
        counts = (header.people, header.templates, header.dim)
        whole = (
            stated == (_MAGIC, self._store_id, ref.block_id)
            and counts == (ref.people, ref.templates, ref.dim)
            and min(header[7::2]) >= _TAG_BYTES
            and header.templates_length == ref.templates * ref.dim * 4 + _TAG_BYTES
            and size_bytes == _HEADER.size + sum(header[7::2])
        )
        if not whole:
            raise self._damaged(ref)
        return header

    def _damaged(self, ref: BlockRef) -> GalleryError:
        return GalleryError(
            f"{self._path(ref)} cannot be used: it is cut off or was altered; restore the newest "
            f"copy of {self._folder.parent}, or move it away and begin anew"
        )
