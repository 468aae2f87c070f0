from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_app.adapters.clock import ManualClock
from edge_app.backend.audit import Action, first_broken, newest_entries, note
from edge_app.backend.database import Database
from edge_app.backend.metrics import Metrics
from edge_app.backend.retention import Retention
from edge_app.backend.store import EncounterStore
from edge_app.records import Purpose
from tests.backends import alerts, stored_ids

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
LIMITS = dict.fromkeys(Purpose, timedelta(hours=24))


def retaining(database: Database, metrics: Metrics, clock: ManualClock) -> Retention:
    return Retention(
        database, EncounterStore(database), metrics, limits=LIMITS, audit_for=YEAR, interval_s=10,
        clock=clock,
    )  # fmt: skip


def test_an_encounter_is_kept_for_as_long_as_it_may_and_no_longer(tmp_path: Path) -> None:
    clock, metrics = ManualClock(START), Metrics()
    with closing(Database("", tmp_path)) as database:
        store = EncounterStore(database)
        retention = Retention(
            database,
            store,
            metrics,
            limits=LIMITS,
            audit_for=YEAR,
            interval_s=10,
            clock=clock,
        )
        retention.purge_if_due()
        for number in range(24):
            store.keep(alerts(1, begin=number), now=clock.now())
            clock.advance(3600)
            retention.purge_if_due()
            assert len(stored_ids(tmp_path)) == min(number + 1, 23)
        clock.advance(3600 * 23 - 11)
        retention.purge_if_due()
        assert len(stored_ids(tmp_path)) == 1
        clock.advance(11)
        retention.purge_if_due()
        assert stored_ids(tmp_path) == []
    assert (
        metrics.registry.get_sample_value("familiar_backend_purged_total", {"purpose": "assist"})
        == 24
    )


def test_the_trail_is_kept_for_as_long_as_it_may_and_stays_whole(tmp_path: Path) -> None:
    clock = ManualClock(START)
    with closing(Database("", tmp_path)) as database:
        retention = retaining(database, Metrics(), clock)
        for days in (0, 200, 165, 1):
            clock.advance(days * 86_400)
            retention.purge_if_due()
            with database.writing() as execute:
                note(
                    execute, who="ann", role="carer", action=Action.SIGNED_IN, detail="",
                    now=clock.now(),
                )  # fmt: skip
        with database.reading() as execute:
            entries = newest_entries(execute, 10)
            assert first_broken(execute) is None
    assert [entry.number for entry in entries] == [5, 4, 3, 2]
    assert [entry.action for entry in entries].count(Action.PRUNED) == 1


def test_it_looks_at_intervals(tmp_path: Path) -> None:
    clock = ManualClock(START)
    with closing(Database("", tmp_path)) as database:
        store = EncounterStore(database)
        retention = Retention(
            database,
            store,
            Metrics(),
            limits=LIMITS,
            audit_for=YEAR,
            interval_s=10,
            clock=clock,
        )
        retention.purge_if_due()
        store.keep(alerts(1), now=START - timedelta(hours=25))
        clock.advance(9)
        retention.purge_if_due()
        assert len(stored_ids(tmp_path)) == 1
        clock.advance(1)
        retention.purge_if_due()
        assert stored_ids(tmp_path) == []
