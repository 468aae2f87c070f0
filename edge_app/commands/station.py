"""`familiar station`: enrol people for a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.console import AsJson, Session, Source, out, print_json
from edge_app.commands.enrol import enrol_with
from edge_app.publisher.service import note_revocation
from edge_app.records import Purpose
from edge_app.station import deliver, introduce_station

app = typer.Typer(
    help=(
        "An enrolment station of a fleet: people enrol here, live, and the operator publishes.\n\n"
        "The operator delegates with `operator add-station --key`, and gives fleet.json."
    ),
    no_args_is_help=True,
)


@app.command()
def identity(context: typer.Context, as_json: AsJson = False) -> None:
    """Write station.json, for the operator; makes the station's key if there is none."""
    session: Session = context.obj
    path, station_id = introduce_station(session.config, session.home)
    if as_json:
        print_json({"file": path, "station_id": station_id})
    else:
        out.print(f"Give {path} to the operator.", markup=False, soft_wrap=True)


@app.command()
def enrol(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="As the display shall show it.")],
    fleet: Annotated[Path, typer.Option(help="fleet.json from the operator.", metavar="FILE")],
    to: Annotated[Path, typer.Option(help="The operator's inbox.", metavar="DIR")],
    purpose: Annotated[Purpose, typer.Option(help="What the person agrees to.")],
    relation: Annotated[str, typer.Option(help="To the wearer, e.g. colleague.")] = "",
    source: Source = None,
    representative: Annotated[
        bool,
        typer.Option(
            "--representative",
            help="A legal representative consents; purpose care only.",
            metavar="",
        ),
    ] = False,
    language: Annotated[str, typer.Option(help="Of the consent notice.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Enrol one person, who is present and agrees, for the operator's fleet.

    As `familiar enrol`; the signed enrolment is sealed to the operator and put into the inbox.
    Nothing of it stays here.
    """
    session: Session = context.obj
    enrol_with(
        session,
        name=name,
        relation=relation,
        purpose=purpose,
        source=source,
        demo=False,
        representative=representative,
        language=language,
        as_json=as_json,
        keep=lambda person: deliver(person, fleet=fleet, inbox=to),
    )


@app.command()
def revoke(
    context: typer.Context,
    to: Annotated[Path, typer.Option(help="The operator's inbox.", metavar="DIR")],
    code: Annotated[str, typer.Option(prompt="Revocation code", hide_input=True)],
    as_json: AsJson = False,
) -> None:
    """Let the holder of a revocation code leave the fleet; nobody has to approve."""
    del context
    path = note_revocation(to, code)
    if as_json:
        print_json({"file": path})
    else:
        out.print("Noted: the code's holder is left out from the next publication on.")
