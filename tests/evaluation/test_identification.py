import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.embed import average
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceTable
from edge_app.evaluation.files import identity_of
from edge_app.evaluation.identification import (
    IdentificationResult,
    Split,
    identify,
    run,
    split,
)
from edge_app.evaluation.measures import NO_SCORE
from edge_app.records import Calibration
from tests.evaluation.fakes import FakePipeline, calibrate, detection, reader, table

NAMES = ("Anna_1.png", "Anna_2.png", "Anna_3.png", "Bea_1.png", "Bea_2.png", "Carl_1.png")


def search(faces: FaceTable, parts: Split) -> IdentificationResult:
    return identify(
        faces, parts, enrol_images=1, embedder="e", model_sha256="s", calibrate=calibrate
    )


def test_the_parts_are_as_the_protocol_says() -> None:
    parts = split(NAMES, 1)
    assert parts.gallery == {"Anna": ("Anna_1.png",), "Bea": ("Bea_1.png",)}
    assert parts.mated == ("Anna_2.png", "Anna_3.png", "Bea_2.png")
    assert parts.non_mated == ("Carl_1.png",)


def test_people_with_as_many_pictures_as_are_enrolled_play_no_part() -> None:
    parts = split(NAMES, 2)
    assert parts.gallery == {"Anna": ("Anna_1.png", "Anna_2.png")}
    assert parts.mated == ("Anna_3.png",)
    assert parts.non_mated == ("Carl_1.png",)


@pytest.mark.parametrize(("names", "count"), [((), 1), (NAMES, 3), (NAMES[:5], 1), (NAMES, 0)])
def test_a_folder_without_mated_or_non_mated_probes_is_refused(
    names: tuple[str, ...], count: int
) -> None:
    with pytest.raises(ConfigError):
        split(names, count)


def test_scores_of_a_tiny_case() -> None:
    faces = table(
        {
            "Anna_1.png": (1, 0, 0),
            "Anna_2.png": (1, 0.2, 0),  # finds herself
            "Anna_3.png": (0.1, 1, 0),  # is nearer to Bea
            "Bea_1.png": (0, 1, 0),
            "Bea_2.png": (0, 1, 0.3),  # finds herself
            "Carl_1.png": (0.3, 0, 1),  # resembles Anna a little
        }
    )
    result = search(faces, split(NAMES, 1))
    assert result.rank1 == pytest.approx(2 / 3)
    assert result.returned[1] == NO_SCORE
    assert result.non_mated == pytest.approx([0.3 / np.hypot(0.3, 1)])
    assert result.nearest.tolist() == [0]
    assert [point.miss_rate for point in result.points] == pytest.approx([1 / 3, 1 / 3])
    assert all(0.28 < point.threshold < 0.29 for point in result.points)
    content = result.to_json()
    assert content["gallery"] == 2
    assert set(content["fnir_at_fpir"]) == {"0.01", "0.003"}


def test_a_tie_with_another_person_is_not_on_top() -> None:
    faces = table(
        {
            "Anna_1.png": (1, 0),
            "Anna_2.png": (1, 0),
            "Anna_3.png": (1, 0),
            "Bea_1.png": (1, 0),
            "Bea_2.png": (1, 0),
            "Carl_1.png": (0, 1),
        }
    )
    result = search(faces, split(NAMES, 1))
    assert result.rank1 == 0.0
    assert set(result.returned) == {NO_SCORE}
    assert result.points[0].miss_rate == 1.0
    assert result.rank1_ci95 == (0.0, 0.0)


def test_faces_that_were_not_found() -> None:
    faces = table(
        {"Anna_2.png": (1, 0), "Anna_3.png": (1, 0), "Bea_1.png": (0, 1), "Bea_2.png": (0, 1)},
        no_face=["Anna_1.png", "Carl_1.png"],
    )
    result = search(faces, split(NAMES, 1))
    # Anna cannot be found, Carl raises no alarm.
    assert result.own.tolist() == [NO_SCORE, NO_SCORE, pytest.approx(1.0)]
    assert result.non_mated.tolist() == [NO_SCORE]
    assert result.points[0].miss_rate == pytest.approx(2 / 3)
    nobody = FaceTable((), np.zeros((0, 0), np.float32), NAMES, ())
    assert search(nobody, split(NAMES, 1)).rank1 == 0.0


