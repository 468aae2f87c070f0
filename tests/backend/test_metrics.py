from __future__ import annotations

import re
from urllib.request import urlopen

import pytest

from edge_app.backend.metrics import Metrics, served
from edge_app.errors import ConfigError
from tests.brokers import free_port


def scraped(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read(), "utf-8")


def test_port_0_serves_nothing() -> None:
    with served(Metrics(), "no such host", 0):
        pass


def test_all_counts_are_there_from_the_start_and_begin_at_0() -> None:
    port = free_port()
    with served(Metrics(), "127.0.0.1", port):
        text = scraped(port)
    for name in (
        "received", "invalid", "expired", "duplicates", "barred", "stored",
        "departures", "forgotten", "failures",
    ):  # fmt: skip
        assert f"\nfamiliar_backend_{name}_total 0.0\n" in text
    assert 'familiar_backend_purged_total{purpose="self_exclusion"} 0.0' in text
    assert 'familiar_backend_lag_seconds_bucket{le="1.0"} 0.0' in text


def test_no_label_can_name_a_device_or_a_person() -> None:
    port = free_port()
    with served(Metrics(), "127.0.0.1", port):
        labels = set(re.findall(r"[{,](\w+)=", scraped(port)))
    assert labels == {"le", "purpose"}


def test_an_address_that_is_taken_is_told() -> None:
    port = free_port()
    with (
        served(Metrics(), "127.0.0.1", port),
        pytest.raises(ConfigError, match="metrics_port"),
        served(Metrics(), "127.0.0.1", port),
    ):
        pass
