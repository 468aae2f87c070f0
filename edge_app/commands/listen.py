"""`familiar listen`: match events from the broker."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from edge_app.adapters.mqtt import MATCHES_OF_ALL_DEVICES, listen
from edge_app.app import broker, link_settings
from edge_app.commands.console import Session, err


def listen_command(
    context: typer.Context,
    broker_url: Annotated[str, typer.Option("--broker", help="Where to listen.", metavar="URL")],
    count: Annotated[int | None, typer.Option(help="End after so many events.")] = None,
    timeout: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
) -> None:
    """Print match events from the broker as JSON lines, each once."""
    session: Session = context.obj
    address, tls = broker(session.config, broker_url)
    lines = listen(
        address,
        tls=tls,
        topic_filter=MATCHES_OF_ALL_DEVICES,
        client_id=f"familiar-listen-{os.getpid()}",
        link=link_settings(session.config),
        count=count,
        timeout_s=timeout,
        on_ready=lambda: err.print("listening"),
    )
    for line in lines:
        print(line, flush=True)  # noqa: T201 - the command's output
