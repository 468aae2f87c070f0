"""Attacks on a device's gallery. Each is named, is refused with one error, and changes nothing
that is installed: not the gallery, not the floor, not who left."""

from __future__ import annotations

import errno
import http.server
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root

from edge_app.adapters.tuf_fetch import GalleryServer
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.core.keyring import (
    KEYRING_MAGIC,
    encode_wraps,
    find_wrap,
    group_of,
    wraps_name,
)
from edge_app.core.manifest import MANIFEST_NAME, Manifest, decode_manifest, encode_manifest
from edge_app.errors import EdgeAppError, GalleryError, StorageError
from edge_app.publisher.folder import BookFile
from edge_app.publisher.repository import (
    ONLINE_ROLES,
    ROOT_KEYS,
    Repository,
    known_file,
    target_file,
)
from edge_app.records import Purpose
from edge_app.sync import introduce
from tests.fleets import CLOCK, CONFIG, Fleet, ShiftedClock, names, person, served, snapshot
from tests.people import CALIBRATION


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def gate(fleet: Fleet) -> Home:
    """A device that has generation 1, with two people."""
    home = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    with served(fleet.operator.repository) as url:
        fleet.sync(home, url)
    return home


@pytest.fixture
def unchanged(gate: Home) -> Iterator[None]:
    """Holds that the attack changed nothing."""
    before = snapshot(gate)
    yield
    assert snapshot(gate) == before
    assert names(CONFIG, gate) == {"Name 1", "Name 2"}


def refused(fleet: Fleet, gate: Home, match: str, **options: Any) -> None:
    with (
        served(fleet.operator.repository) as url,
        pytest.raises(EdgeAppError, match=match) as error,
    ):
        fleet.sync(gate, url, **options)
    assert "\n" not in str(error.value)


def republish(fleet: Fleet, change: Callable[[Manifest], Manifest]) -> None:
    """As an operator whose program is broken or who lies: signed, but another manifest."""
    book, repository = fleet.operator.read_book(), Repository(fleet.operator.repository)
    old = next(file for file in book.files if file.name == MANIFEST_NAME)
    manifest = decode_manifest(repository.read_target(MANIFEST_NAME, old.sha256))
    replace_file(fleet, MANIFEST_NAME, encode_manifest(change(manifest)))


def replace_file(fleet: Fleet, name: str, data: bytes) -> None:
    """Signed by the operator's own keys, with another content."""
    book, repository = fleet.operator.read_book(), Repository(fleet.operator.repository)
    repository.add_target(name, data)
    files = {f.name: known_file(f.size_bytes, f.sha256) for f in book.files}
    files[name] = target_file(data)
    keys = fleet.operator.require_signing_keys(ONLINE_ROLES)
    repository.publish(files, keys, lease=timedelta(hours=1), now=CLOCK.now())


# ------------------------------------------------------------------------ old galleries


@pytest.fixture
def old_repository(fleet: Fleet, gate: Home) -> Path:
    """Generation 1 as it was served, while the device has generation 2 already."""
    kept = fleet.folder / "old"
    shutil.copytree(fleet.operator.repository, kept)
    fleet.enrol([person(3)])
    fleet.leave(3)
    fleet.publish()
    with served(fleet.operator.repository) as url:
        assert fleet.sync(gate, url).generation == 2
    return kept


@pytest.mark.parametrize("wipe", ["nothing", "metadata", "zero-length", "all of it"])
def test_rollback(
    fleet: Fleet, gate: Home, old_repository: Path, unchanged: None, wipe: str
) -> None:
    metadata = gate.folder / "fleet" / "metadata"
    if wipe == "metadata":
        shutil.rmtree(metadata)
    elif wipe == "all of it":
        shutil.rmtree(gate.folder / "fleet")
    elif wipe == "zero-length":
        for path in metadata.rglob("*.json"):
            path.resolve().write_bytes(b"")
    with served(old_repository) as url, pytest.raises(GalleryError):
        fleet.sync(gate, url)


