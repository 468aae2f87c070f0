"""The targets: judged from the evaluations' JSON, and held against a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_app.errors import ConfigError
from edge_app.evaluation.targets import (
    TARGETS,
    Target,
    fallen_behind,
    judge,
    read_results,
    record,
)

ACCURACY = Target("accuracy", "verification", ("accuracy",), 0.995, True, ("accuracy_ci95",))
MISSES = Target("misses", "one", ("fnir", "0.01"), 0.07, at_least=False)
LOSS = Target(
    "loss", "one", ("fnir", "0.01"), 0.005, at_least=False, minus=("float", ("fnir", "0.01"))
)


def results(accuracy: float = 0.996, misses: float = 0.06, float_misses: float = 0.06) -> Any:
    return {
        "verification": {"accuracy": accuracy, "accuracy_ci95": [0.99, 0.999]},
        "one": {"fnir": {"0.01": misses}},
        "float": {"fnir": {"0.01": float_misses}},
    }


def test_nothing_measured_leaves_every_target_open() -> None:
    verdicts = judge({})
    assert len(verdicts) == len(TARGETS)
    assert all(verdict.measured is None and verdict.met is None for verdict in verdicts)


def test_more_is_better_or_less_is() -> None:
    assert [v.met for v in judge(results(), [ACCURACY, MISSES, LOSS])] == [True, True, True]
    bad = results(accuracy=0.99, misses=0.08)
    assert [v.met for v in judge(bad, [ACCURACY, MISSES, LOSS])] == [False, False, False]


def test_a_figure_at_the_target_meets_it() -> None:
    at = results(accuracy=0.995, misses=0.07)
    assert [v.met for v in judge(at, [ACCURACY, MISSES])] == [True, True]


def test_the_interval_comes_along() -> None:
    assert judge(results(), [ACCURACY])[0].ci95 == (0.99, 0.999)
    assert judge(results(), [MISSES])[0].ci95 is None


def test_a_difference_needs_both_figures() -> None:
    only = {"one": {"fnir": {"0.01": 0.06}}}
    assert judge(only, [LOSS])[0].measured is None


def test_a_figure_the_evaluation_could_not_give_is_open() -> None:
    assert judge({"one": {"fnir": {"0.01": None}}}, [MISSES])[0].met is None


def test_what_has_fallen_behind_the_record(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    record(judge(results(), [ACCURACY, MISSES]), file)
    assert fallen_behind(judge(results(), [ACCURACY, MISSES]), file) == ()
    better = judge(results(accuracy=1.0, misses=0.0), [ACCURACY, MISSES])
    assert fallen_behind(better, file) == ()
    worse = judge(results(accuracy=0.98, misses=0.0), [ACCURACY, MISSES])
    assert [(v.target, was) for v, was in fallen_behind(worse, file)] == [(ACCURACY, 0.996)]


def test_what_was_not_measured_is_not_recorded_and_has_not_fallen(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    record(judge({}, [ACCURACY]), file)
    assert json.loads(file.read_text()) == {}
    assert fallen_behind(judge(results(), [ACCURACY]), file) == ()


def test_results_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"fnir": {"0.01": 0.5}}')
    assert judge(read_results(tmp_path), [MISSES])[0].measured == 0.5


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "\x00"])
def test_broken_results_are_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(ConfigError, match=r"one\.json"):
        read_results(tmp_path)


def test_a_folder_without_results_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make accuracy"):
        read_results(tmp_path)
