"""Samples: read, placed, written."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.sound import chime, panned, read_wav, silence, write_wav

TONE = np.array([0, 1000, -1000, 32767, -32768], np.int16)


def wav(samples: np.ndarray, *, channels: int = 1, width: int = 2, rate_hz: int = 22_050) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return data.getvalue()


def test_a_wav_is_read() -> None:
    rate_hz, samples = read_wav(wav(TONE))
    assert rate_hz == 22_050
    assert samples.tolist() == TONE.tolist()


def test_a_header_that_could_not_know_the_length() -> None:
    """As espeak-ng writes it to a pipe."""
    data = bytearray(wav(TONE))
    data[4:8] = struct.pack("<I", 0x7FFFF024)
    data[40:44] = struct.pack("<I", 0x7FFFF000)
    assert read_wav(bytes(data))[1].tolist() == TONE.tolist()
    assert read_wav(bytes(data[:-1]))[1].tolist() == TONE[:-1].tolist()


def test_chunks_that_are_not_sound_are_skipped() -> None:
    data = wav(TONE)
    data = data[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[36:]
    assert read_wav(data)[1].tolist() == TONE.tolist()


def test_no_samples() -> None:
    assert read_wav(wav(TONE[:0]))[1].size == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        wav(TONE)[:36],
        wav(TONE)[:20],
        b"x" + wav(TONE),
        wav(TONE, channels=5),
        wav(TONE, width=1),
        wav(TONE, rate_hz=1),
        b"RIFF" + bytes(20_000_000),
    ],
)
def test_what_is_no_such_wav(data: bytes) -> None:
    with pytest.raises(ValueError, match="WAV"):
        read_wav(data)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_read_or_refused(data: bytes, kept: int) -> None:
    for hostile in (data, wav(TONE)[:kept] + data):
        try:
            read_wav(hostile)
        except ValueError:
            continue


@pytest.mark.parametrize(("pan", "left", "right"), [(-1, 1, 0), (0, 0.7071, 0.7071), (1, 0, 1)])
def test_panned(pan: float, left: float, right: float) -> None:
    stereo = panned(np.array([10_000], np.int16), pan)
    assert stereo.tolist() == [
        [pytest.approx(10_000 * left, abs=1), pytest.approx(1e4 * right, abs=1)]
    ]


@given(st.lists(st.integers(-32768, 32767), max_size=20), st.floats(-1, 1))
def test_power_is_the_same_wherever_it_sounds_and_nothing_overflows(
    values: list[int], pan: float
) -> None:
    mono = np.array(values, np.int16)
    stereo = panned(mono, pan).astype(float)
    assert np.allclose(np.hypot(*stereo.T), np.abs(mono.astype(float)), atol=1.0)


def test_two_channels_are_written() -> None:
    with wave.open(io.BytesIO(write_wav(panned(TONE, 0.3), 16_000))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 16_000, 5)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_the_chime_is_short_and_begins_and_ends_without_a_click(rate_hz: int) -> None:
    sound = chime(rate_hz)
    assert 0.2 < len(sound) / rate_hz < 0.3
    assert abs(int(sound[0])) < 300
    assert sound[-1] == 0
    assert 4_000 < np.abs(sound).max() < 10_000


def test_silence() -> None:
    assert silence(8_000, 0.5).tolist() == [0] * 4_000
    assert silence(8_000, 0).size == 0
