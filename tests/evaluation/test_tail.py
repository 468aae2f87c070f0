import json
from pathlib import Path

import numpy as np
import pytest

from edge_app.core.calibrate import threshold_for
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceTable
from edge_app.evaluation.tail import (
    TAIL_SHARE,
    TailResult,
    _resampled_tail,
    cross_scores,
    measure_tail,
    safe_tail,
)
from edge_app.records import Float32Array


def people(count: int, pictures: int, seed: int = 0) -> FaceTable:
    """Embeddings of people at random in 40 dimensions, pictures of one person alike."""
    random = np.random.default_rng(seed)
    centres = np.repeat(random.normal(size=(count, 40)), pictures, axis=0)
    rows = centres + 0.3 * random.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = tuple(f"P{p:04d}_{i}.png" for p in range(count) for i in range(pictures))
    return FaceTable(names, rows.astype(np.float32), ("Q_1.png",), ())


@pytest.fixture(scope="module")
def result() -> TailResult:
    return measure_tail(people(500, 4), model_sha256="s", data="made up")


def test_only_different_people_are_compared_once() -> None:
    similarity = np.arange(16, dtype=np.float32).reshape(4, 4)
    person = np.array([0, 0, 1, 2])
    assert cross_scores(similarity, person).tolist() == [2, 3, 6, 7, 11]
    assert cross_scores(similarity, np.zeros(4, np.int64)).size == 0
    assert cross_scores(np.zeros((0, 0), np.float32), np.zeros(0, np.int64)).size == 0


def test_too_few_people_are_refused() -> None:
    nobody = FaceTable((), np.zeros((0, 0), np.float32), (), ())
    for table in (nobody, people(1, 100), people(39, 2)):
        with pytest.raises(ConfigError, match="40 at least"):
            measure_tail(table, model_sha256="s", data="made up")


def test_too_few_comparisons_are_refused() -> None:
    with pytest.raises(CalibrationError):
        measure_tail(people(200, 3), model_sha256="s", data="made up")


def scores(random: np.random.Generator, bounded: bool) -> Float32Array:
    tail = 0.5 + 0.2 * random.random(2000) if bounded else 0.5 + random.exponential(0.03, 2000)
    return np.concatenate((tail, np.zeros(98_000))).astype(np.float32)


def test_a_tail_never_ends() -> None:
    random = np.random.default_rng(1)
    tail = safe_tail(scores(random, bounded=True), 0.5, model_sha256="s", data="d")
    assert tail.shape == 0.0
    assert tail.scale == pytest.approx(0.1, rel=0.05)
    assert tail.tail_fraction == pytest.approx(0.02)


def test_a_heavy_tail_is_kept() -> None:
    random = np.random.default_rng(1)
    heavy = 0.3 + 0.02 * (random.pareto(4.0, 5000))
    tail = safe_tail(
        np.concatenate((heavy, np.zeros(95_000))).astype(np.float32), 0.3,
        model_sha256="s", data="d",
    )  # fmt: skip
    assert tail.shape > 0.05


def test_a_person_who_is_drawn_twice_counts_twice() -> None:
    table = people(300, 3)
    person = np.repeat(np.arange(300), 3)
    similarity = table.embeddings @ table.embeddings.T
    u = float(np.quantile(similarity, 0.99))
    tail = safe_tail(cross_scores(similarity, person), u, model_sha256="", data="")
    drawn = np.random.default_rng(2).integers(0, 4, 300)
    rows = np.repeat(np.arange(900), drawn[person])
    repeated = cross_scores(similarity[np.ix_(rows, rows)], person[rows])
    expected = safe_tail(repeated, u, model_sha256="", data="")
    resampled = _resampled_tail(tail, similarity, person, drawn)
    assert resampled.comparisons == expected.comparisons
    assert resampled.tail_fraction == pytest.approx(expected.tail_fraction)
    assert resampled.scale == pytest.approx(expected.scale, rel=1e-4)


def test_the_tail_of_all_comparisons(result: TailResult) -> None:
    assert result.people == 500
    assert result.undetected == 1
    assert result.tail.comparisons == 500 * 499 // 2 * 16
    assert result.tail.tail_fraction == pytest.approx(TAIL_SHARE, rel=0.02)
    assert result.tail.shape >= 0


def test_thresholds_lie_in_their_intervals(result: TailResult) -> None:
    known = [entry for entry in result.thresholds if entry.threshold is not None]
    assert known
    for entry in known:
        assert entry.ci95 is not None
        assert (
            entry.threshold
            == threshold_for(result.tail, entry.target_fpir, entry.gallery).threshold
        )
        assert entry.ci95[0] < entry.threshold < entry.ci95[1]


def test_held_out_people_raise_no_more_alarms_than_promised(result: TailResult) -> None:
    assert {entry.gallery for entry in result.held_out} == {50, 100, 200}
    for entry in result.held_out:
        assert entry.probes == 375 - entry.gallery
        assert 0 < entry.measured_fpir < 1.3 * entry.target_fpir


def test_the_result_is_json_without_names(result: TailResult, tmp_path: Path) -> None:
    text = json.dumps(result.to_json(), allow_nan=False)
    assert "P0" not in text
    assert json.loads(text)["tail"]["data"] == "made up"
