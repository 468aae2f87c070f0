"""The main job on real faces: enrol, replay a street, recognise, report. `make demo` runs it.

Everything goes the user's way, through the `familiar` command, a broker and a subscriber in
processes of their own. Only the scene and the pictures at the end are made here.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edge_app.adapters.cameras.scene import SceneCamera, write_mjpeg_avi
from edge_app.adapters.outer_camera import OuterCamera
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.config import Config
from edge_app.errors import EdgeAppError
from edge_app.pipeline import Pipeline
from edge_app.records import Frame
from pictures import draw_contact_sheet, draw_overview
from scene import DURATION_S, ENROLLED, FPS, WALKS, street_scene

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "demo"
CAMERA_BUILD = ROOT / "build" / "demo-camera"
LOCK = ROOT / "build" / "demo.lock"
MEDIA = ROOT / "build" / "media"
NAME = "Barack"
STREET = BUILD / "street.avi"
GRACE_S = 1.5
"""A tracklet outlives its face by 0.7 s, and a name takes 0.3 s to come."""

console = Console(highlight=False)


class DemoError(Exception):
    """The demo did not show what it is there to show."""


class Familiar:
    """The installed command, with the demo's home and broker."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"mqtt://demo@127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "edge_app", "--home", str(home)]

    def run(self, *arguments: str, **options: Any) -> str:
        """Runs to the end; its standard output. Raises DemoError with its error line."""
        done = subprocess.run(
            [*self._command, *arguments], check=False, capture_output=True, text=True, **options
        )
        if done.returncode:
            said = done.stderr.strip().removeprefix("familiar: ")
            raise DemoError(said or f"familiar {arguments[0]} failed")
        return str(done.stdout)

    def talk(self, *arguments: str) -> None:
        """Runs in this terminal. Ctrl-C is for the command, which ends in order; we wait."""
        process = self.start(*arguments)
        at_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = process.wait()
        finally:
            _stop(process)
            signal.signal(signal.SIGINT, at_interrupt)
        if status in {130, -signal.SIGINT}:
            sys.exit(130)
        if status:
            raise DemoError(f"familiar {arguments[0]} did not succeed")

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._command, *arguments], text=True, **options)


@contextmanager
def demo_broker(password: str) -> Iterator[int]:
    """The embedded broker in a process of its own; yields its port on loopback."""
    broker = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("broker.py"))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAMILIAR_BROKER_PASSWORD": password},
        start_new_session=True,  # Ctrl-C ends what it serves first
    )
    try:
        line = broker.stdout.readline() if broker.stdout else ""
        if not line:
            raise DemoError("the demo's broker did not start")
        yield int(json.loads(line)["port"])
    finally:
        _stop(broker)


@contextmanager
def listener(familiar: Familiar, events: Path) -> Iterator[None]:
    """A subscriber that writes what it receives; stands once this is entered."""
    with events.open("w") as file:
        process = familiar.start(
            "listen", "--broker", familiar.url,
            stdout=file, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            if not process.stderr or "listening" not in process.stderr.readline():
                raise DemoError("the subscriber could not connect to the demo's broker")
            yield
            time.sleep(1.0)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def prepared(home: Path, password: str) -> Iterator[None]:
    """The home with its configuration, made unless it is there, and this run's password."""
    home.mkdir(parents=True, exist_ok=True)
    secret, config = home / "broker-password", home / "config.toml"
    if not config.exists():
        config.write_text(
            'site = "demo"\ndevice = "glasses-1"\n'
            # Two visits within sixteen seconds shall count as two encounters.
            "[look]\nencounter_gap_s = 3.0\n"
            # What JSON quotes, TOML reads.
            f"[mqtt]\npassword_file = {json.dumps(str(secret), ensure_ascii=False)}\n"
        )
    secret.touch(mode=0o600)
    try:
        secret.write_text(password)
        yield
    finally:
        secret.unlink()


def replay_demo() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    password = secrets.token_urlsafe(24)
    home = BUILD / "home"
    with (
        prepared(home, password),
        _progress() as progress,
        demo_broker(password) as port,
        filmed_street(progress) as camera,
    ):
        familiar = Familiar(home, port)
        step = progress.add_task(f"enrolling {NAME} from two portraits", total=1)
        portraits = [f"--source={MEDIA / name}" for name in ("enrolled-1.jpg", "enrolled-2.jpg")]
        familiar.run(
            "enrol", "--demo", "--name", NAME, "--relation", "friend", "--purpose", "assist",
            *portraits,
        )  # fmt: skip
        progress.update(step, completed=1)
        with listener(familiar, BUILD / "events.jsonl"):
            _watch(familiar, progress)
        step = progress.add_task("drawing what happened", total=1)
        summary = _summarise()
        draw_contact_sheet(BUILD / "contact-sheet.png", camera, summary)
        draw_overview(BUILD / "overview.png", BUILD / "hud", summary)
        progress.update(step, completed=1)
    _report(summary)


@contextmanager
def filmed_street(progress: Progress) -> Iterator[SceneCamera]:
    """The scene, and for the time being its video, which takes 274 MB."""
    config = Config()
    reader = Pipeline(make_rules(config), load_models(config), NullStopwatch())
    camera = SceneCamera(street_scene(MEDIA, reader))
    step = progress.add_task("filming the street (1080p)", total=DURATION_S * FPS)
    counted = _Counted(camera, lambda: progress.advance(step))
    try:
        write_mjpeg_avi(STREET, counted, FPS)
        yield camera
    finally:
        STREET.unlink(missing_ok=True)


def _watch(familiar: Familiar, progress: Progress) -> None:
    step = progress.add_task("watching the street", total=DURATION_S)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.25):
            progress.advance(step, 0.25)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        familiar.run(
            "run", "--demo", f"--source={STREET}", "--pace", "realtime",
            "--broker", familiar.url, "--output", "json", "--summary", str(BUILD / "summary.json"),
            "--hud-png", str(BUILD / "hud"),
        )  # fmt: skip
    finally:
        done.set()
        progress.update(step, completed=DURATION_S)


