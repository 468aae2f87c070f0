from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import ConfigError, MediaError, StorageError
from edge_app.evaluation.files import (
    Pair,
    identity_of,
    list_pictures,
    read_excluded,
    read_pairs,
    read_picture,
    write_json,
)


def test_identities() -> None:
    assert identity_of("Anna_Smith_0003.jpg") == "Anna_Smith"
    assert identity_of("anna.png") == "anna"
    assert identity_of("anna_smith.png") == "anna_smith"
    assert identity_of("_0001.jpg") == "_0001"


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no"):
        list_pictures(tmp_path)
    with pytest.raises(MediaError, match="cannot list"):
        list_pictures(tmp_path / "absent")


def test_only_pictures_are_listed_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert list_pictures(tmp_path) == ("a.png", "b.JPG")


def test_pictures_that_are_none_are_told_from_files_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), 7, np.uint8))
    image = read_picture(path)
    assert image is not None
    assert image.shape == (4, 4, 3)
    for content in (b"", b"\xff\xd8\xff", b"hello", path.read_bytes()[:40]):
        path.write_bytes(content)
        assert read_picture(path) is None
    with pytest.raises(MediaError, match="cannot read"):
        read_picture(tmp_path / "absent.png")


def test_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("fold,left,right,same\n1,a.jpg,b.jpg,1\n2,c.jpg,d.jpg,0\n")
    assert read_pairs(path) == (
        Pair("1", "a.jpg", "b.jpg", True),
        Pair("2", "c.jpg", "d.jpg", False),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fold,left,right,same\n",
        "left,right\na,b\n",
        "fold,left,right,same\n1,a,b,2\n",
        "fold,left,right,same\n1,a,b\n",
        "fold,left,right,same\n1,a,b,1,x\n",
    ],
)
def test_malformed_pairs_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_pairs(path)


def test_lists_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "exclude.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        read_excluded(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_excluded(tmp_path / "absent.csv")


def test_nothing_may_be_excluded(tmp_path: Path) -> None:
    path = tmp_path / "exclude.csv"
    path.write_text("image\n")
    assert read_excluded(path) == frozenset()


def test_results_make_their_folder_or_say_why_not(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "out.json", {"a": 1})
    assert (tmp_path / "new" / "out.json").read_text() == '{\n  "a": 1\n}\n'
    with pytest.raises(StorageError, match="cannot write"):
        write_json(tmp_path / "new", {"a": 1})
