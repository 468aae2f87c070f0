import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.adapters.calibration_file import read_tails
from edge_app.core.calibrate import (
    MIN_EXCEEDANCES,
    fit_tail,
    threshold_estimate,
    threshold_for,
)
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.faces import FaceTable
from edge_app.evaluation.tail import (
    TAIL_SHARE,
    Comparisons,
    Crowd,
    Fitter,
    TailResult,
    measure_tail,
    run,
)
from tests.evaluation.fakes import FakePipeline, detection, reader


def people(count: int, pictures: int, seed: int = 0, noise: float = 0.3) -> FaceTable:
    """Embeddings of people at random in 40 dimensions, pictures of one person alike."""
    random = np.random.default_rng(seed)
    centres = np.repeat(random.normal(size=(count, 40)), pictures, axis=0)
    rows = centres + noise * random.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = tuple(f"P{p:04d}_{i}.png" for p in range(count) for i in range(pictures))
    return FaceTable(names, rows.astype(np.float32), ("Q_1.png",), ())


@pytest.fixture(autouse=True, scope="module")
def few_trials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("edge_app.evaluation.tail._TRIALS", 8)
        yield


@pytest.fixture(scope="module")
def result(few_trials: None) -> TailResult:
    return measure_tail(people(600, 6), model_sha256="s", data="made up")


def test_too_few_people_are_refused() -> None:
    nobody = FaceTable((), np.zeros((0, 0), np.float32), (), ())
    for table in (nobody, people(1, 100), people(39, 2)):
        with pytest.raises(ConfigError, match="40 at least"):
            measure_tail(table, model_sha256="s", data="made up")


def test_too_few_comparisons_are_refused() -> None:
    with pytest.raises(CalibrationError, match="use more pictures"):
        measure_tail(people(200, 3), model_sha256="s", data="made up")


def test_people_with_one_picture_each_do_not_tell_what_averaging_does() -> None:
    with pytest.raises(CalibrationError, match="pictures of the same people"):
        measure_tail(people(700, 1), model_sha256="s", data="made up")


# ---------------------------------------------------------------------------- comparisons


def test_only_different_people_are_compared_once() -> None:
    rows = np.eye(4, dtype=np.float32)
    crowd = Crowd(rows, np.array([0, 0, 1, 2]), 3)
    assert Comparisons(rows, crowd.person, crowd, once=True).scores.size == 5
    assert Comparisons(rows[:2], crowd.person[:2], crowd, once=False).scores.size == 4
    alone = Crowd(rows, np.zeros(4, np.int64), 1)
    assert Comparisons(rows, alone.person, alone, once=True).scores.size == 0


def test_the_fit_is_to_the_highest_of_all_scores() -> None:
    crowd = Crowd.of(people(300, 3))
    comparisons = Comparisons(crowd.embeddings, crowd.person, crowd, once=True)
    falling = np.sort(comparisons.scores.astype(np.float64))[::-1]
    ones = np.ones(falling.size, np.int64)
    assert comparisons.fit(np.ones(300, np.int64)) == fit_tail(
        falling, ones, comparisons=falling.size, tail_fraction=TAIL_SHARE
    )


def test_a_person_who_is_drawn_twice_counts_twice() -> None:
    crowd = Crowd.of(people(300, 3))
    drawn = np.random.default_rng(2).integers(0, 4, 300)
    rows = np.repeat(np.arange(900), drawn[crowd.person])
    repeated = Crowd(crowd.embeddings[rows], crowd.person[rows], 300)
    once = np.ones(300, np.int64)
    expected = Comparisons(repeated.embeddings, repeated.person, repeated, once=True).fit(once)
    fit = Comparisons(crowd.embeddings, crowd.person, crowd, once=True).fit(drawn)
    assert fit.u == pytest.approx(expected.u)
    assert fit.scale == pytest.approx(expected.scale, rel=1e-2)


def test_some_of_a_crowd_are_numbered_in_the_order_given() -> None:
    crowd = Crowd.of(people(5, 2))
    some = crowd.only(np.array([3, 1]))
    assert some.people == 2
    assert some.person.tolist() == [0, 0, 1, 1]
    assert np.array_equal(some.embeddings, crowd.embeddings[[6, 7, 2, 3]])
    assert np.array_equal(some.first, crowd.embeddings[[6, 2]])


# ---------------------------------------------------------------------------- averaging


