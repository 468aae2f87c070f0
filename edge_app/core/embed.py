"""From the embedder's output to a vector that can be compared.

The direction of an embedding says who it is. The length that the network gives it (38 to 100,
in the median 70, on LFW) says how sure of itself it is: sunglasses, caps and blur make it
short, and lower the score of the same person with it, while strangers score as high as ever.
So cosines judge short ones too hard, and long ones are what strangers match by chance. The
comparable vector makes up for it by shrinking the long ones (docs/adr/0012).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edge_app.errors import ModelError
from edge_app.records import Float32Array

SHRINK: Final = 0.25
"""A vector of twice the length `WEAK` counts 2 ** -0.25 = 0.84 of its cosine. Chosen on two folds
of LFW out of 0 to 0.5; 0.2 to 0.3 do about as well."""

WEAK: Final = 65.0
"""Length up to which a vector keeps its whole cosine: the lower quarter of LFW's pictures.

Without this floor, strangers in the dark (length 51) reach a threshold three times as often
as in the light; with it, no more often."""


def comparable(embedding: Float32Array) -> Float32Array:
    """The embedding's direction, at a length of at most one, shape (dim,), float32.

    Inner products of two such vectors are comparison scores: cosines, lowered where both faces
    were easy to read.

    Raises ModelError if it is zero or not finite: such an output is a broken model or input.
    """
    flat = embedding.reshape(-1).astype(np.float32)
    shrunk = max(float(np.linalg.norm(flat)), WEAK) / WEAK
    return direction(flat) * np.float32(shrunk**-SHRINK)


def average(vectors: Float32Array) -> Float32Array:
    """One vector for several comparable ones of a person, shape (n, dim): the mean direction, at
    the mean length.

    Raises ModelError if they cancel out.
    """
    return direction(vectors.mean(axis=0)) * np.float32(np.linalg.norm(vectors, axis=1).mean())


def direction(vector: Float32Array) -> Float32Array:
    """The vector scaled to length one. Raises ModelError if it has none."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise ModelError("the embedder gave no usable vector; run `make models` to rebuild it")
    return np.asarray(vector / np.float32(length), np.float32)
