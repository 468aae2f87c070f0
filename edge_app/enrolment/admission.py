"""Codes that admit one person each to a station's page, for pages that others could reach."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Final

_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 8
"""About 39 bits, valid for one person: a million guesses find it once in half a million times."""


class Admission:
    """The present code. The operator reads it out; whoever types it uses it up."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        """announce: told each new code, to show it to the operator and nobody else."""
        self._announce = announce
        self._turn = threading.Lock()
        self._renew()

    def admits(self, typed: str) -> bool:
        """Whether it is the present code; then there is a new one."""
        said = "".join(symbol for symbol in typed.upper() if symbol.isalnum())
        with self._turn:
            if not secrets.compare_digest(said.encode(), self._code.encode()):
                return False
            self._renew()
            return True

    def _renew(self) -> None:
        self._code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        self._announce(f"{self._code[:4]}-{self._code[4:]}")
