"""What a running device tells of its health over a real broker, and Home Assistant of itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_app import __version__
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.home_assistant import discovery_payload
from edge_app.adapters.keys import outbox_key, store_key
from edge_app.adapters.mqtt import Topics
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.device import Device, Outputs
from edge_app.errors import CameraError
from edge_app.ports import Clock, FrameSource
from tests.adapters.test_mqtt import Subscriber, subscribed, until
from tests.brokers import PASSWORD, Mosquitto
from tests.deploy.messages import require_described
from tests.test_device import Camera
from tests.test_fleet_device import Watching
from tests.test_fleet_device import device as watching_device

TOPICS = Topics("home", "glasses")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", None)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


class FastClock(SystemClock):
    """Ten seconds in each."""

    def monotonic_s(self) -> float:
        return 10 * super().monotonic_s()


@contextmanager
def running(
    home: Home,
    broker: Mosquitto,
    source: FrameSource,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    **stated: Any,
) -> Iterator[None]:
    stop = stop or threading.Event()
    url = f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"
    device = Device(
        make_config(stated), home, source=source, lossless=False,
        outputs=Outputs(NullDisplay(), NullSpeaker(), (), url),
        clock=clock or SystemClock(), stop=stop,
    )  # fmt: skip
    thread = threading.Thread(target=device.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def told(subscriber: Subscriber) -> list[Any]:
    return [json.loads(payload) for payload in subscriber.on(TOPICS.health)]


def test_it_is_told_in_every_interval_with_the_pace_of_that_interval(
    home: Home, mosquitto: Mosquitto
) -> None:
    mqtt, clock = {"health_interval_s": 10}, FastClock()
    with (
        subscribed(mosquitto) as subscriber,
        running(home, mosquitto, Watching(), clock=clock, mqtt=mqtt),
    ):
        until(lambda: len(told(subscriber)) >= 3, "it is told again and again")
        first, second, *_ = told(subscriber)
        for message in subscriber.messages:
            require_described(message)
    assert (first["frames_per_s"], first["frame_p95_ms"]) == (None, None)
    assert second["frames_per_s"] > 0
    assert second["frame_p95_ms"] > 0
    assert second["state"] == "running"
    assert second["version"] == __version__
    assert second["memory_mb"] > 10


def test_within_the_interval_it_is_told_once(home: Home, mosquitto: Mosquitto) -> None:
    with subscribed(mosquitto) as subscriber, running(home, mosquitto, Watching()):
        until(lambda: told(subscriber), "the first")
        time.sleep(2.2)  # two looks of the device at itself
        assert len(told(subscriber)) == 1


def test_alerts_that_were_dropped_are_told(home: Home, mosquitto: Mosquitto) -> None:
    """Never silently: what expired, and what was forced out of a full outbox."""
    with closing(
        Outbox(
            home.outbox_path,
            key=outbox_key(store_key(home.keys)),
            max_alerts=2,
            boot_id="b",
            clock=SystemClock(),
        )
    ) as outbox:
        for number, lifetime_s in enumerate([-1, 500, 500, 500]):
            expiry = datetime.now(UTC) + timedelta(seconds=lifetime_s)
            outbox.put(str(number), "familiar/v1/other", b"x", expiry)
    with subscribed(mosquitto) as subscriber, running(home, mosquitto, Watching()):
        until(lambda: told(subscriber), "the first")
        assert told(subscriber)[0]["outbox"]["expired"] == 1
        assert told(subscriber)[0]["outbox"]["forced_out"] == 1


def test_what_expires_leaves_the_disk_while_there_is_no_broker(home: Home, tmp_path: Path) -> None:
    with closing(
        Outbox(
            home.outbox_path,
            key=outbox_key(store_key(home.keys)),
            max_alerts=2,
            boot_id="b",
            clock=SystemClock(),
        )
    ) as outbox:
        outbox.put("a", "t", b"x", datetime.now(UTC) - timedelta(seconds=1))

    def waiting() -> int:
        for path in home.folder.glob("outbox.sqlite*"):
            shutil.copy(path, tmp_path)
        with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM alert").fetchone()[0])

    assert waiting() == 1
    camera = Watching()
    thread = threading.Thread(target=watching_device(home, camera).run)
    thread.start()
    try:
        until(lambda: waiting() == 0, "the alert is dropped")
        assert time.monotonic() < camera._until, "and not at the end only"
    finally:
        camera.done.set()
        thread.join(60)


def test_a_lost_camera_is_told_at_once(home: Home, mosquitto: Mosquitto) -> None:
    stop = threading.Event()
    camera = ReopeningCamera(
        inner=Camera(3, CameraError("unplugged")),
        backoff=Backoff(first_s=30.0, factor=1.0, longest_s=30.0, jitter=0.0),
        clock=SystemClock(),
        stop_event=stop,
    )
    with subscribed(mosquitto) as subscriber, running(home, mosquitto, camera, stop):
        until(lambda: len(told(subscriber)) == 2, "both are told")
        assert [health["state"] for health in told(subscriber)] == ["running", "camera lost"]


def test_a_gallery_that_is_too_old_is_told_from_the_start(home: Home, mosquitto: Mosquitto) -> None:
    home.membership().join("http://127.0.0.1:1", b"{}")  # out of reach
    home.membership().extend(datetime.now(UTC) - timedelta(seconds=1))
    with subscribed(mosquitto) as subscriber, running(home, mosquitto, Watching()):
        until(lambda: told(subscriber), "the first")
        assert told(subscriber)[0]["state"] == "gallery too old"


def test_home_assistant_is_told_of_the_device_if_that_is_wanted(
    home: Home, mosquitto: Mosquitto
) -> None:
    wanted = {"discovery": True, "prefix": "ha"}
    with subscribed(mosquitto) as early:
        with running(home, mosquitto, Watching(), home_assistant=wanted):
            until(lambda: told(early), "the device is there")
        assert len(early.on("ha/device/home/glasses/config")) == 1
    with subscribed(mosquitto) as late:
        until(lambda: late.on("ha/device/home/glasses/config"), "it is retained")
        (payload,) = late.on("ha/device/home/glasses/config")
        assert payload == discovery_payload(TOPICS, version=__version__)


def test_home_assistant_is_told_nothing_unless_that_is_wanted(
    home: Home, mosquitto: Mosquitto
) -> None:
    with subscribed(mosquitto) as subscriber:
        with running(home, mosquitto, Watching()):
            until(lambda: told(subscriber), "the device is there")
        until(lambda: b"offline" in subscriber.on(TOPICS.availability)[-1], "it is gone")
        assert {m.topic.split("/")[0] for m in subscriber.messages} == {"familiar"}
