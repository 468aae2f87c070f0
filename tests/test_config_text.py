"""Lines that faults are about, and TOML that is written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_app.__main__ import app
from edge_app.config import BOUNDS, examine_config, make_config
from edge_app.config_text import line_of, to_toml
from edge_app.errors import ConfigError

FAULTY = """\
site = "here"
sitee = 3

[ hud ]
language = "xx"
speech = 7.5
  [hud.voice]
rate_wpm = 9
[mqtt]
broker = "mqtt://x"
keepalive_s = 1
"""


def test_every_fault_is_found_at_once_with_its_line() -> None:
    config, faults = examine_config(tomllib.loads(FAULTY))
    assert config is None
    assert sorted(line_of(FAULTY, fault) or 0 for fault in faults) == [2, 5, 6, 8, 11]


@pytest.mark.parametrize(
    ("text", "fault", "line"),
    [
        ("", "site: wrong", None),
        ("site = 1", "", None),
        ("site = 1", "?!", None),
        ("hud.language = 3", "hud.language: wrong", 1),
        ("[hud]\n", '"hud" is a section; write [hud]', 1),
        ("# site = 1\n[hud]\nsite = 2", "site: wrong", None),
        ("[quality]\nmin_brightness = 9", "quality: min_brightness must be below", 1),
    ],
)
def test_the_line_of_a_fault(text: str, fault: str, line: int | None) -> None:
    assert line_of(text, fault) == line


def test_one_fault_is_the_error_of_a_command() -> None:
    with pytest.raises(ConfigError, match="sitee"):
        make_config(tomllib.loads(FAULTY))


@given(st.text(), st.text())
def test_no_text_is_too_strange_to_look_for_a_line(text: str, fault: str) -> None:
    line = line_of(text, fault)
    assert line is None or 1 <= line <= len(text.splitlines())


values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
trees: Any = st.recursive(
    st.dictionaries(st.from_regex(r"\A[a-z_0-9]{1,8}\Z"), values | st.lists(values, max_size=3)),
    lambda inner: st.dictionaries(st.from_regex(r"\A[a-z_0-9]{1,8}\Z"), values | inner),
    max_leaves=8,
)


@given(trees)
def test_what_is_written_is_read_again(tree: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(tree)) == tree


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    status = getattr(result.exception, "exit_status", result.exit_code)
    return status, result.output


def test_what_is_shown_is_a_configuration_that_is_well(tmp_path: Path) -> None:
    status, shown = run("--home", str(tmp_path), "config", "show")
    assert status == 0
    file = tmp_path / "config.toml"
    file.write_text(shown)
    assert make_config(tomllib.loads(shown)) == make_config({})
    status, said = run("--home", str(tmp_path), "config", "check")
    assert status == 0
    assert "is well" in said.replace("\n", " ")


def test_a_broken_file_can_be_checked_from_where_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(FAULTY)
    status, said = run("--home", str(tmp_path), "config", "check")
    assert status == ConfigError.exit_status
    assert said.count("config.toml:") == 5
    status, said = run("--home", str(tmp_path), "config", "check", "--json")
    assert status == ConfigError.exit_status
    assert said.count('"line"') == 5


def test_what_is_no_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_bytes(b"[[[\xff")
    status, _ = run("config", "check", str(tmp_path / "broken.toml"))
    assert status == ConfigError.exit_status
    status, _ = run("config", "check", str(tmp_path / "missing.toml"))
    assert status == ConfigError.exit_status


def test_every_number_has_a_place_in_the_reference() -> None:
    shown = to_toml(make_config({}).model_dump(mode="json"))
    stated = tomllib.loads(shown)
    for key in BOUNDS:
        at: Any = stated
        for part in key.split("."):
            at = at[part]
