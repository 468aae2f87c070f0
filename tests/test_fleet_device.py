"""A running device of a fleet: it follows the gallery, and stops to match when it hears nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_app.adapters.durable import write_durably
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.core.health import Condition
from edge_app.core.present import phrases
from edge_app.device import Device, Outputs
from edge_app.errors import GalleryError, StorageError
from edge_app.records import Frame
from tests.fleets import CLOCK, CONFIG, Fleet, code_of, person, served
from tests.test_device import BLACK, Camera, Screen


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    with served(fleet.operator.repository) as address:
        yield address


@pytest.fixture
def gate(fleet: Fleet, url: str) -> Home:
    home = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(home, url)
    return home


class Watching(Camera):
    """Black frames until the test has seen enough, or for twenty seconds."""

    def __init__(self) -> None:
        super().__init__(frames=0)
        self.done = threading.Event()
        self._until = time.monotonic() + 20

    def read(self) -> Frame | None:
        if self.done.wait(0.02) or time.monotonic() > self._until:
            return None
        self._read += 1
        return Frame(BLACK, self._read / 30, self._read, self.origin)


def device(home: Home, camera: Camera, screen: Screen | None = None) -> Device:
    return Device(
        make_config({"sync": {"interval_s": 10}}),
        home,
        source=camera,
        lossless=True,
        outputs=Outputs(screen or Screen(), NullSpeaker(), (), ""),
        clock=CLOCK,
        stop=threading.Event(),
    )


def test_without_word_from_the_fleet_nobody_is_matched_and_the_wearer_is_told(
    gate: Home, url: str
) -> None:
    gate.membership().join("http://127.0.0.1:1", b"{}")  # out of reach
    gate.membership().extend(datetime.now(UTC) - timedelta(seconds=1))
    screen = Screen()
    running = device(gate, Camera(3), screen)
    assert running._gallery.condition(CLOCK.now()) is Condition.GALLERY_TOO_OLD
    running.run()
    assert screen.views[-1].status == phrases("en").gallery_too_old
    # Without its lease at all, a fleet's gallery is not used either.
    (gate.folder / "fleet" / "lease").unlink()
    assert device(gate, Camera(0))._gallery.condition(CLOCK.now()) is Condition.GALLERY_TOO_OLD


def test_a_first_installation_that_was_cut_off_is_used_by_nobody(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with the gallery in place, and neither its floor nor its lease."""
    home = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()

    def cut_off(path: Path, *parts: bytes) -> None:
        if b'"generation": 1' in parts[0]:
            raise StorageError("cut off")
        write_durably(path, *parts)

    monkeypatch.setattr("edge_app.adapters.gallery_store.write_durably", cut_off)
    with pytest.raises(StorageError, match="cut off"):
        fleet.sync(home, url)
    monkeypatch.undo()
    running = device(home, Camera(0))
    assert running._gallery.current.member("person-1") is not None
    assert running._gallery.condition(CLOCK.now()) is Condition.GALLERY_TOO_OLD
    assert fleet.sync(home, url).changed
    running._gallery.follow()
    assert running._gallery.condition(CLOCK.now()) is Condition.RUNNING


def test_a_lease_that_was_written_by_others_is_refused(gate: Home) -> None:
    (gate.folder / "fleet" / "lease").write_bytes(b"2099-01-01T00:00:00+00:00")
    with pytest.raises(GalleryError, match="altered"):
        device(gate, Camera(0))


def test_a_running_device_takes_over_what_is_published(fleet: Fleet, gate: Home) -> None:
    fleet.enrol([person(2)])
    fleet.publish()
    camera = Watching()
    running = device(gate, camera)
    assert running._gallery.current.generation == 1

    def watch() -> None:
        while running._gallery.current.generation < 2 and not camera.done.wait(0.02):
            pass
        camera.done.set()

    threading.Thread(target=watch, daemon=True).start()
    running.run()
    assert running._gallery.current.generation == 2
    assert running._gallery.current.member("person-2") is not None


def test_who_leaves_is_masked_before_the_gallery_is_built_anew(gate: Home) -> None:
    running = device(gate, Camera(0))
    assert running._gallery.current.member("person-1") is not None
    gate.store().revoke(code_of(1))
    running._gallery.follow()
    assert running._gallery.current.member("person-1") is None
    running.run()


def test_who_leaves_while_a_gallery_is_built_is_masked_all_the_same(
    fleet: Fleet, gate: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: neither the old gallery nor the one that was begun before shows them."""
    running = device(gate, Camera(0))
    begun, go_on = threading.Event(), threading.Event()
    build = running._gallery._open

    def build_slowly() -> object:
        built = build()  # with the person in it
        begun.set()
        go_on.wait(20)
        return built

    monkeypatch.setattr(running._gallery, "_open", build_slowly)
    gate.store().revoke(code_of(99))  # somebody else: the gallery is built anew
    running._gallery.follow()
    assert begun.wait(20)
    gate.store().revoke(code_of(1))
    running._gallery.follow()
    assert running._gallery.current.member("person-1") is None
    go_on.set()
    assert running._gallery._loading is not None
    assert running._gallery._loading.result()[0].member("person-1") is not None
    running._gallery.take_over()
    assert running._gallery.current.member("person-1") is None
    running._gallery.close()


def test_a_home_without_a_fleet_needs_no_lease(tmp_path: Path) -> None:
    running = device(Home(tmp_path / "own", None), Camera(1))
    assert running._gallery.condition(CLOCK.now()) is Condition.RUNNING
    assert running.run().frames == 1
    assert CONFIG.sync.interval_s == 300


def test_a_clock_that_goes_back_ends_the_matching(gate: Home) -> None:
    """It would bring expired consents and leases back to life."""
    gate.membership().extend(datetime.now(UTC) + timedelta(days=1))
    gallery, now = device(gate, Camera(0))._gallery, datetime.now(UTC)
    assert gallery.condition(now + timedelta(hours=2)) is Condition.RUNNING
    assert gallery.condition(now + timedelta(hours=1, minutes=56)) is Condition.RUNNING
    assert gallery.condition(now + timedelta(hours=1)) is Condition.CLOCK_WRONG
    assert gallery.usable(now + timedelta(hours=1)).member("person-1") is None
    assert gallery.condition(now + timedelta(hours=2)) is Condition.RUNNING
    assert gallery.condition(now + timedelta(days=2)) is Condition.GALLERY_TOO_OLD
