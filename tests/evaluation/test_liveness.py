from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_app.commands.evaluate_liveness import Station, liveness_command
from edge_app.core.liveness import Ask, View
from edge_app.core.relief import Patch
from edge_app.evaluation.attacks import Clip, Kind
from edge_app.evaluation.liveness import (
    BEYOND_REACH,
    Errors,
    LivenessResult,
    Rate,
    clopper_pearson,
    luck,
    real_people,
)
from edge_app.evaluation.liveness_report import figures, write_report
from edge_app.records import Pose


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 300, 0.0, 0.01222),
        (1, 10, 0.00253, 0.44502),
        (5, 10, 0.18709, 0.81291),
        (10, 10, 0.69150, 1.0),
    ],
)
def test_exact_intervals(hits: int, trials: int, low: float, high: float) -> None:
    """From the tables of the beta distribution."""
    assert clopper_pearson(hits, trials) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 400), st.data())
def test_an_exact_interval_holds_its_share(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    mirrored = clopper_pearson(trials - hits, trials)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)


def test_luck_is_one_of_224() -> None:
    assert luck(4) == pytest.approx(1 / 224)


def test_rates_and_halves() -> None:
    errors = Errors.of(Kind.STILL, [True, False, False, False, True])
    assert (errors.all.wrong, errors.all.presented) == (2, 5)
    assert [half.wrong for half in errors.halves] == [2, 0]
    assert Rate.of([]).rate == 0.0


def views(narrowed: float) -> list[View]:
    """Two looks at the camera and two at the side."""
    points = np.random.default_rng(1).uniform(20, 108, (468, 2))
    grey = np.zeros((128, 128), np.float32)
    side = (points - 64) * (narrowed, 1.0) + 64
    return [View(Pose(yaw, 0, 0), Patch(grey, points)) for yaw in (0.0, 1.0)] + [
        View(Pose(yaw, 0, 0), Patch(grey, side)) for yaw in (25.0, 26.0)
    ]


def test_real_people() -> None:
    assert real_people([], -0.1) is None
    assert real_people([views(0.9)[:2]], -0.1) is None
    people = real_people([views(0.9), views(0.6), []], -0.1)
    assert people is not None
    assert (people.people, people.pairs, people.refused.wrong) == (2, 8, 1)


def result() -> LivenessResult:
    attacks = [
        Errors.of(kind, [kind in BEYOND_REACH] * 10) for kind in Kind if kind is not Kind.HEAD
    ]
    bona_fide = Errors.of(Kind.HEAD, [False] * 10)
    return LivenessResult(10, 1, 4, luck(4), tuple(attacks), bona_fide, None)


def test_what_is_beyond_reach_has_no_target_and_is_reported() -> None:
    given_result = result()
    assert given_result.worst.all.rate == 0.0
    steered = given_result.to_json()["attacks"][Kind.STEERED_SCREEN]
    assert (steered["rate"], steered["has_target"]) == (1.0, False)
    (row,) = (f for f in figures(given_result) if Kind.STEERED_SCREEN in f.label)
    assert "no target" in row.note


def test_the_page_says_what_the_clips_are_not(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_report(result(), page)
    text = page.read_text(encoding="utf-8")
    assert "30107-3" in text
    for kind in Kind:
        assert kind in text


def test_the_command(tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a station that looks at the label, for the real one is slow."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in (1, 2):
        shutil.copy(media / f"enrolled-{number}.jpg", pictures / f"Ada_000{number}.jpg")
    seen: list[Ask] = []

    def honest(self: Station, clip: Clip, turns: list[Ask]) -> bool:
        seen.extend(turns)
        return clip.description == Kind.HEAD

    monkeypatch.setattr(Station, "__call__", honest)
    app = typer.Typer()
    app.command()(liveness_command)
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    ran = CliRunner().invoke(
        app, ["--images", str(pictures), "--json", str(out), "--report", str(page)]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["people"], found["worst_apcer"], found["bpcer"]) == (1, 0.0, 0.0)
    assert "30107-3" in found["limits"]
    assert set(found["attacks"]) == set(Kind) - {Kind.HEAD}
    assert len(seen) == 4 * len(Kind)
    assert "Ada" not in out.read_text(encoding="utf-8")
    assert page.is_file()
