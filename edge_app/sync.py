"""Brings this home's gallery to the newest generation that its fleet published."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

from edge_app.adapters.blocks import BlockRef
from edge_app.adapters.durable import exclusive, write_durably
from edge_app.adapters.gallery_store import FleetState, GalleryStore
from edge_app.adapters.keys import device_key, device_signing_key, trust_stations
from edge_app.adapters.relay import Operator, tell_operator
from edge_app.adapters.tuf_fetch import GalleryServer
from edge_app.adapters.verifying import Checked, Job, Verifiers
from edge_app.app import Home, embedder_sha256
from edge_app.config import Config
from edge_app.core.calibrate import require_holds, require_meets
from edge_app.core.keyring import (
    decode_tombstones,
    device_id,
    find_wrap,
    group_of,
    open_keyring,
    unwrap,
    wraps_name,
)
from edge_app.core.manifest import (
    KEYRING_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    MAX_SHARD_BYTES,
    TOMBSTONES_NAME,
    DeviceKey,
    Manifest,
    ShardRef,
    decode_manifest,
    identity_json,
    require_for,
    require_newer,
)
from edge_app.core.revocation import normalise_code
from edge_app.errors import EdgeAppError, GalleryError, KeyFileError, StorageError
from edge_app.ports import Clock
from edge_app.records import ClockState

_log = logging.getLogger(__name__)

DEVICE_FILE = "device.json"
_MAX_KEYS_BYTES = 64 * 2**20
_SHARDS_AT_ONCE = 8

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """changed: another generation than before. fetched_bytes: over the network, all of it."""

    fleet: str
    generation: int
    changed: bool
    people: int
    tombstones: int
    fetched_bytes: int
    lease_until: datetime
    device_id: str


def introduce(config: Config, home: Home) -> tuple[Path, str]:
    """Make the device's key, and the file to give to the operator; returns it and the id.

    Raises KeyFileError, StorageError.
    """
    public = device_key(home.keys).public_key().public_bytes_raw()
    signing = device_signing_key(home.keys).public_key().public_bytes_raw()
    path = home.folder / DEVICE_FILE
    content = identity_json(DeviceKey(config.device, public.hex(), signing.hex()))
    if not path.exists() or path.read_bytes() != content:
        with exclusive(home.folder):
            write_durably(path, content)
    return path, device_id(public)


def sync(
    config: Config,
    home: Home,
    *,
    url: str,
    root: bytes,
    clock: Clock,
    progress: Progress = lambda _what, _done, _of: None,
) -> SyncResult:
    """Fetch, check and install. Whatever fails, the installed gallery is as it was.

    url:  of the repository, which any static server can serve.
    root: the trusted root metadata, from the operator.

    Raises:
        GalleryError: not reached, not authentic, not fresh, not for this device, or older than
            what this device has used.
        KeyFileError: the fleet does not know this device, or a key cannot be used.
        CalibrationError: its threshold does not keep the promise (P8).
        StorageError: something cannot be written.
    """
    # One at a time: the command and a running device share the folder that files come into.
    with exclusive(home.membership().folder / "syncing"):
        result = _sync(config, home, url=url, root=root, clock=clock, progress=progress)
    tell_operator(
        home.relay(),
        url,
        result.generation,
        key=device_signing_key(home.keys),
        device_id=result.device_id,
        now=clock.now(),
        deadline_s=config.sync.tell_deadline_s,
        monotonic_s=clock.monotonic_s,
    )
    return result


def _sync(
    config: Config, home: Home, *, url: str, root: bytes, clock: Clock, progress: Progress
) -> SyncResult:
    store, membership = home.store(), home.membership()
    path, device = introduce(config, home)
    server = GalleryServer(
        url,
        folder=membership.folder,
        root=root,
        deadline_s=config.sync.deadline_s,
        monotonic_s=clock.monotonic_s,
    )
    fresh_until = server.refresh()
    manifest = decode_manifest(server.read(MANIFEST_NAME, most_bytes=MAX_MANIFEST_BYTES))
    now, floor = clock.now(), store.fleet_floor()
    require_for(
        manifest,
        fleet=floor.fleet if floor else manifest.fleet,
        purpose=config.purpose,
        model_sha256=embedder_sha256(config),
    )
    require_newer(
        manifest,
        floor=floor.generation if floor else 0,
        now=now,
        newest=store.newest_time() or now,
    )
    require_meets(manifest.calibration, config.match.target_fpir)
    state = FleetState(manifest.fleet, manifest.generation)
    changed = not store.holds(state)
    tombstones = decode_tombstones(server.read(TOMBSTONES_NAME, most_bytes=_MAX_KEYS_BYTES))
    names = {MANIFEST_NAME, TOMBSTONES_NAME, KEYRING_NAME, _wraps_name(manifest, device)}
    if changed:
        keys = _shard_keys(server, manifest, home, device, path)
        store.clear_staged()
        try:
            blocks = _blocks(server, manifest, keys, store, progress)
            require_holds(
                manifest.calibration,
                comparisons=sum(block.templates for block in blocks),
                model_sha256=manifest.model_sha256,
            )
            # Trust first: cut off here, people of a station that was removed are out already.
            with exclusive(home.folder):
                trust_stations(home.folder, manifest.trusted_stations)
            store.install(blocks, state, tombstones=tombstones, calibration=manifest.calibration)
        finally:
            store.clear_staged()
    if clock.state() is ClockState.SYNCHRONISED:
        store.require_time(max(now, manifest.published), trusted=True)
    membership.join(url, root)
    membership.extend(fresh_until)
    server.forget_but(frozenset(names | {shard.name for shard in manifest.shards}))
    home.relay().heard(Operator(manifest.fleet, manifest.operator_key), tombstones)
    return SyncResult(
        fleet=manifest.fleet,
        generation=manifest.generation,
        changed=changed,
        people=manifest.people,
        tombstones=len(tombstones),
        fetched_bytes=server.fetched_bytes,
        lease_until=fresh_until,
        device_id=device,
    )


def _wraps_name(manifest: Manifest, device: str) -> str:
    return wraps_name(group_of(device, manifest.wrap_groups))


def _shard_keys(
    server: GalleryServer, manifest: Manifest, home: Home, device: str, file: Path
) -> Mapping[int, bytes]:
    wraps = server.read(_wraps_name(manifest, device), most_bytes=_MAX_KEYS_BYTES)
    wrapped = find_wrap(wraps, device)
    if wrapped is None:
        raise KeyFileError(
            f'the fleet "{manifest.fleet}" does not know this device; give {file} to the operator '
            "(`familiar operator add-device --key`), who then publishes"
        )
    key = unwrap(
        wrapped, device_key(home.keys), fleet=manifest.fleet, generation=manifest.generation
    )
    keyring = server.read(KEYRING_NAME, most_bytes=_MAX_KEYS_BYTES)
    return open_keyring(keyring, fleet=manifest.fleet, generation=manifest.generation, key=key)


def _blocks(
    server: GalleryServer,
    manifest: Manifest,
    keys: Mapping[int, bytes],
    store: GalleryStore,
    progress: Progress,
) -> list[BlockRef]:
    """The manifest's shards as blocks of the store, in order; only new ones are fetched.

    Signatures are checked beside the network, on every core: that is most of the work.
    """
    held = store.held()
    missing = [shard for shard in manifest.shards if shard.sha256 not in held]
    found = {shard.number: held[shard.sha256] for shard in manifest.shards if shard.sha256 in held}
    waiting: deque[tuple[int, Future[BlockRef]]] = deque()

    def stage(shard: ShardRef, checked: Checked) -> BlockRef:
        return store.stage(shard.sha256, checked.people, checked.matrix, checked.text)

    def take_in() -> None:
        number, staged = waiting.popleft()
        found[number] = staged.result()
        progress("Fetching shards", len(found), len(manifest.shards))

    with Verifiers(len(missing)) as verifiers:
        for shard in missing:
            key = keys.get(shard.number)
            if key is None:
                raise GalleryError(
                    f"the gallery's keyring lacks shard {shard.number}; fetch it again"
                )
            data = server.read(shard.name, most_bytes=MAX_SHARD_BYTES)
            job = Job(data, manifest.fleet, shard.number, key, manifest.trusted_stations)
            waiting.append((shard.number, verifiers.check(job, partial(stage, shard))))
            if len(waiting) > _SHARDS_AT_ONCE:
                take_in()
        while waiting:
            take_in()
    if sum(block.people for block in found.values()) != manifest.people:
        raise GalleryError("people of the gallery are missing; fetch it again")
    return [found[shard.number] for shard in manifest.shards]


class Follower:
    """Syncs a running device now and then, in a thread of its own.

    A look that fails is logged and tried again, soon at first; the device goes on with what it
    has, until its lease is over.
    """

    def __init__(self, config: Config, look: Callable[[], SyncResult], random: Random) -> None:
        """look: one sync; random: spreads a fleet's devices over time."""
        self._config = config.sync
        self._look = look
        self._random = random
        self._stop = threading.Event()
        self._nudged = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)

    def start(self) -> None:
        """Look at once, then at intervals."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; one under way may go on for its deadline, and harms nothing."""
        self._stop.set()
        self._nudged.set()

    def nudge(self) -> None:
        """Look soon: something may be new. From any thread, as often as anybody likes."""
        self._nudged.set()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._look()
                failures = 0
            except EdgeAppError as error:
                failures += 1
                _log.warning("sync: %s", error)
            self._wait(self._pause_s(failures))

    def _wait(self, pause_s: float) -> None:
        """Until the next look is due, or sooner if nudged; never so soon that it wears anything."""
        soonest_s = min(pause_s, self._config.backoff_s)
        self._stop.wait(soonest_s)
        if self._nudged.wait(pause_s - soonest_s):
            self._nudged.clear()
            # All devices of a fleet are nudged at the same moment.
            self._stop.wait(self._config.backoff_s * self._config.jitter * self._random.random())

    def _pause_s(self, failures: int) -> float:
        """Seconds to the next look: the interval, or a doubling part of it after failures."""
        config = self._config
        pause_s = config.interval_s
        if failures:
            pause_s = min(pause_s, config.backoff_s * 2.0 ** min(failures - 1, 20))
        return pause_s * (1 + config.jitter * self._random.random())


