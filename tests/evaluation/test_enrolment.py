import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_app.commands.evaluate_enrolment import enrolment_command
from edge_app.config import Config
from edge_app.errors import ConfigError
from edge_app.evaluation.enrolment import (
    RATES,
    Fusion,
    Pictures,
    TemplatesResult,
    costs_of_counts,
    costs_of_gates,
    look_alikes,
    read,
    run,
)
from edge_app.evaluation.enrolment_report import figures, write_report
from edge_app.evaluation.files import identity_of
from edge_app.evaluation.measures import threshold_at
from edge_app.records import Float32Array, Rejection
from tests.evaluation.fakes import FakePipeline, detection, reader

GATES = {"device": Config().quality}


def pictures(
    vectors: dict[str, list[float]], faults: dict[str, tuple[Rejection | None, ...]] | None = None
) -> Pictures:
    rows = np.array(list(vectors.values()), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Pictures(tuple(vectors), rows, rows, faults or {}, ())


def crowd(people: int, each: int, strangers: int, noise: float, seed: int = 0) -> Pictures:
    """People with `each` pictures around a direction of their own, and strangers with one."""
    random = np.random.default_rng(seed)
    own = random.normal(size=(people, 8))
    vectors = {
        f"P{p}_{i}.png": (own[p] + noise * random.normal(size=8)).tolist()
        for p in range(people)
        for i in range(each)
    }
    vectors |= {f"S{s}_0.png": random.normal(size=8).tolist() for s in range(strangers)}
    return pictures(vectors)


# --------------------------------------------------------------------- number of pictures


@pytest.mark.parametrize("faces", [crowd(0, 0, 4, 0), crowd(4, 3, 0, 0), crowd(4, 2, 4, 0)])
def test_people_with_many_pictures_and_strangers_are_needed(faces: Pictures) -> None:
    with pytest.raises(ConfigError, match="more than 2 pictures"):
        costs_of_counts(faces, (1, 2))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.2))
def test_costs_are_what_counting_one_by_one_gives(seed: int, noise: float) -> None:
    """Every picture of a person alike, so that it does not matter which are drawn; the probes
    are noisy, and enrolled as they would be without the noise."""
    faces = crowd(40, 3, 60, 0.0, seed)
    random = np.random.default_rng(seed)
    moved = faces.searched + noise * random.normal(size=faces.searched.shape)
    searched = np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)
    faces = Pictures(faces.names, searched, faces.enrolled, {}, ())
    costs, sizes = costs_of_counts(faces, (1, 2))
    assert sizes[:2] == (40, 60)
    strangers = searched[120:] @ faces.enrolled[:120:3].T
    for cost in costs:
        limit = threshold_at(strangers.reshape(-1).astype(np.float64), cost.rate)
        assert cost.threshold == pytest.approx(limit, abs=1e-6)
        assert cost.shift == pytest.approx(0.0, abs=1e-6)
        # A share of draws leaves out each picture, and all of a person's miss about alike.
        assert cost.fnir == pytest.approx(missed(faces, limit), abs=0.08)
        assert cost.fnir_ci95[0] <= cost.fnir <= cost.fnir_ci95[1]
        assert cost.threshold_ci95[0] <= cost.threshold <= cost.threshold_ci95[1]


