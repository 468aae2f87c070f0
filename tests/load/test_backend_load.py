"""The load program, as far as a test can run it: no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def test_a_short_load_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    done = subprocess.run(
        (sys.executable, ROOT / "deploy" / "load" / "backend.py", out,
         "--devices", "100", "--rate", "100", "--seconds", "2"),
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert out.is_file(), done.stderr
    load = json.loads(out.read_text("utf-8"))
    assert load["published"] > 50
    assert load["stored"] == load["acknowledged"] == load["published"]
    assert (load["devices"], len(load["memory"]["backends_mb"])) == (100, 2)
    assert 0 <= load["lag"]["p50_ms"] <= load["lag"]["p99_ms"] <= load["lag"]["longest_ms"]
