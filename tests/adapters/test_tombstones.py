import os
from pathlib import Path

import pytest

from edge_app.adapters.tombstones import Tombstones
from edge_app.errors import GalleryError, StorageError

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tombstones"


def test_no_file_is_no_tombstones(path: Path) -> None:
    assert Tombstones(path).read() == frozenset()
    Tombstones(path).add([])
    assert not path.exists()


def test_digests_stay(path: Path) -> None:
    Tombstones(path).add([A])
    Tombstones(path).add([B, A, C])
    assert Tombstones(path).read() == {A, B, C}
    assert path.read_text() == f"{A}\n{B}\n{C}\n"


def test_known_digest_is_not_written_again(path: Path) -> None:
    Tombstones(path).add([A])
    before = path.stat()
    Tombstones(path).add([A])
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("cut", range(65))
def test_append_that_was_cut_off_does_not_count_and_does_not_spoil_the_next(
    path: Path, cut: int
) -> None:
    Tombstones(path).add([A])
    path.write_bytes(path.read_bytes() + (B + "\n").encode()[:cut])
    assert Tombstones(path).read() == {A}
    Tombstones(path).add([C])
    assert Tombstones(path).read() == {A, C}


@pytest.mark.parametrize("content", [b"\n", b"x\n", b"A" * 64 + b"\n", b"\xff" * 64 + b"\n"])
def test_altered_file_is_refused_and_not_written_to(path: Path, content: bytes) -> None:
    path.write_bytes(f"{A}\n".encode() + content)
    for use in (Tombstones(path).read, lambda: Tombstones(path).add([B])):
        with pytest.raises(GalleryError, match="restore the newest copy"):
            use()
    assert path.read_bytes() == f"{A}\n".encode() + content


def test_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(GalleryError, match="cannot read"):
        Tombstones(path).read()


def test_full_disk_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tombstones(path).add([A])

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        Tombstones(path).add([B])
    monkeypatch.undo()
    assert Tombstones(path).read() == {A}