def missed(faces: Pictures, limit: float) -> float:
    scores = faces.searched[:120] @ faces.enrolled[:120:3].T
    own = scores[np.arange(120), np.arange(120) // 3].copy()
    scores[np.arange(120), np.arange(120) // 3] = -2
    return float(np.mean((own <= scores.max(axis=1)) | (own < limit)))


def test_one_picture_is_the_same_averaged_or_kept_apart() -> None:
    costs, _ = costs_of_counts(crowd(20, 4, 200, 0.6), (1, 3))
    of = {(cost.pictures, cost.fusion, cost.rate): cost for cost in costs}
    for rate in RATES:
        one, apart = of[1, Fusion.MEAN, rate], of[1, Fusion.EACH, rate]
        assert one.threshold == pytest.approx(apart.threshold, abs=1e-6)
        assert one.fnir == apart.fnir
        assert one.shift_ci95 == (0.0, 0.0)
        # More templates per person give strangers more chances; an average does not lose as many.
        assert of[3, Fusion.EACH, rate].threshold > one.threshold
        assert of[3, Fusion.MEAN, rate].fnir < one.fnir


def test_every_person_counts_alike() -> None:
    """One who is always missed and has many pictures does not outweigh nine others."""
    faces = crowd(9, 4, 30, 0.0)
    names, rows = list(faces.names), [faces.searched]
    random = np.random.default_rng(5)
    names += [f"Q_{i}.png" for i in range(90)]
    drawn = random.normal(size=(90, 8)).astype(np.float32)
    rows.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    table = np.concatenate(rows)
    costs, _ = costs_of_counts(Pictures(tuple(names), table, table, {}, ()), (1,))
    assert all(0.05 < cost.fnir <= 0.1 for cost in costs)


# ------------------------------------------------------------------------------ warnings


def test_warnings_and_second_enrolments() -> None:
    faces = pictures(
        {
            "Anna_1.png": [1, 0, 0],
            "Anna_2.png": [1, 0.1, 0],
            "Bea_1.png": [0.6, 0.8, 0],
            "Bea_2.png": [-1, 0, 0],
            "Carl_1.png": [0, 0, 1],
        }
    )
    one = look_alikes(faces, 1, relative_similarity=0.55, same_similarity=0.7)
    assert (one.people, one.pairs, one.warned_pairs) == (3, 3, 1)
    assert one.warned == pytest.approx(1 - (2 / 3) ** 100)
    assert (one.doubles, one.refused) == (2, 0.5)
    assert look_alikes(faces, 1, 0.61, 0.7).warned == 0.0
    two = look_alikes(faces, 2, relative_similarity=0.99, same_similarity=0.7)
    assert (two.people, two.pairs, two.doubles) == (2, 1, 0)
    assert two.refused_ci95 == (0.0, 1.0)
    low, high = two.warned_ci95
    assert low == 0.0
    assert high > 0.99  # one pair says nothing


# --------------------------------------------------------------------------------- gates


def test_refused_probes_are_misses_and_no_alarms() -> None:
    faces = crowd(10, 4, 100, 0.3)
    strangers = [identity_of(name).startswith("S") for name in faces.names]
    refuse_all = (Rejection.BLURRED,) * len(strangers)
    refuse_strangers = tuple(Rejection.OCCLUDED if s else None for s in strangers)
    judged = Pictures(
        faces.names,
        faces.searched,
        faces.enrolled,
        {"all": refuse_all, "strangers": refuse_strangers},
        (),
    )
    none, everyone, only_strangers = costs_of_gates(judged, 1)
    assert (none.gate, none.reasons, none.fpir) == ("none", {}, 0.01)
    assert 0 < none.fnir < 1
    assert (everyone.fnir, everyone.fpir) == (1.0, 0.0)
    assert everyone.reasons == {Rejection.BLURRED: 1.0}
    assert (only_strangers.fnir, only_strangers.fpir) == (none.fnir, 0.0)
    assert only_strangers.reasons == {Rejection.OCCLUDED: pytest.approx(100 / 140)}


def test_a_template_is_never_gated() -> None:
    """What is refused here are probes: the first picture is enrolled either way."""
    faces = crowd(5, 2, 20, 0.1)
    first = tuple(
        Rejection.BLURRED if name.startswith("P") and name.endswith("_0.png") else None
        for name in faces.names
    )
    judged = Pictures(faces.names, faces.searched, faces.enrolled, {"first": first}, ())
    none, gated = costs_of_gates(judged, 1)
    assert gated.fnir == none.fnir


# ---------------------------------------------------------------------------- the program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people with three pictures and two with one, in colours of their own."""
    made = tmp_path / "pictures"
    made.mkdir()
    colours = {"Anna": (200, 0, 0), "Bea": (0, 200, 0), "Carl": (0, 0, 200)}
    for who, colour in colours.items():
        for i in range(1, 4):
            cv2.imwrite(str(made / f"{who}_{i}.png"), np.full((60, 60, 3), colour, np.uint8))
    for who, colour in (("Dora", (200, 0, 0)), ("Emil", (0, 200, 0))):
        cv2.imwrite(str(made / f"{who}_1.png"), np.full((60, 60, 3), colour, np.uint8))
    return made


FACES = FakePipeline({"follow": [detection(30, 30, 20)]})


def measured(folder: Path, **changes: object) -> TemplatesResult:
    arguments: dict[str, object] = {
        "images": folder,
        "exclude": None,
        "pairs": None,
        "folds": (),
        "counts": (2, 1, 2),
        "gates": GATES,
        "relative_similarity": 0.5,
        "same_similarity": 0.7,
        "json_out": folder.parent / "out.json",
    }
    return run(reader(FACES), **{**arguments, **changes})  # type: ignore[arg-type]


def test_the_program_writes_what_it_measured_without_names(folder: Path) -> None:
    result = measured(folder)
    assert (result.gallery, result.non_mated) == (3, 2)
    assert [(cost.pictures, cost.fusion) for cost in result.costs[:4]] == [
        (1, Fusion.MEAN), (2, Fusion.MEAN), (1, Fusion.EACH), (2, Fusion.EACH)
    ]  # fmt: skip
    text = (folder.parent / "out.json").read_text()
    content = json.loads(text)
    assert content["measure"] == "enrolment"
    assert len(content["costs"]) == 4 * len(RATES)
    assert [gate["gate"] for gate in content["gates"]] == ["none", "device"]
    assert not any(who in text for who in ("Anna", "Bea", "Carl", "Dora", "Emil"))


def test_the_page_shows_plots_and_no_names(folder: Path) -> None:
    result = measured(folder)
    page = folder.parent / "page.html"
    write_report(result, page)
    text = page.read_text()
    assert text.count("data:image/svg+xml") == 2
    assert "data:image/jpeg" not in text
    assert all(figure.value in text for figure in figures(result)[:4])
    assert not any(who in text for who in ("Anna", "Dora"))


def test_only_the_people_of_a_fold(folder: Path) -> None:
    pairs = folder.parent / "pairs.csv"
    pairs.write_text(
        "fold,left,right,same\n1,Anna_1.png,Anna_2.png,1\n1,Bea_1.png,Dora_1.png,0\n"
        "2,Carl_1.png,Emil_1.png,0\n"
    )
    result = measured(folder, pairs=pairs, folds=("1",))
    assert (result.gallery, result.non_mated, result.folds) == (2, 1, ("1",))
    with pytest.raises(ConfigError, match="no fold named 7"):
        measured(folder, pairs=pairs, folds=("7",))
    with pytest.raises(ConfigError, match="--fold needs --pairs"):
        measured(folder, folds=("1",))


def test_excluded_pictures_are_left_out(folder: Path) -> None:
    exclude = folder.parent / "exclude.csv"
    exclude.write_text("image\nEmil_1.png\nCarl_3.png\n")
    result = measured(folder, exclude=exclude)
    assert (result.gallery, result.non_mated) == (2, 2)


@pytest.mark.parametrize("counts", [(), (0, 1), (-1,)])
def test_counts_below_one_are_refused(folder: Path, counts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="--count"):
        measured(folder, counts=counts)


def test_pictures_without_a_face(folder: Path) -> None:
    (folder / "Emil_2.png").write_bytes(b"no picture")
    assert measured(folder).unread == ("Emil_2.png",)
    with pytest.raises(ConfigError, match="no face was found"):
        read(reader(FakePipeline()), folder, ["Anna_1.png"], GATES)


def test_templates_hold_the_mirror_image_and_probes_do_not(folder: Path) -> None:
    class TwoSided(FakePipeline):
        def embed(self, face: np.ndarray) -> Float32Array:
            left = bool(face[:, :56].mean() > face[:, 56:].mean())
            return np.array([left, not left, 0], np.float32)

        def aligned(self, image: np.ndarray, found: object) -> tuple[np.ndarray, object]:  # type: ignore[override]
            face, mesh = super().aligned(image, found)  # type: ignore[arg-type]
            face[:, :56] = 255
            return face, mesh

    faces = read(reader(TwoSided(FACES.finds)), folder, ["Anna_1.png"], GATES)
    assert faces.searched[0].tolist() == [1, 0, 0]
    assert faces.enrolled[0] == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0])


def test_the_command_measures_portraits(media: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in (1, 2, 3):
        shutil.copy(media / f"enrolled-{number}.jpg", album / f"Anna_{number}.jpg")
    shutil.copy(media / "stranger-1.jpg", album / "Bea_1.jpg")
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    app = typer.Typer()
    app.command()(enrolment_command)
    arguments = ["--images", album, "--json", out, "--report", page, "--count", 1, "--count", 2]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    assert [cost["fnir"] for cost in content["costs"]] == [0.0] * 8
    assert [gate["gate"] for gate in content["gates"]] == [
        "none", "device", "enrolment", "stricter"
    ]  # fmt: skip
    assert page.is_file()
