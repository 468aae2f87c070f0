"""Counts the instructions of one invocation of each network, with callgrind.

    python deploy/bench/counts.py OUT.json [REFERENCE.json]

Unlike times, counts are the same on a busy machine. valgrind knows no AVX-512, so that the networks
run as on a processor without it. Counted is the difference between three invocations and one. A
count that differs from the reference's by more than a fifth, either way, is named; then the exit
status is 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from edge_app.adapters.tflite import load_model
from edge_app.app import models_dir

NETWORKS = ("blazeface_wide", "blazeface_short", "facemesh", "mobilefacenet_int8")
LARGEST_CHANGE = 1.2


def invoke(network: str, times: int) -> None:
    model = load_model(models_dir(), network)
    tensor = np.zeros(model.spec.input.shape, np.float32)
    for _ in range(times):
        model(tensor)


def instructions(network: str, times: int) -> int:
    """Of a whole process that invokes a network so often."""
    program = [sys.executable, __file__, "--invoke", network, str(times)]
    done = subprocess.run(  # noqa: S603 - this program
        ["valgrind",  # noqa: S607 - wherever it is installed
          "--tool=callgrind", "--callgrind-out-file=/dev/null", *program],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise SystemExit("valgrind counted nothing; is it installed (apt install valgrind)?")
    return int(found[1])


def main() -> int:
    if sys.argv[1] == "--invoke":
        invoke(sys.argv[2], int(sys.argv[3]))
        return 0
    counts = {}
    for network in NETWORKS:
        counts[network] = (instructions(network, 3) - instructions(network, 1)) // 2
        print(f"{network:22} {counts[network] / 1e6:9.1f} million instructions", flush=True)
    Path(sys.argv[1]).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    reference = json.loads(Path(sys.argv[2]).read_text("utf-8")) if len(sys.argv) > 2 else counts
    factors = {name: counts[name] / reference[name] for name in counts}
    changed = {n: f for n, f in factors.items() if not 1 / LARGEST_CHANGE <= f <= LARGEST_CHANGE}
    for network, factor in changed.items():
        print(f"{'more' if factor > 1 else 'fewer'}: {network}, {factor:.2f} times the reference")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
