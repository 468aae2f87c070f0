"""The command line: arguments -> configuration -> application."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from edge_app import __version__
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.logs import read_by_programs, set_up_logs
from edge_app.adapters.output import take_over_standard_streams, visible
from edge_app.app import Home, protect_memory, save_memory_and_threads
from edge_app.commands.console import Session, err, out
from edge_app.config import load_config
from edge_app.errors import ConfigError, EdgeAppError

_COMMANDS: Final = {
    "enrol": "enrol:enrol",
    "people": "people:app",
    "revoke": "people:revoke",
    "run": "run:run",
    "page": "page:page",
    "listen": "listen:listen_command",
    "sync": "sync:sync_command",
    "station": "station:app",
    "operator": "operator:app",
    "broker": "broker:app",
    "backend": "backend:app",
    "config": "config:app",
    "calibrate": "calibrate:calibrate",
    "doctor": "doctor:doctor",
    "bench": "bench:bench",
    "evaluate": "evaluate:app",
}
"""In `edge_app.commands`: the module, and its function or app."""


class _Commands(TyperGroup):
    """Imports a command when it is called: a device that starts needs no evaluation, no web."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        names: Any = dict.fromkeys(_COMMANDS)  # to suggest the near one
        self.commands = names

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - overrides
        return [*_COMMANDS]

    def get_command(self, ctx: object, cmd_name: str) -> Any:  # noqa: ARG002 - overrides
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(f"edge_app.commands.{module}"), attribute)
        parent = typer.Typer()
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=cmd_name)
        else:
            parent.command(cmd_name)(found)
        command = typer.main.get_group(parent).commands[cmd_name]
        _fit(command)
        return command

    def get_params(self, ctx: Any) -> Any:
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(params: Any) -> Any:
    """A flag takes no value, so its help names none."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _fit(command: Any) -> None:
    """Let each paragraph of the help fill the terminal's lines, instead of those of its source.

    Where a table of options would shorten their names, there is none.
    """
    command.rich_markup_mode = _HELP
    context = typer.Context(command, help_option_names=_HELP_OPTIONS)
    _without_types_of_flags(command.get_params(context))
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.help = "\n\n".join(" ".join(text.split("\n")) for text in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        _fit(inner)


_HELP: Final[Literal["rich"] | None] = "rich" if shutil.get_terminal_size().columns >= 72 else None
_HELP_OPTIONS: Final = ["-h", "--help"]

app = typer.Typer(
    cls=_Commands,
    name="familiar",
    help=(
        "Recognises the people who asked to be recognised, and nobody else.\n\n"
        "A first day: `familiar doctor`, then `familiar enrol --name Anna --purpose assist`, "
        "then `familiar run`. Without a camera: `make demo`."
    ),
    no_args_is_help=True,
    rich_markup_mode=_HELP,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": _HELP_OPTIONS},
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


def _config_in(home: Path) -> Path | None:
    """The configuration in a home folder, if there is one. Raises ConfigError."""
    beside = home / "config.toml"
    try:
        return beside if beside.is_file() else None
    except OSError as error:
        raise ConfigError(
            f"{home} cannot be looked into ({error.strerror}); run as the user that owns it, or "
            "name another folder with --home"
        ) from error


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
    folder = home or _default_home()
    named = config or _config_in(folder)
    if context.invoked_subcommand == "config":  # which has more to say than the first fault
        context.obj = named
        return
    loaded = load_config(named)
    level = "info" if verbose else loaded.log.level
    set_up_logs(sys.stderr, form=loaded.log.format, level=level)
    context.obj = Session(loaded, Home(folder, key_file), SystemClock())


def main() -> None:
    """Runs the command line; an `EdgeAppError` is one line and its exit status."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # "who is this?" is early, not deadly
    os.umask(0o077)
    protect_memory()
    save_memory_and_threads()
    try:
        take_over_standard_streams()
        try:
            app(prog_name="familiar")
        finally:
            sys.stdout.flush()
    except EdgeAppError as error:
        if read_by_programs():
            logging.getLogger(__name__).error("%s", error)
        else:
            err.print(f"familiar: {visible(str(error))}", markup=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
