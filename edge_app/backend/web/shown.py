"""What the pages show of a fleet: its overview, as its operator last wrote it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Generic, TypeVar

from edge_app.adapters.durable import file_state
from edge_app.backend.states import DeviceStates
from edge_app.core.health import Condition
from edge_app.core.overview import (
    MAX_OVERVIEW_BYTES,
    DepartureEntry,
    DeviceEntry,
    Evidence,
    Overview,
    PersonEntry,
    PersonState,
    consent_state,
    decode_overview,
    encode_evidence,
    erasure_evidence,
    is_old,
    is_stale,
)
from edge_app.errors import GalleryError

PER_PAGE: Final = 50

_QUIET: Final = timedelta(minutes=5)
_LEASE_SOON: Final = timedelta(hours=6)
_TEXT: Final = 64

_log = logging.getLogger(__name__)


class Standing(StrEnum):
    """How far an overview can be relied on; see [source] of the words."""

    GOOD = "good"
    OLD = "old"
    MISSING = "missing"
    BROKEN = "broken"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Source:
    """made: when the operator wrote it; None if it cannot be read."""

    standing: Standing
    made: datetime | None
    fleet: str


_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """Part of a list. number: from 0; total: of all pages."""

    items: tuple[_Item, ...]
    number: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Person:
    entry: PersonEntry
    state: PersonState
    station: str


@dataclass(frozen=True, slots=True)
class People:
    """counts: of everybody, by state, in the order in which they are listed."""

    source: Source
    state: str
    record: str
    counts: Mapping[PersonState, int]
    page: Page[Person]


@dataclass(frozen=True, slots=True)
class Device:
    """What a device says of itself.

    trouble: the names of what is wrong, see [trouble] of the words; empty: nothing is.
    newest:  the generation that it should have, if that is known.
    """

    states: DeviceStates
    trouble: tuple[str, ...]
    newest: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """A device as the operator knows it."""

    entry: DeviceEntry
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Devices:
    source: Source
    generation: int | None
    heard: Page[Device]
    members: Page[Member]


@dataclass(frozen=True, slots=True)
class Departure:
    """evidence: of the one that was asked for."""

    entry: DepartureEntry
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Erasures:
    source: Source
    digest: str
    page: Page[Departure]


class Shown:
    """For several threads."""

    def __init__(self, path: Path | None) -> None:
        """path: of the overview; None: nobody said where it is."""
        self._path = path
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], Overview | None] | None = None

    def people(self, state: str, record: str, number: int, now: datetime) -> People:
        """Those in a state, or all, whose record begins so; whose consent ends first, first."""
        overview, source = self._read(now)
        record = record.strip().lower()[:_TEXT]
        entries = () if overview is None else overview.people
        stations = {} if overview is None else {s.station_id: s.name for s in overview.stations}
        everybody = [(entry, consent_state(entry, now)) for entry in entries]
        counts = Counter(found for _, found in everybody)
        wanted = sorted(
            (
                Person(entry, found, stations.get(entry.station_id, ""))
                for entry, found in everybody
                if state in {"", found.value} and entry.record_id.startswith(record)
            ),
            key=lambda person: (person.entry.until, person.entry.record_id),
        )
        known = {one: counts[one] for one in PersonState if counts[one]}
        return People(source, state, record, known, _page(wanted, number))

    def devices(
        self, states: Sequence[DeviceStates], number: int, member_number: int, now: datetime
    ) -> Devices:
        """Those that are in trouble first."""
        overview, source = self._read(now)
        newest = None if overview is None else overview.generation
        heard = [Device(one, _trouble(one, newest, now), newest) for one in states]
        members = [
            Member(entry, overview is not None and is_stale(overview, entry, now))
            for entry in (() if overview is None else overview.devices)
        ]
        return Devices(
            source,
            newest,
            _page(sorted(heard, key=lambda device: not device.trouble), number),
            _page(sorted(members, key=lambda member: not member.is_stale), member_number),
        )

    def erasures(self, digest: str, number: int, now: datetime) -> Erasures:
        """Who left, the last first; of one whose digest is given, every device."""
        overview, source = self._read(now)
        left = () if overview is None else overview.departures

        def evidence(entry: DepartureEntry) -> Evidence | None:
            asked = overview is not None and entry.digest == digest
            return erasure_evidence(overview, entry) if overview and asked else None

        by_age: Callable[[DepartureEntry], tuple[int, str]] = lambda one: (  # noqa: E731
            -one.erasure.generation,
            one.digest,
        )
        found = _page(sorted(left, key=by_age), number)
        items = tuple(Departure(entry, evidence(entry)) for entry in found.items)
        return Erasures(source, digest, Page(items, found.number, found.pages, found.total))

    def proof(self, digest: str) -> bytes | None:
        """What shows a departure's erasure to others; None if nobody left by that digest."""
        overview = self._overview()[0]
        for entry in () if overview is None else overview.departures:
            if overview is not None and entry.digest == digest:
                return encode_evidence(erasure_evidence(overview, entry))
        return None

    def _read(self, now: datetime) -> tuple[Overview | None, Source]:
        overview, standing = self._overview()
        if overview is None:
            return None, Source(standing, None, "")
        standing = Standing.OLD if is_old(overview, now) else Standing.GOOD
        return overview, Source(standing, overview.made, overview.fleet)

    def _overview(self) -> tuple[Overview | None, Standing]:
        if self._path is None:
            return None, Standing.NONE
        with self._lock:
            state = file_state(self._path)
            if self._known is None or self._known[0] != state:
                self._known = (state, _load(self._path))
            overview = self._known[1]
        if overview is not None:
            return overview, Standing.GOOD
        return None, Standing.BROKEN if self._path.exists() else Standing.MISSING


def _load(path: Path) -> Overview | None:
    try:
        with path.open("rb") as file:
            return decode_overview(file.read(MAX_OVERVIEW_BYTES + 1))
    except FileNotFoundError:
        return None
    except (OSError, GalleryError) as error:
        _log.error("backend: %s", error)
        return None


def _trouble(device: DeviceStates, newest: int | None, now: datetime) -> tuple[str, ...]:
    trouble = []
    if device.availability is not None and device.availability.state == "offline":
        trouble.append("offline")
    elif now - device.heard > _QUIET:
        trouble.append("quiet")
    if device.health is not None:
        if device.health.state != Condition.RUNNING:
            trouble.append("state")
        if device.health.outbox.forced_out:
            trouble.append("forced_out")
        if device.health.throttled:
            trouble.append("throttled")
    lease = None if device.gallery is None else device.gallery.lease_until
    if lease is not None and lease <= now:
        trouble.append("lease_over")
    elif lease is not None and lease - now <= _LEASE_SOON:
        trouble.append("lease_soon")
    generation = None if device.gallery is None else device.gallery.generation
    if newest is not None and generation is not None and generation < newest:
        trouble.append("behind")
    return tuple(trouble)


def _page(items: Sequence[_Item], number: int) -> Page[_Item]:
    pages = max(1, -(-len(items) // PER_PAGE))
    number = min(number, pages - 1)
    begin = number * PER_PAGE
    return Page(tuple(items[begin : begin + PER_PAGE]), number, pages, len(items))
