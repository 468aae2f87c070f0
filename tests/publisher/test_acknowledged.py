"""What the operator keeps of its devices' word, and what follows for those who left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.core.acknowledge import Erasure, sign_acknowledgment
from edge_app.core.manifest import DeviceKey
from edge_app.errors import GalleryError, StorageError
from edge_app.operate import _EMPTY
from edge_app.publisher.acknowledged import Acknowledgments, erasure, erasures, everyone
from edge_app.publisher.folder import Departed, RemovedDevice

FLEET = "harbour"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 5)]
DEVICES = [
    DeviceKey(f"gate-{n}", f"{n:02x}" * 32, key.public_key().public_bytes_raw().hex())
    for n, key in enumerate(KEYS)
]
BY_ID: Mapping[str, DeviceKey] = {device.device_id: device for device in DEVICES}


def said(number: int, generation: int, **changes: Any) -> bytes:
    stated = {"fleet": FLEET, "device_id": DEVICES[number].device_id, "time": NOW, **changes}
    return sign_acknowledgment(KEYS[number], generation=generation, **stated)


@pytest.fixture
def kept(tmp_path: Path) -> Acknowledgments:
    return Acknowledgments(tmp_path / "acknowledged", FLEET)


def keep(kept: Acknowledgments, data: bytes, newest: int = 9) -> bool:
    return kept.keep(data, devices=BY_ID, generation=newest, now=NOW)


def generations(kept: Acknowledgments) -> dict[str, int]:
    found = kept.read(DEVICES)
    return {BY_ID[name].name: r.signed.statement.generation for name, r in found.items()}


def test_nobody_has_said_anything(kept: Acknowledgments) -> None:
    assert kept.read(DEVICES) == {}
    assert kept.read([]) == {}


def test_the_newest_word_of_each_device_is_kept(kept: Acknowledgments, tmp_path: Path) -> None:
    assert keep(kept, said(0, 3))
    assert keep(kept, said(1, 5))
    assert keep(kept, said(0, 4))
    assert generations(kept) == {"gate-0": 4, "gate-1": 5}
    assert generations(Acknowledgments(tmp_path / "acknowledged", FLEET)) == generations(kept)
    assert next(iter(kept.read(DEVICES).values())).received == NOW


def test_what_is_sent_again_or_is_older_changes_nothing(
    kept: Acknowledgments, tmp_path: Path
) -> None:
    first, second = said(0, 3), said(0, 4)
    keep(kept, first)
    keep(kept, second)
    path = tmp_path / "acknowledged" / f"{DEVICES[0].device_id}.json"
    before = path.read_bytes()
    later = datetime(2030, 1, 1, tzinfo=UTC)
    for replay in (first, second, said(0, 4, time=later)):
        assert not keep(kept, replay)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        said(0, 10),  # never published
        said(0, 3, fleet="other"),
        sign_acknowledgment(
            KEYS[1], fleet=FLEET, device_id=DEVICES[0].device_id, generation=3, time=NOW
        ),
        sign_acknowledgment(KEYS[0], fleet=FLEET, device_id="ab" * 32, generation=3, time=NOW),
    ],
    ids=["nothing", "empty", "future", "fleet", "another device's key", "unknown device"],
)
def test_anything_else_is_refused_and_leaves_nothing(
    kept: Acknowledgments, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(GalleryError):
        keep(kept, data)
    assert not (tmp_path / "acknowledged").exists()


def test_a_devices_wrong_clock_does_not_silence_it(kept: Acknowledgments) -> None:
    assert keep(kept, said(0, 3, time=datetime(2036, 1, 1, tzinfo=UTC)))
    assert keep(kept, said(0, 4, time=datetime(2025, 1, 1, tzinfo=UTC)))
    assert generations(kept) == {"gate-0": 4}


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 400, None])
def test_a_file_that_was_altered_says_nothing(
    kept: Acknowledgments, tmp_path: Path, damage: bytes | None
) -> None:
    keep(kept, said(0, 3))
    path = tmp_path / "acknowledged" / f"{DEVICES[0].device_id}.json"
    forged = path.read_bytes().replace(b'"generation":3', b'"generation":9')
    path.write_bytes(forged if damage is None else damage)
    assert generations(kept) == {}
    assert keep(kept, said(0, 3))  # and the device may say it again
    assert generations(kept) == {"gate-0": 3}


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        keep(Acknowledgments(tmp_path / "file" / "acknowledged", FLEET), said(0, 3))


def test_erasure_counts_who_has_come_as_far(kept: Acknowledgments) -> None:
    book = replace(
        _EMPTY,
        generation=9,
        devices=tuple(DEVICES[:3]),
        removed=(RemovedDevice(DEVICES[3], 4),),
    )
    departed = Departed("ee" * 32, since=2, generation=5)

    def now() -> Erasure:
        return erasure(book, departed, kept.read(everyone(book)))

    assert now() == Erasure(generation=5, devices=3, acknowledged=0, removed=1)
    keep(kept, said(0, 4))  # older than the departure
    keep(kept, said(1, 5))
    keep(kept, said(2, 9))
    assert now() == Erasure(generation=5, devices=3, acknowledged=2, removed=1)
    keep(kept, said(0, 6))
    assert now().acknowledged == 3
    keep(kept, said(3, 5))  # it had said so before it was removed
    assert now().removed == 0


def test_many_departures_are_counted_as_one_is(kept: Acknowledgments) -> None:
    book = replace(
        _EMPTY,
        generation=9,
        devices=tuple(DEVICES[:3]),
        removed=(RemovedDevice(DEVICES[3], 4),),
        departed=tuple(
            Departed(f"{since}{newer}" * 32, since, since + newer)
            for since in range(6)
            for newer in range(1, 4)
        ),
    )
    for number, generation in enumerate((3, 5, 5)):
        keep(kept, said(number, generation))
    receipts = kept.read(everyone(book))
    found = list(erasures(book, book.departed, receipts))
    assert found == [erasure(book, one, receipts) for one in book.departed]
    assert [e.acknowledged for e in found if e.generation == 5] == [2, 2, 2]
    assert {e.acknowledged for e in found if e.generation < 4} == {3}
    assert list(erasures(book, [], receipts)) == []


def test_a_device_that_was_removed_before_the_person_came_never_had_them() -> None:
    book = replace(_EMPTY, generation=9, removed=(RemovedDevice(DEVICES[3], 4),))
    assert erasure(book, Departed("ee" * 32, since=5, generation=6), {}).removed == 0
    assert erasure(book, Departed("ee" * 32, since=4, generation=6), {}).removed == 1
    assert erasure(book, Departed("ee" * 32, since=0, generation=6), {}).devices == 0
