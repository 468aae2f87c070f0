"""Familiar: recognises the people who asked to be recognised, and nobody else."""

import os

__version__ = "0.1.0"

# Before numpy is loaded: between the small products of a frame BLAS's threads only spin, which
# doubles a frame's processor time and heats the board.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
