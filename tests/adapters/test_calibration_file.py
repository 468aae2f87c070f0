from pathlib import Path

import pytest

from edge_app.adapters.calibration_file import read_tails
from edge_app.core.calibrate import encode_tails
from edge_app.errors import CalibrationError
from tests.people import TAIL


def test_written_tails_are_read(tmp_path: Path) -> None:
    path = tmp_path / "impostor_tail.json"
    path.write_text(encode_tails([TAIL]))
    assert read_tails(path) == (TAIL,)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"nowhere\.json"):
        read_tails(tmp_path / "nowhere.json")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}"])
def test_malformed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "impostor_tail.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError):
        read_tails(path)
