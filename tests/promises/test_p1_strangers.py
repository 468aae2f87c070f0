"""P1: a face that matches nobody leaves no trace.

Two strangers walk through the whole program: camera, pipeline, display, outbox, a real broker.
Their embeddings and aligned faces are known to the test, which then looks for any piece of
them in every file that was written, every byte that went to the broker, every log line, all
metrics and everything on standard output.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_app.device
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays.demo_png import DemoPngDisplay
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.logs import JsonLines
from edge_app.adapters.sinks import JsonLinesSink
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home, load_models
from edge_app.config import Config, make_config
from edge_app.device import Device, Outputs, RunSummary
from edge_app.ports import TensorModel
from edge_app.records import FrameOrigin
from tests.adapters.test_metrics import scrape
from tests.brokers import PASSWORD, Mosquitto, free_port
from tests.enrolling import enrol_portraits
from tests.scenes import Cast, scene_camera

_WINDOW_BYTES = 24
"""Long enough never to occur by chance, short enough to find a fragment."""


@dataclass
class Canary:
    """A real model that remembers what went in and came out."""

    inner: TensorModel
    inputs: list[NDArray[Any]] = field(default_factory=list)
    outputs: list[NDArray[Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def sha256(self) -> str:
        return self.inner.sha256

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        self.inputs.append(tensor.copy())
        answer = self.inner(tensor)
        self.outputs += [part.copy() for part in answer]
        return answer


class RecordingProxy:
    """Passes bytes between the device and the broker, and keeps them."""

    def __init__(self, port: int) -> None:
        self.seen = bytearray()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()


@contextmanager
def files_opened_for_writing() -> Iterator[set[str]]:
    """Every path that Python code opens for writing meanwhile, and every database."""
    opened: set[str] = set()
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active:
            return
        if event == "open" and isinstance(arguments[0], str):
            mode, flags = arguments[1], arguments[2]
            if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & 0o3:
                opened.add(arguments[0])
        elif event == "sqlite3.connect":
            opened.add(str(arguments[0]))

    sys.addaudithook(hook)
    try:
        yield opened
    finally:
        active = False


@contextmanager
def scraping(port: int) -> Iterator[list[str]]:
    """What the device tells whoever asks for its metrics again and again."""
    scrapes: list[str] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            with suppress(OSError):  # not there yet, or no longer
                scrapes.append(scrape(port))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield scrapes
    finally:
        ended.set()
        thread.join()


def fragments(canaries: list[NDArray[Any]]) -> set[bytes]:
    """Pieces of the arrays in the forms in which somebody might write them down."""
    pieces: set[bytes] = set()
    for canary in canaries:
        flat = np.ascontiguousarray(canary).reshape(-1)
        unit = flat / max(float(np.linalg.norm(flat.astype(np.float64))), 1e-9)
        for form in (flat, unit.astype(np.float32), unit.astype(np.float16), _int8(unit)):
            raw = form.tobytes()
            middle = len(raw) // 2 // 12 * 12  # a multiple of every element size, and of 3
            pieces.add(raw[middle : middle + _WINDOW_BYTES])
            pieces.add(base64.b64encode(raw[middle : middle + _WINDOW_BYTES]))
            pieces.add(raw[middle : middle + _WINDOW_BYTES].hex().encode())
        numbers = [float(v) for v in unit[len(unit) // 2 :][:3]]
        pieces.add(json.dumps([round(v, 4) for v in numbers])[1:-1].encode())
        pieces.add(", ".join(f"{v:.6f}" for v in numbers).encode())
    return {piece for piece in pieces if len(set(piece)) > 6}


def _int8(unit: NDArray[Any]) -> NDArray[np.int8]:
    return np.asarray(np.rint(unit / np.abs(unit).max() * 127), np.int8)


@dataclass
class Outcome:
    summary: RunSummary
    embedder: Canary
    mesh: Canary
    files: set[str]
    network: bytes
    said: str
    metrics: str
    home: Path
    pictures: Path


@pytest.fixture
def drive(
    tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., Outcome]:
    def run(*actors: Any, duration_s: float, asks: bool = False) -> Outcome:
        caplog.set_level(logging.DEBUG)
        logged = io.StringIO()
        handler = logging.StreamHandler(logged)
        handler.setFormatter(JsonLines())
        monkeypatch.setattr(
            logging.getLogger(), "handlers", [*logging.getLogger().handlers, handler]
        )
        port = free_port()
        config = make_config(
            {
                "site": "test",
                "device": "canary",
                "metrics": {"port": port},
                "hud": {"answer_s": 0.3},
            }
        )
        home = Home(tmp_path / "home", None)
        enrol_portraits(config, home, media)
        models = load_models(config)
        embedder, mesh = Canary(models.embedder), Canary(models.mesh)
        watched = replace(models, embedder=embedder, mesh=mesh)
        monkeypatch.setattr(edge_app.device, "load_models", lambda _, **__: watched)
        with Mosquitto(tmp_path / "broker") as broker:
            proxy = RecordingProxy(broker.port)
            said = io.StringIO()
            with files_opened_for_writing() as files, scraping(port) as scrapes:
                summary = _watch(config, home, tmp_path / "hud", proxy.port, said, *actors,
                                 duration_s=duration_s, asks=asks)  # fmt: skip
            proxy.close()
        log = "\n".join(record.getMessage() for record in caplog.records) + logged.getvalue()
        return Outcome(
            summary, embedder, mesh, files, bytes(proxy.seen), said.getvalue() + log,
            "".join(scrapes), home.folder, tmp_path / "hud",
        )  # fmt: skip

    return run


def _watch(
    config: Config,
    home: Home,
    pictures: Path,
    port: int,
    said: io.StringIO,
    *actors: Any,
    duration_s: float,
    asks: bool,
) -> RunSummary:
    device = Device(
        config,
        home,
        source=scene_camera(duration_s, *actors),
        lossless=True,
        outputs=Outputs(
            display=DemoPngDisplay(
                pictures, origin=FrameOrigin.REPLAY, fonts=FontSet(), language="en"
            ),
            speaker=NullSpeaker(),
            sinks=(JsonLinesSink(said),),
            broker_url=f"mqtt://user:{PASSWORD}@127.0.0.1:{port}",
        ),
        clock=SystemClock(),
        stop=threading.Event(),
    )
    if asks:
        device.ask()
    return device.run()


def _traces(outcome: Outcome, pieces: set[bytes]) -> list[str]:
    places = {str(path): path.read_bytes() for path in outcome.home.rglob("*") if path.is_file()}
    places |= {name: Path(name).read_bytes() for name in outcome.files if Path(name).is_file()}
    places |= {"network": outcome.network, "said": outcome.said.encode()}
    places |= {"metrics": outcome.metrics.encode()}
    return [place for place, data in places.items() if any(piece in data for piece in pieces)]


def test_strangers_leave_nothing_but_counts(drive: Callable[..., Outcome], cast: Cast) -> None:
    outcome = drive(
        cast.walk("stranger-1.jpg", (0, 400, 500, 90), (3, 800, 480, 160)),
        cast.walk("stranger-2.png", (0, 1500, 500, 150), (3, 1200, 480, 100)),
        duration_s=3.0,
    )
    assert outcome.summary.faces_embedded >= 6  # they were looked at and searched
    assert outcome.summary.alerts == 0
    assert outcome.said.count('"specversion"') == 0
    pieces = fragments(outcome.embedder.outputs + outcome.embedder.inputs + outcome.mesh.inputs)
    assert len(pieces) > 50
    assert _traces(outcome, pieces) == []
    assert not list(outcome.pictures.glob("*.png"))  # nothing was ever shown
    published = outcome.network.count(b"/event/match")
    assert published == 0
    assert '"logger": "edge_app.' in outcome.said  # the program logged, as JSON too
    assert b"/state/health" in outcome.network  # it was told, and searched for traces too
    assert 'familiar_stage_seconds_count{stage="embed"}' in outcome.metrics  # the same


def test_a_stranger_whom_the_wearer_asked_about_leaves_nothing(
    drive: Callable[..., Outcome], cast: Cast
) -> None:
    outcome = drive(
        cast.stand("stranger-1.jpg", 500, 500, 130, 3.0),
        cast.stand("stranger-2.png", 1400, 500, 150, 3.0),
        duration_s=3.0,
        asks=True,
    )
    assert outcome.summary.faces_embedded >= 6
    pieces = fragments(outcome.embedder.outputs + outcome.embedder.inputs + outcome.mesh.inputs)
    assert _traces(outcome, pieces) == []
    assert len(list(outcome.pictures.glob("*.png"))) == 1  # that nobody enrolled is there


def test_beside_an_enrolled_person_strangers_still_leave_nothing(
    drive: Callable[..., Outcome], cast: Cast
) -> None:
    outcome = drive(
        cast.walk("stranger-1.jpg", (0, 400, 500, 110), (2.5, 500, 480, 140)),
        cast.stand("enrolled-3.jpg", 1300, 500, 130, 2.5),
        duration_s=2.5,
    )
    assert outcome.summary.alerts == 1
    assert outcome.network.count(b'"specversion"') == 1
    pieces = fragments(outcome.embedder.outputs + outcome.embedder.inputs + outcome.mesh.inputs)
    assert _traces(outcome, pieces) == []


def test_only_known_files_are_ever_opened_for_writing(
    drive: Callable[..., Outcome], cast: Cast
) -> None:
    outcome = drive(cast.stand("stranger-1.jpg", 960, 500, 140, 1.5), duration_s=1.5)
    unexpected = {
        name
        for name in outcome.files
        if not name.startswith((str(outcome.home), "/dev/null", "/proc/self/fd/"))
    }
    assert unexpected == set()


def test_the_search_for_traces_would_find_one(drive: Callable[..., Outcome], cast: Cast) -> None:
    """A test that cannot fail proves nothing: here somebody logs an embedding."""
    outcome = drive(cast.stand("stranger-1.jpg", 960, 500, 140, 1.0), duration_s=1.0)
    embedding = outcome.embedder.outputs[0].reshape(-1)
    pieces = fragments(outcome.embedder.outputs)
    (outcome.home / "leak.bin").write_bytes(b"header" + embedding.tobytes())
    unit = embedding / np.linalg.norm(embedding)
    numbers = json.dumps([round(float(v), 4) for v in unit])
    outcome.said += numbers
    outcome.metrics += numbers
    found = {Path(place).name for place in _traces(outcome, pieces)}
    assert found == {"leak.bin", "said", "metrics"}
