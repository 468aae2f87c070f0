"""`familiar operator`: a fleet's devices and stations, and its gallery."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app import operate
from edge_app.commands.broker import cut_off_text
from edge_app.commands.console import (
    AsJson,
    Session,
    bars,
    count,
    erased,
    err,
    out,
    print_json,
    stopped_by_signals,
)
from edge_app.errors import ConfigError
from edge_app.operate import Status
from edge_app.publisher import service
from edge_app.publisher.folder import FLEET_NAME, INBOX_NAME, ROOT_NAME, OperatorFolder
from edge_app.publisher.overview_file import OverviewFile
from edge_app.records import Purpose
from edge_app.remote import hint_gallery_changed

app = typer.Typer(
    help=(
        "A fleet's gallery: who may enrol for it, who may read it, and its publication.\n\n"
        "Begin with `operator init`. Give its fleet.json to the stations and its root.json to the "
        "devices, let any web server serve its repository/, and `operator publish` when something "
        "waits in its inbox/; once a day at least, or devices stop to match."
    ),
    no_args_is_help=True,
)

Dir = Annotated[Path, typer.Option("--dir", help="The operator's folder.", metavar="DIR")]
KeyFile = Annotated[Path, typer.Option("--key", help="Its public file.", metavar="FILE")]


@app.command()
def init(
    context: typer.Context,
    folder: Dir,
    fleet: Annotated[str, typer.Option(help="Its name: a-z, 0-9 and -.")],
    purpose: Annotated[
        Purpose,
        typer.Option(
            help=f"The only one its people consent to: {', '.join(Purpose)}.", metavar="PURPOSE"
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Make a fleet: keys, an empty gallery, and the two files to hand out.

    Three root keys are made, of which two are needed to change the others. Move them to places
    apart: keys/root-1.key, root-2.key and root-3.key.
    """
    session: Session = context.obj
    made = operate.init(_open(folder), fleet, purpose, session.clock)
    if as_json:
        print_json({"fleet": fleet, "purpose": purpose.value, "made": made})
        return
    out.print(f'The fleet "{fleet}" {"is made" if made else "was there already"} in {folder}.')
    out.print(f"- stations need {folder / FLEET_NAME}, devices {folder / ROOT_NAME}", markup=False)
    out.print(f"- stations put enrolments into {folder / INBOX_NAME}", markup=False)
    out.print("- move keys/root-1.key, root-2.key and root-3.key to places apart", markup=False)


@app.command("add-station")
def add_station(folder: Dir, key: KeyFile, as_json: AsJson = False) -> None:
    """Let a station enrol people for this fleet. Its file: `familiar station identity`."""
    station, new = operate.add_station(_open(folder), key)
    result = {"station": station.name, "id": station.station_id, "added": new}
    _say(result, f"The station {station.name} {_added(new)}.", as_json=as_json)


@app.command("remove-station")
def remove_station(folder: Dir, name: str, as_json: AsJson = False) -> None:
    """Trust a station no more: whom it enrolled is out from the next publication on."""
    removed = operate.remove_station(_open(folder), name)
    text = f"The station {name} {_gone(removed)}."
    _say({"station": name, "removed": removed}, text, as_json=as_json)


@app.command("add-device")
def add_device(folder: Dir, key: KeyFile, as_json: AsJson = False) -> None:
    """Let a device read the gallery from the next publication on. Its file: the first `sync`."""
    device, new = operate.add_device(_open(folder), key)
    result = {"device": device.name, "id": device.device_id, "added": new}
    _say(result, f"The device {device.name} {_added(new)}.", as_json=as_json)


@app.command("remove-device")
def remove_device(context: typer.Context, folder: Dir, name: str, as_json: AsJson = False) -> None:
    """Let a device read nothing that is published from now on. Publish at once.

    If `familiar broker` let it in, the broker cuts it off now.
    """
    session: Session = context.obj
    told = operate.cut_off(_open(folder), name, session.clock)
    removed = operate.remove_device(_open(folder), name)
    broker = "" if told is None else cut_off_text(told=told)
    text = f"The device {name} {_gone(removed)}{broker}; publish to shut it out of the gallery."
    _say({"device": name, "removed": removed, "broker_told": told}, text, as_json=as_json)


