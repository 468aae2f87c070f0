"""What a log line looks like, to people, to programs and to the journal."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.logs import JsonLines, TextLines, set_up_logs
from tests.support import ROOT
from tests.test_fleet_cli import familiar

FIELDS = {"time", "level", "logger", "message"}
DEFECT = "import logging\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n"


def record(message: str, level: int = logging.WARNING, *values: object) -> logging.LogRecord:
    return logging.LogRecord("edge_app.x", level, "x.py", 1, message, values, None)


@given(st.text(), st.sampled_from(["debug", "info", "warning", "error", "critical"]))
def test_whatever_is_said_is_one_line_of_json(message: str, level: str) -> None:
    line = JsonLines().format(record("%s", logging.getLevelName(level.upper()), message))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    fields = json.loads(line)
    assert fields.keys() == FIELDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields["time"])
    assert (fields["level"], fields["logger"], fields["message"]) == (level, "edge_app.x", message)


@given(st.text())
def test_whatever_is_said_is_one_line_of_text_that_plays_no_tricks(message: str) -> None:
    line = TextLines().format(record("%s", logging.ERROR, message))
    assert line.startswith("familiar: ERROR edge_app.x: ")
    assert line.isprintable()


def test_text_is_as_it_ever_was() -> None:
    said = TextLines().format(record("left out %d", logging.WARNING, 3))
    assert said == "familiar: WARNING edge_app.x: left out 3"


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., str]:
    """Runs code in a process of its own, whose logs nobody has set up; gives what it logged."""

    def run(code: str, form: str, *, journal: bool = False, level: str = "warning") -> str:
        path = tmp_path / "stderr"
        with path.open("wb") as stderr:
            found = os.fstat(stderr.fileno())
            stream = f"{found.st_dev}:{found.st_ino}" if journal else "8:1"
            setup = (
                "import sys\nfrom edge_app.adapters.logs import set_up_logs, read_by_programs\n"
                f"set_up_logs(sys.stderr, form={form!r}, level={level!r})\n"
            )
            subprocess.run(
                [sys.executable, "-c", setup + code], check=True, stderr=stderr, cwd=ROOT,
                env={**os.environ, "JOURNAL_STREAM": stream},
            )  # fmt: skip
        return path.read_text()

    return run


def test_an_exception_keeps_its_traceback(program: Callable[..., str]) -> None:
    code = DEFECT + "    logging.getLogger('x').exception('oh')"
    (line,) = program(code, "json").splitlines()
    fields = json.loads(line)
    assert fields.keys() == FIELDS | {"traceback"}
    assert fields["traceback"].splitlines()[-1] == "ZeroDivisionError: division by zero"
    said = program(code, "text").splitlines()
    assert said[0] == "familiar: ERROR x: oh"
    assert said[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("form", ["text", "json"])
def test_in_the_journal_every_line_has_its_priority(program: Callable[..., str], form: str) -> None:
    code = f"{DEFECT}    logging.exception('oh')\nlogging.warning('hm')\nlogging.info('so')"
    lines = program(code, form, journal=True, level="info").splitlines()
    assert [line[:3] for line in lines] == ["<3>"] * (len(lines) - 2) + ["<4>", "<6>"]
    assert all(line[3] != "<" for line in lines)


@pytest.mark.parametrize(("level", "lines"), [("error", 1), ("warning", 2), ("info", 3)])
def test_what_is_less_is_left_out(program: Callable[..., str], level: str, lines: int) -> None:
    code = "import logging\nfor level in (40, 30, 20, 10): logging.log(level, 'x')"
    assert len(program(code, "text", level=level).splitlines()) == lines


def test_a_stream_that_is_no_file_is_no_journal() -> None:
    set_up_logs(io.StringIO(), form="json", level="error", environment={"JOURNAL_STREAM": "1:2"})


def test_the_error_that_ends_a_program_is_in_a_log_that_programs_read(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text('[log]\nformat = "json"\n')
    ended = familiar("run", "--demo", "--source", "no\nsuch.jpg", cwd=tmp_path)
    assert ended.returncode == 4
    fields = json.loads(ended.stderr)
    assert fields.keys() == FIELDS
    assert fields["level"] == "error"
    assert "no\\nsuch.jpg" in fields["message"]
