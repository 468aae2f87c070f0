from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.told import REMEMBERED, Told
from edge_app.config import BOUNDS
from edge_app.errors import StorageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA, BERT = "a" * 32, "b" * 32
RECORD, CODE, OTHER = "1" * 64, "2" * 64, "3" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "told.sqlite"


@pytest.fixture
def told(path: Path) -> Iterator[Told]:
    with closing(Told(path, key=bytes(32))) as opened:
        yield opened


def test_nobody_is_remembered_in_an_empty_file(told: Told) -> None:
    assert told.departed(frozenset()) == told.departed({RECORD}) == ()
    told.forget(ANNA)
    told.drop_outdated(NOW)


@pytest.mark.parametrize("digest", [RECORD, CODE])
def test_any_digest_of_somebody_names_them(told: Told, digest: str) -> None:
    told.remember(ANNA, {RECORD, CODE}, now=NOW)
    told.remember(BERT, {OTHER}, now=NOW)
    assert told.departed({digest}) == (ANNA,)
    assert set(told.departed({digest, OTHER})) == {ANNA, BERT}
    assert told.departed({"4" * 64}) == ()


def test_it_is_there_after_a_restart_and_gone_once_forgotten(path: Path) -> None:
    with closing(Told(path, key=bytes(32))) as told:
        told.remember(ANNA, {RECORD}, now=NOW)
    with closing(Told(path, key=bytes(32))) as told:
        assert told.departed({RECORD}) == (ANNA,)
        told.forget(ANNA)
    with closing(Told(path, key=bytes(32))) as told:
        assert told.departed({RECORD}) == ()


def test_each_alert_prolongs_it(told: Told) -> None:
    told.remember(ANNA, {RECORD}, now=NOW)
    told.remember(ANNA, {RECORD}, now=NOW + timedelta(days=1))
    told.drop_outdated(NOW + REMEMBERED)
    assert told.departed({RECORD}) == (ANNA,)
    told.drop_outdated(NOW + REMEMBERED + timedelta(days=1))
    assert told.departed({RECORD}) == ()


def test_nobody_is_forgotten_while_a_backend_may_hold_something() -> None:
    longest_kept_h = max(high for key, (_, high) in BOUNDS.items() if "retention_h" in key)
    longest_way_s = BOUNDS["mqtt.alert_expiry_s"][1]
    assert timedelta(hours=longest_kept_h, seconds=longest_way_s) <= REMEMBERED


def test_the_file_tells_a_thief_nothing(path: Path, told: Told) -> None:
    told.remember(ANNA, {RECORD}, now=NOW)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_bytes()
        for secret in (ANNA, RECORD):
            assert secret.encode() not in content
            assert bytes.fromhex(secret) not in content


def test_another_key_and_altered_rows_name_nobody(path: Path) -> None:
    with closing(Told(path, key=bytes(32))) as told:
        told.remember(ANNA, {RECORD}, now=NOW)
        told.remember(BERT, {RECORD}, now=NOW)
    with closing(Told(path, key=b"x" * 32)) as told:
        assert told.departed({RECORD}) == ()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE told SET sealed = substr(sealed, 1, 5) WHERE rowid = 1")
    with closing(Told(path, key=bytes(32))) as told:
        assert told.departed({RECORD}) == (BERT,)


def test_a_file_that_is_none_is_told_of_and_left_alone(path: Path) -> None:
    path.write_bytes(b"junk" * 1000)
    with pytest.raises(StorageError, match="move the file aside"):
        Told(path, key=bytes(32))
    assert path.read_bytes() == b"junk" * 1000
