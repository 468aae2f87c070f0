import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.keys import (
    KeySources,
    device_key,
    device_signing_key,
    keys_in_home,
    page_token,
    site_key,
    station_key,
    stations_state,
    store_key,
    subject_ref,
    trusted_stations,
)
from edge_app.core.consent import station_id
from edge_app.errors import KeyFileError, StorageError


@pytest.fixture
def sources(tmp_path: Path) -> KeySources:
    return KeySources(tmp_path / "home", None, None, None)


def write_key(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def test_keys_are_made_once_and_are_private(sources: KeySources) -> None:
    key = store_key(sources)
    assert len(key) == 32
    assert key != bytes(32)
    assert store_key(sources) == key
    station = station_key(sources)
    assert public(station_key(sources)) == public(station)
    for name in ("store.key", "station.key"):
        path = sources.home / "keys" / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((sources.home / "keys").stat().st_mode) == 0o700


def test_key_that_is_there_is_read_from_a_file_system_that_cannot_be_written(
    sources: KeySources, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store_key(sources)

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", fail)
    assert store_key(sources) == key


def test_lost_key_of_a_gallery_is_not_replaced(sources: KeySources) -> None:
    write_key(sources.home / "store" / "gallery.sealed", b"sealed")
    with pytest.raises(KeyFileError, match=r"restore it, or move .*store away"):
        store_key(sources)
    assert not (sources.home / "keys").exists()
    (sources.home / "store").rename(sources.home / "old")
    assert len(store_key(sources)) == 32


def test_state_of_the_stations_changes_with_them(sources: KeySources) -> None:
    seen = {stations_state(sources.home)}
    station_key(sources)
    seen.add(stations_state(sources.home))
    (sources.home / "keys" / "station.key").unlink()
    station_key(sources)
    seen.add(stations_state(sources.home))
    assert len(seen) == 3
    assert stations_state(sources.home) in seen


def test_two_homes_have_different_keys(sources: KeySources, tmp_path: Path) -> None:
    other = replace(sources, home=tmp_path / "other")
    assert store_key(sources) != store_key(other)
    assert public(station_key(sources)) != public(station_key(other))


def test_home_trusts_the_station_it_made(sources: KeySources) -> None:
    assert trusted_stations(sources.home) == {}
    key = public(station_key(sources))
    assert trusted_stations(sources.home) == {station_id(key): key}


def test_new_station_joins_those_that_are_trusted(sources: KeySources) -> None:
    first = public(station_key(sources))
    (sources.home / "keys" / "station.key").unlink()
    second = public(station_key(sources))
    assert set(trusted_stations(sources.home).values()) == {first, second}


def test_station_that_was_distrusted_stays_so(sources: KeySources) -> None:
    station_key(sources)
    (sources.home / "stations.json").write_text('{"format": 1, "stations": {}}')
    station_key(sources)
    assert trusted_stations(sources.home) == {}


def test_provisioned_station_is_not_trusted_by_itself(sources: KeySources, tmp_path: Path) -> None:
    given_key = write_key(tmp_path / "given", b"\x01" * 32)
    station_key(replace(sources, station_key_file=given_key))
    assert trusted_stations(sources.home) == {}


def test_concurrent_first_starts_agree_on_one_key(sources: KeySources) -> None:
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append(store_key(sources))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(seen), len(set(seen))) == (8, 1)


def test_credential_comes_before_file_before_home(sources: KeySources, tmp_path: Path) -> None:
    home = store_key(sources)
    file = write_key(tmp_path / "given.key", b"f" * 32)
    credentials = tmp_path / "credentials"
    write_key(credentials / "store.key", b"c" * 32, mode=0o440)
    assert store_key(replace(sources, store_key_file=file)) == b"f" * 32
    everything = replace(sources, store_key_file=file, credentials_folder=credentials)
    assert store_key(everything) == b"c" * 32
    (credentials / "store.key").unlink()
    assert store_key(everything) == b"f" * 32
    assert store_key(replace(sources, credentials_folder=credentials)) == home


def test_missing_configured_file_is_not_replaced(sources: KeySources, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"no key file .*nowhere"):
        store_key(replace(sources, store_key_file=tmp_path / "nowhere"))
    assert not sources.home.exists()


ReadKey = Callable[[KeySources], object]
BOTH = pytest.mark.parametrize(
    ("name", "read"), [("store.key", store_key), ("station.key", station_key)]
)


@BOTH
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_key_that_others_may_open_is_refused(
    sources: KeySources, name: str, read: ReadKey, mode: int
) -> None:
    path = write_key(sources.home / "keys" / name, b"k" * 32, mode)
    with pytest.raises(KeyFileError, match=f"run `chmod 600 {path}`"):
        read(sources)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 100_000])
