"""Speech and signals as samples: read, placed between two ears, written."""

from __future__ import annotations

import io
import math
import struct
import wave
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""shape (n,): one channel, 16 bits."""

_MAX_BYTES: Final = 20_000_000
_CHIME_HZ: Final = (659.3, 987.8)  # E5, B5: it rises, as a question does
_CHIME_TONE_S: Final = 0.11
_CHIME_LEVEL: Final = 0.25


def read_wav(data: bytes) -> tuple[int, Samples]:
    """Return (samples a second, samples) of a WAV with one channel of 16 bits.

    Lengths in the header may be wrong: a program that writes to a pipe cannot know them.

    Raises:
        ValueError: it is none, or too long.
    """
    if len(data) > _MAX_BYTES or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("no WAV, or too long")
    at, rate_hz = 12, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            if at + 16 > len(data):
                break
            kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if (kind, channels, bits) != (1, 1, 16) or not 4_000 <= rate_hz <= 192_000:
                raise ValueError("a WAV of another kind than 16 bits, one channel")
        elif name == b"data" and rate_hz:
            rest = data[at : at + size]
            return rate_hz, np.frombuffer(rest[: len(rest) // 2 * 2], "<i2").astype(np.int16)
        at += size + size % 2
    raise ValueError("a WAV without sound")


def panned(mono: Samples, pan: float) -> Samples:
    """Return two channels, shape (n, 2), left and right, at the same power wherever it sounds.

    pan: -1 left to 1 right. The law is the usual sine and cosine of a quarter turn.
    """
    angle = (pan + 1) * math.pi / 4
    return np.rint(mono[:, None] * [math.cos(angle), math.sin(angle)]).astype(np.int16)


def write_wav(stereo: Samples, rate_hz: int) -> bytes:
    """Return two channels, shape (n, 2), as a WAV."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(stereo.astype("<i2").tobytes())
    return data.getvalue()


def chime(rate_hz: int) -> Samples:
    """Return two rising tones, a quarter of a second in all, that fade instead of clicking."""
    count = round(_CHIME_TONE_S * rate_hz)
    time_s = np.arange(count) / rate_hz
    fade = np.sin(np.pi * np.arange(count) / count) ** 0.5
    tones = [np.sin(2 * np.pi * hz * time_s) * fade for hz in _CHIME_HZ]
    rest = np.zeros(round(0.03 * rate_hz))
    return np.rint(np.concatenate([*tones, rest]) * _CHIME_LEVEL * 32_767).astype(np.int16)


def silence(rate_hz: int, seconds: float) -> Samples:
    """Return nothing to be heard."""
    return np.zeros(round(rate_hz * seconds), np.int16)
