"""What the evaluation programs read and write: folders of pictures, lists, results."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from edge_app.errors import ConfigError, MediaError, StorageError
from edge_app.records import ImageBgr

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, by file name, and whether they show the same person."""

    fold: str
    left: str
    right: str
    same: bool


def list_pictures(folder: Path) -> tuple[str, ...]:
    """The file names of a folder's JPEG and PNG pictures, sorted.

    Raises:
        MediaError: the folder cannot be read or holds no picture.
    """
    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise MediaError(
            f"cannot list {folder}: {error.strerror}; name a folder of pictures"
        ) from error
    if not names:
        raise MediaError(f"{folder} holds no .jpg or .png picture; name a folder that does")
    return tuple(names)


def identity_of(name: str) -> str:
    """Who a picture shows: `Anna_Smith_0003.jpg` shows `Anna_Smith`."""
    stem = Path(name).stem
    person, _, number = stem.rpartition("_")
    return person if person and number.isdigit() else stem


def read_picture(path: Path) -> ImageBgr | None:
    """The decoded picture, uint8 (height, width, 3), BGR; None if it cannot be decoded.

    Raises:
        MediaError: the file cannot be read at all.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}; check the folder") from error
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """A list of comparisons: CSV with the columns fold, left, right, same (1 or 0).

    Raises:
        ConfigError: it cannot be read or is of another form.
    """
    pairs = []
    for number, row in _rows(path, ("fold", "left", "right", "same")):
        if row["same"] not in ("0", "1"):
            raise ConfigError(f"{path}, line {number}: `same` must be 1 or 0; correct the list")
        pairs.append(Pair(row["fold"], row["left"], row["right"], row["same"] == "1"))
    if not pairs:
        raise ConfigError(f"{path} lists no pair; name a list of comparisons")
    return tuple(pairs)


def read_excluded(path: Path) -> frozenset[str]:
    """Pictures to leave out: CSV with the column image.

    Raises:
        ConfigError: it cannot be read or is of another form.
    """
    return frozenset(row["image"] for _, row in _rows(path, ("image",)))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path} as text: {error}; name a CSV file") from error
    reader = csv.DictReader(text.splitlines(), restkey="surplus")
    if reader.fieldnames is None or list(reader.fieldnames) != list(columns):
        raise ConfigError(f"{path} must begin with the line {','.join(columns)}; correct the list")
    for row in reader:
        if "surplus" in row or None in row.values():
            raise ConfigError(
                f"{path}, line {reader.line_num}: {len(columns)} values are needed; "
                "correct the list"
            )
        yield reader.line_num, row


def write_text(path: Path, text: str) -> None:
    """Write a result, making its folder.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; name a writable place"
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a result as JSON.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
