"""`familiar people` and `familiar revoke`: who is enrolled, and how they leave."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer
from rich.cells import cell_len, set_cell_size

from edge_app.adapters.output import visible
from edge_app.adapters.revocation_client import ask_erasure, send_revocation
from edge_app.commands.console import (
    AsJson,
    Session,
    bars,
    erased,
    in_a_terminal,
    out,
    print_json,
)
from edge_app.errors import ConfigError, DeliveryError
from edge_app.people import Person, export_person, list_people
from edge_app.remote import revoke_at_device
from edge_app.sync import Told, leave

app = typer.Typer(
    help="The people in this home's gallery: list, export, remove.", no_args_is_help=True
)


@app.command("list")
def people_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Everyone in the gallery, and why some of them are not matched."""
    session: Session = context.obj
    with bars(quiet=as_json) as progress:
        people = list_people(session.config, session.home, session.clock, progress)
    if as_json:
        print_json([asdict(person) for person in people])
        return
    if not people:
        out.print("Nobody is enrolled. Begin with `familiar enrol --help`.")
        return
    rows = [_cells(person) for person in people]
    widths = [max(map(cell_len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    # Ids, dates and states are read to act on: they are never shortened.
    fits = sum(widths) + len(_GAP) * len(widths) <= out.width
    sys.stdout.writelines(_table(rows, widths) if fits else _below_each_other(rows))


_HEADINGS = ("id", "name", "relation", "templates", "valid until", "state")
_GAP = "  "


def _cells(person: Person) -> tuple[str, ...]:
    return (
        person.person_id,
        visible(person.name),
        visible(person.relation),
        str(person.templates),
        _until(person),
        _state(person),
    )


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for row in (_HEADINGS, *rows):
        yield _GAP.join(map(set_cell_size, row, widths)).rstrip() + "\n"


def _below_each_other(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for person_id, *facts in rows:
        yield f"{person_id}\n"
        for label, value in zip(_HEADINGS[1:], facts, strict=True):
            if value:
                yield f"  {label + ':':<13}{value}\n"


def _until(person: Person) -> str:
    return f"{person.valid_until:%Y-%m-%d}" if person.valid_until else ""


def _state(person: Person) -> str:
    return person.fault.replace("_", " ") or ("demo" if person.demo else "active")


@app.command("export")
def people_export(context: typer.Context, person_id: str) -> None:
    """Print what is stored of one person, for that person, as JSON."""
    session: Session = context.obj
    with bars(quiet=False) as progress:
        record = export_person(session.config, session.home, person_id, session.clock, progress)
    out.print(record, markup=False, soft_wrap=True)


@app.command("remove")
def people_remove(context: typer.Context, person_id: str, as_json: AsJson = False) -> None:
    """Take a person out for ever; a running device stops matching them within a second."""
    session: Session = context.obj
    session.home.store().remove(person_id)
    if as_json:
        print_json({"person_id": person_id, "removed": True})
        return
    out.print(f"{person_id} is removed, and stays out.")


def revoke(
    context: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(
            help="Of your receipt. Leave it away to be asked for it, which keeps it out of the "
            "shell's history; - reads it from standard input."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Of the operator's service: leave the fleet from anywhere."),
    ] = None,
    broker_url: Annotated[
        str | None,
        typer.Option("--broker", help="Reach a device over MQTT, with --device.", metavar="URL"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Its name, with --broker.")] = None,
    as_json: AsJson = False,
) -> None:
    """Leave, with the revocation code of your receipt. Nobody has to approve.

    The same again tells how far it has come: with --url, on how many devices you are erased.
    """
    session: Session = context.obj
    if (broker_url is None) != (device is None) or (url is not None and broker_url is not None):
        raise ConfigError("name either --url, or --broker and --device, or none of them")
    if broker_url is not None and device is not None:
        reply = revoke_at_device(session.config, broker_url, device, _revocation_code(code))
        if as_json:
            print_json(asdict(reply))
        else:
            out.print(f"The device answers: {reply.detail}.", markup=False, soft_wrap=True)
        return
    if url is not None:
        _leave_at_operator(url, _revocation_code(code), as_json=as_json)
        return
    result = leave(session.config, session.home, _revocation_code(code), at_once=True)
    if as_json:
        print_json(asdict(result))
        return
    if result.was_here:
        out.print("You have left this gallery. Your templates are erased, and stay erased.")
    else:
        out.print("Nobody with this code is in this gallery, and nobody with it can come in.")
    if result.operator is not Told.NO_FLEET:
        out.print(_OPERATOR[result.operator])


_OPERATOR = {
    Told.TOLD: "The fleet's operator has noted it: you are left out from the next publication on.",
    Told.WAITING: "The fleet's operator is not reached now; this device tells it, and goes on "
    "trying until it is confirmed.",
    Told.NOT_KEPT: "The fleet's operator is not reached, and this device could not keep it to tell "
    "it later: present the code there too, with --url or at a desk.",
}


def _leave_at_operator(url: str, code: str, *, as_json: bool) -> None:
    send_revocation(url, code)
    come = None
    with suppress(DeliveryError):  # it is noted all the same
        come = ask_erasure(url, code)
    if as_json:
        print_json({"noted": True, "erasure": None if come is None else asdict(come)})
    elif come is None:
        out.print("The operator has noted it: you are left out from the next publication on.")
    else:
        out.print(erased(come), soft_wrap=True)


def _revocation_code(given: str | None) -> str:
    if given == "-":
        return sys.stdin.buffer.readline().decode(errors="replace").strip() if sys.stdin else ""
    if given is not None:
        return given
    if not in_a_terminal():
        raise ConfigError("no code is given; run `familiar revoke -` with it on standard input")
    return str(typer.prompt("Revocation code", hide_input=True))
