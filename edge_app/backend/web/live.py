"""The newest encounters, looked up once for everybody who watches.

What the database says now is compared with what a browser was told: so it hears of what came, what
was acknowledged and what was deleted, whoever did it and in whichever process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.concurrency import run_in_threadpool

from edge_app.backend.database import Database
from edge_app.backend.states import last_collecting
from edge_app.backend.store import Encounter, newest
from edge_app.errors import StorageError

MOST: Final = 100
"""Encounters that are shown at once."""

_LOOK_S: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """collecting: when an instance of the backend last had the broker. fault: see below."""

    encounters: tuple[Encounter, ...] = ()
    collecting: datetime | None = None
    is_fault: bool = False
    """The database cannot be read: the rest is as it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a browser has to do to show a view. order: keys of all encounters, newest first."""

    order: tuple[str, ...]
    changed: tuple[Encounter, ...]
    gone: tuple[str, ...]


def key(encounter: Encounter) -> str:
    """Names an encounter on a page."""
    alert = encounter.alert
    return f"{alert.site}.{alert.device}.{alert.alert_id}"


def change(told: Mapping[str, Encounter], view: View) -> Change:
    """From what a browser was told, by key, to a view."""
    now = {key(encounter): encounter for encounter in view.encounters}
    return Change(
        order=tuple(now),
        changed=tuple(one for name, one in now.items() if told.get(name) != one),
        gone=tuple(name for name in told if name not in now),
    )


class Live:
    """`look` once, in the event loop; then any number of watchers."""

    def __init__(self, database: Database) -> None:
        """database: for this alone, so that nobody waits for a look or holds one up."""
        self._database = database
        self._view = View()
        self._watchers = 0
        self._news = asyncio.Condition()

    async def look(self) -> None:
        """Look for news while anybody watches; until it is cancelled."""
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._watchers > 0)
            view = await self.now()
            async with self._news:
                if view != self._view:
                    self._view = view
                    self._news.notify_all()
            await asyncio.sleep(_LOOK_S)

    async def now(self) -> View:
        """What the database says. Of one that cannot be read, what it said last."""
        try:
            return await run_in_threadpool(self._read)
        except StorageError as error:
            if not self._view.is_fault:
                _log.warning("backend: %s", error)
            return View(self._view.encounters, self._view.collecting, is_fault=True)

    async def begin(self) -> View:
        """Begin to watch; returns the first view. `end` it."""
        view = await self.now()
        async with self._news:
            self._view = view
            self._watchers += 1
            self._news.notify_all()
        return view

    async def next(self, view: View, timeout_s: float) -> View:
        """The view when it is another one, or after that time."""
        with suppress(TimeoutError):
            async with self._news:
                await asyncio.wait_for(self._news.wait_for(self._is_other_than(view)), timeout_s)
        return self._view

    async def end(self) -> None:
        """Watch no more."""
        async with self._news:
            self._watchers -= 1

    def _is_other_than(self, view: View) -> Callable[[], bool]:
        return lambda: self._view != view

    def _read(self) -> View:
        with self._database.reading() as execute:
            return View(newest(execute, MOST), last_collecting(execute))
