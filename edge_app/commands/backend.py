"""`familiar backend`: takes the alerts of all devices into a database, and shows them."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import closing
from datetime import timedelta
from typing import Annotated

import typer

from edge_app.adapters.events import SUBJECT_REF_PATTERN
from edge_app.adapters.mqtt import Connector, Taking, tls_context
from edge_app.adapters.service_manager import ServiceManager
from edge_app.app import broker, link_settings
from edge_app.backend.audit import Action
from edge_app.backend.collector import Collector, CollectorSettings
from edge_app.backend.database import Database
from edge_app.backend.metrics import Metrics, served
from edge_app.backend.retention import Retention
from edge_app.backend.store import STAYS_OUT, EncounterStore
from edge_app.backend.store import forget as forget_encounters
from edge_app.commands.backend_account import account, audit, backend_database, noting
from edge_app.commands.backend_serve import serve
from edge_app.commands.console import AsJson, Session, count, out, print_json, stopped_by_signals
from edge_app.errors import ConfigError
from edge_app.records import Purpose

app = typer.Typer(
    help=(
        "Takes the alerts of all devices from the broker, once each, keeps them for as long as "
        "their purpose allows, and shows them to operators and carers.\n\nSeveral instances share "
        "the work; see docs/capacity.md."
    ),
    no_args_is_help=True,
)
app.command()(serve)
app.command()(audit)
app.add_typer(account, name="account")


Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        help="mqtt://host:1883 or mqtts://host:8883; default as configured.",
        metavar="URL",
    ),
]


@app.command()
def run(context: typer.Context, broker_url: Broker = None) -> None:
    """Collect until told to end. What comes meanwhile the broker keeps, for the next start."""
    session: Session = context.obj
    settings, metrics = session.config.backend, Metrics()
    manager = ServiceManager(os.environ.get("NOTIFY_SOCKET"))
    with (
        closing(backend_database(session)) as database,
        served(metrics, settings.metrics_host, settings.metrics_port),
        stopped_by_signals() as stop,
    ):
        collector = _collector(session, broker_url, database, metrics, manager)
        manager.ready()
        collector.run(stop, on_ready=lambda: out.print("collecting"))
        manager.stopping()


@app.command()
def retire(context: typer.Context, broker_url: Broker = None, as_json: AsJson = False) -> None:
    """Take what the broker still keeps for an instance that was stopped, and end its session.

    Before an instance goes for good: else it keeps getting its share of the alerts.
    """
    session: Session = context.obj
    metrics = Metrics()
    with closing(backend_database(session)) as database:
        _collector(session, broker_url, database, metrics, ServiceManager(None)).retire()
    name = session.config.backend.instance
    if as_json:
        print_json({"instance": name, "retired": True})
        return
    out.print(f'The broker keeps nothing for "{name}" any more.', markup=False, soft_wrap=True)


@app.command()
def forget(
    context: typer.Context,
    subject_refs: Annotated[list[str], typer.Argument(help="Pseudonyms, as alerts hold them.")],
    as_json: AsJson = False,
) -> None:
    """Delete all encounters of somebody who left, and store no more of them."""
    session: Session = context.obj
    for subject_ref in subject_refs:
        if not re.fullmatch(SUBJECT_REF_PATTERN, subject_ref):
            raise ConfigError(f"{subject_ref!r} is no pseudonym; copy data.subject_ref of an alert")
    until = session.clock.now() + STAYS_OUT
    with closing(backend_database(session)) as database, database.writing() as execute:
        deleted = forget_encounters(execute, subject_refs, until=until)
        noting(session, Action.FORGOT, count(deleted, "encounter"))(execute)
    if as_json:
        print_json({"deleted": deleted})
    else:
        out.print(f"{count(deleted, 'encounter')} deleted.")


def _collector(
    session: Session,
    broker_url: str | None,
    database: Database,
    metrics: Metrics,
    manager: ServiceManager,
) -> Collector:
    config, clock = session.config, session.clock
    settings, mqtt = config.backend, config.mqtt
    url = broker_url or mqtt.broker
    if not url:
        raise ConfigError("no broker is named; give --broker, or mqtt.broker in the configuration")
    address, tls = broker(config, url)
    # At a broker that asks for no certificates; the database's name itself is nobody's business.
    digest = hashlib.sha256(database.name.encode()).hexdigest()[:12]
    connector = Connector(
        address,
        tls_context(address, tls),
        f"familiar-backend-{digest}-{settings.instance}",
        link_settings(config),
        durable=None,
        taking=Taking(settings.session_expiry_s, settings.most_untaken),
    )
    hours = settings.retention_h.model_dump()
    store = EncounterStore(database)
    retention = Retention(
        database,
        store,
        metrics,
        limits={purpose: timedelta(hours=hours[purpose]) for purpose in Purpose},
        audit_for=timedelta(days=settings.audit_days),
        interval_s=settings.purge_interval_s,
        clock=clock,
    )
    patience = CollectorSettings(
        settings.instance, mqtt.connect_timeout_s, mqtt.backoff_min_s, mqtt.backoff_max_s
    )
    return Collector(
        connector,
        database,
        store,
        retention,
        metrics,
        settings=patience,
        clock=clock,
        manager=manager,
    )
