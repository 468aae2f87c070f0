"""A full disk and a reader who has gone, as standard output and standard error meet them."""

import io
from pathlib import Path

import pytest

from edge_app.adapters.output import Messages, Output
from edge_app.errors import DeliveryError

FULL = Path("/dev/full")


def test_what_can_be_written_arrives(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        output = Output(file, encoding="ascii", errors="replace")
        output.write("")
        output.write("Zo\u00eb\n")
        output.flush()
        output.detach()
    assert path.read_text() == "Zo?\n"


@pytest.mark.parametrize("text", ["short", "long" * 100_000])
def test_output_that_fails_is_a_delivery_error_once(text: str) -> None:
    output = Output(FULL.open("wb"), encoding="utf-8")
    with pytest.raises(DeliveryError, match="No space left"):
        _write_out(output, text)
    output.close()  # what the interpreter does at its end


@pytest.mark.parametrize("text", ["short", "long" * 100_000])
def test_messages_that_fail_are_dropped(text: str) -> None:
    messages = Messages(FULL.open("wb"), encoding="utf-8")
    _write_out(messages, text)
    _write_out(messages, text)
    messages.close()


def _write_out(stream: io.TextIOWrapper, text: str) -> None:
    stream.write(text)
    stream.flush()
