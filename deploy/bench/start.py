"""From `familiar run` to the first match, and the memory that the running device then holds.

    python deploy/bench/start.py OUT.json [PEOPLE]

The device is a process of its own with a fleet's gallery in its encrypted store: people of random
vectors, and one real face from build/media. Its camera is an MJPEG stream on loopback that shows
this face in a frame of 1920 x 1080, 30 a second. Timed is from before the process exists to its
first alert.
"""

from __future__ import annotations

import http.server
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gallery import AXES, person, random_vector, served

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.keys import station_key
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import Home, embedder_sha256, load_models, make_rules
from edge_app.config import Config, make_config
from edge_app.core.align import FACE_PX
from edge_app.evaluation.bench_replay import compose, portraits
from edge_app.operate import add_device, add_station, init, publish_gallery
from edge_app.pipeline import Pipeline
from edge_app.publisher.folder import OperatorFolder
from edge_app.records import Float32Array, Purpose
from edge_app.station import deliver, introduce_station
from edge_app.sync import introduce, sync

MEDIA = Path(__file__).resolve().parents[2] / "build" / "media"
PEOPLE = 50_000
STARTS = 7
FPS = 30
FACE = (FACE_PX, FACE_PX)
PATIENCE_S = 60.0


def scene(config: Config) -> tuple[bytes, Float32Array, Float32Array]:
    """A JPEG frame with one face of 120 px, that face's embedding, and the network's axes."""
    models = load_models(config)
    pipeline = Pipeline(make_rules(config), models, NullStopwatch())
    image = compose(portraits(MEDIA, make_rules(config), models)[:1], 1)
    face, _ = pipeline.aligned(image, pipeline.detect_whole(image)[0])
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return jpeg, pipeline.embed(face), network_axes(pipeline)


def network_axes(pipeline: Pipeline) -> Float32Array:
    """The dimensions that embeddings span (docs/matching.md), shape (dim, 64), from noise."""
    random = np.random.default_rng(0)
    embeddings = []
    for _ in range(300):
        noise = random.integers(0, 256, (*random.integers(3, 40, 2), 3), np.uint8)
        embeddings.append(pipeline.embed(np.asarray(cv2.resize(noise, FACE), np.uint8)))
    axes = np.linalg.svd(np.array(embeddings), full_matrices=False)[2][: AXES.shape[1]]
    return np.asarray(axes.T, np.float32)


def show(jpeg: bytes, ports: Connection) -> None:
    """A camera on the network that always shows the same."""

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            part = head.encode() + jpeg + b"\r\n"
            while True:
                try:
                    self.wfile.write(part)
                except OSError:
                    return
                time.sleep(1 / FPS)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        ports.send(server.server_port)
        server.serve_forever()


@contextmanager
def camera(jpeg: bytes) -> Iterator[str]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=show, args=(jpeg, there), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{here.recv()}/"
    process.terminate()
    process.join()


def first_match(home: Path, url: str) -> tuple[float, float, float]:
    """Seconds to the first alert, memory of the device then and at most, in MB."""
    (home / "outbox.sqlite").unlink(missing_ok=True)
    begun = time.perf_counter()
    run = ("--home", home, "run", "--source", url, "--output", "json")
    device = subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", "edge_app", *run],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        line = device.stdout.readline() if device.stdout else b""
        seconds = time.perf_counter() - begun
        if not line:
            raise SystemExit(f"the device stopped ({device.wait()}) before it saw anybody")
        time.sleep(2.0)
        status = Path(f"/proc/{device.pid}/status").read_text("ascii")
        resident, most = (
            int(status.split(key)[1].split()[0]) / 1e3 for key in ("VmRSS:", "VmHWM:")
        )
    finally:
        device.terminate()
        device.wait(PATIENCE_S)
    return seconds, resident * 1.024, most * 1.024


def main() -> None:
    out = Path(sys.argv[1])
    people = int(sys.argv[2]) if len(sys.argv) > 2 else PEOPLE
    config, clock = make_config({}), SystemClock()
    jpeg, vector, axes = scene(config)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        operator, desk, home = OperatorFolder(folder / "op"), Home(folder / "d", None), folder / "g"
        init(operator, "bench", Purpose.ASSIST, clock)
        add_station(operator, introduce_station(config, desk)[0])
        add_device(operator, introduce(config, Home(home, None))[0])
        key, model, fleet = station_key(desk.keys), embedder_sha256(config), operator.fleet()
        deliver(person(0, model, key, vector), fleet, inbox=operator.inbox)
        for number in range(1, people):
            somebody = person(number, model, key, random_vector(number, axes))
            deliver(somebody, fleet, inbox=operator.inbox)
        publish_gallery(config, operator, clock, lambda _what, _done, _of: None)
        with served(operator.repository) as url:
            root = (operator.folder / "root.json").read_bytes()
            sync(config, Home(home, None), url=url, root=root, clock=clock)
            with camera(jpeg) as source:
                runs = [first_match(home, source) for _ in range(STARTS)]
    seconds, resident, most = zip(*runs, strict=True)
    result = {
        "people": people,
        "first_match_s": [round(value, 3) for value in sorted(seconds)],
        "rss_mb": round(statistics.median(resident), 1),
        "peak_rss_mb": round(statistics.median(most), 1),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        f"{people:,} enrolled: first match after {statistics.median(seconds):.2f} s (median of "
        f"{STARTS} starts, {min(seconds):.2f} to {max(seconds):.2f}); {result['rss_mb']} MB "
        f"resident, {result['peak_rss_mb']} at most"
    )


if __name__ == "__main__":
    main()
