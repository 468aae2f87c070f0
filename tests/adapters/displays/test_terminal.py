"""The display as a line of a terminal, and that no name is left in a file."""

from __future__ import annotations

import io
import os
import pty
import select
from pathlib import Path
from typing import Any, TextIO

import pytest

from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.displays.terminal import TerminalDisplay
from edge_app.errors import ConfigError
from edge_app.records import Direction, FrameOrigin, HudLine, HudView

LEFT, RIGHT = Direction.LEFT, Direction.RIGHT
LONG = "Maximilian-Alexander Freiherr von und zu Hohenstein-Gontard"
NOBODY = HudView((), "")


def line(
    name: str = "Anna",
    relation: str = "",
    where: Direction = Direction.LEFT,
    *,
    unsure: bool = False,
) -> HudLine:
    return HudLine(name, relation, where, unsure)


class Terminal:
    """A pseudo-terminal: what the program writes, and what a person would have received."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._reader, writer = pty.openpty()
        self.stream: TextIO = os.fdopen(writer, "w", encoding=encoding)

    def received(self) -> str:
        self.stream.flush()
        data = b""
        while select.select([self._reader], [], [], 0)[0]:
            data += os.read(self._reader, 65536)
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        self.stream.close()
        os.close(self._reader)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    created = Terminal()
    yield created
    created.close()


def test_a_terminal_gets_one_coloured_line_that_is_written_over(terminal: Terminal) -> None:
    display = TerminalDisplay(terminal.stream, origin=FrameOrigin.LIVE, language="en")
    display.show(HudView((line("Anna", "colleague"), line("Bo", where=RIGHT, unsure=True)), ""))
    text = terminal.received()
    assert "Anna, colleague, on your left." in text
    assert "Probably Bo, on your right." in text
    assert text.startswith("\r\x1b[2K")
    assert "\x1b[1;32m" in text
    assert "\n" not in text
    display.show(NOBODY)
    assert "nobody recognised" in terminal.received()
    display.close()
    assert terminal.received() == "\r\x1b[2K", "the last line is wiped"


def test_a_line_longer_than_the_terminal_is_cut(terminal: Terminal) -> None:
    display = TerminalDisplay(terminal.stream, origin=FrameOrigin.LIVE, language="en")
    display.show(HudView((line(LONG * 3),), ""))
    text = terminal.received()
    assert "…" in text
    assert "\n" not in text
    assert len(text) < 120


def test_other_streams_get_a_plain_line_per_change() -> None:
    stream = io.StringIO()
    display = TerminalDisplay(stream, origin=FrameOrigin.REPLAY, language="en")
    display.show(NOBODY)
    display.show(NOBODY)
    display.show(HudView((line("Anna [red]", "colleague"),), "camera lost"))
    display.close()
    assert stream.getvalue() == (
        "nobody recognised\nAnna [red], colleague, on your left. (camera lost)\n"
    )


def test_names_of_a_live_camera_are_not_written_to_a_file() -> None:
    with pytest.raises(ConfigError, match="write names to a file"):
        TerminalDisplay(io.StringIO(), origin=FrameOrigin.LIVE, language="en")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_without_the_letters_does_not_crash(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding=encoding) as stream:
        display = TerminalDisplay(stream, origin=FrameOrigin.REPLAY, language="en")
        display.show(HudView((line("李 Anna"),), ""))
        display.close()
    expected = "李 Anna" if encoding == "utf-8" else "? Anna"
    assert path.read_text(encoding=encoding).startswith(expected)


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_broken_stream_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    display = TerminalDisplay(FullDisk(), origin=FrameOrigin.REPLAY, language="en")
    display.show(NOBODY)
    display.show(HudView((line(),), ""))
    display.close()
    assert len(caplog.records) == 1
    assert "Anna" not in caplog.text


def test_an_unknown_language_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="no language"):
        TerminalDisplay(io.StringIO(), origin=FrameOrigin.REPLAY, language="xx")


def test_the_null_display_shows_nothing() -> None:
    display = NullDisplay()
    display.show(HudView((line(),), ""))
    display.close()
