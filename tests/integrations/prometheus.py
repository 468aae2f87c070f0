"""A real Prometheus reads a device and answers what the dashboard asks: `make check-prometheus`."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from edge_app.adapters.stopwatch import TOTAL, StageHistogram
from edge_app.core.health import Reading
from edge_app.records import Rejection
from tests.adapters.test_metrics import READING, scrape, serving
from tests.adapters.test_mqtt import until
from tests.brokers import free_port
from tests.deploy.test_grafana import expressions, named
from tests.integrations.programs import Program, started

CONFIGURATION = """\
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: familiar
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Device:
    """Tells everything that a device can tell, and more of it at each scrape."""

    def __init__(self) -> None:
        self.stages = StageHistogram()
        self._scrapes = count(1)

    def read(self) -> Reading:
        frames = next(self._scrapes) * 30
        for stage in ("detect", "embed", TOTAL):
            self.stages.add(stage, 0.01)
        return replace(READING, frames=frames, rejections={Rejection.BLURRED: frames // 10})


class Prometheus:
    def __init__(self, program: Program, port: int) -> None:
        self._program = program
        self._address = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(self, expression: str) -> list[Any]:
        """The series. Raises OSError if it does not answer, or calls it nonsense."""
        assert not self._program.ended(), self._program.text
        query = urllib.parse.urlencode({"query": expression})
        request = urllib.request.Request(f"{self._address}?{query}")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            result = json.load(answer)["data"]["result"]
        assert isinstance(result, list)
        return result


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    device, port = Device(), free_port()
    with serving(device.read, device.stages) as server:
        (tmp_path / "prometheus.yml").write_text(CONFIGURATION.format(port=server.port))
        command = (
            *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
            f"--web.listen-address=127.0.0.1:{port}",
        )
        with started(command, tmp_path) as program:
            until(lambda: program.ended() or "ready to receive" in program.text, "it starts")
            asked = Prometheus(program, port)
            until(lambda: seen(asked) >= 3, "it scrapes")
            yield asked


def seen(prometheus: Prometheus) -> int:
    time.sleep(0.2)
    result = prometheus.ask("count_over_time(familiar_frames_total[1m])")
    return int(result[0]["value"][1]) if result else 0


def test_every_panel_has_something_to_show(prometheus: Prometheus) -> None:
    for expression in expressions():
        asked = expression.replace("$__rate_interval", "30s").replace("$device", ".*")
        series = prometheus.ask(asked)
        if not any(name.startswith("familiar_backend") for name in named(expression)):
            assert series, expression
            assert all(one["value"][1] != "NaN" for one in series), expression


def test_nonsense_is_refused(prometheus: Prometheus) -> None:
    with pytest.raises(OSError, match="400"):
        prometheus.ask("rate(familiar_frames_total)")


def test_prometheus_own_linter_finds_nothing() -> None:
    device = Device()
    with serving(device.read, device.stages) as server:
        scrape(server.port)
        text = scrape(server.port)
    linted = subprocess.run(
        ("promtool", "check", "metrics"), input=text, capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
