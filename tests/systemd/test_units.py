"""The units: systemd understands every line, and confines what they start."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
MOST_EXPOSED = 1.5
"""Of 10, by `systemd-analyze security`: what a program with cameras and network can reach."""


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ("systemd-analyze", *arguments), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_there_are_units() -> None:
    assert {path.name for path in SERVICES} >= {"familiar.service", "familiar-sync.service"}


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    # The program itself is not installed here. An unknown key is only a warning: any word counts.
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8").replace("/usr/bin/familiar", "/bin/true")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    assert analyze("verify", "--man=no", str(tmp_path / unit.name)) == ""


def test_a_misspelt_key_is_noticed(tmp_path: Path) -> None:
    unit = tmp_path / "familiar.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nProtectHom=yes\n", encoding="utf-8")
    assert "ProtectHom" in analyze("verify", "--man=no", str(unit))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_reaches_little(unit: Path) -> None:
    said = analyze("security", "--offline=yes", str(unit))
    score = re.search(r"exposure level for \S+: (\d+\.\d+)", said)
    assert score is not None, said
    assert float(score[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_templates_reach_neither_swap_nor_a_core_dump(unit: Path) -> None:
    lines = unit.read_text(encoding="utf-8").splitlines()
    assert {"LimitCORE=0", "MemorySwapMax=0"} <= set(lines)
