"""Frozen dataclasses as canonical JSON, and back: one spelling for each value.

The form is RFC 8785: keys sorted, no white space, no floats, UTF-8; times are UTC in whole
seconds. Decimal fractions are text, in the shortest spelling that reads back the same. A value has
exactly one such form, and `from_json` accepts no other: a signature covers one meaning only.

Fields may be text, enums of text, whole numbers, floats, booleans, times, tuples, optional values,
and dataclasses of these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import datetime, timedelta
from functools import cache
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

Malformed = Callable[[str, str], Exception]
"""Makes the error for (which field, what it should have been)."""

_MAX_INTEGER: Final = 2**53 - 1  # the largest that every JSON reader keeps exact (RFC 8785)


def to_json(value: Any, malformed: Malformed) -> bytes:
    """The canonical bytes of a dataclass.

    Raises what `malformed` makes: a field is of the wrong type or out of range.
    """
    plain = _to_plain(value, type(value), "record", malformed)
    try:
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise malformed("record", "text that UTF-8 can hold") from error


def from_json(data: bytes, kind: type[T], malformed: Malformed) -> T:
    """The dataclass `kind` whose canonical bytes these are.

    Raises what `malformed` makes for anything else: keys missing, unknown or doubled, values of
    another type, or the same values written in another way.
    """
    try:
        plain = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise malformed("record", "JSON without floats") from error
    value: T = _from_plain(plain, kind, "record", malformed)
    # Doubled keys, other spellings of a time, spaces, escapes: all show up here.
    if to_json(value, malformed) != data:
        raise malformed("record", "in canonical form")
    return value


def _no_float(text: str) -> float:
    raise ValueError(text)


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _is_record(kind: Any) -> bool:
    return is_dataclass(kind)


def _optional(kind: Any) -> Any:
    return next(arm for arm in get_args(kind) if arm is not type(None))


def _to_plain(value: Any, kind: Any, where: str, malformed: Malformed) -> Any:
    """JSON values for a value that must be exactly of the annotated type `kind`."""

    def require(condition: bool, expected: str) -> None:
        if not condition:
            raise malformed(where, expected)

    if get_origin(kind) is UnionType:
        return None if value is None else _to_plain(value, _optional(kind), where, malformed)
    if get_origin(kind) is tuple:
        require(type(value) is tuple, "a tuple")
        return [_to_plain(item, get_args(kind)[0], where, malformed) for item in value]
    require(type(value) is kind, f"of type {kind.__name__}")
    if _is_record(kind):
        return {
            name: _to_plain(getattr(value, name), hint, name, malformed)
            for name, hint in _fields(kind).items()
        }
    if kind is datetime:
        whole_utc = value.utcoffset() == timedelta(0) and value.microsecond == 0
        require(whole_utc, "a UTC time in whole seconds")
        return value.replace(tzinfo=None).isoformat() + "Z"
    if kind is int:
        require(0 <= value <= _MAX_INTEGER, "a whole number of at most 53 bits")
    if kind is float:
        require(math.isfinite(value), "a finite number")
        return repr(value)
    return str(value) if issubclass(kind, str) else value


def _from_plain(plain: Any, kind: Any, where: str, malformed: Malformed) -> Any:
    """The value of the annotated type `kind` that these JSON values stand for."""

    def require(condition: bool, expected: str) -> None:
        if not condition:
            raise malformed(where, expected)

    if get_origin(kind) is UnionType:
        return None if plain is None else _from_plain(plain, _optional(kind), where, malformed)
    if get_origin(kind) is tuple:
        require(type(plain) is list, "a list")
        return tuple(_from_plain(item, get_args(kind)[0], where, malformed) for item in plain)
    if _is_record(kind):
        fields = _fields(kind)
        exact = type(plain) is dict and plain.keys() == fields.keys()
        require(exact, f"an object with the keys {', '.join(sorted(fields))}")
        values = {n: _from_plain(plain[n], hint, n, malformed) for n, hint in fields.items()}
        return kind(**values)
    if kind in (int, bool):
        require(type(plain) is kind, f"of type {kind.__name__}")
        return plain
    require(type(plain) is str, "text")
    try:
        return datetime.fromisoformat(plain) if kind is datetime else kind(plain)
    except ValueError as error:
        raise malformed(where, f"a {kind.__name__}") from error
