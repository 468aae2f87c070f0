"""P8 and P9: what leaves the device is a candidate with its evidence, and a pseudonym."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.sinks import JsonLinesSink
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.device import Device, Outputs
from edge_app.errors import CalibrationError
from edge_app.records import Alert
from tests.adapters.test_metrics import scrape
from tests.brokers import free_port
from tests.enrolling import NAME, enrol_portraits
from tests.scenes import Cast, scene_camera
from tests.support import ROOT

SCHEMA = ROOT / "deploy" / "schemas" / "match-v1.schema.json"


class Prometheus:
    """Asks for the device's metrics at every alert."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.scraped = ""

    def put(self, _alert: Alert) -> None:
        self.scraped += scrape(self._port)

    def close(self) -> None:
        pass


@pytest.fixture
def event(tmp_path: Path, media: Path, cast: Cast) -> dict[str, object]:
    """The only alert of a real run, as it goes out."""
    port = free_port()
    config = make_config({"site": "test", "device": "one", "metrics": {"port": port}})
    home = Home(tmp_path / "home", None)
    person = enrol_portraits(config, home, media)
    out = io.StringIO()
    prometheus = Prometheus(port)
    summary = Device(
        config,
        home,
        source=scene_camera(2.0, cast.stand("enrolled-3.jpg", 960, 500, 120, 2.0)),
        lossless=True,
        outputs=Outputs(NullDisplay(), NullSpeaker(), (JsonLinesSink(out), prometheus), ""),
        clock=SystemClock(),
        stop=threading.Event(),
    ).run()
    assert summary.alerts == summary.pending_alerts == 1
    assert NAME not in out.getvalue()
    assert person.person_id not in out.getvalue()
    outbox = b"".join(path.read_bytes() for path in home.folder.glob("outbox*"))
    assert NAME.encode() not in outbox
    loaded = json.loads(out.getvalue())
    assert isinstance(loaded, dict)
    assert "familiar_outbox_pending 1.0" in prometheus.scraped
    for personal in (NAME, person.person_id, loaded["subject"], loaded["id"], "generation"):
        assert personal not in prometheus.scraped
    return loaded


def test_an_alert_is_a_candidate_with_its_evidence(event: dict[str, object]) -> None:
    data = event["data"]
    assert isinstance(data, dict)
    assert 0 < data["threshold"] < data["score"] <= 1
    assert data["target_fpir"] == 0.003
    assert data["gallery_generation"] == 1
    assert data["tracklet"]["frames"] >= 3


def test_an_alert_fits_the_schema_which_has_no_room_for_more(event: dict[str, object]) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.validate(event)
    for extra in ("name", "image", "embedding", "position", "latitude", "box"):
        assert not validator.is_valid({**event, extra: "x"})
        data = event["data"]
        assert isinstance(data, dict)
        assert not validator.is_valid({**event, "data": {**data, extra: "x"}})


def test_the_pseudonym_is_the_sites_own(event: dict[str, object]) -> None:
    assert event["subject"] == event["data"]["subject_ref"]  # type: ignore[index]


def test_a_device_that_cannot_meet_its_fpir_refuses_to_start(tmp_path: Path, media: Path) -> None:
    config = make_config({"match": {"target_fpir": 1e-7}})
    with pytest.raises(CalibrationError, match="target_fpir"):
        Device(
            config,
            Home(tmp_path / "home", None),
            source=scene_camera(1.0),
            lossless=True,
            outputs=Outputs(NullDisplay(), NullSpeaker(), (), ""),
            clock=SystemClock(),
            stop=threading.Event(),
        )