@app.command()
def publish(
    context: typer.Context,
    folder: Dir,
    broker_url: Annotated[
        str | None,
        typer.Option("--broker", help="Hint to this site's devices to look now.", metavar="URL"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take in what waits, leave out who left, and publish; only changed shards are written."""
    session: Session = context.obj
    with bars(quiet=as_json) as progress:
        result = operate.publish_gallery(session.config, _open(folder), session.clock, progress)
    if as_json:
        print_json(asdict(result))
    elif result.changed:
        out.print(
            f"Generation {result.generation}: {count(result.people, 'person', 'people')} "
            f"({result.added} new, {result.left} left) for {count(result.devices, 'device')}; "
            f"{result.moved_bytes:,} of {result.bundle_bytes:,} bytes are new."
        )
    else:
        out.print(f"Nothing changed since generation {result.generation}; it is fresh again.")
    for refused in result.refused:
        err.print(f"Set aside: {refused.file}: {refused.why}", markup=False, soft_wrap=True)
    if broker_url is not None:
        names = operate.device_names(_open(folder))
        told = hint_gallery_changed(session.config, broker_url, names, result.generation)
        err.print(f"{count(told, 'device')} of this site told.")


@app.command()
def renew(context: typer.Context, folder: Dir, as_json: AsJson = False) -> None:
    """Say that the gallery is still the newest, so that devices go on matching."""
    session: Session = context.obj
    until = operate.renew(_open(folder), session.clock)
    _say({"fresh_until": until}, f"Fresh until {until:%Y-%m-%d %H:%M} UTC.", as_json=as_json)


@app.command("rotate-root")
def rotate_root(context: typer.Context, folder: Dir, as_json: AsJson = False) -> None:
    """Replace the root keys; two of the old ones have to be in keys/. Devices follow alone."""
    session: Session = context.obj
    operate.rotate_root(_open(folder), session.clock)
    _say({"rotated": True}, "New root keys are in keys/; move them apart.", as_json=as_json)


@app.command()
def status(
    context: typer.Context,
    folder: Dir,
    departures: Annotated[
        bool,
        typer.Option("--departures", help="List who left, and where they are erased.", metavar=""),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """People, devices, stations, and what is due.

    With --departures, a line for each person who left: the beginning of their code's digest, the
    first generation without them, and how many devices said that they hold nothing older.
    """
    session: Session = context.obj
    result = operate.status(_open(folder), session.clock)
    if as_json:
        print_json(asdict(result))
    elif departures:
        _print_departures(result)
    else:
        _print_status(result)


def _print_status(result: Status) -> None:
    published = f", of {_minute(result.published)}" if result.published else ""
    out.print(
        f'Fleet "{result.fleet}" for {result.purpose}: generation {result.generation}{published}, '
        f"{count(result.people, 'person', 'people')}, {result.left} left",
        soft_wrap=True,
    )
    out.print(
        f"Consents that end within 30 days: {result.expiring}; that have ended: {result.expired}"
    )
    out.print(f"Waiting in the inbox: {result.waiting}; set aside: {result.refused}")
    for expiry in result.expiries:
        due = f" - soon: {_REMEDIES[expiry.role]}" if expiry.soon else ""
        text = f"{expiry.role.capitalize()} expires: {_minute(expiry.expires)}{due}"
        out.print(text, markup=False, soft_wrap=True)
    if result.keys_in_files:
        text = f"Keys in files: {', '.join(result.keys_in_files)}: {_KEEP_KEYS}"
        out.print(text, markup=False, soft_wrap=True)
    stations = ", ".join(f"{s.name} {s.station_id[:12]}" for s in result.stations)
    out.print(f"Stations: {stations or 'none'}", markup=False, soft_wrap=True)
    out.print(f"Devices: {len(result.devices) or 'none'}{_removed(result.removed)}")
    for device in result.devices:
        said = "has acknowledged nothing yet"
        if device.acknowledged is not None and device.received is not None:
            said = f"generation {device.acknowledged}, said at {_minute(device.received)}"
        stale = " - stale: see that it is on and reaches the service" if device.stale else ""
        text = f"- {device.name} {device.device_id[:12]}: {said}{stale}"
        out.print(text, markup=False, soft_wrap=True)


_KEEP_KEYS = (
    "whoever steals this storage has them; move root keys to places apart, and keep the others as "
    "systemd credentials (LoadCredentialEncrypted=operator.key and so on)"
)
_REMEDIES = {
    "root": "`operator rotate-root`",
    "targets": "`operator renew`",
    "snapshot": "`operator renew`",
    "timestamp": "`operator renew`",
}


def _print_departures(result: Status) -> None:
    if not result.departures:
        out.print("Nobody has left.")
    for departure in result.departures:
        come = departure.erasure
        out.print(f"{departure.digest}: {erased(come)}", soft_wrap=True)


@app.command()
def overview(
    context: typer.Context,
    folder: Dir,
    to: Annotated[Path, typer.Option("--to", help="Where to, or - to print it.", metavar="FILE")],
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep it up until a signal: within seconds of a change.", metavar=""
        ),
    ] = False,
) -> None:
    """Write what pages may show of the fleet, so that they need none of its keys.

    JSON, as docs/formats/overview.md says: consents by their record ids and
    dates, devices with what they signed, how far departures have come. No name,
    template or code.

    The file's readers are the group of the folder it is in, outside of DIR. Have
    it made for the user that the page runs as, for example by

    install -d -m 2750 -o familiar-operator -g familiar-backend /var/lib/familiar-overview
    """
    session: Session = context.obj
    operator = _open(folder)
    operator.fleet()

    def make() -> bytes:
        return operate.overview_bytes(operator, session.clock)

    if to == Path("-"):
        if watch:
            raise ConfigError("--watch keeps a file up; name one with --to")
        sys.stdout.buffer.write(make())
        return
    file = OverviewFile(operator, to, make, session.clock)
    if not watch:
        file.write()
        out.print(f"Written to {to}.", markup=False, soft_wrap=True)
        return
    err.print(f"{to} is kept up. Ctrl-C ends it.", markup=False, soft_wrap=True)
    with stopped_by_signals() as ended:
        file.keep_up(ended)


@app.command()
def serve(
    context: typer.Context,
    folder: Dir,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen at.")] = 8080,
) -> None:
    """Serve the repository to devices, take what they acknowledge, and let people leave.

    People leave with `familiar revoke --url`, and ask how far it has come with the same.

    Behind a web server with TLS; a server for files alone serves devices as well.
    """
    session: Session = context.obj
    operator = _open(folder)
    operator.fleet()
    err.print(f"http://{host}:{port} serves the gallery and takes revocations. Ctrl-C ends it.")
    service.serve(operator, session.clock, host=host, port=port)


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _removed(devices: int) -> str:
    if not devices:
        return ""
    return f"; {count(devices, 'was', 'were')} removed and cannot be asked"


def _open(folder: Path) -> OperatorFolder:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return OperatorFolder(folder, Path(credentials) if credentials else None)


def _added(new: bool) -> str:
    return "is added" if new else "was there already"


def _gone(now: bool) -> str:
    return "is removed" if now else "was removed already"


def _say(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        out.print(text, markup=False, soft_wrap=True)