def test_rollback_of_the_generation_under_new_signatures(fleet: Fleet, gate: Home) -> None:
    fleet.enrol([person(3)])
    fleet.publish()
    with served(fleet.operator.repository) as url:
        fleet.sync(gate, url)
    republish(fleet, lambda m: replace(m, generation=1, min_generation=1))
    before = snapshot(gate)
    refused(fleet, gate, "whoever left in between would come back")
    assert snapshot(gate) == before


def test_freeze(fleet: Fleet, gate: Home, unchanged: None) -> None:
    fleet.publish(shift=timedelta(days=-3))  # a timestamp that is two days over
    refused(fleet, gate, "not fresh")


def test_mix_and_match(fleet: Fleet, gate: Home, unchanged: None) -> None:
    """Metadata of one generation with a file of another under its name."""
    book = fleet.operator.read_book()
    fleet.enrol([person(3)])
    fleet.publish()
    new = fleet.operator.read_book()
    targets = fleet.operator.repository / "targets"
    for old_file, new_file in zip(book.files, new.files, strict=True):
        if old_file.sha256 != new_file.sha256:
            shutil.copy(path_of(targets, old_file), path_of(targets, new_file))
    refused(fleet, gate, "not what was signed|cannot fetch")


def path_of(targets: Path, file: BookFile) -> Path:
    folder, _, name = file.name.rpartition("/")
    return targets / folder / f"{file.sha256}.{name}"


# ------------------------------------------------------------------------ hostile servers


class Endless(http.server.BaseHTTPRequestHandler):
    """Never stops to send."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65_536)
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


class Drip(Endless):
    """Sends a byte now and then, for ever."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.01)
        except OSError:
            pass


class Garbage(Endless):
    """Speaks no HTTP."""

    def handle(self) -> None:
        self.connection.recv(1024)
        self.connection.sendall(b"\0\xff garbage\r\n\r\n")


