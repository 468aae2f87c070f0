"""Opens a fleet's shard with its templates in sealed memory (P5)."""

from __future__ import annotations

import numpy as np

from edge_app.adapters.sealed import SealedMemory
from edge_app.core.shard import ShardContents, open_contents, read_header, templates_into
from edge_app.records import Float32Array


def open_people(
    data: bytes, *, fleet: str, number: int, key: bytes
) -> tuple[ShardContents, Float32Array]:
    """What is in a shard's file, authenticated and decrypted, and the sealed templates.

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
    return open_contents(data, matrix, fleet=fleet, number=number, key=key), matrix
