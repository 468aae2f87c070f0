"""What a fleet costs behind a CDN, computed from measured figures and counted sizes.

    python deploy/bench/scale.py build/bench-gallery.json docs/fleet-at-scale.md

The first file is `deploy/bench/gallery.py`'s; the second one's tables are written anew, after the
line that says so. Sizes are those of files that the program's own writers make; only what HTTP and
TLS add is assumed.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.config import SyncConfig
from edge_app.core.keyring import encode_tombstones, encode_wraps, seal_keyring
from edge_app.core.manifest import (
    FORMAT,
    KEYRING_NAME,
    MANIFEST_NAME,
    TOMBSTONES_NAME,
    Manifest,
    ShardRef,
    StationKey,
    encode_manifest,
    shard_name,
)
from edge_app.core.shard import shards_for
from edge_app.publisher.repository import ONLINE_ROLES, ROOT_KEYS, Repository, known_file
from edge_app.records import Calibration, Purpose

MARK: Final = "<!-- What follows is written by deploy/bench/scale.py -->"
PEOPLE: Final = 50_000
LEFT: Final = 5_000
"""Tombstones: a tenth of the people have left so far."""

FLEETS: Final = (1_000, 10_000, 100_000, 1_000_000)
CHANGES: Final = (1, 10, 100)
"""Publications a day, each for one person who came or left."""

REQUEST_BYTES: Final = 700
"""Assumed: headers of one request and its answer."""

CONNECTION_BYTES: Final = 4_000
"""Assumed: a TLS 1.3 handshake with a certificate chain, once for each look."""


def wrap_groups(devices: int) -> int:
    """As `edge_app.publisher.publish` spreads them."""
    return min(max(1, -(-devices // 1_000)), 256)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the files that one device fetches, in bytes."""

    timestamp: int
    snapshot: int
    targets: int
    manifest: int
    tombstones: int
    keyring: int
    wraps: int
    shard: int

    @property
    def idle(self) -> int:
        """A look that finds nothing new: is there another root, and the timestamp."""
        return self.timestamp + 2 * REQUEST_BYTES + CONNECTION_BYTES

    @property
    def change(self) -> int:
        """A look that finds one shard changed."""
        files = self.snapshot + self.targets + self.manifest + self.tombstones + self.keyring
        return self.idle + files + self.wraps + self.shard + 7 * REQUEST_BYTES


