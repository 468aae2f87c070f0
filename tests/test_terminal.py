"""What a shell and a terminal get from the command line: completion, and colours or none."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edge_app.__main__ import app
from tests.support import ROOT


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `familiar` is this program."""
    shim = tmp_path / "bin" / "familiar"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m edge_app "$@"\n')
    shim.chmod(0o755)
    return f"{shim.parent}:/usr/bin:/bin"


def completed(path: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = f"""
        eval "$(_FAMILIAR_COMPLETE=source_bash familiar)"
        COMP_WORDS=({" ".join(map(repr, words))})
        COMP_CWORD={len(words) - 1}
        _familiar_completion familiar
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": path, "HOME": "/nonexistent"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("shell", "offered"),
    [("zsh", '"config":"The configuration'), ("fish", "config\tThe configuration")],
)
def test_other_shells_are_told_what_fits(path: str, shell: str, offered: str) -> None:
    environment = {
        "PATH": path,
        "_FAMILIAR_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "familiar conf",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        ["familiar"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert offered in done.stdout
    assert "calibrate" not in done.stdout


def test_bash_completes_commands_and_options(path: str) -> None:
    assert completed(path, "familiar", "conf") == ["config"]
    assert completed(path, "familiar", "people", "") == ["list", "export", "remove"]
    assert "--broker" in completed(path, "familiar", "run", "--br")
    assert completed(path, "familiar", "xyz") == []


def shown(command: list[str], home: Path, **environment: str) -> bytes:
    """What a terminal receives."""
    leader, follower = pty.openpty()
    subprocess.run(
        command, stdin=follower, stdout=follower, stderr=follower, check=False, timeout=60,
        env={**os.environ, "HOME": str(home), "TERM": "xterm-256color", **environment}, cwd=ROOT,
    )  # fmt: skip
    os.close(follower)
    received = b""
    while True:
        try:
            part = os.read(leader, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        received += part
    os.close(leader)
    return received


def test_what_takes_long_says_how_long_it_still_takes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_app", "bench", "--calls", "5", "--templates", "100"]
    received = shown(command, tmp_path, COLUMNS="100", LINES="40").decode()
    bars = re.findall(r"Timing stages.*?(\d+)/(\d+).*?(\d:\d\d:\d\d)", received)
    assert bars
    assert bars[-1][0] == bars[-1][1]
    assert "Timing" not in shown([*command, "--json"], tmp_path).decode()


def test_no_bar_is_for_a_file_even_if_it_wants_colours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_app", "bench", "--calls", "5", "--templates", "100"]
    environment = {**os.environ, "FORCE_COLOR": "1", "HOME": str(tmp_path)}
    piped = subprocess.run(
        command, capture_output=True, check=True, cwd=ROOT, timeout=60, env=environment
    )
    assert piped.stderr == b""
    assert b"Timing" not in shown(command, tmp_path, TERM="dumb")


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_app", "--help"]
    assert b"\x1b[" in shown(command, tmp_path)
    assert b"\x1b[1;3" not in shown(command, tmp_path, NO_COLOR="1")
    piped = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, timeout=60)
    assert b"\x1b" not in piped.stdout + piped.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "command", [("station", "serve"), ("backend", "audit"), ("operator", "overview"), ("run",)]
)
def test_help_fills_the_lines_of_the_terminal(command: tuple[str, ...], columns: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_app", *command, "--help"], capture_output=True, check=True,
        cwd=ROOT, text=True, env={**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"},
    )  # fmt: skip
    text = re.split(r"╭|\nOptions:", done.stdout)[0]
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        for line, following in itertools.pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > columns - 4, paragraph


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("command", [(), ("evaluate", "video"), ("operator", "publish")])
def test_help_shortens_no_option_and_names_no_type_of_a_flag(
    command: tuple[str, ...], columns: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_app", *command, "--help"], capture_output=True, check=True,
        cwd=ROOT, text=True, env={**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"},
    )  # fmt: skip
    assert "bool" not in done.stdout
    assert "…" not in done.stdout
    for option in ("--help", *(("--install-completion",) if not command else ())):
        assert option in done.stdout


def every_command(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    context = typer.Context(group)
    for name in group.list_commands(context) if hasattr(group, "list_commands") else ():
        yield from every_command(group.get_command(context, name), (*path, name))


def test_help_of_every_command_is_whole() -> None:
    commands = [*every_command(typer.main.get_command(app), ())]
    assert ("operator", "publish") in [path for path, _ in commands]
    for path, command in commands:
        for parameter in command.params:  # what is in brackets is taken for markup
            assert "[" not in (getattr(parameter, "help", None) or ""), (path, parameter.name)
        said = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"}).output
        assert "Usage: " in said, path
        assert "…" not in said, path
        assert not re.search(r"<[a-z][^<>\n]*$", said, re.MULTILINE), path


def test_a_near_command_is_suggested(tmp_path: Path) -> None:
    said = shown([sys.executable, "-m", "edge_app", "confg"], tmp_path, COLUMNS="80").decode()
    assert "Did you mean 'config'?" in said


def test_a_replay_says_how_long_it_still_takes(tmp_path: Path, media: Path) -> None:
    command = [sys.executable, "-m", "edge_app", "--home", str(tmp_path / "home"), "run", "--demo"]
    command += ["--source", str(media / "stranger-1.jpg"), "--output", "json"]
    assert re.search(r"Playing.*?\d+/\d+", shown(command, tmp_path).decode())
    assert "Playing" not in shown([*command[:-2]], tmp_path).decode()


def test_alerts_of_a_replay_go_where_standard_output_does(tmp_path: Path, media: Path) -> None:
    familiar = [sys.executable, "-m", "edge_app", "--home", str(tmp_path / "home")]
    picture = ["--source", str(media / "enrolled-1.jpg")]
    enrol = [*familiar, "enrol", "--demo", "--name", "A", "--purpose", "assist", *picture]
    subprocess.run(enrol, cwd=ROOT, check=True, capture_output=True)
    run = [*familiar, "run", "--demo", *picture, "--output", "json"]
    file = tmp_path / "events.jsonl"
    into_file = ["sh", "-c", f'exec "$@" >{file}', "sh", *run]
    assert b"specversion" not in shown(into_file, tmp_path)
    (line,) = file.read_text().splitlines()
    seen = shown(run, tmp_path).decode()
    assert re.search(r"Playing.*?\d+/\d+", seen)
    (event,) = re.findall(r"\{.*\}", seen)
    assert json.loads(event).keys() == json.loads(line).keys()
