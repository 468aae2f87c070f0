"""`familiar doctor`: what works here, what does not, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edge_app.adapters.output import visible
from edge_app.commands.console import AsJson, Session, out, print_json
from edge_app.doctor import Health, examine


def doctor(
    context: typer.Context,
    camera: Annotated[
        str | None, typer.Option(help="Default: the configured one.", metavar="SOURCE")
    ] = None,
    broker_url: Annotated[
        str | None, typer.Option("--broker", help="Default: the configured one.", metavar="URL")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every part, one line each, and say what to do. Exit status 1 on a fault."""
    session: Session = context.obj
    findings = []
    for finding in examine(
        session.config,
        session.home,
        camera=camera or session.config.camera.source,
        broker_url=session.config.mqtt.broker if broker_url is None else broker_url,
        clock=session.clock,
    ):
        findings.append(finding)
        if not as_json:
            colour = _HEALTH_COLOURS[finding.health]
            out.print(f"{finding.health:<9}", style=colour, end="")
            line = visible(f"{finding.part}: {finding.detail}")
            out.print(line, markup=False, soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.health is Health.FAULT for finding in findings):
        raise typer.Exit(1)


_HEALTH_COLOURS = {
    Health.WELL: "green",
    Health.WARNING: "yellow",
    Health.FAULT: "bold red",
    Health.NOT_USED: "dim",
}
