"""`familiar broker`: who may connect to the fleet's MQTT broker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.console import AsJson, Session, out, print_json
from edge_app.publisher.broker import BrokerFolder, BrokerStatus
from edge_app.publisher.certificates import Role

app = typer.Typer(
    help=(
        "Certificates of a fleet's MQTT broker: for itself, and for whoever may connect to it.\n\n"
        "Begin with `broker init`, on the machine of the broker; deploy/mosquitto/README.md goes "
        "on from there."
    ),
    no_args_is_help=True,
)

Dir = Annotated[Path, typer.Option("--dir", help="The operator's folder.", metavar="DIR")]


@app.command()
def init(
    context: typer.Context,
    folder: Dir,
    host: Annotated[str, typer.Option(help="Name or address under which clients reach it.")],
    broker_folder: Annotated[
        Path,
        typer.Option("--broker-dir", help="What mosquitto reads; its user's.", metavar="DIR"),
    ],
    as_json: AsJson = False,
) -> None:
    """Make the authority, the broker's certificate, its list of revoked ones, and its rules."""
    session: Session = context.obj
    made = BrokerFolder(folder).init(host, broker_folder, now=session.clock.now())
    if as_json:
        print_json({"host": host, "made": made})
        return
    state = "is made" if made else "was there already"
    out.print(f"The authority for {host} {state}.", markup=False, soft_wrap=True)


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="SITE/DEVICE, or a name for any other client.")],
    folder: Dir,
    role: Annotated[
        Role,
        typer.Option(help=f"What it is, and so what it may do: {', '.join(Role)}.", metavar="ROLE"),
    ] = Role.DEVICE,
    as_json: AsJson = False,
) -> None:
    """Let a client in. Carry the files that are named to it, and delete the key here."""
    session: Session = context.obj
    carried, new = BrokerFolder(folder).add(name, role, now=session.clock.now())
    if as_json:
        print_json({"client": name, "role": role.value, "added": new, "folder": str(carried)})
        return
    text = f"Carry {carried} to {name}." if new else f"{name} was there already."
    out.print(text, markup=False, soft_wrap=True)


@app.command()
def remove(context: typer.Context, name: str, folder: Dir, as_json: AsJson = False) -> None:
    """Let a client in no more, and cut it off if it is connected."""
    session: Session = context.obj
    told = BrokerFolder(folder).remove(name, now=session.clock.now())
    if as_json:
        print_json({"client": name, "removed": True, "broker_told": told})
        return
    out.print(f"{name} is removed{cut_off_text(told=told)}.", markup=False, soft_wrap=True)


@app.command()
def renew(context: typer.Context, folder: Dir, as_json: AsJson = False) -> None:
    """A fresh list of revoked certificates, and a new one for the broker if it is due.

    Once a month will do: when the list is a year old, the broker refuses everybody.
    """
    session: Session = context.obj
    _show(BrokerFolder(folder).renew(now=session.clock.now()), as_json=as_json)


@app.command()
def status(context: typer.Context, folder: Dir, as_json: AsJson = False) -> None:
    """Who may connect, and what ends soon; then the exit status is 1."""
    session: Session = context.obj
    _show(BrokerFolder(folder).status(now=session.clock.now()), as_json=as_json)


def cut_off_text(*, told: bool) -> str:
    """How to go on after `<name> is removed`."""
    if told:
        return " and cut off"
    return "; the broker does not run here: it refuses it from its next start on"


def _show(status: BrokerStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(status))
    else:
        out.print(f"{status.host}: the list of revoked certificates until ", end="")
        out.print(f"{status.list_until:%Y-%m-%d}, its own until {status.server_until:%Y-%m-%d}")
        for client in status.clients:
            line = f"{client.name} ({client.role}) until {client.until:%Y-%m-%d}"
            out.print(line, markup=False, soft_wrap=True)
        for what in status.due:
            out.print(f"Due: {what}", markup=False, soft_wrap=True)
    if status.due:
        raise typer.Exit(1)
