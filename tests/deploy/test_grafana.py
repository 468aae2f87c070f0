"""The dashboard of deploy/grafana: what it asks for is what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from edge_app.adapters.stopwatch import TOTAL, StageHistogram
from edge_app.backend.metrics import Metrics
from tests.adapters.test_metrics import scrape, serving
from tests.deploy.messages import DEPLOY

DASHBOARD = json.loads((DEPLOY / "grafana" / "familiar.json").read_text())
BACKEND = {sample.name for family in Metrics().registry.collect() for sample in family.samples}


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def named(text: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(r"\bfamiliar_[a-z_]+", text))


def told() -> dict[str, set[str]]:
    """What a device tells: the labels of every sample's name."""
    stages = StageHistogram()
    stages.add(TOTAL, 0.01)
    with serving(stages=stages) as server:
        families = text_string_to_metric_families(scrape(server.port))
        samples = [sample for family in families for sample in family.samples]
    found: dict[str, set[str]] = {}
    for sample in samples:
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_that_it_names_is_told() -> None:
    names = {name for expression in expressions() for name in named(expression)}
    assert len(names) > 20
    assert names <= told().keys() | BACKEND


def test_every_metric_of_a_device_is_shown() -> None:
    names = {name for expression in expressions() for name in named(expression)}
    assert told().keys() <= names


def test_every_label_that_it_names_is_told() -> None:
    """`instance` is Prometheus' own."""
    labels = {"instance"} | {label for found in told().values() for label in found}
    for panel in panels():
        for target in panel["targets"]:
            if "familiar_backend" in target["expr"]:
                continue
            used = set(re.findall(r"{{([a-z_]+)}}", target["legendFormat"]))
            used |= set(re.findall(r"([a-z_]+)=", target["expr"]))
            assert used <= labels, target


def test_it_is_for_any_prometheus_and_its_panels_do_not_overlap() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert all(part["datasource"] == source for part in (panel, *panel["targets"]))
        assert panel["title"]
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for one, other in combinations([panel["gridPos"] for panel in everything], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)
        assert one["x"] + one["w"] <= 24
