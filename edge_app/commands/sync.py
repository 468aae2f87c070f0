"""`familiar sync`: bring this device's gallery to the newest generation of its fleet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.console import AsJson, Session, bars, out, print_json
from edge_app.errors import ConfigError
from edge_app.sync import introduce, sync


def sync_command(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(help="Of the operator's repository; the last one, if left away."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="root.json from the operator, at the first time.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the fleet's newest gallery, check it, and install it.

    The first run makes this device's key and its device.json, which the operator has to add
    (`familiar operator add-device`). A running `familiar run` syncs by itself.
    """
    session: Session = context.obj
    path, _device = introduce(session.config, session.home)
    known = session.home.membership().source()
    if known is None and url is None:
        raise ConfigError(
            f"this home belongs to no fleet yet: give {path} to the operator, then sync with --url "
            "and --root"
        )
    if known is None and root is None:
        raise ConfigError("the first sync needs the operator's root.json: name it with --root")
    address, trusted = known or ("", b"")
    if url is not None:
        address = url
    if root is not None:
        trusted = _read(root)
    with bars(quiet=as_json) as progress:
        result = sync(
            session.config,
            session.home,
            url=address,
            root=trusted,
            clock=session.clock,
            progress=progress,
        )
    if as_json:
        print_json(asdict(result))
        return
    what = "is installed" if result.changed else "was installed already"
    out.print(
        f'Generation {result.generation} of "{result.fleet}" {what}: {result.people} people, '
        f"{result.fetched_bytes:,} bytes fetched; fresh until "
        f"{result.lease_until:%Y-%m-%d %H:%M} UTC.",
        markup=False,
        soft_wrap=True,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name root.json") from error
