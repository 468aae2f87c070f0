from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.adapters.calibration_file import read_tails, write_tail
from edge_app.core.calibrate import encode_tails
from edge_app.errors import CalibrationError, StorageError
from tests.people import TAIL


def test_written_tails_are_read(tmp_path: Path) -> None:
    path = tmp_path / "impostor_tail.json"
    path.write_text(encode_tails({"net": TAIL}))
    assert read_tails(path) == {"net": TAIL}


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"nowhere\.json"):
        read_tails(tmp_path / "nowhere.json")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}"])
def test_malformed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "impostor_tail.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError):
        read_tails(path)


def test_first_tail_begins_the_file(tmp_path: Path) -> None:
    path = tmp_path / "impostor_tail.json"
    write_tail(path, "net", TAIL)
    assert read_tails(path) == {"net": TAIL}


def test_a_new_tail_takes_the_place_of_the_same_embedders(tmp_path: Path) -> None:
    path = tmp_path / "impostor_tail.json"
    write_tail(path, "a", TAIL)
    write_tail(path, "b", TAIL)
    newer = replace(TAIL, model_sha256="00" * 32)
    write_tail(path, "a", newer)
    assert read_tails(path) == {"a": newer, "b": TAIL}


def test_a_file_that_is_something_else_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "impostor_tail.json"
    path.write_text("my notes")
    with pytest.raises(CalibrationError):
        write_tail(path, "net", TAIL)
    assert path.read_text() == "my notes"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="name another file"):
        write_tail(tmp_path / "missing" / "tail.json", "net", TAIL)