def test_a_persons_pictures_are_averaged_into_one_template() -> None:
    names = ("Anna_1.png", "Anna_2.png", "Anna_3.png", "Carl_1.png")
    faces = table(dict(zip(names, [(1, 0), (0, 1), (1, 1), (0, 1)], strict=True)))
    result = search(faces, split(names, 2))
    assert result.own == pytest.approx([1.0])
    assert result.non_mated == pytest.approx([np.sqrt(0.5)])


def test_what_the_devices_own_threshold_does() -> None:
    faces = table(
        {
            "Anna_1.png": (1, 0),
            "Anna_2.png": (1, 0.1),
            "Anna_3.png": (0.4, 1),  # below it
            "Bea_1.png": (0, 1),
            "Bea_2.png": (0, 1),
            "Carl_1.png": (0, 1),  # above it
        }
    )
    found = search(faces, split(NAMES, 1)).calibrated
    assert found is not None
    assert found.calibration.max_templates == 2
    assert found.fnir == pytest.approx(1 / 3)
    assert found.fpir == 1.0
    assert found.fnir_ci95[0] < 1 / 3 < found.fnir_ci95[1]
    content = search(faces, split(NAMES, 1)).to_json()["calibrated"]
    assert content["threshold"] == 0.5
    assert content["target_fpir"] == 0.003


def test_a_gallery_that_no_threshold_holds_for_is_searched_all_the_same() -> None:
    def refuse(_: int) -> Calibration:
        raise CalibrationError("too many")

    faces = table(dict.fromkeys(NAMES, (1, 0)))
    result = identify(
        faces, split(NAMES, 1), enrol_images=1, embedder="e", model_sha256="s", calibrate=refuse
    )
    assert result.calibrated is None
    assert result.to_json()["calibrated"] is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_rates_are_what_searching_one_by_one_gives(seed: int, enrolled: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"P{p}_{i}.png" for p in range(12) for i in range(1, int(random.integers(2, 7)))]
    names += [f"S{s}_1.png" for s in range(int(random.integers(1, 40)))]
    names += [f"P{p}_{i}.png" for p in (97, 98) for i in range(1, 6)]
    faces = table({name: random.normal(size=4).tolist() for name in names})
    parts = split(names, enrolled)
    result = search(faces, parts)
    vector = dict(zip(faces.names, faces.embeddings, strict=True))
    template = {
        who: average(np.stack([vector[t] for t in own])) for who, own in parts.gallery.items()
    }

    def best(name: str) -> tuple[float, str]:
        return max((float(vector[name] @ template[who]), who) for who in parts.gallery)

    strangers = sorted((best(name)[0] for name in parts.non_mated), reverse=True)
    for point in result.points:
        limit = strangers[int(len(strangers) * point.false_match_rate + 1e-9)]
        missed = sum(
            best(name)[1] != identity_of(name) or best(name)[0] <= limit + 1e-7
            for name in parts.mated
        )
        assert point.miss_rate == pytest.approx(missed / len(parts.mated))
    on_top = sum(best(name)[1] == identity_of(name) for name in parts.mated)
    assert result.rank1 == pytest.approx(on_top / len(parts.mated))


def test_the_program_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    for name in NAMES:
        colour = {"A": (200, 0, 0), "B": (0, 200, 0), "C": (0, 0, 200)}[name[0]]
        cv2.imwrite(str(tmp_path / name), np.full((60, 60, 3), colour, np.uint8))
    exclude = tmp_path / "exclude.csv"
    exclude.write_text("image\nAnna_2.png\n")
    out = tmp_path / "out.json"
    faces = reader(FakePipeline({"follow": [detection(30, 30, 20)]}))
    for excluded, mated in ((None, 3), (exclude, 2)):
        run(
            faces, images=tmp_path, exclude=excluded, enrol_images=1, calibrate=calibrate,
            json_out=out,
        )  # fmt: skip
        content = json.loads(out.read_text())
        assert content["mated"] == mated
        assert content["rank1"] == 1.0
