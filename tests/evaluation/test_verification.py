import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.evaluation.files import Pair
from edge_app.evaluation.verification import run, verify
from tests.evaluation.fakes import FakePipeline, detection, reader, table

TABLE = table({"a1": (1, 0), "a2": (1, 0.1), "b1": (0, 1), "b2": (0.1, 1)}, no_face=["c1"])
PAIRS = (
    Pair("1", "a1", "a2", True),
    Pair("1", "a1", "b1", False),
    Pair("2", "b1", "b2", True),
    Pair("2", "a2", "b2", False),
)


def test_a_perfect_embedder() -> None:
    result = verify(TABLE, PAIRS, embedder="e", model_sha256="s")
    assert result.accuracy == 1.0
    assert result.accuracy_ci95 == (1.0, 1.0)
    assert result.point.miss_rate == 0.0
    content = result.to_json()
    assert content["pairs"] == 4
    assert content["undetected"] == 1
    assert content["tar_at_far_1e-3"] == 1.0


def test_a_face_that_was_not_found_is_a_miss_and_no_false_match() -> None:
    pairs = (*PAIRS, Pair("1", "a1", "c1", True), Pair("2", "a1", "c1", False))
    result = verify(TABLE, pairs, embedder="e", model_sha256="s")
    assert result.accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert result.point.miss_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize("pairs", [PAIRS[:2], PAIRS[:3]])
def test_folds_are_needed_with_both_kinds_in_each(pairs: tuple[Pair, ...]) -> None:
    with pytest.raises(ConfigError, match="two folds"):
        verify(TABLE, pairs, embedder="e", model_sha256="s")


def test_the_program_writes_its_numbers_and_no_names(tmp_path: Path) -> None:
    colours = {"Anna_1": (200, 0, 0), "Anna_2": (190, 0, 0), "Bea_1": (0, 200, 0)}
    for name, colour in colours.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((60, 60, 3), colour, np.uint8))
    lines = ["fold,left,right,same"]
    for fold in "12":
        lines += [f"{fold},Anna_1.png,Anna_2.png,1", f"{fold},Anna_1.png,Bea_1.png,0"]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("\n".join(lines))
    out = tmp_path / "out.json"
    faces = reader(FakePipeline({"follow": [detection(30, 30, 20)]}))
    run(faces, images=tmp_path, pairs=pairs, json_out=out)
    text = out.read_text()
    assert json.loads(text)["accuracy"] == 1.0
    assert "Anna" not in text
    pairs.write_text("fold,left,right,same\n1,Anna_1.png,Carl_1.png,0\n")
    with pytest.raises(ConfigError, match=r"Carl_1\.png"):
        run(faces, images=tmp_path, pairs=pairs, json_out=out)
