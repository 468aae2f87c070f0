"""`familiar station`: enrol people for a fleet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.console import AsJson, Session, Source, out, print_json
from edge_app.commands.enrol import (
    AgreedPurpose,
    Language,
    Name,
    ReceiptFile,
    Relation,
    Representative,
    enrol_with,
)
from edge_app.commands.station_serve import serve
from edge_app.enrolment.receipt_file import receipt_from_json, write_receipt
from edge_app.errors import EnrolmentError
from edge_app.publisher.service import note_revocation
from edge_app.station import introduce_station, keeping

MAX_RECEIPT_BYTES = 2**20

app = typer.Typer(
    help=(
        "An enrolment station of a fleet: people enrol here, live, and the operator publishes.\n\n"
        "The operator delegates with `operator add-station --key`, and gives fleet.json."
    ),
    no_args_is_help=True,
)
app.command()(serve)


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
    name: Name,
    fleet: Annotated[Path, typer.Option(help="fleet.json from the operator.", metavar="FILE")],
    to: Annotated[Path, typer.Option(help="The operator's inbox.", metavar="DIR")],
    purpose: AgreedPurpose,
    relation: Relation = "",
    source: Source = None,
    representative: Representative = False,
    language: Language = None,
    receipt: ReceiptFile = None,
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
        receipt=receipt,
        as_json=as_json,
        keeping=keeping(fleet, purpose, inbox=to),
    )


@app.command(name="receipt")
def convert(
    to: Annotated[Path, typer.Argument(help="A new file: .pdf, .html or .txt.", metavar="TO")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="What `station enrol --json` printed.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a receipt in another form, for a kiosk that prints on its own.

    Reads what `station enrol --json` printed, from --from or from standard input. A station keeps
    no receipts, and a code that was lost cannot be told again.
    """
    data = sys.stdin.buffer.read(MAX_RECEIPT_BYTES) if source is None else _content(source)
    write_receipt(receipt_from_json(data), to)
    if as_json:
        print_json({"file": to})
    else:
        out.print(f"Written to {to}. It holds the code: delete it when it is handed over.")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnrolmentError(f"cannot read {path}: {error.strerror}; name another file") from error


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
