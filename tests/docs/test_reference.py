"""The reference pages are what the program says of itself now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = ("configuration.md", "commands.md", "exit-statuses.md")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run(
        [sys.executable, "deploy/docs/reference.py", str(folder)],
        cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_what_is_committed_is_current(written: Path, page: str) -> None:
    """Else run `make reference`."""
    committed = ROOT / "docs" / "reference" / page
    assert committed.read_text("utf-8") == (written / page).read_text("utf-8")


def test_the_picture_of_the_architecture_is_current(tmp_path: Path) -> None:
    """Else run `make reference`."""
    subprocess.run(
        [sys.executable, "deploy/docs/architecture.py", str(tmp_path / "drawn.svg")],
        cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    committed = ROOT / "docs" / "architecture.svg"
    assert committed.read_text("utf-8") == (tmp_path / "drawn.svg").read_text("utf-8")


JSON_ANYHOW = {
    "run": "--output json: a line for each alert",
    "listen": "a line of JSON for each event",
    "people export": "a record as JSON",
    "evaluate make-scenes": "truth.json beside the scenes",
    "operator overview": "the file is JSON, and so is what --to - prints",
}
SERVICES = {"backend run", "backend serve", "operator serve", "station serve"}


def test_every_command_that_prints_results_prints_them_for_programs() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    parts = [part.split("\n", 1) for part in page.split("\n## familiar ")[1:]]
    names = [name for name, _ in parts]
    commands = {n for n in names if not any(other.startswith(f"{n} ") for other in names)}
    lacking = {name for name, text in parts if name in commands and "`--json" not in text}
    assert lacking == {*JSON_ANYHOW, *SERVICES}
