"""Speech never blocks, never puts a name where others can read it, and says what is wrong once."""

from __future__ import annotations

import logging
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_app.adapters.speech import NullSpeaker, ProgramSpeaker
from edge_app.records import Utterance

ESPEAK = ("espeak-ng", "-v", "en", "--stdin", "--stdout")
Program = Callable[[str, str], tuple[str, ...]]
Make = Callable[..., ProgramSpeaker]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Make a shell script that stands in for a synthesiser or a player."""

    def make(name: str, body: str) -> tuple[str, ...]:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        return (str(path),)

    return make


@pytest.fixture
def player(program: Program, tmp_path: Path) -> tuple[str, ...]:
    """Keeps what it is given as 1.wav, 2.wav and so on; the first is the silence of the start."""
    return program(
        "player",
        f"n=$(ls {tmp_path} | grep -c wav); cat > {tmp_path}/part; mv {tmp_path}/part "
        f"{tmp_path}/$((n + 1)).wav",
    )


@pytest.fixture
def make(player: tuple[str, ...]) -> Iterator[Make]:
    made = []

    def speaker(
        synthesiser: tuple[str, ...] = ESPEAK,
        player: tuple[str, ...] = player,
        timeout_s: float = 30,
        retry_s: float = 600,
    ) -> ProgramSpeaker:
        made.append(
            ProgramSpeaker(
                synthesiser=synthesiser, player=player, timeout_s=timeout_s, retry_s=retry_s
            )
        )
        return made[-1]

    yield speaker
    for one in made:
        one.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.005)


def heard(path: Path) -> tuple[int, np.ndarray]:
    """(samples a second, samples of shape (n, 2))."""
    with wave.open(str(path)) as audio:
        assert audio.getnchannels() == 2
        frames = np.frombuffer(audio.readframes(audio.getnframes()), "<i2")
        return audio.getframerate(), frames.reshape(-1, 2)


def loudness(samples: np.ndarray) -> list[float]:
    return [float(x) for x in np.sqrt((samples.astype(float) ** 2).mean(axis=0))]


# --- what is heard ------------------------------------------------------------------------


def test_a_name_is_heard_from_where_the_person_is(make: Make, tmp_path: Path) -> None:
    speaker = make()
    speaker.say([Utterance("Anna, on your left.", pan=-0.8), Utterance("Bo, ahead.")])
    speaker.close()
    rate_hz, silent = heard(tmp_path / "1.wav")
    assert not silent.any()
    rate_hz, samples = heard(tmp_path / "2.wav")
    assert len(samples) / rate_hz > 1.0
    left, right = loudness(samples[: rate_hz // 2])
    assert left > 4 * right > 0
    left, right = loudness(samples[-rate_hz:])
    assert left == pytest.approx(right, rel=0.01)


def test_a_plain_text_is_in_the_middle(make: Make, tmp_path: Path) -> None:
    speaker = make()
    speaker.say("The camera is lost.")
    speaker.close()
    left, right = loudness(heard(tmp_path / "2.wav")[1])
    assert left == right > 0


def test_a_chime_is_before_the_name_and_from_the_same_side(make: Make, tmp_path: Path) -> None:
    lengths = []
    for chime in (False, True):
        speaker = make()
        speaker.say([Utterance("Anna.", pan=1.0, chime=chime)])
        speaker.close()
        rate_hz, samples = heard(sorted(tmp_path.glob("*.wav"))[-1])
        lengths.append(len(samples) / rate_hz)
    assert lengths[1] - lengths[0] == pytest.approx(0.25, abs=0.01)
    left, right = loudness(samples[: rate_hz // 4])
    assert right > 1000
    assert left < 1
    spectrum = np.abs(np.fft.rfft(samples[: rate_hz // 4, 1]))
    assert 640 < np.argmax(spectrum) * 4 < 1000


def test_rate_and_voice_change_the_sound(make: Make, tmp_path: Path) -> None:
    lengths = []
    for more in (("-s", "120"), ("-s", "300")):
        speaker = make((*ESPEAK, *more))
        speaker.say("Anna, colleague, on your left.")
        speaker.close()
        lengths.append(len(heard(sorted(tmp_path.glob("*.wav"))[-1])[1]))
    assert lengths[0] > 1.5 * lengths[1]


# --- what is not waited for, and what is not written ----------------------------------------


def test_saying_nothing_starts_nothing(make: Make, program: Program, tmp_path: Path) -> None:
    speaker = make(program("speak", f"touch {tmp_path}/ran"))
    speaker.say("")
    speaker.say([])
    speaker.say([Utterance("")])
    speaker.close()
    assert not (tmp_path / "ran").exists()


def test_the_newest_speech_replaces_the_one_that_waits(
    make: Make, program: Program, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    hold = f"while [ ! -e {gate} ]; do sleep 0.01; done"
    kept = f"tee -a {tmp_path}/said > {tmp_path}/text; touch {tmp_path}/began"
    sound = f"espeak-ng --stdin --stdout < {tmp_path}/text"
    speaker = make(program("speak", f"{kept}; {hold}; {sound}"))
    speaker.say("one.")
    until((tmp_path / "began").exists, "the first")
    for text in ("two.", "three.", "four."):
        speaker.say(text)  # the first is still being spoken: this must not wait
    assert (tmp_path / "said").read_text() == "one."
    gate.touch()
    speaker.close()
    assert (tmp_path / "said").read_text() == "one.four."


def test_the_name_is_no_argument(make: Make, program: Program, tmp_path: Path) -> None:
    command = program("speak", f'echo "$@" > {tmp_path}/arguments; cat')
    speaker = make((*command, "-v", "en"))
    speaker.say("Anna")
    speaker.close()
    assert (tmp_path / "arguments").read_text() == "-v en\n"


def test_what_programs_write_meanwhile_stays_in_memory(
    make: Make, program: Program, tmp_path: Path
) -> None:
    speaker = make(program("speak", f"echo $TMPDIR > {tmp_path}/folder"))
    speaker.say("Anna")
    speaker.close()
    assert (tmp_path / "folder").read_text().split("/")[1:] == ["dev", "shm\n"]


# --- what goes wrong ------------------------------------------------------------------------


def test_a_missing_program_is_reported_once_with_the_remedy(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        speaker = make(("/nowhere/espeak",))
        for number in range(3):
            speaker.say(f"Anna {number}")
            until(lambda: speaker._next is None, "its turn")
        speaker.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "/nowhere/espeak is not installed; check [hud.voice]" in record.getMessage()
    assert "Anna" not in caplog.text
    assert speaker.silent


def test_the_remedy_for_a_usual_program_is_its_package(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    make(player=("aplay", "-q", "-")).close()
    assert "sudo apt install alsa-utils" in caplog.text


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("cat > /dev/null; exit 3", "status 3"),
        ("exec sleep 60", "took more than"),
        ("cat > /dev/null", "no WAV"),
        ("cat > /dev/null; head -c 100000 /dev/zero", "no WAV"),
    ],
)
def test_a_synthesiser_that_fails_or_hangs_or_writes_nonsense(
    make: Make, program: Program, caplog: pytest.LogCaptureFixture, body: str, complaint: str
) -> None:
    speaker = make(program("speak", body), timeout_s=0.5)
    speaker.say("Anna")
    until(lambda: caplog.records, complaint)
    speaker.close()
    assert complaint in caplog.text
    assert "Anna" not in caplog.text
    assert speaker.silent


def test_a_program_that_may_not_be_run(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(player=(str(tmp_path),)).close()
    assert "cannot be started" in caplog.text


def test_without_a_sound_card_it_is_known_from_the_start_that_nothing_is_heard(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The real player, on a device that does not exist."""
    if not _installed("aplay"):
        pytest.fail("aplay is missing: run `sudo apt install alsa-utils`")
    speaker = make(player=("aplay", "-q", "-D", "hw:31", "-"))
    until(lambda: speaker.silent, "that it cannot be heard")
    assert "check the sound device" in caplog.text


