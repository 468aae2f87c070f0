"""Says names into the wearer's ear, offline: one program makes the sound, another plays it.

Sound goes through this process, so that it can be placed between the ears, and so that it is known
whether it could be played: espeak-ng itself ends well without any sound card.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_app.core.sound import chime, panned, read_wav, silence, write_wav
from edge_app.records import Utterance

_log = logging.getLogger(__name__)

_PACKAGES: Final = {"espeak-ng": "espeak-ng", "aplay": "alsa-utils"}
_PROBE_HZ: Final = 22_050
_PROBE_S: Final = 0.05
_PAUSE_S: Final = 0.2


class ProgramSpeaker:
    """Speaks in a thread of its own; `say` never waits.

    One speech may wait while another is spoken. A newer one replaces it: who stands there now
    matters, not who stood there before.
    """

    def __init__(
        self,
        *,
        synthesiser: tuple[str, ...],
        player: tuple[str, ...],
        timeout_s: float,
        retry_s: float,
    ) -> None:
        """Start the thread, which plays a moment of silence to learn whether it can be heard.

        synthesiser: reads text from its standard input and writes a WAV of one channel to its
                     standard output, e.g. ("espeak-ng", "-v", "en", "--stdin", "--stdout").
                     The text is no argument, for arguments can be read by every user of the device.
        player:      plays the WAV on its standard input, e.g. ("aplay", "-q", "-").
        timeout_s:   longest time for either, after which it is ended.
        retry_s:     until it is tried again whether sound can be played.
        """
        self._synthesiser = synthesiser
        self._player = player
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self.complaint = ""
        """Why the last that was to be heard could not be; empty if it could."""
        self._next: tuple[Utterance, ...] | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="speech", daemon=True)
        self._thread.start()

    @property
    def silent(self) -> bool:
        """True if the last that was to be heard could not be."""
        return bool(self.complaint)

    def say(self, speech: str | Sequence[Utterance]) -> None:
        """Speak soon, in place of what has not been begun. Nothing to say is ignored."""
        parts = (Utterance(speech),) if isinstance(speech, str) else tuple(speech)
        parts = tuple(part for part in parts if part.text)
        with self._changed:
            if parts and not self._closing:
                self._next = parts
                self._changed.notify()

    def close(self) -> None:
        """Finish what is being spoken, and what waits if it can be heard; then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        self._complain(self._play(_SILENCE))
        while (speech := self._take()) is not None:
            self._complain(self._speak(speech) if speech else self._play(_SILENCE))

    def _take(self) -> tuple[Utterance, ...] | None:
        """What to say; nothing, (), if it is time to try again; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._next is not None or self._closing,
                self._retry_s if self.complaint else None,
            )
            speech, self._next = self._next, None
            if self._closing:
                return None if self.complaint else speech
            return speech or ()

    def _speak(self, speech: tuple[Utterance, ...]) -> str:
        """Return what went wrong, or an empty string. Never the text: it holds a name."""
        spoken, rate_hz = [], 0
        for part in speech:
            sound, complaint = self._pipe(self._synthesiser, part.text.encode())
            if complaint:
                return complaint
            try:
                rate_hz, mono = read_wav(sound)
            except ValueError as error:
                return f"{self._synthesiser[0]} wrote {error}; check hud.voice.synthesiser"
            before = chime(rate_hz) if part.chime else silence(rate_hz, 0)
            after = silence(rate_hz, _PAUSE_S)
            spoken.append(panned(np.concatenate([before, mono, after]), part.pan))
        return self._play(write_wav(np.concatenate(spoken), rate_hz))

    def _play(self, sound: bytes) -> str:
        return self._pipe(self._player, sound)[1]

    def _pipe(self, command: tuple[str, ...], data: bytes) -> tuple[bytes, str]:
        """(what the program wrote, what went wrong)."""
        name = command[0]
        try:
            done = subprocess.run(  # noqa: S603 (the command is configured, the text is no argument)
                command,
                input=data,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
                # piper writes its sound to a file first: into memory with it, for it holds a name.
                env={**os.environ, "TMPDIR": "/dev/shm"},  # noqa: S108 (no file of ours)  # nosec B108
            )
        except FileNotFoundError:
            package = _PACKAGES.get(name)
            remedy = f"run `sudo apt install {package}`" if package else "check [hud.voice]"
            return b"", f"{name} is not installed; {remedy}"
        except subprocess.TimeoutExpired:
            return b"", f"{name} took more than {self._timeout_s:g} s; check the sound device"
        except OSError as error:
            return b"", f"{name} cannot be started ({error.strerror}); reinstall it"
        if done.returncode != 0:
            remedy = "the sound device" if command == self._player else "[hud.voice]"
            return b"", f"{name} ended with status {done.returncode}; check {remedy}"
        return done.stdout, ""

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self.complaint:
            _log.warning("speech: %s", complaint)
        self.complaint = complaint


_SILENCE: Final = write_wav(panned(silence(_PROBE_HZ, _PROBE_S), 0.0), _PROBE_HZ)


class NullSpeaker:
    """Says nothing, as was asked for."""

    @property
    def silent(self) -> bool:
        """False: nothing was to be heard."""
        return False

    def say(self, speech: str | Sequence[Utterance]) -> None:
        """Ignore the speech."""

    def close(self) -> None:
        """Do nothing."""
