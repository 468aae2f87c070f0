"""The command line: arguments -> configuration -> application."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_app import __version__
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.output import take_over_standard_streams
from edge_app.app import Home, protect_memory
from edge_app.commands import broker, evaluate, operator, people, station
from edge_app.commands.bench import bench
from edge_app.commands.calibrate import calibrate
from edge_app.commands.console import Session, err, out, visible
from edge_app.commands.doctor import doctor
from edge_app.commands.enrol import enrol
from edge_app.commands.listen import listen_command
from edge_app.commands.run import run
from edge_app.commands.sync import sync_command
from edge_app.config import load_config
from edge_app.errors import ConfigError, EdgeAppError

app = typer.Typer(
    name="familiar",
    help=(
        "Recognises the people who asked to be recognised, and nobody else.\n\n"
        "A first day: `familiar doctor`, then `familiar enrol --name Anna --purpose assist`, "
        "then `familiar run`. Without a camera: `make demo`."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"familiar {__version__}")
        raise typer.Exit


def _folder(named: str) -> Path:
    if not named:
        raise ConfigError("--home names no folder; give one, or leave --home away")
    return Path(named)


def _default_home() -> Path:
    named = os.environ.get("FAMILIAR_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "familiar"


@app.callback()
def start(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this device's state; default $FAMILIAR_HOME, else "
            "~/.local/share/familiar.",
            metavar="DIR",
            parser=_folder,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file; default config.toml in the home, if there.", metavar="FILE"),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="The gallery's key, if it is not kept in the home.", metavar="FILE"),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log what happens inside; never names.", metavar=""),
    ] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print it.", metavar=""
        ),
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="familiar: %(levelname)s %(name)s: %(message)s",
    )
    folder = home or _default_home()
    beside = folder / "config.toml"
    loaded = load_config(config or (beside if beside.is_file() else None))
    context.obj = Session(loaded, Home(folder, key_file), SystemClock())


app.command()(enrol)
app.add_typer(people.app, name="people")
app.command()(people.revoke)
app.command()(run)
app.command("listen")(listen_command)
app.command("sync")(sync_command)
app.add_typer(station.app, name="station")
app.add_typer(operator.app, name="operator")
app.add_typer(broker.app, name="broker")
app.command()(calibrate)
app.command()(doctor)
app.command()(bench)
app.add_typer(evaluate.app, name="evaluate")


def main() -> None:
    """Runs the command line; an `EdgeAppError` is one line and its exit status."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # "who is this?" is early, not deadly
    os.umask(0o077)
    protect_memory()
    try:
        take_over_standard_streams()
        try:
            app(prog_name="familiar")
        finally:
            sys.stdout.flush()
    except EdgeAppError as error:
        err.print(f"familiar: {visible(str(error))}", markup=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