def _summarise() -> dict[str, Any]:
    """The device's own summary, held against what we know of the scene."""
    summary: dict[str, Any] = json.loads((BUILD / "summary.json").read_text())
    events = [json.loads(line) for line in (BUILD / "events.jsonl").read_text().splitlines()]
    times_s: list[float] = summary["alert_times_s"]
    visits = [(w.steps[0][0], w.steps[-1][0]) for w in WALKS if w.label == ENROLLED]
    met = sum(any(a <= t <= b + GRACE_S for t in times_s) for a, b in visits)
    strange = sum(not any(a <= t <= b + GRACE_S for a, b in visits) for t in times_s)
    summary |= {
        "encounters_enrolled": len(visits),
        "encounters_recognised": met,
        "stranger_alerts": strange,
        "events_received": len(events),
        "subjects": [event["data"]["subject_ref"] for event in events],
        "scores": [event["data"]["score"] for event in events],
        "threshold": events[0]["data"]["threshold"] if events else None,
    }
    (BUILD / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _report(summary: dict[str, Any]) -> None:
    console.print(
        f"{summary['frames']} frames of 1080p at {summary['fps']} per second, "
        f"{summary['p50_ms']} ms each, 95 % below {summary['p95_ms']} ms"
    )
    console.print(
        f"{NAME} came {summary['encounters_enrolled']} times and was recognised "
        f"{summary['encounters_recognised']} times; {summary['stranger_alerts']} strangers named"
    )
    missed = summary["encounters_recognised"] < summary["encounters_enrolled"]
    if missed or summary["stranger_alerts"] or summary["events_received"] != summary["alerts"]:
        raise DemoError("this is not what should have happened: see build/demo/summary.json")
    console.print("\nLook at what it left behind:")
    for name, what in (
        ("contact-sheet.png", "the street, with who was recognised and who was not"),
        ("overview.png", "all of it in sixteen seconds, without a face"),
        ("hud/", "every picture that the display showed"),
        ("events.jsonl", "what a subscriber received over MQTT: no name, no face, no place"),
        ("summary.json", "counts and times"),
    ):
        console.print(f"  build/demo/{name:<18} {what}", soft_wrap=True)
    console.print("\nWith a webcam: make demo CAMERA=0")


def camera_demo(camera: str) -> None:
    """Enrol whoever sits before the camera, with their consent, and recognise them.

    Who enrolled in an earlier run stays enrolled.
    """
    home, password = CAMERA_BUILD / "home", secrets.token_urlsafe(24)
    with prepared(home, password), demo_broker(password) as port:
        familiar = Familiar(home, port)
        enrolled = len(json.loads(familiar.run("people", "list", "--json")))
        if not enrolled or _answer(f"{enrolled} enrolled already; enrol one more? [y/N] ") == "y":
            name = _answer("Your name, as the display shall show it: ")
            familiar.talk("enrol", f"--name={name}", "--purpose", "assist", f"--source={camera}")
        console.print("Now look at the camera again. Ctrl-C ends it.")
        familiar.talk("run", f"--source={camera}", "--broker", familiar.url)


def _answer(question: str) -> str:
    try:
        return console.input(question, markup=False).strip()
    except EOFError as error:
        raise DemoError("a person has to answer here; run it in a terminal") from error


class _Counted(OuterCamera):
    """A frame source that tells of every frame it gives."""

    def __init__(self, inner: SceneCamera, tell: Callable[[], object]) -> None:
        super().__init__(inner)
        self._tell = tell

    def read(self) -> Frame | None:
        frame = super().read()
        self._tell()
        return frame


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def alone() -> Iterator[None]:
    """Two demos at once would overwrite each other's files."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError("another demo is running; wait for its end, or end it") from error
        yield


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demo by way of everything that has to be cleaned up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera", help="a camera number or address, instead of the street")
    arguments = parser.parse_args()
    try:
        with alone():
            if arguments.camera is None:
                replay_demo()
            else:
                camera_demo(arguments.camera)
    except (DemoError, EdgeAppError) as error:
        console.print(f"familiar: {error}", style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
