"""`familiar listen`: match events from the broker."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Annotated

import typer

from edge_app.adapters.event_command import EventCommand, parse_command
from edge_app.adapters.event_filter import parse_conditions
from edge_app.adapters.mqtt import MATCHES_OF_ALL_DEVICES, listen
from edge_app.app import broker, link_settings
from edge_app.commands.console import Session, err

_COMMAND_TIMEOUT_S = 10.0


def listen_command(
    context: typer.Context,
    broker_url: Annotated[str, typer.Option("--broker", help="Where to listen.", metavar="URL")],
    count: Annotated[int | None, typer.Option(help="End after so many events.")] = None,
    timeout: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Only events of which this is true, e.g. data.purpose=care. May be given several "
            "times.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="Run this for each event, one after the other, with the event's line on its "
            f"standard input and {_COMMAND_TIMEOUT_S:g} seconds of time. No shell reads it.",
            metavar="CMD",
        ),
    ] = None,
) -> None:
    """Print match events from the broker as JSON lines, each once."""
    session: Session = context.obj
    conditions = parse_conditions(filters or [])
    words = parse_command(command) if command is not None else None
    address, tls = broker(session.config, broker_url)
    lines = listen(
        address,
        tls=tls,
        topic_filter=MATCHES_OF_ALL_DEVICES,
        client_id=f"familiar-listen-{os.getpid()}",
        link=link_settings(session.config),
        wanted=lambda event: all(condition.holds(event) for condition in conditions),
        count=count,
        timeout_s=timeout,
        on_ready=lambda: err.print("listening"),
    )
    with ExitStack() as stack:
        runner = None
        if words is not None:
            runner = stack.enter_context(EventCommand(words, timeout_s=_COMMAND_TIMEOUT_S))
        for line in lines:
            print(line, flush=True)  # noqa: T201 - the command's output
            if runner is not None:
                runner.give(line)
