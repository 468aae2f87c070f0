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


def _no_float(text: str) -> float:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_json(value: Any, malformed: Malformed) -> bytes:
    """The canonical bytes of a dataclass.

    Raises what `malformed` makes: a field is of the wrong type or out of range.
    """
    kind: Any = type(value)
    plain = _writer(kind)(value, "record", malformed)
    try:
        return _ENCODER.encode(plain).encode()
    except UnicodeEncodeError as error:
        raise malformed("record", "text that UTF-8 can hold") from error


def from_json(data: bytes, kind: type[T], malformed: Malformed) -> T:
    """The dataclass `kind` whose canonical bytes these are.

    Raises what `malformed` makes for anything else: keys missing, unknown or doubled, values of
    another type, or the same values written in another way.
    """
    try:
        plain = _DECODER.decode(data.decode())
        # Doubled keys, spaces, escapes, another order of keys: all show up here.
        canonical = _ENCODER.encode(plain).encode() == data
    except (ValueError, RecursionError) as error:
        raise malformed("record", "JSON without floats") from error
    if not canonical:
        raise malformed("record", "in canonical form")
    hashable: Any = kind
    value: T = _reader(hashable)(plain, "record", malformed)
    return value


# Writers and readers are put together once for each type: galleries hold many records.

_Writer = Callable[[Any, str, Malformed], Any]
"""From a value, its place and an error maker to JSON values."""

_Reader = Callable[[Any, str, Malformed], Any]
"""The way back. Every value has one spelling: a reader accepts no other."""


def _optional(kind: Any) -> Any:
    return next(arm for arm in get_args(kind) if arm is not type(None))


@cache
def _writer(kind: Any) -> _Writer:
    """Of values that must be exactly of the annotated type `kind`."""
    if get_origin(kind) is UnionType:
        write_some = _writer(_optional(kind))
        return lambda value, where, malformed: (
            None if value is None else write_some(value, where, malformed)
        )
    if get_origin(kind) is tuple:
        return _list_writer(_writer(get_args(kind)[0]))
    if is_dataclass(kind):
        return _object_writer(kind)
    return _plain_writer(kind, _WRITERS.get(kind, _write_as_it_is))


def _list_writer(write_item: _Writer) -> _Writer:
    def write(value: Any, where: str, malformed: Malformed) -> Any:
        if type(value) is not tuple:
            raise malformed(where, "a tuple")
        return [write_item(item, where, malformed) for item in value]

    return write


def _object_writer(kind: Any) -> _Writer:
    fields = [(name, _writer(hint)) for name, hint in get_type_hints(kind).items()]

    def write(value: Any, where: str, malformed: Malformed) -> Any:
        if type(value) is not kind:
            raise malformed(where, f"of type {kind.__name__}")
        return {name: write_it(getattr(value, name), name, malformed) for name, write_it in fields}

    return write


def _plain_writer(kind: Any, write_value: _Writer) -> _Writer:
    def write(value: Any, where: str, malformed: Malformed) -> Any:
        if type(value) is not kind:
            raise malformed(where, f"of type {kind.__name__}")
        return write_value(value, where, malformed)

    return write


def _write_as_it_is(value: Any, _where: str, _malformed: Malformed) -> Any:
    return str(value) if isinstance(value, str) else value


def _write_time(value: datetime, where: str, malformed: Malformed) -> str:
    if value.utcoffset() != timedelta(0) or value.microsecond:
        raise malformed(where, "a UTC time in whole seconds")
    return value.replace(tzinfo=None).isoformat() + "Z"


def _write_int(value: int, where: str, malformed: Malformed) -> int:
    if not 0 <= value <= _MAX_INTEGER:
        raise malformed(where, "a whole number of at most 53 bits")
    return value


def _write_float(value: float, where: str, malformed: Malformed) -> str:
    if not math.isfinite(value):
        raise malformed(where, "a finite number")
    return repr(value)


_WRITERS: Final[Mapping[Any, _Writer]] = {
    datetime: _write_time,
    int: _write_int,
    float: _write_float,
}


@cache
def _reader(kind: Any) -> _Reader:
    """Of values of the annotated type `kind`."""
    if get_origin(kind) is UnionType:
        read_some = _reader(_optional(kind))
        return lambda plain, where, malformed: (
            None if plain is None else read_some(plain, where, malformed)
        )
    if get_origin(kind) is tuple:
        return _list_reader(_reader(get_args(kind)[0]))
    if is_dataclass(kind):
        return _object_reader(kind)
    return _READERS.get(kind) or _enum_reader(kind)


def _list_reader(read_item: _Reader) -> _Reader:
    def read(plain: Any, where: str, malformed: Malformed) -> Any:
        if type(plain) is not list:
            raise malformed(where, "a list")
        return tuple([read_item(item, where, malformed) for item in plain])

    return read


def _object_reader(kind: Any) -> _Reader:
    fields = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}

    def read(plain: Any, where: str, malformed: Malformed) -> Any:
        if type(plain) is not dict or plain.keys() != fields.keys():
            raise malformed(where, f"an object with the keys {', '.join(sorted(fields))}")
        return kind(*[read_it(plain[name], name, malformed) for name, read_it in fields.items()])

    return read


def _enum_reader(kind: Any) -> _Reader:
    members = {member.value: member for member in kind}

    def read(plain: Any, where: str, malformed: Malformed) -> Any:
        if type(plain) is not str or plain not in members:
            raise malformed(where, f"a {kind.__name__}")
        return members[plain]

    return read


def _read_text(plain: Any, where: str, malformed: Malformed) -> str:
    if type(plain) is not str:
        raise malformed(where, "text")
    return plain


def _read_time(plain: Any, where: str, malformed: Malformed) -> datetime:
    text = _read_text(plain, where, malformed)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise malformed(where, "a datetime") from error
    if _write_time(time, where, malformed) != text:
        raise malformed(where, "a UTC time in whole seconds")
    return time


def _read_float(plain: Any, where: str, malformed: Malformed) -> float:
    text = _read_text(plain, where, malformed)
    try:
        number = float(text)
    except ValueError as error:
        raise malformed(where, "a float") from error
    if _write_float(number, where, malformed) != text:
        raise malformed(where, "a number in its shortest spelling")
    return number


def _read_int(plain: Any, where: str, malformed: Malformed) -> int:
    if type(plain) is not int:
        raise malformed(where, "of type int")
    return _write_int(plain, where, malformed)


def _read_bool(plain: Any, where: str, malformed: Malformed) -> bool:
    if type(plain) is not bool:
        raise malformed(where, "of type bool")
    return plain


_READERS: Final[Mapping[Any, _Reader]] = {
    bool: _read_bool,
    datetime: _read_time,
    float: _read_float,
    int: _read_int,
    str: _read_text,
}
