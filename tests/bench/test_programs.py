"""The benchmarks that prove something, as far as a test can run them: no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

PICTURE: dict[str, Any] = {
    "boxes_px": [[1.0, 2.0, 30.0, 40.0]],
    "scores": [0.9],
    "mesh_px": [[5.0, 6.0]],
    "presence": 1.0,
    "embedding": [0.6, 0.8],
    "decided": [[], ["person-1"]],
}


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )


def test_the_boards_page_is_what_the_script_writes_of_the_shipped_networks() -> None:
    done = run("bench/board.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "boards.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("media")
def test_a_short_soak_leaks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    done = run("bench/soak.py", "2000", out)
    assert out.is_file(), done.stderr
    soak = json.loads(out.read_text("utf-8"))
    assert (soak["frames"], soak["syncs"]) == (2000, 20)
    assert soak["names"] > 10
    assert soak["alerts"] >= 1
    early, late = soak["tenths"][1], soak["tenths"][-1]
    assert late["descriptors"] <= early["descriptors"]
    # One frame kept in twenty would be 60 MB.
    assert late["rss_mb"] < early["rss_mb"] + 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"scores": [0.901]}, ""),
        ({"scores": [0.95]}, "scores differ by 0.05"),
        ({"boxes_px": []}, "other detections"),
        ({"boxes_px": [[1.0, 2.0, 32.0, 40.0]]}, "boxes_px differ by 2"),
        ({"embedding": [0.8, 0.6]}, "a cosine of 0.96"),
        ({"decided": [[], []]}, "another decision"),
    ],
)
def test_arm_smoke_tells_what_differs(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    here = {"machine": "x86_64", "rows": [3, 1], "pictures": {"a.jpg": PICTURE}}
    there = deepcopy(here)
    there["pictures"] = {"a.jpg": PICTURE | change}
    for name, content in (("here", here), ("there", there)):
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    done = run("arm/compare.py", tmp_path / "here", tmp_path / "there")
    assert done.returncode == (1 if said else 0)
    assert said in done.stderr


def test_arm_smoke_tells_that_the_index_differs(tmp_path: Path) -> None:
    for name, rows in (("here", [3, 1]), ("there", [1, 3])):
        content = {"machine": name, "rows": rows, "pictures": {}}
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    done = run("arm/compare.py", tmp_path / "here", tmp_path / "there")
    assert (done.returncode, "other rows" in done.stderr) == (1, True)
