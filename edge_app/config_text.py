"""A configuration as text: which line states a key, and TOML of nested values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_SECTION: Final = re.compile(r"^\s*\[\s*([A-Za-z0-9_.\s]+?)\s*\]")
_KEY: Final = re.compile(r"^\s*([A-Za-z0-9_.]+)\s*=")
_NAMED: Final = re.compile(r'^(?:unknown key )?"?([a-z0-9_]+(?:\.[a-z0-9_]+)*)')


def line_of(text: str, fault: str) -> int | None:
    """The number of the line that a fault is about, by the key it begins with; None if it names
    none that is there.

    text: TOML. Keys in quotes and inline tables are not looked into.
    """
    named = _NAMED.match(fault)
    if named is None:
        return None
    section = ""
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _SECTION.match(line):
            section = heading[1].replace(" ", "") + "."
            found = section[:-1]
        elif key := _KEY.match(line):
            found = section + key[1]
        else:
            continue
        if named[1] == found or named[1].startswith(f"{found}."):
            best = max(best or (0, 0), (len(found), number))
    return best[1] if best else None


def to_toml(values: Mapping[str, Any], prefix: str = "") -> str:
    """Nested values of bool, number, text and lists of these as TOML."""
    lines = [
        f"{key} = {_value(value)}\n"
        for key, value in values.items()
        if not isinstance(value, Mapping)
    ]
    for key, value in values.items():
        if isinstance(value, Mapping):
            body = to_toml(value, f"{prefix}{key}.")
            heading = f"\n[{prefix}{key}]\n" if not body.startswith("\n") else ""
            lines.append(heading + body)
    return "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
