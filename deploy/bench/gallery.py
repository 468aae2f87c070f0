"""Measures a fleet's gallery: publishing, installing, starting, and what moves for one person.

    python deploy/bench/gallery.py OUT.json [PEOPLE...]

The people are random vectors, of as many dimensions as the network's, with signed consents:
nobody's face. Everything else is the program's own: operator, repository over HTTP, device.
"""

from __future__ import annotations

import functools
import http.server
import json
import multiprocessing
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.keys import station_key
from edge_app.app import Home, embedder_sha256, open_gallery
from edge_app.config import Config, make_config
from edge_app.core.consent import SCHEMA_VERSION, sign, template_id
from edge_app.core.gallery import Gallery
from edge_app.core.keyring import wrap
from edge_app.core.revocation import new_code, revocation_sha256
from edge_app.operate import add_device, add_station, init, publish_gallery
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.publish import Publication
from edge_app.publisher.service import note_revocation
from edge_app.records import (
    CollectionMethod,
    ConsentRecord,
    ConsentState,
    Controller,
    Enrolment,
    EventType,
    Float32Array,
    LawfulBasis,
    PrivacyNotice,
    Purpose,
    Template,
)
from edge_app.station import deliver, introduce_station
from edge_app.sync import introduce, sync

DIM = 192
AXES = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, 64)))[0]
"""Embeddings of the shipped network span 64 of their 192 dimensions (docs/matching.md)."""
SIZES = (1_000, 10_000, 50_000)
DEVICES = 10_000
_TICK_S = 0.001
YEAR_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Row:
    """Of one size. Times in seconds, once each; sizes in bytes, over the network."""

    people: int
    publish_s: float
    bundle_bytes: int
    add_one_bytes: int
    remove_one_bytes: int
    publish_one_s: float
    install_s: float
    install_one_s: float
    start_s: float
    start_rss_mb: float
    swap_stall_ms: float


def random_vector(number: int, axes: NDArray[Any] = AXES) -> Float32Array:
    """Nobody's face, along axes of shape (dim, n)."""
    drawn = axes @ np.random.default_rng(number).standard_normal(axes.shape[1])
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


def person(number: int, model: str, key: Ed25519PrivateKey, vector: Float32Array) -> Enrolment:
    """Somebody with this vector. The number makes their revocation code."""
    record = ConsentRecord(
        schema_version=SCHEMA_VERSION,
        record_id=secrets.token_hex(16),
        pii_principal_id=secrets.token_hex(16),
        privacy_notice=PrivacyNotice("familiar-assist-1", "en", "cd" * 32),
        purpose=Purpose.ASSIST,
        pii_information=("name", "face templates"),
        pii_controllers=(Controller("site", "A venue", "1 Street", "mail@example.org"),),
        storage_locations=("the fleet's devices, encrypted",),
        retention_s=YEAR_S,
        jurisdiction="nowhere",
        withdrawal_method="the code on the receipt",
        event_time=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1),
        validity_duration_s=YEAR_S,
        event_type=EventType.GIVEN,
        event_state=ConsentState.ACTIVE,
        lawful_basis=LawfulBasis.EXPLICIT_CONSENT,
        collection_method=CollectionMethod.LIVE_GUIDED_CAPTURE,
        model_sha256=model,
        template_ids=(template_id(vector),),
        revocation_sha256=revocation_sha256(new_code(number.to_bytes(15))),
        demo=False,
        erasure_confirmed_generation=None,
    )
    templates = (Template(record.template_ids[0], vector),)
    return Enrolment(f"Member {number}", "", sign(record, key), templates)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, and no word about it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


