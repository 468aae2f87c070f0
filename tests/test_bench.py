"""The benchmark: what it times, what it says of the machine, and what it calls a change."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.app import first_calibration, index_factory, load_models, make_rules
from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.errors import ConfigError, MediaError
from edge_app.evaluation import bench, bench_replay
from edge_app.evaluation.bench_page import write_bench_page
from edge_app.pipeline import Pipeline


@pytest.fixture
def stages(config: Config, pipeline: Pipeline) -> tuple[bench.StageFigure, ...]:
    heard: list[tuple[str, int, int]] = []
    figures = bench.run_stages(
        pipeline,
        config.scan,
        index_factory(config),
        calls=5,
        largest_gallery=100,
        progress=lambda *now: heard.append(now),
    )
    assert heard == [("Timing stages", done, len(figures)) for done in range(len(figures) + 1)]
    return figures


@pytest.fixture(scope="module")
def studio(config: Config, media: Path) -> bench_replay.Studio:
    models, rules = load_models(config), make_rules(config)
    sha256 = models.embedder.sha256
    nobody = Gallery.empty(
        purpose=config.purpose, model_sha256=sha256, calibration=first_calibration(config, sha256)
    )
    people = bench_replay.portraits(media, rules, models)
    return bench_replay.Studio(rules, models, nobody, people)


@pytest.fixture(scope="module")
def replays(studio: bench_replay.Studio) -> dict[str, bench.ReplayFigure]:
    heard: list[tuple[str, int, int]] = []
    figures = {fig.name: fig for fig in studio.run(5, lambda *now: heard.append(now))}
    assert heard == [("Replaying scenes", done, len(figures)) for done in range(len(figures) + 1)]
    return figures


def test_every_stage_is_timed_once(stages: tuple[bench.StageFigure, ...]) -> None:
    assert len({figure.stage for figure in stages}) == len(stages)
    assert all(0 < figure.p50_ms <= figure.p95_ms for figure in stages)
    assert all(figure.ratio > 0 and figure.calls == 5 for figure in stages)
    assert stages[-1].stage == "match among 100 templates"


def test_everybody_in_a_replay_is_looked_at(replays: dict[str, bench.ReplayFigure]) -> None:
    votes = {figure.faces: figure.embedded for name, figure in replays.items() if "still" in name}
    assert votes == {0: 0, 1: 3, 4: 12, 16: 48}
    for figure in replays.values():
        assert 0 < figure.cold_invokes_ms < figure.cold_cpu_ms
        assert 0 < figure.p50_ms <= figure.p95_ms
        assert 0 <= figure.dropped <= figure.frames + 30
        assert {"detect", "track", "decide", "total"} <= figure.stages.keys()
    assert "swaying" in list(replays)[-1]


def test_replays_need_portraits(tmp_path: Path, studio: bench_replay.Studio) -> None:
    with pytest.raises(MediaError, match="holds no"):
        bench_replay.portraits(tmp_path, studio.rules, studio.models)
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(MediaError, match="portraits"):
        bench_replay.portraits(tmp_path, studio.rules, studio.models)


@pytest.mark.parametrize(
    ("frames_ms", "lost"),
    [([], 0), ([33.0] * 10, 0), ([50.0], 0), ([100.0, 1, 1, 1, 1], 2), ([66.6] * 9, 4)],
)
def test_frames_that_a_slow_program_loses(frames_ms: list[float], lost: int) -> None:
    assert bench_replay.dropped(frames_ms, 1000 / 30) == lost


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_no_more_frames_are_lost_than_there_were(frames_ms: list[float]) -> None:
    lost = bench_replay.dropped(frames_ms, 1000 / 30)
    assert 0 <= lost <= max(0, len(frames_ms) - 1)
    if all(took < 33 for took in frames_ms):
        assert lost == 0


def a_report(ratio: float, cold: float, cpu: float) -> bench.BenchReport:
    return bench.BenchReport(
        bench.machine(), 1, 2.0, 50.0, 100.0,
        (bench.StageFigure("embed", 2.0, 3.0, 2.0, ratio, 5),),
        (bench.ReplayFigure("nobody", 0, 9, 9.0, 8.0, 6.0, cold, 1.0, 2.0, 1.5, cpu, 0, 0, {}),),
    )  # fmt: skip


def test_changes_are_named_in_both_directions() -> None:
    before = asdict(a_report(1.0, 2.0, 3.0))
    assert bench.changes(asdict(a_report(1.19, 2.0, 2.51)), before) == ()
    assert bench.changes(asdict(a_report(1.21, 2.0, 2.0)), before) == (
        bench.Change("embed", 1.21),
        bench.Change("nobody: CPU per frame", 0.667),
    )
    other = {"stages": [{"stage": "new", "ratio": 9.0}], "replays": []}
    assert bench.changes(other, before) == ()


@pytest.mark.parametrize("report", [{}, {"stages": [1], "replays": []}, {"stages": [{}]}])
def test_what_is_no_report_is_refused(report: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="no report"):
        bench.changes(report, report)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(ConfigError, match="no report"):
        bench.read_report(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no report"):
        bench.read_report(path)


def test_a_report_is_stored_and_drawn(tmp_path: Path) -> None:
    report = a_report(1.0, 2.0, 3.0)
    (tmp_path / "r.json").write_text(json.dumps(asdict(report)))
    assert bench.changes(asdict(report), bench.read_report(tmp_path / "r.json")) == ()
    write_bench_page(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert report.machine.cpu in page
    assert page.count("data:image/svg+xml") == 2


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "numpy":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(bench, "version", version)
    packages = bench.machine().packages
    assert packages.pop("numpy") == "not installed"
    assert set(packages.values()) == {"1.0"}
