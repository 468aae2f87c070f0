"""An installation that is killed leaves the old or the new gallery, whole."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.killing import campaign


def test_killed_all_along_the_way(tmp_path: Path) -> None:
    found = campaign(40, tmp_path)
    assert found["old"] >= 5
    assert found["new"] >= 1
