"""`familiar calibrate`, from a home to its table, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from edge_app.adapters.clock import SystemClock
from edge_app.app import Home, embedder_sha256, open_gallery
from edge_app.calibrate import calibrate
from edge_app.commands.calibrate import calibrate as calibrate_command
from edge_app.commands.console import Session
from edge_app.config import Config, make_config
from edge_app.core.calibrate import TailFit, fpir_at, threshold_estimate
from edge_app.errors import CalibrationError, ConfigError
from edge_app.evaluation.calibration_report import in_words, percent
from edge_app.records import Calibration
from tests.enrolling import enrol_pictures, enrol_portraits
from tests.people import TAIL


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


def stored(config: Config, home: Home) -> Calibration:
    return open_gallery(config, home, embedder_sha256(config), SystemClock()).calibration


def run(config: Config, home: Home, *arguments: str, columns: int = 100) -> Result:
    app = typer.Typer()

    @app.callback()
    def start(context: typer.Context) -> None:
        context.obj = Session(config, home, SystemClock())

    app.command()(calibrate_command)
    environment = {"COLUMNS": str(columns)}
    return CliRunner().invoke(
        app, ["calibrate", *arguments], env=environment, catch_exceptions=False
    )


def plan(config: Config, home: Home, **stated: float) -> Calibration:
    options = {"gallery": None, "headroom": None, "target_fpir": None, **stated}
    return calibrate(config, home, clock=SystemClock(), **options).calibration  # type: ignore[arg-type]


def test_an_empty_home_is_calibrated_for_a_first_few(config: Config, home: Home) -> None:
    result = run(config, home)
    assert result.exit_code == 0
    assert "0 are compared with now" in result.output
    calibration = stored(config, home)
    assert calibration.max_templates == config.match.least_gallery
    assert calibration.target_fpir == config.match.target_fpir


def test_head_room_is_for_those_who_are_enrolled(config: Config, home: Home, media: Path) -> None:
    enrol_portraits(config, home, media)
    enrol_pictures(config, home, [media / "stranger-1.jpg"], name="Second Person")
    config = make_config({"match": {"least_gallery": 1}})
    assert plan(config, home).max_templates == 3
    assert plan(config, home, headroom=4).max_templates == 10
    assert plan(config, home, headroom=0).max_templates == 2
    assert plan(config, home, gallery=700).max_templates == 700


def test_a_size_below_the_gallerys_is_refused(config: Config, home: Home, media: Path) -> None:
    enrol_portraits(config, home, media)
    enrol_pictures(config, home, [media / "stranger-1.jpg"], name="Second Person")
    with pytest.raises(CalibrationError, match="compares with 2 templates"):
        run(config, home, "--gallery", "1")
    assert stored(config, home).max_templates == config.match.least_gallery


@pytest.mark.parametrize("target", [0.0, 1e-9, 0.004, 0.5, float("nan")])
def test_a_target_that_no_device_would_start_with_is_refused(
    config: Config, home: Home, target: float
) -> None:
    with pytest.raises(ConfigError, match=r"match\.target_fpir"):
        plan(config, home, target_fpir=target)


def test_a_stricter_target_is_taken(config: Config, home: Home) -> None:
    run(config, home, "--target-fpir", "0.001")
    strict = stored(config, home)
    assert strict.target_fpir == 0.001
    assert strict.threshold > plan(config, home).threshold


def test_two_ways_to_state_the_size_are_refused(config: Config, home: Home) -> None:
    with pytest.raises(ConfigError, match="leave --headroom away"):
        run(config, home, "--gallery", "100", "--headroom", "1")


def test_a_size_that_the_data_say_nothing_of_is_refused(config: Config, home: Home) -> None:
    with pytest.raises(CalibrationError, match="measure the tail on more images"):
        run(config, home, "--gallery", "5000000")


def test_a_tail_that_was_tampered_with_is_refused(
    config: Config, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = (TailFit(0.1, 0.02, 0.0),) * 100
    low = replace(TAIL, model_sha256=embedder_sha256(config), resampled=fits)
    for place in ("edge_app.app.tail_for", "edge_app.calibrate.impostor_tail"):
        monkeypatch.setattr(place, lambda *_: low)
    for ask in (run, stored):
        with pytest.raises(CalibrationError, match="not the one that was shipped"):
            ask(config, home)


def test_a_dry_run_changes_nothing(config: Config, home: Home) -> None:
    before = home.store().fingerprint()
    result = run(config, home, "--dry-run", "--gallery", "5000")
    assert "Nothing was changed" in result.output
    assert home.store().fingerprint() == before


def test_json_has_the_interval_and_all_sizes(config: Config, home: Home) -> None:
    told = json.loads(run(config, home, "--json", "--gallery", "1000").output)
    assert told["stored"] is True
    assert told["calibration"]["max_templates"] == 1000
    sizes = {row["templates"]: row for row in told["sizes"]}
    assert list(sizes) == [1000, 100, 10_000, 50_000]
    here = sizes[1000]
    assert here["needed"]["low"] < here["needed"]["best"] < told["calibration"]["threshold"]
    assert told["calibration"]["threshold"] < here["needed"]["high"]
    assert here["fpir"]["best"] < 0.003 < here["fpir"]["high"]
    assert sizes[50_000]["beyond"] > 25
    assert sizes[50_000]["fpir"]["best"] > sizes[100]["fpir"]["best"]
    again = json.loads(run(config, home, "--json", "--dry-run").output)
    assert again["before"] == told["calibration"]


def test_the_numbers_are_the_tails(config: Config, home: Home) -> None:
    result = calibrate(
        config, home, gallery=500, headroom=None, target_fpir=None, clock=SystemClock()
    )
    here = result.outlooks[0]
    assert here.needed == threshold_estimate(result.tail, 0.003, 500)
    assert here.fpir.best == fpir_at(result.tail, result.calibration.threshold, 500)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_table_is_whole_at_any_width(config: Config, home: Home, columns: int) -> None:
    output = run(config, home, "--dry-run", columns=columns).output
    assert "…" not in output
    for size in ("100", "1,000", "10,000", "50,000"):
        assert re.search(rf"\b{size}\b", output)
    assert "1 in 333 strangers" in output
    assert "extrapolated" in output


def test_a_size_beyond_the_data_is_said_to_be_so_in_the_table(config: Config, home: Home) -> None:
    output = run(config, home, "--dry-run", "--target-fpir", "0.0001").output
    (line,) = [line for line in output.splitlines() if line.strip().startswith("50,000")]
    assert "refused" in line


def test_the_page_shows_both_curves_and_needs_nothing_else(
    config: Config, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.html"
    run(config, home, "--dry-run", "--report", str(path))
    page = path.read_text()
    assert page.count("data:image/svg+xml") == 2
    assert "http" not in page
    assert "50,000" in page
    assert "1 in 333 strangers" in page


def test_a_rate_in_words() -> None:
    assert "1 in 333 strangers" in in_words(0.003)
    assert "one every 3 days" in in_words(0.003)
    assert "2.0 a day" in in_words(0.02)
    assert "1 in 10,000,000 strangers" in in_words(1e-7)


def test_percentages_are_never_in_scientific_notation() -> None:
    assert [percent(x) for x in (0.0, 1e-9, 0.00261, 0.5, 1.0)] == [
        "0 %", "0.0000001 %", "0.261 %", "50 %", "100 %",
    ]  # fmt: skip
