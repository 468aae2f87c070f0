"""Writes docs/reference/: every configuration key, every command, every exit status.

    python deploy/docs/reference.py [FOLDER]

All of it is read from the program itself; a test compares what is committed.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

from edge_app import errors
from edge_app.__main__ import app
from edge_app.config import BOUNDS, Config
from edge_app.records import Purpose

ROOT = Path(__file__).resolve().parents[2]
_ENTRY = re.compile(r"^\s*((?:[a-z_0-9]+)(?:, [a-z_0-9]+)*):\s+(.*)$")
_REFERENCE = re.compile(r"`(edge_app(?:\.\w+)+)`")
_WRITTEN_BY = "<!-- Written by deploy/docs/reference.py from the program. -->\n"

_LEAD = """\
One TOML file, `config.toml` in the home folder or named with `--config`. What it does not state is
as below. An unknown key is an error, and so is a number out of its bounds: no value of any key
turns a promise off. `familiar config check` finds every fault of a file at once, and
`familiar config show` prints what holds.
"""


def configuration() -> str:
    """The page of all keys."""
    parts = [
        f"# Configuration\n{_WRITTEN_BY}",
        _LEAD,
    ]
    values = Config().model_dump(mode="json")
    for path, model in _sections(Config, ""):
        parts.append(_section(path, model, _at(values, path)))
    return "\n".join(parts)


def _sections(model: type[Any], path: str) -> Iterator[tuple[str, type[Any]]]:
    """Each section's dotted name and its class, the unnamed one first."""
    yield path, model
    for name, kind in _kinds(model).items():
        if isinstance(kind, type) and _is_section(kind):
            yield from _sections(kind, f"{path}.{name}" if path else name)


def _is_section(kind: type[Any]) -> bool:
    return issubclass(kind, BaseModel) or hasattr(kind, "__dataclass_fields__")


def _kinds(model: type[Any]) -> dict[str, Any]:
    if issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return inspect.get_annotations(model, eval_str=True)


def _at(values: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for part in path.split(".") if path else ():
        values = values[part]
    return values


def _section(path: str, model: type[Any], values: Mapping[str, Any]) -> str:
    said = _descriptions(model)
    title = f"## [{path}]" if path else "## Without a section"
    lead = (inspect.getdoc(model) or "").partition("\n")[0]
    intro = "" if not path or _ENTRY.match(lead) else f"{lead}\n\n"
    rows = [
        f"| `{key}` | {_form(kind, f'{path}.{key}' if path else key)} | `{_shown(values[key])}` "
        f"| {said.get(key, '')} |"
        for key, kind in _kinds(model).items()
        if not (isinstance(kind, type) and _is_section(kind))
    ]
    if not rows:
        return f"{title}\n"
    head = "| key | value | default | |\n| --- | --- | --- | --- |\n"
    return f"{title}\n{_plain(intro)}{head}" + "\n".join(rows) + "\n"


def _form(kind: Any, key: str) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind is Purpose:
        return ", ".join(f"`{choice}`" for choice in Purpose)
    if key in BOUNDS:
        low, high = BOUNDS[key]
        return f"{_number(low)} to {_number(high)}"
    if kind is bool:
        return "true, false"
    return "list" if get_origin(kind) is tuple else "text"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _descriptions(model: type[Any]) -> dict[str, str]:
    """What a section's docstring says of its keys, and those of the classes that it names."""
    text = inspect.getdoc(model) or ""
    said: dict[str, str] = {}
    for named in _REFERENCE.findall(text):
        module, _, name = named.rpartition(".")
        try:
            said |= _entries(inspect.getdoc(getattr(importlib.import_module(module), name)) or "")
        except (ImportError, AttributeError):
            continue  # a module as a whole
    own = {key: words for key, words in _entries(text).items() if "see `" not in words}
    return said | own


def _entries(text: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    keys: list[str] = []
    for line in text.splitlines():
        if found := _ENTRY.match(line):
            keys = found[1].split(", ")
            entries |= dict.fromkeys(keys, found[2])
        elif line.strip() and keys:
            entries |= {key: f"{entries[key]} {line.strip()}" for key in keys}
        else:
            keys = []
    return {key: _plain(words.replace("|", "\\|")) for key, words in entries.items()}


def _plain(text: str) -> str:
    """Without the names of things in the program."""
    return re.sub(r"( The rest)?[;,:]? [Ss]ee `edge_app[^`]*`\.?", "", text)


_ABOUT_COMMANDS = """\
`familiar COMMAND --help` says the same. `familiar --install-completion` teaches the shell (bash,
zsh, fish) to complete commands and options; in zsh, the first Tab only loads it.

Options before the command:
"""


def commands() -> str:
    """The page of all commands."""
    parts = [
        f"# Commands\n{_WRITTEN_BY}",
        _ABOUT_COMMANDS,
    ]
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="familiar")
    parts.append(_parameters(root))
    for name in root.list_commands(context):
        parts += _command(root.get_command(context, name), f"familiar {name}")
    return "\n".join(parts)


def _command(command: Any, name: str) -> Iterator[str]:
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    yield f"## {name}\n\n{text}\n\n{_parameters(command)}"
    for child in getattr(command, "commands", {}).values():
        if not child.hidden:
            yield from _command(child, f"{name} {child.name}")


def _parameters(command: Any) -> str:
    rows = [
        f"| `{_name(parameter)}` | {_cell(getattr(parameter, 'help', None) or '')} |"
        for parameter in command.params
        if parameter.name not in {"help", "install_completion", "show_completion"}
    ]
    return "| | |\n| --- | --- |\n" + "\n".join(rows) + "\n" if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    value = "" if parameter.is_flag else parameter.metavar or parameter.name.upper()
    return f"{', '.join(parameter.opts)} {value}".rstrip()


def exit_statuses() -> str:
    """The page of all exit statuses."""
    rows = {0: "Done.", 130: "Interrupted with Ctrl-C."}
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if "exit_status" in vars(error):
            rows[vars(error)["exit_status"]] = (inspect.getdoc(error) or "").splitlines()[0]
    rows[1] = "A check found a fault, or a target was missed; or a defect in Familiar."
    rows[2] += " Also what the command line's own parser refuses."
    lines = [f"| {status} | {words} |" for status, words in sorted(rows.items())]
    lead = "Whatever is wrong is one line on standard error that says what to do."
    head = f"# Exit statuses\n{_WRITTEN_BY}\n{lead}\n\n| status | |\n| --- | --- |\n"
    return head + "\n".join(lines) + "\n"


PAGES = {
    "configuration.md": configuration,
    "commands.md": commands,
    "exit-statuses.md": exit_statuses,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