def make_follower(config: Config, home: Home, clock: Clock) -> Follower | None:
    """What keeps this home's gallery new; None if it belongs to no fleet. Raises ConfigError."""
    source = home.membership().source()
    if source is None:
        return None
    url, root = source
    return Follower(
        config, lambda: sync(config, home, url=url, root=root, clock=clock), SystemRandom()
    )


# ----------------------------------------------------------------------------- who leaves here


class Told(StrEnum):
    """Whether the operator of this home's fleet knows that somebody left here."""

    NO_FLEET = "no_fleet"
    TOLD = "told"
    WAITING = "waiting"
    NOT_KEPT = "not_kept"


@dataclass(frozen=True, slots=True)
class Leaving:
    """was_here: the code's holder was in this gallery; if not, they can come in no more."""

    was_here: bool
    operator: Told


def leave(config: Config, home: Home, code: str, *, at_once: bool) -> Leaving:
    """Let the holder of a revocation code leave here, and have the fleet's operator hear of it.

    The tombstone here comes first, and nothing about the operator holds it up or undoes it.

    at_once: ask the operator to take it now, for `sync.tell_deadline_s` at most; else, and if it
        is not reached, the following looks do.

    Raises:
        ConsentError: not a revocation code.
        GalleryError, StorageError: as `GalleryStore.revoke`; the operator is told all the same.
    """
    code = normalise_code(code)
    try:
        was_here = home.store().revoke(code)
    finally:
        operator = _pass_on(config, home, code, at_once=at_once)
    return Leaving(was_here, operator)


def _pass_on(config: Config, home: Home, code: str, *, at_once: bool) -> Told:
    relay, state = home.relay(), Told.NOT_KEPT
    try:
        source = home.membership().source()
        if source is None:
            return Told.NO_FLEET
        with suppress(StorageError):  # on a full disk it is still told now, if it can be
            relay.keep(code)
            state = Told.WAITING
        if at_once:
            relay.tell(source[0], code, deadline_s=config.sync.tell_deadline_s)
            state = Told.TOLD
    except EdgeAppError as error:
        _log.info("the operator does not know yet: %s", error)
    return state
