"""`familiar config`: check a configuration, and show what holds."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app.commands.console import AsJson, err, out, print_json
from edge_app.config import examine_config, load_config, read_toml
from edge_app.config_text import line_of, to_toml
from edge_app.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="The configuration: check a file, show what holds.")

File = Annotated[
    Path | None,
    typer.Argument(help="TOML file; default as for every command.", metavar="[FILE]"),
]


@app.command()
def check(context: typer.Context, file: File = None, as_json: AsJson = False) -> None:
    """Find everything that is wrong in a configuration, each with its line. Exit status 2 then."""
    path = file or context.obj
    text = "" if path is None else read_toml(path)
    _, faults = examine_config(tomllib.loads(text))
    found = [{"line": line_of(text, fault), "fault": fault} for fault in faults]
    found.sort(key=lambda entry: entry["line"] or 0)
    if as_json:
        print_json({"file": None if path is None else str(path), "faults": found})
    for entry in [] if as_json else found:
        where = f"{path}:{entry['line']}" if entry["line"] else str(path)
        out.print(f"{where}: {entry['fault']}", markup=False, soft_wrap=True)
    if found:
        word = "fault" if len(found) == 1 else "faults"
        raise ConfigError(f"{len(found)} {word}; docs/reference/configuration.md lists every key")
    if not as_json:
        what = "there is no file: the defaults hold" if path is None else f"{path} is well"
        err.print(what, markup=False, soft_wrap=True)


@app.command()
def show(context: typer.Context, file: File = None, as_json: AsJson = False) -> None:
    """Print every key with the value that holds, as TOML that may be copied into a file."""
    values: dict[str, Any] = json.loads(load_config(file or context.obj).model_dump_json())
    if as_json:
        print_json(values)
    else:
        out.print(to_toml(values), markup=False, soft_wrap=True, end="")
