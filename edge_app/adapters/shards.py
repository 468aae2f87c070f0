"""Opens a fleet's shard with its templates in sealed memory (P5)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_app.adapters.sealed import SealedMemory
from edge_app.core.shard import open_shard, people_text, read_header, templates_into
from edge_app.records import Enrolment, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class OpenedShard:
    """A shard's content, authenticated and decrypted.

    matrix: shape (n, dim), float32: the templates of all, in order, in sealed memory.
    text:   the people as `person.pack_people` wrote them.
    """

    people: tuple[Enrolment, ...]
    matrix: Float32Array = field(repr=False)
    text: bytes = field(repr=False)


def open_people(data: bytes, *, fleet: str, number: int, key: bytes) -> OpenedShard:
    """Open a shard's file.

    Raises:
        GalleryError: altered, for another place, another key's, or there is no sealed memory.
    """
    header = read_header(data)

    def fill(view: memoryview) -> None:
        templates_into(data, view, fleet=fleet, number=number, key=key)

    size_bytes = header.templates * header.dim * 4
    if size_bytes:
        matrix = SealedMemory.filled(size_bytes, fill).matrix(header.dim)
    else:
        fill(memoryview(bytearray()))  # nothing to seal; the tag is checked all the same
        matrix = np.empty((0, 0), np.float32)
    people = open_shard(data, matrix, fleet=fleet, number=number, key=key)
    return OpenedShard(people, matrix, people_text(data, fleet=fleet, number=number, key=key))
