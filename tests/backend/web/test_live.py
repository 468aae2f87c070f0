from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.backend.database import Database
from edge_app.backend.store import Encounter, EncounterStore
from edge_app.backend.web.live import MOST, Live, View, change, key
from tests.backend.test_store import alert

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def encounter(number: int, *, seen: bool = False) -> Encounter:
    return Encounter(alert(number), NOW, "ann" if seen else "", NOW if seen else None)


encounters = st.lists(
    st.builds(encounter, st.integers(0, 20), seen=st.booleans()),
    unique_by=lambda one: one.alert.alert_id,
).map(tuple)


@given(st.lists(encounters, max_size=6))
def test_whoever_follows_the_changes_has_the_view(views: list[tuple[Encounter, ...]]) -> None:
    told: dict[str, Encounter] = {}
    for now in views:
        step = change(told, View(now))
        told.update({key(one): one for one in step.changed})
        for gone in step.gone:
            del told[gone]
        assert told == {key(one): one for one in now}
        assert step.order == tuple(key(one) for one in now)
        again = change(told, View(now))
        assert (again.changed, again.gone) == ((), ())


def test_keys_tell_encounters_apart() -> None:
    same = alert(1), alert(1, device="gate-9"), alert(1, site="elsewhere"), alert(2)
    assert len({key(Encounter(one, NOW, "", None)) for one in same}) == 4


def test_news_reach_who_waits_and_cost_nothing_while_nobody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.backend.web.live._LOOK_S", 0.01)
    looks = 0

    class Counting(Live):
        def _read(self) -> View:
            nonlocal looks
            looks += 1
            return super()._read()

    async def follow(live: Live, store: EncounterStore) -> None:
        looking = asyncio.create_task(live.look())
        await asyncio.sleep(0.1)
        assert looks == 0
        view = await live.begin()
        assert view.encounters == ()
        assert await live.next(view, 0.05) == view
        store.keep([alert(1)], now=NOW)
        view = await live.next(view, 30)
        assert [one.alert for one in view.encounters] == [alert(1)]
        store.forget([alert(1).subject_ref], until=NOW + timedelta(days=1))
        view = await live.next(view, 30)
        assert view.encounters == ()
        await live.end()
        await asyncio.sleep(0.05)
        before = looks
        await asyncio.sleep(0.1)
        assert looks == before
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    with closing(Database("", tmp_path)) as database, closing(Database("", tmp_path)) as watched:
        asyncio.run(follow(Counting(watched), EncounterStore(database)))


def test_of_very_many_the_newest_are_shown(tmp_path: Path) -> None:
    with closing(Database("", tmp_path)) as database:
        for begin in range(3):
            batch = [alert(100 * begin + number) for number in range(100)]
            EncounterStore(database).keep(batch, now=NOW + timedelta(seconds=begin))
        view = Live(database)._read()
        assert len(view.encounters) == MOST
        assert {one.received for one in view.encounters} == {NOW + timedelta(seconds=2)}
