import base64
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.evaluation.detection import SceneOutcome, summarise
from edge_app.evaluation.files import Pair
from edge_app.evaluation.identification import IdentificationResult, identify, split
from edge_app.evaluation.report import Result, figures, write_report
from edge_app.evaluation.scenes import TrueFace, Truth, Wear
from edge_app.evaluation.tail import measure_tail
from edge_app.evaluation.verification import verify
from edge_app.evaluation.video import NEVER
from edge_app.records import Box
from tests.evaluation.fakes import calibrate, table
from tests.evaluation.test_tail import people
from tests.evaluation.test_video import mated, stranger
from tests.evaluation.test_video import result as video_result

HOSTILE = "<script>alert(1)</script>&\"'"


def identification() -> IdentificationResult:
    names = (f"{HOSTILE}_1.png", f"{HOSTILE}_2.png", "Bea_1.png")
    faces = table(dict(zip(names, [(1, 0), (1, 0.1), (0.1, 1)], strict=True)))
    return identify(
        faces, split(names, 1), enrol_images=1, embedder="e", model_sha256="s", calibrate=calibrate
    )


def results() -> list[Result]:
    faces = table({"a": (1, 0), "b": (0, 1)}, no_face=["c"])
    pairs = [
        Pair(fold, left, right, same)
        for fold in "12"
        for left, right, same in (("a", "a", True), ("a", "b", False), ("a", "c", True))
    ]
    scene = Truth("s.jpg", (TrueFace(Box(0, 0, 40, 40), 40.0, 0.0),), Wear(1, 0, 0))
    return [
        verify(faces, pairs, embedder="e", model_sha256="s"),
        identification(),
        summarise([SceneOutcome(scene, (True,), (True,), 0, 0, 0)], undecodable=0),
        measure_tail(people(400, 3), model_sha256="s", data="made up"),
        video_result([mated(2, 2, 3, NEVER)], [stranger(2, 1, 0, 0), stranger(0, 0, 0, 0)]),
        video_result([mated(NEVER, NEVER, NEVER, NEVER)], [stranger(0, 0, 0, 0)]),
    ]


def test_every_result_has_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    for number, result in enumerate(results()):
        path = tmp_path / f"{number}.html"
        write_report(result, path, pictures=None)
        text = path.read_text()
        assert "http" not in text
        for figure in figures(result):
            assert figure.value in text
        plots = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
        assert plots
        for plot in plots:
            root = ET.fromstring(base64.b64decode(plot))  # noqa: S314 - our own
            assert root.tag.endswith("svg")


def test_the_same_result_makes_the_same_page(tmp_path: Path) -> None:
    result = identification()
    for name in ("a.html", "b.html"):
        write_report(result, tmp_path / name, pictures=None)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_names_are_escaped_and_pictures_stay_out_unless_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_report(identification(), page, pictures=None)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "image/jpeg" not in text


def test_pictures_are_shown_when_asked_for(tmp_path: Path) -> None:
    names = ("Anna_1.png", "Anna_2.png", "Bea_1.png")
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((30, 20, 3), np.uint8))
    faces = table(dict(zip(names, [(1, 0), (1, 0.1), (0.1, 1)], strict=True)))
    result = identify(
        faces, split(names, 1), enrol_images=1, embedder="e", model_sha256="s", calibrate=calibrate
    )
    page = tmp_path / "page.html"
    write_report(result, page, pictures=tmp_path)
    assert page.read_text().count("data:image/jpeg;base64,") == 4


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"familiar-edge\[evaluation\]"):
        write_report(identification(), tmp_path / "page.html", pictures=None)
