"""Reads the impostor tails that ship with the models, and puts a newly measured one there."""

from __future__ import annotations

from pathlib import Path

from edge_app.core.calibrate import ImpostorTail, decode_tails, encode_tails
from edge_app.errors import CalibrationError, StorageError


def read_tails(path: Path) -> dict[str, ImpostorTail]:
    """All tails in `impostor_tail.json`, by the embedder's name.

    Raises:
        CalibrationError: the file is missing or malformed.
    """
    try:
        return decode_tails(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"cannot read the impostor tails in {path}: {error}; reinstall Familiar"
        ) from error


def write_tail(path: Path, embedder: str, tail: ImpostorTail) -> None:
    """Put the tail of an embedder in the place of its older one; those of others stay.

    A file that cannot be read is not written over: what it says of other embedders is worth a
    look first.

    Raises:
        CalibrationError: there is a file, and it is malformed.
        StorageError: it cannot be written.
    """
    tails = read_tails(path) if path.exists() else {}
    try:
        path.write_text(encode_tails({**tails, embedder: tail}), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; name another file") from error
