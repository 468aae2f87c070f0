"""Which match events somebody wants to hear of."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.adapters.events import KEYS
from edge_app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Condition:
    """key: dotted, e.g. `data.purpose`. value: as text, or as JSON writes it."""

    key: str
    value: str

    def holds(self, event: dict[str, Any]) -> bool:
        """Whether the event's field is this value: a text as it is, all else as JSON."""
        found: Any = event
        for part in self.key.split("."):
            found = found[part]
        if isinstance(found, str):
            return found == self.value
        try:
            wanted = json.loads(self.value)
        except (ValueError, RecursionError):
            return False
        # True is 1 in Python, and not in JSON.
        return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def parse_conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Read `KEY=VALUE`, e.g. `data.purpose=care`.

    Raises:
        ConfigError: not of that form, or a key that no event has.
    """
    return tuple(map(_parse, texts))


def _parse(text: str) -> Condition:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is no filter; write KEY=VALUE, e.g. data.purpose=care")
    if key not in KEYS:
        close = difflib.get_close_matches(key, KEYS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(KEYS)}"
        raise ConfigError(f"no event has the key {key!r}; {hint}")
    return Condition(key, value)