def test_averaged_templates_have_their_own_tail() -> None:
    """Noise away from where people differ makes pictures less alike; averaging takes it away."""
    table = people(300, 6)
    noise = 0.1 * np.random.default_rng(1).normal(size=(len(table.names), 150))
    rows = np.hstack((table.embeddings, noise)).astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    noisy = measure_tail(replace(table, embeddings=rows / lengths), model_sha256="s", data="d")
    assert (noisy.averaging.pictures, noisy.averaging.people) == (5, 300)
    assert 0.02 < noisy.averaging.ci95[0] < noisy.averaging.shift < noisy.averaging.ci95[1]
    assert noisy.tail.u == pytest.approx(float(np.quantile(noisy.scores, 1 - TAIL_SHARE)), abs=0.01)
    resampled = np.array([fit.u for fit in noisy.tail.resampled])
    assert resampled.mean() == pytest.approx(noisy.tail.u, abs=0.01)


def test_pictures_that_are_all_the_same_move_nothing() -> None:
    fitter = Fitter(Crowd.of(people(200, 5, noise=0.0)), model_sha256="s", data="d")
    single, averaged, averaging = fitter.tails([np.ones(200, np.int64)] * 100)
    assert averaging.shift == pytest.approx(0.0, abs=1e-6)
    assert averaged.u == pytest.approx(single.u, abs=1e-4)
    assert (single.template_pictures, averaged.template_pictures) == (1, 5)


# -------------------------------------------------------------------------------- result


def test_the_tail_of_all_comparisons(result: TailResult) -> None:
    assert result.people == 600
    assert result.undetected == 1
    assert result.tail.comparisons == 600 * 599 // 2 * 36
    assert result.tail.tail_fraction == TAIL_SHARE
    assert result.tail.shape >= 0
    assert len(result.tail.resampled) == 200


def test_resamples_differ_about_as_much_as_other_people_do() -> None:
    """Drawing people again cannot tell less than drawing other people; at most about twice as
    much, where comparisons are nearly independent as they are here."""
    thresholds, told = [], []
    for seed in range(10):
        crowd = Crowd.of(people(250, 4, seed=seed))
        random = np.random.default_rng(seed)
        resamples = [np.bincount(random.integers(0, 250, 250), minlength=250) for _ in range(110)]
        single, _, _ = Fitter(crowd, model_sha256="s", data="d").tails(resamples)
        estimate = threshold_estimate(single, 0.003, 100)
        thresholds.append(estimate.best)
        told.append((estimate.high - estimate.low) / (2 * 1.96))
    assert 0.9 < float(np.mean(told)) / float(np.std(thresholds, ddof=1)) < 3


def test_thresholds_lie_in_the_upper_half_of_their_intervals(result: TailResult) -> None:
    known = [entry for entry in result.thresholds if entry.threshold is not None]
    assert {entry.gallery for entry in known} >= {25, 100, 1000}
    for entry in known:
        assert entry.ci95 is not None
        assert (
            entry.threshold
            == threshold_for(result.tail, entry.target_fpir, entry.gallery).threshold
        )
        assert sum(entry.ci95) / 2 < entry.threshold < entry.ci95[1]


def test_beyond_the_data_there_is_no_threshold(result: TailResult) -> None:
    few = replace(result.tail, comparisons=MIN_EXCEEDANCES)
    with pytest.raises(CalibrationError):
        threshold_for(few, 0.003, 50_000)


def test_held_out_people_raise_no_more_alarms_than_promised(result: TailResult) -> None:
    assert {entry.gallery for entry in result.held_out} == {50, 100, 200, 500}
    for entry in result.held_out:
        assert entry.fitted_on == 60
        assert entry.probes == 540 - entry.gallery
        assert entry.measured_fpir < 1.5 * entry.target_fpir
        assert entry.measured_fpir < entry.best_fpir
        assert entry.spread[0] <= entry.measured_fpir <= entry.spread[1]
        assert 0 <= entry.above_target < 1


def test_held_out_averaged_templates_neither(result: TailResult) -> None:
    for entry in result.held_out_averaged:
        assert (entry.fitted_on, entry.gallery) == (300, 200)
        assert 0 < entry.measured_fpir < 1.2 * entry.target_fpir


def test_the_result_is_json_without_names(result: TailResult) -> None:
    text = json.dumps(result.to_json(), allow_nan=False)
    assert "P0" not in text
    assert json.loads(text)["tail"]["data"] == "made up"
    assert "resampled" not in text.replace("bootstrap resamples", "")


def test_the_tail_goes_where_devices_look_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "A_1.png"), np.zeros((40, 40, 3), np.uint8))
    made = people(300, 5)
    monkeypatch.setattr("edge_app.evaluation.tail.read_faces", lambda *_: made)
    pipeline = reader(FakePipeline({"follow": [detection(20, 20, 30)]}))
    out, tails = tmp_path / "out.json", tmp_path / "impostor_tail.json"
    found = run(pipeline, images=images, exclude=None, data="d", json_out=out, tails=tails)
    assert read_tails(tails) == {"fake": found.tail}
    assert json.loads(out.read_text())["people"] == 300
