"""A device on a machine that is made slow: it looks less, says so, and decides as it ever did."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_app.device
from edge_app.adapters.cameras.scene import Actor
from edge_app.app import Home, load_models
from edge_app.config import Config
from edge_app.core.governor import Effort
from edge_app.ports import TensorModel
from edge_app.records import Frame, FrameOrigin, ImageBgr
from tests.adapters.test_metrics import listening, samples, scrape
from tests.adapters.test_mqtt import ManualClock, Subscriber, subscribed, until
from tests.brokers import Mosquitto, free_port
from tests.enrolling import enrol_portraits
from tests.scenes import Cast, scene_camera
from tests.test_device_health import TOPICS, running, told

FPS = 30


@dataclass(frozen=True, slots=True)
class Slow:
    """A real model on a slow machine."""

    inner: TensorModel
    seconds: float

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def sha256(self) -> str:
        return self.inner.sha256

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        time.sleep(self.seconds)
        return self.inner(tensor)


class Street:
    """A camera of 30 frames a second: light that comes and goes, and whom the test sends along."""

    origin = FrameOrigin.REPLAY
    description = "street"
    undecodable = 0

    def __init__(self) -> None:
        dark = np.zeros((1080, 1920, 3), np.uint8)
        self._views: list[ImageBgr] = [dark, dark + np.uint8(120)]
        self._numbers = count()

    def show(self, actor: Actor) -> None:
        camera = scene_camera(2.0, actor)
        self._views = [camera.frame(number).image_bgr for number in range(10)]

    def open(self) -> None:
        pass

    def read(self) -> Frame:
        time.sleep(1 / FPS)
        number, views = next(self._numbers), self._views
        return Frame(views[number % len(views)], number / FPS, number, self.origin)

    def close(self) -> None:
        pass


def alerts(subscriber: Subscriber) -> list[Any]:
    return [json.loads(payload)["data"] for payload in subscriber.on(TOPICS.match)]


def test_work_is_shed_and_told_and_thresholds_are_as_they_were(
    tmp_path: Path, media: Path, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, home = Config(), Home(tmp_path / "home", None)
    enrol_portraits(config, home, media)
    models = load_models(config)
    slow = {name: Slow(model, 0.04) for name, model in models.detectors.items()}
    friend = cast.stand("enrolled-3.jpg", 960, 500, 120, 2.0)
    stranger = cast.stand("stranger-1.jpg", 960, 500, 140, 2.0)
    clock, port = ManualClock(), free_port()

    def scraped(name: str, *labels: str) -> float:
        return samples(scrape(port)).get((name, *labels), 0.0) if listening(port) else 0.0

    def searches() -> float:
        return scraped("familiar_stage_seconds_count", "match")

    with Mosquitto(tmp_path / "mosquitto") as broker, subscribed(broker) as subscriber:
        street = Street()
        street.show(friend)
        with running(home, broker, street):
            until(lambda: alerts(subscriber), "a machine that keeps up recognises the friend")

        monkeypatch.setattr(
            edge_app.device, "load_models", lambda *_, **__: replace(models, detectors=slow)
        )
        street = Street()
        with running(home, broker, street, clock=clock, metrics={"port": port}):
            until(
                lambda: scraped("familiar_effort_shed") == Effort.EVERY_SECOND_FRAME,
                "it sheds all it can",
            )
            clock.added_s += config.mqtt.health_interval_s
            until(
                lambda: told(subscriber)[-1]["effort"] == Effort.EVERY_SECOND_FRAME.words,
                "it says so",
            )
            street.show(stranger)
            until(lambda: searches() >= 3, "the stranger is searched")
            street.show(friend)
            until(lambda: len(alerts(subscriber)) == 2, "the friend is recognised")
            assert scraped("familiar_effort_shed") == Effort.EVERY_SECOND_FRAME
    fast, slowed = alerts(subscriber)
    for evidence in ("threshold", "target_fpir", "model_id", "subject_ref"):
        assert slowed[evidence] == fast[evidence]
    assert slowed["score"] > slowed["threshold"]
    assert slowed["tracklet"]["frames"] >= config.decision.min_agreeing_frames
