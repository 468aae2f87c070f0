"""Speech never blocks, never puts a name where others can read it, and says what is wrong once."""

from __future__ import annotations

import logging
import time
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.adapters.speech import EspeakSpeaker, NullSpeaker


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Make a shell script that stands in for espeak-ng."""

    def make(body: str) -> tuple[str, ...]:
        path = tmp_path / "speak"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        return (str(path),)

    return make


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.005)


def test_espeak_writes_a_sound(tmp_path: Path) -> None:
    sound = tmp_path / "said.wav"
    speaker = EspeakSpeaker(command=("espeak-ng", "-v", "en", "-w", str(sound)), timeout_s=30)
    speaker.say("Anna, colleague, on your left.")
    speaker.close()
    if not sound.exists():
        pytest.fail("espeak-ng is missing: run `sudo apt install espeak-ng`")
    with wave.open(str(sound)) as audio:
        assert audio.getnframes() / audio.getframerate() > 0.5


def test_saying_nothing_starts_nothing(
    program: Callable[[str], tuple[str, ...]], tmp_path: Path
) -> None:
    speaker = EspeakSpeaker(command=program(f"touch {tmp_path}/ran"), timeout_s=5)
    speaker.say("")
    speaker.close()
    assert not (tmp_path / "ran").exists()


def test_the_newest_text_replaces_the_one_that_waits(
    program: Callable[[str], tuple[str, ...]], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    hold = f"while [ ! -e {gate} ]; do sleep 0.01; done"
    command = program(f"cat >> {tmp_path}/said; touch {tmp_path}/began; {hold}")
    speaker = EspeakSpeaker(command=command, timeout_s=30)
    speaker.say("one.")
    wait_for(tmp_path / "began")
    for text in ("two.", "three.", "four."):
        speaker.say(text)  # the first is still being spoken: this must not wait
    assert (tmp_path / "said").read_text() == "one."
    gate.touch()
    speaker.close()
    assert (tmp_path / "said").read_text() == "one.four."


def test_the_name_is_no_argument(program: Callable[[str], tuple[str, ...]], tmp_path: Path) -> None:
    speaker = EspeakSpeaker(command=program(f'echo "$@" > {tmp_path}/arguments; cat'), timeout_s=30)
    speaker.say("Anna")
    speaker.close()
    assert (tmp_path / "arguments").read_text() == "--stdin\n"


def test_a_missing_program_is_reported_once_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        speaker = EspeakSpeaker(command=("/nowhere/espeak-ng",), timeout_s=5)
        for number in range(3):
            speaker.say(f"Anna {number}")
            while speaker._next is not None:
                time.sleep(0.002)
        speaker.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "sudo apt install espeak-ng" in record.getMessage()
    assert "Anna" not in caplog.text


@pytest.mark.parametrize(
    ("body", "complaint"), [("exit 3", "status 3"), ("exec sleep 60", "took more than")]
)
def test_a_program_that_fails_or_hangs_is_reported(
    program: Callable[[str], tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
    body: str,
    complaint: str,
) -> None:
    speaker = EspeakSpeaker(command=program(f"cat > /dev/null; {body}"), timeout_s=0.5)
    speaker.say("Anna")
    while not caplog.records:
        time.sleep(0.005)
    speaker.close()
    assert complaint in caplog.text
    assert "Anna" not in caplog.text


def test_a_program_that_may_not_be_run_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speaker = EspeakSpeaker(command=(str(tmp_path),), timeout_s=5)
    speaker.say("Anna")
    while not caplog.records:
        time.sleep(0.005)
    speaker.close()
    assert "cannot be started" in caplog.text


def test_closing_twice_and_speaking_after_it_are_harmless() -> None:
    speaker = EspeakSpeaker(command=("false",), timeout_s=5)
    speaker.close()
    speaker.say("Anna")
    speaker.close()


def test_the_null_speaker_says_nothing() -> None:
    speaker = NullSpeaker()
    speaker.say("Anna")
    speaker.close()