class Redirect(Endless):
    """Sends the device elsewhere."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()


@pytest.mark.parametrize("server", [Endless, Drip, Garbage, Redirect])
def test_a_hostile_server(fleet: Fleet, gate: Home, unchanged: None, server: type[Endless]) -> None:
    config = make_config({"sync": {"deadline_s": 1.0}})
    with served(fleet.folder, server) as url, pytest.raises(GalleryError, match="cannot fetch"):
        fleet.sync(gate, url, config=config)


def test_nobody_answers(fleet: Fleet, gate: Home, unchanged: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(GalleryError, match="goes on with what it has"):
            fleet.sync(gate, url)


# --------------------------------------------------------------------------- wrong keys


def forged() -> dict[str, Ed25519PrivateKey]:
    return {name: Ed25519PrivateKey.generate() for name in (*ROOT_KEYS, *ONLINE_ROLES)}


def test_a_repository_signed_with_other_keys(fleet: Fleet, gate: Home, unchanged: None) -> None:
    book, repository = fleet.operator.read_book(), Repository(fleet.operator.repository)
    files = {f.name: known_file(f.size_bytes, f.sha256) for f in book.files}
    repository.publish(files, forged(), lease=timedelta(hours=1), now=CLOCK.now())
    refused(fleet, gate, "not authentic")


def test_a_forged_root(fleet: Fleet, gate: Home, unchanged: None) -> None:
    """A new root that the old keys did not sign."""
    other, keys = fleet.folder / "forged", forged()
    Repository(other).create(keys, lease=timedelta(hours=1), now=CLOCK.now())
    forgery = Metadata[Root].from_file(str(other / "metadata" / "1.root.json"))
    forgery.signed.version = 2
    forgery.signatures.clear()
    for name in ROOT_KEYS:
        forgery.sign(CryptoSigner(keys[name]), append=True)
    forgery.to_file(str(fleet.operator.repository / "metadata" / "2.root.json"))
    refused(fleet, gate, "not authentic")


def test_no_root_at_all(fleet: Fleet, gate: Home, unchanged: None) -> None:
    from edge_app.sync import sync

    with served(fleet.operator.repository) as url, pytest.raises(GalleryError, match=r"root\.json"):
        sync(CONFIG, gate, url=url, root=b"{}", clock=CLOCK)


def test_wraps_of_another_device(fleet: Fleet, gate: Home, unchanged: None) -> None:
    other, mine = fleet.device("other"), introduce(CONFIG, gate)[1]
    fleet.publish()
    book, repository = fleet.operator.read_book(), Repository(fleet.operator.repository)
    name = wraps_name(group_of(mine, 1))
    file = next(f for f in book.files if f.name == name)
    wrapped = find_wrap(
        repository.read_target(name, file.sha256), introduce(make_config({}), other)[1]
    )
    assert wrapped is not None
    replace_file(fleet, name, encode_wraps({mine: wrapped}))
    refused(fleet, gate, "key does not open the gallery")


def test_a_keyring_that_is_none(fleet: Fleet, gate: Home, unchanged: None) -> None:
    fleet.enrol([person(3)])
    fleet.publish()
    for data in (b"", KEYRING_MAGIC, KEYRING_MAGIC + bytes(200)):
        replace_file(fleet, "keyring.bin", data)
        refused(fleet, gate, "keyring")


# ------------------------------------------------------------------- the wrong gallery


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: replace(m, fleet="another"), 'the fleet "another"'),
        (lambda m: replace(m, purpose=Purpose.CARE), "did not agree to that"),
        (
            lambda m: replace(
                m,
                model_sha256="0" * 64,
                calibration=replace(m.calibration, model_sha256="0" * 64),
            ),
            "another embedder",
        ),
        (
            lambda m: replace(
                m,
                generation=9,
                calibration=replace(CALIBRATION, model_sha256=m.model_sha256, target_fpir=0.5),
            ),
            "false|FPIR",
        ),
    ],
    ids=["fleet", "purpose", "model", "threshold"],
)
def test_a_gallery_for_others(
    fleet: Fleet,
    gate: Home,
    unchanged: None,
    change: Callable[[Manifest], Manifest],
    match: str,
) -> None:
    republish(fleet, change)
    refused(fleet, gate, match)


def test_an_unauthorised_stations_people_are_nobody(fleet: Fleet, gate: Home) -> None:
    """Even the operator cannot publish somebody whom no delegated station enrolled."""
    republish(fleet, lambda m: replace(m, generation=2, stations=()))
    with served(fleet.operator.repository) as url, pytest.raises(GalleryError):
        # The keyring is generation 1's: this manifest alone opens nothing.
        fleet.sync(gate, url)
    assert names(CONFIG, gate) == {"Name 1", "Name 2"}


# ------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("shift", [timedelta(days=-400), timedelta(days=-1)], ids=str)
def test_a_clock_that_is_behind(
    fleet: Fleet, gate: Home, unchanged: None, shift: timedelta
) -> None:
    refused(fleet, gate, "set the clock", clock=ShiftedClock(shift))


def test_a_clock_ten_years_ahead_ends_every_consent_and_erases_none(
    fleet: Fleet, gate: Home, unchanged: None
) -> None:
    from edge_app.app import intended_use
    from tests.fleets import MODEL

    later = ShiftedClock(timedelta(days=3_653)).now()
    stored = gate.store().load(intended_use(CONFIG, gate, MODEL), now=later)
    assert len(stored.admission.people) == 0


# --------------------------------------------------------------------- damage on the way


def test_every_file_cut_off_and_altered(fleet: Fleet, gate: Home, unchanged: None) -> None:
    """The whole way, through HTTP, at some places; at every byte below."""
    fleet.enrol([person(3)])
    fleet.leave(4)
    fleet.publish()
    for path in served_files(fleet):
        whole = path.read_bytes()
        for number, damaged in enumerate(damages(whole, max(1, len(whole) // 6))):
            path.write_bytes(damaged)
            attempt(fleet, gate, f"{path.name}, damage {number}")
        path.write_bytes(whole)


def test_every_byte_of_every_file(
    fleet: Fleet, gate: Home, unchanged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at every byte, and every byte altered: TUF refuses it before anything else reads it.

    The files come from the folder itself: this is about what TUF says, not about HTTP.
    """
    fleet.enrol([person(3)])
    fleet.leave(4)
    fleet.publish()
    files = read_from(fleet.operator.repository, monkeypatch)
    folder, tried = fleet.folder / "apart", 0
    for path in served_files(fleet):
        whole = path.read_bytes()
        key = str(path.relative_to(fleet.operator.repository))
        server = new_server(fleet, folder)
        if path.parent.name != "metadata":
            server.refresh()
        for damaged in damages(whole, 1):
            files[key] = damaged
            if path.parent.name == "metadata":
                with pytest.raises(GalleryError):
                    new_server(fleet, folder).refresh()
            else:
                with pytest.raises(GalleryError):
                    server.read(target_name(path), most_bytes=len(whole))
            tried += 1
        files[key] = whole
    assert tried > 10_000
    server = new_server(fleet, folder)
    server.refresh()
    assert decode_manifest(server.read(MANIFEST_NAME, most_bytes=10_000)).generation == 2


