"""From the embedder's output to a comparable vector."""

from __future__ import annotations

import numpy as np

from edge_app.errors import ModelError
from edge_app.records import Float32Array


def unit(embedding: Float32Array) -> Float32Array:
    """The embedding scaled to length one, shape (dim,), float32.

    Raises ModelError if it is zero or not finite: such an output is a broken model or input.
    """
    flat = embedding.reshape(-1).astype(np.float32)
    length = float(np.linalg.norm(flat))
    if not np.isfinite(length) or length == 0.0:
        raise ModelError("the embedder gave no usable vector; run `make models` to rebuild it")
    return flat / np.float32(length)
