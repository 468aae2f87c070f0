"""What a device tells Prometheus, on the loopback interface. Counts and times, nothing of anybody.

Neither the size of the gallery nor a generation is among them (P3), and of faces only why they were
not searched (P1). Nothing says when a series began: that could be when somebody was first seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge_app.adapters.stopwatch import BUCKETS_S, StageHistogram
from edge_app.core.governor import Effort
from edge_app.core.health import Condition, Health, Reading
from edge_app.errors import ConfigError, EdgeAppError
from edge_app.records import ClockState, Rejection

_log = logging.getLogger(__name__)


class MetricsServer(Collector):
    """Answers scrapes from a thread of its own, until it is closed."""

    def __init__(self, port: int, stages: StageHistogram, read: Callable[[], Reading]) -> None:
        """Begins at once, on the loopback interface. read: called in the server's threads.

        Raises ConfigError if the port cannot be had.
        """
        self._stages = stages
        self._read = read
        registry = CollectorRegistry()
        try:
            self._server, self._thread = start_http_server(port, "127.0.0.1", registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.port {port} cannot be had: {error.strerror}; choose another"
            ) from error
        registry.register(self)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def describe(self) -> Iterator[Metric]:
        """Of nothing: so that registering reads nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield _stages(self._stages)
        try:
            reading = self._read()
        except EdgeAppError as error:
            _log.warning("metrics: %s", error)
            return
        yield from _frames(reading)
        yield from _alerts(reading.health)
        yield from _board(reading.health)
        yield from _state(reading)


def _stages(stages: StageHistogram) -> Metric:
    family = HistogramMetricFamily(
        "familiar_stage_seconds",
        "Work on a frame, by stage, where the stage ran; total is the whole frame.",
        labels=["stage"],
    )
    for stage, (counts, sum_s) in stages.read().items():
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        buckets = [*zip(bounds, map(float, accumulate(counts)), strict=True)]
        family.add_metric([stage], buckets, sum_s)
    return family


def _frames(reading: Reading) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "familiar_frames", "Frames that were worked through.", value=reading.frames
    )
    yield CounterMetricFamily(
        "familiar_dropped_frames",
        "Frames that a newer one replaced before their turn.",
        value=reading.health.dropped_frames,
    )
    yield CounterMetricFamily(
        "familiar_undecodable_frames",
        "Frames that could not be decoded.",
        value=reading.undecodable_frames,
    )
    rejections = CounterMetricFamily(
        "familiar_rejections", "Looks at a face that was not searched.", labels=["reason"]
    )
    for reason in Rejection:
        rejections.add_metric([reason.value], reading.rejections.get(reason, 0))
    yield rejections


def _alerts(health: Health) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "familiar_outbox_pending", "Alerts still to be delivered.", value=health.pending_alerts
    )
    yield CounterMetricFamily(
        "familiar_outbox_expired",
        "Alerts whose time was over before they were delivered, since the outbox was made.",
        value=health.expired_alerts,
    )
    yield CounterMetricFamily(
        "familiar_outbox_forced_out",
        "Alerts dropped because the outbox was full, since it was made.",
        value=health.forced_out_alerts,
    )


def _board(health: Health) -> Iterator[Metric]:
    """What the kernel does not tell is left out."""
    if health.temperature_c is not None:
        yield GaugeMetricFamily(
            "familiar_temperature_celsius", "Of the processor.", value=health.temperature_c
        )
    if health.throttled is not None:
        yield GaugeMetricFamily(
            "familiar_throttled", "1 if the board slows its processor.", value=health.throttled
        )
    if health.memory_mb is not None:
        yield GaugeMetricFamily(
            "familiar_memory_bytes", "Resident memory.", value=health.memory_mb * 1e6
        )


def _state(reading: Reading) -> Iterator[Metric]:
    health = reading.health
    condition = GaugeMetricFamily(
        "familiar_condition", "1 for the word of the health state.", labels=["condition"]
    )
    for one in Condition:
        condition.add_metric([one.value], one is health.condition)
    yield condition
    yield GaugeMetricFamily(
        "familiar_effort_shed",
        "Steps of work shed, in their order: "
        + ", ".join(f"{one.value} {one.words}" for one in Effort)
        + ".",
        value=health.effort,
    )
    yield GaugeMetricFamily(
        "familiar_clock_synchronised",
        "1 if the clock can be trusted.",
        value=health.clock_state is ClockState.SYNCHRONISED,
    )
    if reading.lease_until is not None:
        yield GaugeMetricFamily(
            "familiar_lease_until_seconds",
            "When matching stops unless the fleet is heard of before, in Unix time.",
            value=reading.lease_until.timestamp(),
        )
    version = GaugeMetricFamily("familiar_info", "Of the program.", labels=["version"])
    version.add_metric([health.version], 1)
    yield version