def test_sound_that_comes_back_is_noticed_without_a_word(
    make: Make, program: Program, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card = tmp_path / "card"
    speaker = make(player=program("player", f"cat > /dev/null; test -e {card}"), retry_s=0.02)
    until(lambda: speaker.silent, "that the card is away")
    card.touch()
    until(lambda: not speaker.silent, "that it is back")
    assert len(caplog.records) == 1


def test_what_cannot_be_heard_does_not_hold_up_the_end(
    make: Make, program: Program, tmp_path: Path
) -> None:
    synthesiser = program("speak", f"touch {tmp_path}/spoken; cat")
    speaker = make(synthesiser, player=("false",))
    until(lambda: speaker.silent, "that it cannot be heard")
    with speaker._changed:
        speaker._next, speaker._closing = (Utterance("Anna"),), True
        speaker._changed.notify()
    speaker.close()
    assert not (tmp_path / "spoken").exists()


def test_closing_twice_and_speaking_after_it_are_harmless(make: Make, tmp_path: Path) -> None:
    speaker = make()
    speaker.close()
    speaker.say("Anna")
    speaker.close()
    assert len(list(tmp_path.glob("*.wav"))) == 1, "the silence of the start"


def test_the_null_speaker_says_nothing_and_that_is_well() -> None:
    speaker = NullSpeaker()
    speaker.say("Anna")
    speaker.close()
    assert not speaker.silent


def _installed(program: str) -> bool:
    return subprocess.run(["which", program], capture_output=True, check=False).returncode == 0