def sizes(people: int, devices: int, left: int, person_bytes: float) -> Sizes:
    """Of a gallery of this size. person_bytes: of one person in a shard."""
    shards, groups = shards_for(people, 0), wrap_groups(devices)
    model = secrets.token_hex(32)
    shard_bytes = round(people / shards * person_bytes)
    refs = tuple(
        ShardRef(n, secrets.token_hex(32), shard_bytes, people // shards, people // shards)
        for n in range(shards)
    )
    manifest = Manifest(
        format=FORMAT,
        fleet="some-fleet",
        purpose=Purpose.ENTRY,
        generation=1_000,
        min_generation=1_000,
        model_sha256=model,
        calibration=Calibration(0.4375, 0.01, people, model),
        published=datetime.now(UTC).replace(microsecond=0),
        stations=tuple(StationKey(f"desk-{n}", secrets.token_hex(32)) for n in range(3)),
        shards=refs,
        wrap_groups=groups,
        devices=devices,
        tombstones=left,
        operator_key=secrets.token_hex(32),
    )
    in_group = -(-devices // groups)
    keys = {n: bytes(32) for n in range(shards)}
    contents = {
        MANIFEST_NAME: len(encode_manifest(manifest)),
        TOMBSTONES_NAME: len(
            encode_tombstones(frozenset(secrets.token_hex(32) for _ in range(left)))
        ),
        KEYRING_NAME: len(
            seal_keyring(keys, fleet="some-fleet", generation=1, key=bytes(32), nonce=bytes(12))
        ),
        **{f"wraps-{group}.bin": wraps_bytes(in_group) for group in range(groups)},
        **{shard_name(ref.sha256): ref.size_bytes for ref in refs},
    }
    metadata = metadata_bytes(contents)
    return Sizes(
        *metadata,
        manifest=contents[MANIFEST_NAME],
        tombstones=contents[TOMBSTONES_NAME],
        keyring=contents[KEYRING_NAME],
        wraps=wraps_bytes(in_group),
        shard=shard_bytes,
    )


def wraps_bytes(devices: int) -> int:
    return len(encode_wraps({secrets.token_hex(32): bytes(80) for _ in range(devices)}))


def metadata_bytes(contents: dict[str, int]) -> tuple[int, int, int]:
    """(timestamp, snapshot, targets) of a repository with these files' sizes."""
    keys = {name: Ed25519PrivateKey.generate() for name in (*ROOT_KEYS, *ONLINE_ROLES)}
    files = {name: known_file(size, secrets.token_hex(32)) for name, size in contents.items()}
    now, lease = datetime.now(UTC), timedelta(days=1)
    with tempfile.TemporaryDirectory() as scratch:
        repository = Repository(Path(scratch))
        repository.create(keys, lease=lease, now=now)
        repository.publish(files, keys, lease=lease, now=now)
        names = ("timestamp.json", "2.snapshot.json", "2.targets.json")
        timestamp, snapshot, targets = (
            (Path(scratch) / "metadata" / name).stat().st_size for name in names
        )
    return timestamp, snapshot, targets


# -------------------------------------------------------------------------------- tables


def tables(measured: dict[str, object]) -> str:
    """The figures as Markdown. measured: as `gallery.py` writes it."""
    rows = measured["rows"]
    if not isinstance(rows, list):
        raise TypeError("rows")
    largest = max(rows, key=lambda row: int(row["people"]))
    person_bytes = largest["bundle_bytes"] / largest["people"]
    wrap_s = float(str(measured["wrap_10000_s"])) / 10_000
    found = {devices: sizes(PEOPLE, devices, LEFT, person_bytes) for devices in FLEETS}
    premise = f"{PEOPLE:,} people of {person_bytes:,.0f} bytes each, {LEFT:,} of whom have left"
    return "\n\n".join(
        (
            f"{premise}; measured with {largest['people']:,}.",
            files_table(found),
            traffic_table(found),
            servers_table(found, wrap_s, PEOPLE * person_bytes),
            savings_table(found[FLEETS[-1]]),
        )
    )


def files_table(found: dict[int, Sizes]) -> str:
    names = ("timestamp", "snapshot", "targets", "manifest", "tombstones", "keyring", "wraps")
    rows = [
        [f"{devices:,}", *(kb(getattr(of, name)) for name in (*names, "shard"))]
        for devices, of in found.items()
    ]
    head = ["devices", "timestamp", "snapshot", "targets", *names[3:6], "one of the wraps", "shard"]
    return "**Files that a device fetches**, kB\n\n" + table(head, rows)


def traffic_table(found: dict[int, Sizes]) -> str:
    config = SyncConfig()
    looks = 86_400 / (config.interval_s * (1 + config.jitter / 2))
    rows = []
    for devices, of in found.items():
        daily = [of.idle * (looks - n) + of.change * n for n in CHANGES]
        rows.append(
            [
                f"{devices:,}",
                kb(of.idle),
                kb(of.change),
                *(f"{each / 1e6:,.1f}" for each in (of.idle * looks, *daily)),
                f"{daily[1] * devices / 1e12:,.2f}",
            ]
        )
    head = ["devices", "a look, kB", "with a change, kB", "no change, MB/day"]
    head += [f"{n} a day, MB/day" for n in CHANGES] + [f"all, {CHANGES[1]} a day, TB/day"]
    return f"**Traffic**: {looks:,.0f} looks a day for each device\n\n" + table(head, rows)


def servers_table(found: dict[int, Sizes], wrap_s: float, bundle_bytes: float) -> str:
    config = SyncConfig()
    interval_s = config.interval_s * (1 + config.jitter / 2)
    rows = []
    for devices, of in found.items():
        wraps = of.wraps * wrap_groups(devices)
        rows.append(
            [
                f"{devices:,}",
                f"{2 * devices / interval_s:,.0f}",
                f"{10 * devices / interval_s:,.0f}",
                f"{devices / interval_s:,.0f}",
                f"{of.change * devices / config.interval_s * 8 / 1e9:,.1f}",
                f"{wrap_s * devices:,.1f}",
                f"{wraps / 1e6:,.1f}",
                f"{(bundle_bytes + 2 * wraps) / 1e6:,.0f}",
            ]
        )
    head = [
        "devices",
        "requests/s",
        "after a change",
        "acknowledgments/s",
        "Gbit/s then",
        "wrapping, s",
    ]
    head += ["new wraps, MB", "stored, MB"]
    return "**Servers and publisher**\n\n" + table(head, rows)


def savings_table(of: Sizes) -> str:
    """What a look with a change would be if some files moved less."""
    groups = wrap_groups(FLEETS[-1])
    lean = metadata_bytes({f"wraps-{n}.bin": of.wraps for n in range(groups)} | {"others": 1})[2]
    steps = (
        ("as it is", 0),
        ("wraps anew only when a device was removed", of.wraps),
        ("and tombstones in files of 1,000, of which the last one changes", of.tombstones - 32_000),
        ("and shards named by the manifest alone, not by TUF's targets too", of.targets - lean),
    )
    rows, left = [], of.change
    for what, saved in steps:
        left -= saved
        rows.append([what, kb(left), f"{left * FLEETS[-1] * CHANGES[1] / 1e12:,.1f}"])
    head = ["a look with a change", "kB", f"all devices, {CHANGES[1]} a day, TB/day"]
    return f"**What could move less**, at {FLEETS[-1]:,} devices\n\n" + table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kb(size_bytes: int) -> str:
    return f"{size_bytes / 1e3:,.1f}"


def write(measured: Path, page: Path) -> None:
    """Write the page's tables anew, from `gallery.py`'s figures."""
    text = page.read_text(encoding="utf-8").partition(MARK)[0]
    found = tables(json.loads(measured.read_bytes()))
    page.write_text(f"{text}{MARK}\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