def test_key_of_another_length_is_refused_and_kept(
    sources: KeySources, name: str, read: ReadKey, size: int
) -> None:
    path = write_key(sources.home / "keys" / name, b"k" * size)
    with pytest.raises(KeyFileError, match="does not hold 32 bytes"):
        read(sources)
    assert path.stat().st_size == size


@BOTH
def test_folder_in_place_of_a_key_is_refused(sources: KeySources, name: str, read: ReadKey) -> None:
    (sources.home / "keys" / name).mkdir(parents=True)
    with pytest.raises(KeyFileError, match="cannot read the key file"):
        read(sources)


def test_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="choose another folder"):
        store_key(KeySources(tmp_path / "file" / "home", None, None, None))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 2, "stations": {}}',
        '{"format": 1, "stations": []}',
        '{"format": 1, "stations": {"ab": "zz"}}',
        '{"format": 1, "stations": {"ab": 7}}',
        '{"format": 1, "stations": {"' + "ab" * 32 + '": "' + "cd" * 32 + '"}}',
    ],
)
def test_malformed_stations_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "stations.json").write_text(content)
    with pytest.raises(KeyFileError, match="restore it from a backup"):
        trusted_stations(tmp_path)


def test_subject_ref_is_pinned() -> None:
    """Backends recognise a person by it, so it must not change between releases."""
    key = site_key(b"k" * 32)
    assert subject_ref(key, "home", "person-1") == subject_ref(key, "home", "person-1")
    assert subject_ref(key, "home", "person-1") == "f93a4d85e6b96fb0524249e3d9225fa5"


@given(st.tuples(st.binary(min_size=1, max_size=4), st.text(), st.text()), st.data())
def test_subject_refs_differ_by_key_site_and_person(
    one: tuple[bytes, str, str], data: st.DataObject
) -> None:
    other = data.draw(st.tuples(st.binary(min_size=1, max_size=4), st.text(), st.text()))
    assert (subject_ref(*one) == subject_ref(*other)) == (one == other)
    assert len(subject_ref(*one)) == 32


def test_a_devices_keys_are_one_secret(sources: KeySources) -> None:
    """The signing key follows from the device's key: one file, or one credential."""
    signing = device_signing_key(sources).private_bytes_raw()
    assert [path.name for path in (sources.home / "keys").glob("*.key")] == ["device.key"]
    assert device_signing_key(sources).private_bytes_raw() == signing
    assert signing != device_key(sources).private_bytes_raw()
    assert len(signing) == 32


def test_the_pages_token_stays_until_its_key_is_removed(sources: KeySources) -> None:
    token = page_token(sources)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert page_token(sources) == token
    key = sources.home / "keys" / "page.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    assert page_token(sources) != token


def test_keys_in_the_home_are_found(sources: KeySources, tmp_path: Path) -> None:
    assert keys_in_home(sources) == ()
    store_key(sources)
    device_key(sources)
    station_key(sources)
    folder = sources.home / "keys"
    everything = tuple(folder / name for name in ("store.key", "station.key", "device.key"))
    assert keys_in_home(sources) == everything
    assert keys_in_home(replace(sources, store_key_file=tmp_path / "elsewhere")) == everything[1:]
    credentials = tmp_path / "credentials"
    write_key(credentials / "device.key", b"c" * 32, mode=0o440)
    sealed = replace(sources, credentials_folder=credentials)
    assert keys_in_home(sealed) == everything[:2]
    assert device_key(sealed).private_bytes_raw() == b"c" * 32
    assert (
        device_signing_key(sealed).private_bytes_raw()
        != device_signing_key(sources).private_bytes_raw()
    )
