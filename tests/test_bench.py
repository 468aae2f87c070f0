"""The benchmark of the stages: what it sums, and what it says of the machine."""

from importlib.metadata import PackageNotFoundError

import pytest

from edge_app.app import index_factory
from edge_app.config import Config
from edge_app.evaluation import bench
from edge_app.pipeline import Pipeline


@pytest.fixture
def report(
    config: Config, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> bench.BenchReport:
    monkeypatch.setattr(bench, "GALLERY_SIZES", (3, 100))
    heard: list[str] = []
    report = bench.run_bench(
        pipeline,
        config.scan,
        index_factory(config),
        model_threads=1,
        calls=5,
        on_stage=heard.append,
    )
    assert heard == [figure.stage for figure in report.stages]
    return report


def test_every_stage_is_timed_once(report: bench.BenchReport) -> None:
    stages = [figure.stage for figure in report.stages]
    assert len(set(stages)) == len(stages)
    assert all(0 < figure.p50_ms <= figure.p95_ms for figure in report.stages)
    assert all(figure.calls == 5 for figure in report.stages)
    assert report.peak_rss_mb > 10


def test_the_first_frame_is_the_sum_of_its_stages(report: bench.BenchReport) -> None:
    p50 = {figure.stage: figure.p50_ms for figure in report.stages}
    steps = ("detect, whole frame", "mesh and alignment", "quality", "embed",
             "match among 100 templates")  # fmt: skip
    assert report.first_frame_ms == pytest.approx(sum(p50[step] for step in steps), abs=0.01)


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "numpy":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(bench, "version", version)
    packages = bench.machine().packages
    assert packages.pop("numpy") == "not installed"
    assert set(packages.values()) == {"1.0"}
