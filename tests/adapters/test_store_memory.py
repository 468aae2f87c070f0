"""What a store remembers apart from its gallery: who left, the newest generation and time."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from edge_app.adapters.gallery_store import GalleryStore
from edge_app.errors import GalleryError
from tests.people import NOW, USE, enrolment, faces

KEY = b"k" * 32
ADA = enrolment(1, faces(1))


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore(tmp_path / "store", KEY, withdrawn=tmp_path / "withdrawn")


def people(store: GalleryStore) -> int:
    return len(store.load(USE, now=NOW).admission.enrolments)


def test_a_restored_store_folder_brings_nobody_back(store: GalleryStore, tmp_path: Path) -> None:
    store.add(ADA, USE, now=NOW)
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    store.remove(ADA.person_id)
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "backup", tmp_path / "store")
    with pytest.raises(GalleryError, match="restore its newest copy"):
        people(store)


def test_a_gallery_without_its_memory_is_refused(store: GalleryStore, tmp_path: Path) -> None:
    store.add(ADA, USE, now=NOW)
    assert people(store) == 1
    shutil.rmtree(tmp_path / "withdrawn")
    with pytest.raises(GalleryError, match="would come back"):
        people(store)


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
    (tmp_path / "withdrawn" / "newest-time").write_text("yesterday")
    with pytest.raises(GalleryError, match="newest-time"):
        store.require_time(NOW, trusted=True)


def test_every_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = tmp_path / "a" / "home"
        GalleryStore(home / "store", KEY, withdrawn=home / "withdrawn").add(ADA, USE, now=NOW)
    finally:
        os.umask(before)
    made = [tmp_path / "a", home, home / "store", home / "withdrawn"]
    assert {folder.stat().st_mode & 0o777 for folder in made} == {0o700}
