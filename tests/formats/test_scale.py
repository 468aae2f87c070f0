"""The page about large fleets: its counted sizes are those of a real publication."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_app.core.manifest import DeviceKey
from tests.fleets import Fleet, person

REPOSITORY = Path(__file__).parents[2]
DEVICES = 2_500


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Any:
    path = REPOSITORY / "deploy" / "bench" / "scale.py"
    spec = importlib.util.spec_from_file_location("scale", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale", module)  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_counted_sizes_are_those_of_a_publication(scale: Any, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.enrol([person(1)])
    fleet.leave(2)
    keys = (X25519PrivateKey.generate().public_key() for _ in range(DEVICES))
    devices = tuple(
        DeviceKey(f"d-{n}", key.public_bytes_raw().hex(), "ab" * 32) for n, key in enumerate(keys)
    )
    fleet.operator.write_book(replace(fleet.operator.read_book(), devices=devices))
    fleet.publish()
    found = {file.name: file.size_bytes for file in fleet.operator.read_book().files}
    shard_bytes = next(size for name, size in found.items() if name.startswith("shard/"))
    counted = scale.sizes(1, DEVICES, 1, shard_bytes)
    wraps = [size for name, size in found.items() if name.startswith("wraps-")]
    assert len(wraps) == scale.wrap_groups(DEVICES) == 3
    assert sum(wraps) / 3 == pytest.approx(counted.wraps, abs=112)
    assert found["keyring.bin"] == counted.keyring
    assert found["tombstones.bin"] == counted.tombstones == 32
    assert found["manifest.json"] == pytest.approx(counted.manifest, rel=0.3)
    metadata = fleet.operator.repository / "metadata"
    for name, size in (
        ("timestamp.json", counted.timestamp),
        ("2.snapshot.json", counted.snapshot),
        ("2.targets.json", counted.targets),
    ):
        assert (metadata / name).stat().st_size == pytest.approx(size, abs=16)


def test_the_page_is_written_anew_and_the_prose_kept(scale: Any, tmp_path: Path) -> None:
    committed = (REPOSITORY / "docs" / "fleet-at-scale.md").read_text(encoding="utf-8")
    prose, mark, tables = committed.partition(scale.MARK)
    assert prose
    assert mark
    measured, page = tmp_path / "measured.json", tmp_path / "page.md"
    row = {"people": 1_000, "bundle_bytes": 1_000_000}
    measured.write_text(json.dumps({"rows": [row], "wrap_10000_s": 1.0}), encoding="utf-8")
    page.write_text(committed, encoding="utf-8")
    scale.write(measured, page)
    again = page.read_text(encoding="utf-8")
    assert again.startswith(prose + mark)
    assert again.count("| 1,000,000 |") == tables.count("| 1,000,000 |") == 3
