"""Reads the impostor tails that ship with the models."""

from __future__ import annotations

from pathlib import Path

from edge_app.core.calibrate import ImpostorTail, decode_tails
from edge_app.errors import CalibrationError


def read_tails(path: Path) -> tuple[ImpostorTail, ...]:
    """All tails in `impostor_tail.json`.

    Raises:
        CalibrationError: the file is missing or malformed.
    """
    try:
        return decode_tails(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"cannot read the impostor tails in {path}: {error}; reinstall Familiar"
        ) from error
