"""Commands and configurations that any page shows are such that the program takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from edge_app.__main__ import app
from edge_app.config import make_config
from tests.support import ROOT

PAGES = [
    ROOT / "README.md",
    *(
        page
        for folder in ("docs", "deploy")
        for page in sorted((ROOT / folder).rglob("*.md"))
        # Labels of keys; written by the program.
        if page.parent.name not in {"formats", "reference"}
    ),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(path.read_text("utf-8")) if kind == language]


def taken(words: list[str]) -> None:
    """Lets the command line read these words, and runs nothing. Raises what it would say."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("familiar", words)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def known(words: list[str]) -> None:
    """Fails unless such commands and options exist. In a sentence, the rest is left away."""
    command: Any = typer.main.get_command(app)
    before = ""
    for word in words:
        if word.startswith("-"):
            offered = {option for parameter in command.params for option in parameter.opts}
            assert word.partition("=")[0] in offered | {"--help"}, word
        elif not before.startswith("-") and hasattr(command, "list_commands"):
            context = command.context_class(command, info_name="familiar")
            command = command.get_command(context, word)
            assert command is not None, word
        before = word


def dead_links(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [t for t in targets if t and ":" not in t and not (path.parent / t).exists()]


# Those of docs/ are followed by `make docs`, to their headings.
@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=page)
def test_links_beside_the_documentation(path: Path, tmp_path: Path) -> None:
    assert dead_links(path) == []
    wrong = tmp_path / "page.md"
    wrong.write_text("[a](https://example.org) [b](#b)\n```\n[c](c.md)\n```\n[d](d.md#d)\n")
    assert dead_links(wrong) == ["d.md"]


WRONG = ["enrol --colour red", "nosuch", "people sing", "people list --lot"]


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_found(words: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such"):
        taken(words.split())
    with pytest.raises(AssertionError):
        known(words.split())


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_commands(path: Path) -> None:
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["familiar"]:
                taken(words[1:])
    for words in re.findall(r"`familiar ([^`]+)`", BLOCK.sub("", path.read_text("utf-8"))):
        known(shlex.split(words))


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_configurations(path: Path) -> None:
    for block in blocks(path, "toml"):
        make_config(tomllib.loads(block))
