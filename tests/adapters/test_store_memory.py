"""What a store remembers apart from its gallery: who left, the newest generation and time."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from edge_app.adapters.gallery_store import GalleryStore
from edge_app.adapters.tombstones import Tombstones
from edge_app.core.revocation import new_code, revocation_sha256
from edge_app.errors import ConsentError, GalleryError, StorageError
from tests.people import CALIBRATION, NOW, USE, enrolment, faces

KEY = b"k" * 32
CODE = new_code(b"revocation-code")
ADA = enrolment(1, faces(1), revocation_sha256=revocation_sha256(CODE))
BEN = enrolment(2, faces(1, seed=1))


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore(tmp_path / "store", KEY, withdrawn=tmp_path / "withdrawn")


def people(store: GalleryStore) -> int:
    return len(store.load(USE, now=NOW).admission.people)


def test_a_restored_store_folder_brings_nobody_back(store: GalleryStore, tmp_path: Path) -> None:
    store.add(ADA, USE, calibration=CALIBRATION, now=NOW)
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    store.remove(ADA.person_id)
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "backup", tmp_path / "store")
    with pytest.raises(GalleryError, match="whoever left in between would come back"):
        people(store)


def test_beginning_anew_brings_nobody_back_either(store: GalleryStore, tmp_path: Path) -> None:
    store.add(ADA, USE, calibration=CALIBRATION, now=NOW)
    store.add(BEN, USE, calibration=CALIBRATION, now=NOW)
    store.remove(ADA.person_id)
    (tmp_path / "store").rename(tmp_path / "old")
    assert people(store) == 0
    store.add(BEN, USE, calibration=CALIBRATION, now=NOW)
    assert people(store) == 1
    with pytest.raises(ConsentError, match="revoked"):
        store.add(ADA, USE, calibration=CALIBRATION, now=NOW)
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "old").rename(tmp_path / "store")
    with pytest.raises(GalleryError, match="restore its newest copy"):
        people(store)


def test_a_gallery_without_its_memory_is_refused(store: GalleryStore, tmp_path: Path) -> None:
    store.add(ADA, USE, calibration=CALIBRATION, now=NOW)
    assert people(store) == 1
    shutil.rmtree(tmp_path / "withdrawn")
    for use in (
        lambda: people(store),
        lambda: store.add(BEN, USE, calibration=CALIBRATION, now=NOW),
    ):
        with pytest.raises(GalleryError, match=r"whoever left .* would come back"):
            use()
    (tmp_path / "store").rename(tmp_path / "old")
    store.add(BEN, USE, calibration=CALIBRATION, now=NOW)
    assert people(store) == 1


# ------------------------------------------------------------------------------ full disk


def test_leaving_needs_no_room_on_the_disk(
    store: GalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this disk nothing can be written but one line in the place of the reserve."""
    store.add(ADA, USE, calibration=CALIBRATION, now=NOW)
    reserve = tmp_path / "withdrawn" / "reserve"
    assert reserve.stat().st_blocks * 512 >= 65_536
    real = os.write
    line = iter([65])

    def write(descriptor: int, data: memoryview) -> int:
        if reserve.exists() or len(data) > next(line, 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(StorageError, match="has left for good, but is not erased yet"):
            store.revoke(CODE)
    assert people(store) == 0
    assert reserve.stat().st_blocks * 512 >= 65_536
    assert store.purge(now=NOW) == 1


def test_a_reserve_that_cannot_be_had_is_done_without(
    store: GalleryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    Tombstones(tmp_path / "tombstones").add(["ab" * 32])
    with Tombstones(tmp_path / "tombstones").room_kept():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["tombstones"]


# ---------------------------------------------------------------------------------- clock


def test_a_clock_that_runs_behind_is_refused(store: GalleryStore) -> None:
    store.require_time(NOW, trusted=True)
    store.require_time(NOW - timedelta(minutes=4), trusted=False)
    store.require_time(NOW + timedelta(days=400), trusted=True)
    with pytest.raises(GalleryError, match="set the clock"):
        store.require_time(NOW, trusted=True)


def test_a_clock_nobody_vouches_for_is_not_remembered(store: GalleryStore) -> None:
    store.require_time(NOW + timedelta(days=4000), trusted=False)
    store.require_time(NOW, trusted=True)


def test_a_damaged_time_is_refused(store: GalleryStore, tmp_path: Path) -> None:
    store.require_time(NOW, trusted=True)
    for damaged in ("yesterday", "", "2026-03-01", "\xff"):
        (tmp_path / "withdrawn" / "newest-time").write_text(damaged, "latin-1")
        with pytest.raises(GalleryError, match="newest-time"):
            store.require_time(NOW, trusted=True)


def test_the_time_is_written_once_an_hour(store: GalleryStore, tmp_path: Path) -> None:
    path = tmp_path / "withdrawn" / "newest-time"
    store.require_time(NOW, trusted=True)
    store.require_time(NOW + timedelta(minutes=59), trusted=True)
    assert path.read_text() == NOW.isoformat()
    store.require_time(NOW + timedelta(minutes=60), trusted=True)
    assert path.read_text() == (NOW + timedelta(hours=1)).isoformat()
    with pytest.raises(GalleryError, match="set the clock"):
        store.require_time(NOW, trusted=False)


def test_every_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = tmp_path / "a" / "home"
        GalleryStore(home / "store", KEY, withdrawn=home / "withdrawn").add(
            ADA, USE, calibration=CALIBRATION, now=NOW
        )
    finally:
        os.umask(before)
    made = [tmp_path / "a", home, home / "store", home / "withdrawn"]
    assert {folder.stat().st_mode & 0o777 for folder in made} == {0o700}
