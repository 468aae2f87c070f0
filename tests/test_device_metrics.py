"""The metrics of a running device."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.device import Device, Outputs
from edge_app.errors import ConfigError
from tests.adapters.test_metrics import Samples, listening, samples, scrape
from tests.adapters.test_mqtt import until
from tests.brokers import Mosquitto, free_port
from tests.test_device import Camera
from tests.test_device_health import running
from tests.test_fleet_device import Watching


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


def test_they_count_what_the_device_does(home: Home, tmp_path: Path) -> None:
    port = free_port()

    def scraped() -> Samples:
        return samples(scrape(port)) if listening(port) else {}

    def frames() -> float:
        return scraped().get(("familiar_frames_total",), 0)

    with (
        Mosquitto(tmp_path / "mosquitto") as broker,
        running(home, broker, Watching(), metrics={"port": port}),
    ):
        until(lambda: frames() > 5, "frames are counted")
        before = scraped()
        until(lambda: frames() > before["familiar_frames_total",], "and go on to be")
        assert before["familiar_stage_seconds_count", "total"] > 4
        assert before["familiar_condition", "running"] == 1
        assert before["familiar_memory_bytes",] > 10e6
    assert listening(port) == []


def test_a_port_that_is_taken_is_an_error_before_the_camera_opens(home: Home) -> None:
    camera = Camera(1, at_open=AssertionError("it opened"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        device = Device(
            make_config({"metrics": {"port": taken.getsockname()[1]}}), home, source=camera,
            lossless=True, outputs=Outputs(NullDisplay(), NullSpeaker(), (), ""),
            clock=SystemClock(), stop=threading.Event(),
        )  # fmt: skip
        with pytest.raises(ConfigError, match="choose another"):
            device.run()


def test_a_device_without_them_loads_nothing_for_them() -> None:
    code = "import edge_app.device, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
