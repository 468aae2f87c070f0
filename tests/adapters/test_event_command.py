from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from edge_app.adapters import event_command
from edge_app.adapters.event_command import EventCommand, parse_command
from edge_app.errors import ConfigError
from tests.adapters.test_mqtt import until


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def append_to(path: Path) -> tuple[str, ...]:
    return python(f"import sys; open({str(path)!r}, 'a').write(sys.stdin.read())")


def test_a_command_is_words_and_no_shell() -> None:
    assert parse_command("cat -n 'a b' ; $HOME") == ("cat", "-n", "a b", ";", "$HOME")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("  ", "empty"), ("cat 'a", "quote"), ("no-such-program-7f3a", "no program")],
)
def test_what_is_no_command_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_command(text)


def test_no_event_runs_nothing(tmp_path: Path) -> None:
    with EventCommand(append_to(tmp_path / "seen"), timeout_s=20):
        pass
    assert not (tmp_path / "seen").exists()


def test_each_event_comes_on_standard_input_in_order(tmp_path: Path) -> None:
    with EventCommand(append_to(tmp_path / "seen"), timeout_s=20) as command:
        for number in range(5):
            command.give(f'{{"é": {number}}}')
    lines = (tmp_path / "seen").read_text("utf-8").splitlines()
    assert lines == [f'{{"é": {number}}}' for number in range(5)]


def test_its_output_is_not_among_the_events(capfd: pytest.CaptureFixture[str]) -> None:
    with EventCommand(("cat",), timeout_s=20) as command:
        command.give("{}")
    assert capfd.readouterr() == ("", "{}\n")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", "failed with status 3"),
        ("import os; os.close(0); raise SystemExit(4)", "failed with status 4"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed with status -9"),
    ],
)
def test_one_that_fails_is_told_of_and_the_next_event_still_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    seen = tmp_path / "seen"
    with EventCommand(python(f"open({str(seen)!r}, 'a').write('x'); {code}"), timeout_s=20) as c:
        c.give("y" * 1_000_000)
        c.give("2")
    assert seen.read_text() == "xx"
    assert [record.getMessage() for record in caplog.records] == [
        f"--exec: the command {message}"
    ] * 2


def test_one_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with EventCommand(python(parent), timeout_s=2) as command:
        command.give("{}")
    assert "took more than 2 s" in caplog.text
    if pid.exists():  # else it was too slow to begin
        until(lambda: not is_running(int(pid.read_text())), "the grandchild is gone")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_vanished_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EventCommand((str(tmp_path / "gone"),), timeout_s=20) as command:
        command.give("{}")
    assert "cannot be run: No such file" in caplog.text


def test_too_many_are_told_of_and_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_command, "_WAITING", 2)
    gate = tmp_path / "gate"
    wait = ("sh", "-c", f"until [ -e {gate} ]; do sleep 0.02; done")
    with EventCommand(wait, timeout_s=30) as command:
        for _ in range(10):
            command.give("{}")
        assert 7 <= caplog.text.count("left out") <= 8
        gate.touch()


def test_ctrl_c_waits_for_one_and_not_for_all(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    code = f"import time; open({str(seen)!r}, 'a').write('x'); time.sleep(600)"
    with suppress(KeyboardInterrupt), EventCommand(python(code), timeout_s=1) as command:
        for _ in range(5):
            command.give("{}")
        raise KeyboardInterrupt
    assert not seen.exists() or seen.read_text() == "x"
