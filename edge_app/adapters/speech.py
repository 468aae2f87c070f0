"""Says names into the wearer's ear with espeak-ng, offline."""

from __future__ import annotations

import logging
import subprocess
import threading

_log = logging.getLogger(__name__)


class EspeakSpeaker:
    """Speaks in a thread of its own; `say` never waits.

    One text may wait while another is spoken. A newer one replaces it: who stands there now
    matters, not who stood there before.
    """

    def __init__(self, *, command: tuple[str, ...], timeout_s: float) -> None:
        """Start the thread; the program itself starts with the first text.

        command:   e.g. ("espeak-ng", "-v", "en"). The text goes to its standard input, for
                   arguments can be read by every user of the device.
        timeout_s: longest time for one text, after which the program is ended.
        """
        self._command = (*command, "--stdin")
        self._timeout_s = timeout_s
        self._complaint = ""
        self._next: str | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="speech", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Speak soon, in place of what has not been begun. An empty text is ignored."""
        with self._changed:
            if text and not self._closing:
                self._next = text
                self._changed.notify()

    def close(self) -> None:
        """Finish what is being spoken and what waits, then stop; at most twice `timeout_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (text := self._take()) is not None:
            self._complain(self._speak(text))

    def _take(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closing)
            text, self._next = self._next, None
            return text

    def _speak(self, text: str) -> str:
        """Return what went wrong, or an empty string. Never the text: it holds a name."""
        try:
            done = subprocess.run(  # noqa: S603 (the command is configured, the text is no argument)
                self._command,
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
            )
        except FileNotFoundError:
            return f"{self._command[0]} is not installed; run `sudo apt install espeak-ng`"
        except subprocess.TimeoutExpired:
            return f"took more than {self._timeout_s} s; check the sound device"
        except OSError as error:
            return f"{self._command[0]} cannot be started ({error.strerror}); reinstall it"
        if done.returncode != 0:
            return f"{self._command[0]} ended with status {done.returncode}; check the sound device"
        return ""

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            _log.warning("speech: %s", complaint)
        self._complaint = complaint


class NullSpeaker:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Ignore the text."""

    def close(self) -> None:
        """Do nothing."""
