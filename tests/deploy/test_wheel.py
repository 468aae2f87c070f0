"""What is in the wheel: the program with its types, and the networks."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tests.support import ROOT


def test_types_and_networks_are_shipped(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        assert "Classifier: Typing :: Typed" in archive.read(metadata).decode()
    assert "edge_app/py.typed" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "edge_app").rglob("*.py")}
    assert modules <= names
    shown = {
        str(path.relative_to(ROOT))
        for kind in ("html", "css", "js", "toml")
        for path in (ROOT / "edge_app").rglob(f"*.{kind}")
    }
    assert shown <= names
    models = {f"edge_app/_models/{path.name}" for path in (ROOT / "models").glob("*.tflite")}
    assert models
    assert models <= names
    assert not [name for name in names if name.startswith("tests/")]
