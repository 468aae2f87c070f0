"""The metrics as Prometheus reads them, over HTTP, with Prometheus' own parser."""

from __future__ import annotations

import http.client
import logging
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_app.adapters.metrics import MetricsServer
from edge_app.adapters.stopwatch import BUCKETS_S, LapStopwatch, StageHistogram
from edge_app.app import serve_metrics
from edge_app.core.governor import Effort
from edge_app.core.health import NO_PACE, Condition, Health, Reading
from edge_app.errors import ConfigError, StorageError
from edge_app.records import ClockState, Rejection
from tests.brokers import free_port

HEALTH = Health(
    condition=Condition.RUNNING,
    pace=NO_PACE,
    dropped_frames=3,
    effort=Effort.FEWER_LOOKS,
    pending_alerts=4,
    expired_alerts=5,
    forced_out_alerts=6,
    clock_state=ClockState.SYNCHRONISED,
    temperature_c=61.5,
    throttled=False,
    memory_mb=100.5,
    version="1.2.3",
)
READING = Reading(HEALTH, 7, 2, {Rejection.BLURRED: 9}, datetime(2026, 3, 1, 12, tzinfo=UTC))

Samples = dict[tuple[str, ...], float]


@contextmanager
def serving(
    reading: Reading | Callable[[], Reading] = READING, stages: StageHistogram | None = None
) -> Iterator[MetricsServer]:
    read = reading if callable(reading) else lambda: reading
    server = MetricsServer(free_port(), stages or StageHistogram(), read)
    try:
        yield server
    finally:
        server.close()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def samples(text: str) -> Samples:
    """Values by the name and the values of the labels; `le` comes last."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items(), reverse=True))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_device_that_did_nothing_yet_tells_zeros() -> None:
    zeros = replace(
        HEALTH, dropped_frames=0, effort=Effort.FULL, pending_alerts=0, expired_alerts=0,
        forced_out_alerts=0, clock_state=ClockState.UNSYNCHRONISED,
        temperature_c=None, throttled=None, memory_mb=None,
    )  # fmt: skip
    with serving(Reading(zeros, 0, 0, {}, None)) as server:
        found = samples(scrape(server.port))
    ones = {key for key, value in found.items() if value}
    assert ones == {("familiar_condition", "running"), ("familiar_info", "1.2.3")}
    reasons = {key[1] for key in found if key[0] == "familiar_rejections_total"}
    assert reasons == {reason.value for reason in Rejection}
    names = {key[0] for key in found}
    assert not names & {
        "familiar_temperature_celsius", "familiar_throttled", "familiar_memory_bytes",
        "familiar_lease_until_seconds",
    }  # fmt: skip


def test_every_value_is_told() -> None:
    expected: Samples = {("familiar_rejections_total", reason.value): 0.0 for reason in Rejection}
    expected |= {("familiar_condition", one.value): 0.0 for one in Condition}
    expected |= {
        ("familiar_rejections_total", "blurred"): 9,
        ("familiar_frames_total",): 7,
        ("familiar_dropped_frames_total",): 3,
        ("familiar_undecodable_frames_total",): 2,
        ("familiar_outbox_pending",): 4,
        ("familiar_outbox_expired_total",): 5,
        ("familiar_outbox_forced_out_total",): 6,
        ("familiar_temperature_celsius",): 61.5,
        ("familiar_throttled",): 0,
        ("familiar_memory_bytes",): 100.5e6,
        ("familiar_condition", "running"): 1,
        ("familiar_effort_shed",): 2,
        ("familiar_clock_synchronised",): 1,
        ("familiar_lease_until_seconds",): 1_772_366_400,
        ("familiar_info", "1.2.3"): 1,
    }
    with serving() as server:
        assert samples(scrape(server.port)) == expected


def test_the_times_of_stages_are_a_histogram() -> None:
    stages = StageHistogram()
    times = [0.0, 0.0005, 0.02, 0.033, 0.034, 3.0]
    for seconds in times:
        stages.add("detect", seconds)
    stages.add("embed", 1e9)
    with serving(stages=stages) as server:
        found = samples(scrape(server.port))
    for bound in BUCKETS_S:
        expected = sum(seconds <= bound for seconds in times)
        assert found["familiar_stage_seconds_bucket", "detect", str(bound)] == expected
        assert found["familiar_stage_seconds_bucket", "embed", str(bound)] == 0
    assert found["familiar_stage_seconds_bucket", "detect", "+Inf"] == len(times)
    assert found["familiar_stage_seconds_count", "detect"] == len(times)
    assert found["familiar_stage_seconds_sum", "detect"] == pytest.approx(sum(times))
    assert found["familiar_stage_seconds_count", "embed"] == 1


def test_a_stopwatch_fills_it_frame_by_frame() -> None:
    stages = StageHistogram()
    stopwatch = LapStopwatch(stages)
    for laps in (["detect"], ["detect", "detect", "embed"]):
        stopwatch.start_frame()
        for lap in laps:
            stopwatch.lap(lap)
        stopwatch.end_frame()
    frames = {stage: sum(counts) for stage, (counts, _) in stages.read().items()}
    assert frames == {"detect": 2, "total": 2, "embed": 1}


def test_nothing_says_when_a_series_began() -> None:
    stages = StageHistogram()
    stages.add("embed", 0.01)
    with serving(stages=stages) as server:
        address = f"http://127.0.0.1:{server.port}/metrics"
        openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
        with urllib.request.urlopen(urllib.request.Request(address, headers=openmetrics)) as answer:
            assert b"_created" not in answer.read()
        assert "_created" not in scrape(server.port)


def test_a_store_that_cannot_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Reading:
        raise StorageError("the outbox cannot be read; free some space")

    with serving(fail) as server, caplog.at_level(logging.WARNING):
        assert samples(scrape(server.port)) == {}
    assert "the outbox cannot be read" in caplog.text


def test_it_is_on_the_loopback_interface_and_ends_in_order() -> None:
    port = free_port()
    server = MetricsServer(port, StageHistogram(), lambda: READING)
    with pytest.raises(ConfigError, match=f"metrics.port {port} cannot be had"):
        MetricsServer(port, StageHistogram(), lambda: READING)
    assert listening(port) == ["0100007F"]
    server.close()
    with pytest.raises(OSError, match="refused"):
        scrape(port)
    MetricsServer(port, StageHistogram(), lambda: READING).close()


def listening(port: int) -> list[str]:
    """The addresses, as the kernel writes them, on which somebody listens at this port."""
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    ours = f":{port:04X}"
    return [row[1].removesuffix(ours) for row in rows if row[3] == "0A" and row[1].endswith(ours)]


@pytest.mark.parametrize(
    "said",
    [b"", b"\r\n\r\n", b"GET /metrics", b"\x16\x03\x01\x02\x00" * 50, b"GET / HTTP/1.1\r\nA: "],
)
def test_whoever_talks_nonsense_keeps_nobody_else_waiting(said: bytes) -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", server.port)) as rude:
        rude.sendall(said)
        assert "familiar_frames_total" in scrape(server.port)


def test_it_only_answers() -> None:
    with serving() as server:
        for method in ("POST", "PUT", "DELETE"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request(method, "/metrics", b"familiar_frames_total 9")
            assert connection.getresponse().status == 405
            connection.close()
        assert samples(scrape(server.port))["familiar_frames_total",] == 7


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edge_app.adapters.metrics", None)
    with pytest.raises(ConfigError, match=r"familiar-edge\[metrics\]"):
        serve_metrics(free_port(), StageHistogram(), lambda: READING)