def serve(folder: Path, ports: Connection) -> None:
    """A plain web server for these files; tells its port."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        ports.send(server.server_port)
        server.serve_forever()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Its address; the server is a process of its own, as it is another machine in earnest."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(folder, there), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{here.recv()}"
    process.terminate()
    process.join()


def measure(people: int, folder: Path) -> Row:
    """One size in a fresh folder."""
    config, clock = make_config({}), SystemClock()
    operator, desk, gate = OperatorFolder(folder / "op"), Home(folder / "d", None), folder / "g"
    init(operator, "bench", Purpose.ASSIST, clock)
    add_station(operator, introduce_station(config, desk)[0])
    home = Home(gate, None)
    add_device(operator, introduce(config, home)[0])
    key, model, fleet = station_key(desk.keys), embedder_sha256(config), operator.fleet()
    for number in range(people):
        deliver(person(number, model, key, random_vector(number)), fleet, inbox=operator.inbox)

    def publish() -> tuple[Publication, float]:
        begun = time.perf_counter()
        done = publish_gallery(config, operator, clock, lambda _what, _done, _of: None)
        return done, time.perf_counter() - begun

    def install(url: str) -> tuple[int, float]:
        begun = time.perf_counter()
        root = (operator.folder / "root.json").read_bytes()
        done = sync(config, home, url=url, root=root, clock=clock)
        return done.fetched_bytes, time.perf_counter() - begun

    whole, publish_s = publish()
    with served(operator.repository) as url:
        _, install_s = install(url)
        deliver(person(people, model, key, random_vector(people)), fleet, inbox=operator.inbox)
        publish()
        add_one_bytes, _ = install(url)
        note_revocation(operator.inbox, new_code((1).to_bytes(15)))
        _, publish_one_s = publish()
        remove_one_bytes, install_one_s = install(url)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        start_s, start_rss_mb, stall_ms = pool.apply(start, (config, home))
    return Row(
        people,
        round(publish_s, 2),
        whole.bundle_bytes,
        add_one_bytes,
        remove_one_bytes,
        round(publish_one_s, 2),
        round(install_s, 2),
        round(install_one_s, 2),
        round(start_s, 2),
        round(start_rss_mb, 1),
        round(stall_ms, 1),
    )


def start(config: Config, home: Home) -> tuple[float, float, float]:
    """Seconds to a gallery that can be searched, the largest memory, and the stall of a swap."""
    begun = time.perf_counter()
    gallery = open_gallery(config, home, embedder_sha256(config), SystemClock())
    seconds, memory_mb = time.perf_counter() - begun, peak_mb()
    return seconds, memory_mb, swap_stall_ms(config, home, gallery)


def swap_stall_ms(config: Config, home: Home, old: Gallery) -> float:
    """The longest that another thread waits while the next gallery is built and takes over."""
    galleries, longest_s = [old], 0.0
    del old
    loading = threading.Thread(
        target=lambda: galleries.append(
            open_gallery(config, home, embedder_sha256(config), SystemClock())
        )
    )
    loading.start()
    while len(galleries) == 1:
        begun = time.perf_counter()
        time.sleep(_TICK_S)
        longest_s = max(longest_s, time.perf_counter() - begun - _TICK_S)
    begun = time.perf_counter()
    del galleries[0]
    return 1_000 * max(longest_s, time.perf_counter() - begun)


def peak_mb() -> float:
    """The largest memory of this process. (`ru_maxrss` would count its parent's before exec.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def wrapping_s(devices: int) -> float:
    """Seconds to wrap a key for so many devices."""
    keys = [X25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(100)]
    begun = time.perf_counter()
    for number in range(devices):
        wrap(bytes(32), keys[number % 100], fleet="bench", generation=1)
    return time.perf_counter() - begun


def main() -> None:
    out = Path(sys.argv[1])
    sizes = [int(size) for size in sys.argv[2:]] or list(SIZES)
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(size, Path(scratch)))
        print(json.dumps(asdict(rows[-1])), flush=True)
    wrapped_s = round(wrapping_s(DEVICES), 2)
    print(f"{DEVICES:,} devices wrapped in {wrapped_s} s")
    result = {"rows": [asdict(row) for row in rows], "wrap_10000_s": wrapped_s}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
