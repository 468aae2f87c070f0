"""Fixtures that are real: the shipped models and the public-domain portraits."""

from pathlib import Path

import pytest

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config
from edge_app.pipeline import Pipeline
from edge_app.records import Float32Array, ImageBgr
from tests.scenes import Cast
from tests.support import MEDIA, embedding_of, picture


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of demo portraits that `make test` and `make demo` fetch."""
    if not (MEDIA / "enrolled-1.jpg").is_file():
        pytest.fail("the demo portraits are missing; run `make test`, which fetches them")
    return MEDIA


@pytest.fixture(scope="session")
def config() -> Config:
    return Config()


@pytest.fixture(scope="session")
def pipeline(config: Config) -> Pipeline:
    return Pipeline(make_rules(config), load_models(config), NullStopwatch())


@pytest.fixture(scope="session")
def portrait(media: Path) -> ImageBgr:
    return picture(media / "enrolled-1.jpg")


@pytest.fixture(scope="session")
def cast(media: Path, pipeline: Pipeline) -> Cast:
    return Cast(media, pipeline)


@pytest.fixture(scope="session")
def enrolled_embeddings(media: Path, pipeline: Pipeline) -> tuple[Float32Array, ...]:
    """Of the two portraits that the demo enrols."""
    return tuple(
        embedding_of(pipeline, picture(media / name))
        for name in ("enrolled-1.jpg", "enrolled-2.jpg")
    )
