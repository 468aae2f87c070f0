"""Holds one machine's outputs against another's, and says where they differ by more than they may.

    python deploy/arm/compare.py HERE.json THERE.json

Other processors add up in another order. The tolerances lie above what was measured between x86 and
emulated ARM, and far below what changes a decision: decisions must be the same.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Quantity:
    """A list of numbers per picture, and how far apart two of them may be."""

    key: str
    tolerance: float


QUANTITIES: Final = (
    Quantity("boxes_px", 0.5),
    Quantity("scores", 0.005),
    Quantity("mesh_px", 0.5),
    Quantity("presence", 0.005),
    Quantity("embedding", 0.02),
)
MIN_COSINE: Final = 0.999


def main() -> int:
    here, there = (json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:3])
    failures: list[str] = []
    if here["rows"] != there["rows"]:
        failures.append("the index finds other rows")
    for name, ours in here["pictures"].items():
        theirs = there["pictures"][name]
        if len(ours["boxes_px"]) != len(theirs["boxes_px"]):
            failures.append(f"{name}: other detections")
            continue
        if ours["decided"] != theirs["decided"]:
            failures.append(f"{name}: another decision")
        failures += _apart(name, ours, theirs)
    for failure in failures:
        sys.stderr.write(f"arm-smoke: {failure}\n")
    sys.stdout.write(
        f"arm-smoke: {here['machine']} and {there['machine']}: {len(here['pictures'])} pictures, "
        f"{len(failures)} differences\n"
    )
    return 1 if failures else 0


def _apart(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    failures = []
    worst = []
    for quantity in QUANTITIES:
        if not np.size(ours.get(quantity.key, [])):
            continue
        apart = np.subtract(ours[quantity.key], theirs[quantity.key])
        most = float(np.abs(apart).max())
        worst.append(f"{quantity.key} {most:.2g}")
        if most > quantity.tolerance:
            failures.append(f"{name}: {quantity.key} differ by {most:.3g}")
    if "embedding" in ours:
        a, b = np.array(ours["embedding"]), np.array(theirs["embedding"])
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        worst.append(f"cosine {cosine:.6f}")
        if cosine < MIN_COSINE:
            failures.append(f"{name}: embeddings have a cosine of {cosine:.5f}")
    sys.stdout.write(f"{name}: {', '.join(worst) or 'no face'}\n")
    return failures


if __name__ == "__main__":
    sys.exit(main())