def served_files(fleet: Fleet) -> list[Path]:
    """Every file of the generation that is published now, in the order they are fetched in."""
    repository, book = fleet.operator.repository, fleet.operator.read_book()
    version = max(int(p.name.split(".")[0]) for p in repository.glob("metadata/*.snapshot.json"))
    metadata = ["timestamp.json", f"{version}.snapshot.json", f"{version}.targets.json"]
    return [repository / "metadata" / name for name in metadata] + [
        path_of(repository / "targets", file) for file in book.files
    ]


def damages(whole: bytes, step: int) -> Iterator[bytes]:
    """The bytes cut off, and altered, at every `step`th place; and with one more at the end."""
    for place in range(0, len(whole), step):
        yield whole[:place]
        yield whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    yield whole + b"\0"


def read_from(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The repository's files by path, which are fetched from here and not over HTTP from now on."""
    files = {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file()
    }

    def fetch(_self: object, url: str) -> Iterator[bytes]:
        data = files.get(url.removeprefix("http://folder/"))
        if data is None:
            raise DownloadHTTPError(url, 404)
        yield data

    monkeypatch.setattr("edge_app.adapters.tuf_fetch._DeadlineFetcher._fetch", fetch)
    return files


def new_server(fleet: Fleet, folder: Path) -> GalleryServer:
    return GalleryServer(
        "http://folder",
        folder=folder,
        root=fleet.root,
        deadline_s=60.0,
        monotonic_s=time.monotonic,
    )


def target_name(path: Path) -> str:
    name = path.name.split(".", 1)[1]
    return f"shard/{name}" if path.parent.name == "shard" else name


def attempt(fleet: Fleet, gate: Home, what: str) -> None:
    """A look that finds a damaged file, with nothing kept from before."""
    shutil.rmtree(gate.folder / "fleet" / "files", ignore_errors=True)
    before = snapshot(gate)
    with served(fleet.operator.repository) as url:
        try:
            fleet.sync(gate, url)
        except GalleryError:
            assert snapshot(gate) == before
        else:
            pytest.fail(f"a damaged bundle was installed: {what}")


# ------------------------------------------------------------------------------ full disk


def test_the_disk_is_full_at_any_write(
    fleet: Fleet, gate: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.enrol([person(3)])
    fleet.publish()
    real, room = os.write, [0]

    def write(descriptor: int, data: Any) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    refusals = 0
    with served(fleet.operator.repository) as url:
        for writes in range(100):
            room[0] = writes
            try:
                fleet.sync(gate, url)
            except StorageError:
                refusals += 1
                assert names(CONFIG, gate) in (
                    {"Name 1", "Name 2"},
                    {"Name 1", "Name 2", "Name 3"},
                )
            else:
                break
    assert refusals >= 5
    assert names(CONFIG, gate) == {"Name 1", "Name 2", "Name 3"}
