"""Fuzzes one parser, guided by what it covers: python -m tests.fuzz.campaign NAME -runs=1000000"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

atheris: Any = import_module("atheris")

with atheris.instrument_imports(include=["edge_app.core", "edge_app.publisher"]):
    from tests.fuzz.targets import TARGETS, try_one


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "sound").write_bytes(TARGETS[name][1])
        options = [sys.argv[0], "-max_len=8192", *sys.argv[2:], scratch]
        atheris.Setup(options, lambda data: try_one(name, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
