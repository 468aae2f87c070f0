"""What the pages of docs/ show is run, as it stands."""

from __future__ import annotations

import http.server
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_app.errors import CameraError
from edge_app.records import FrameOrigin
from tests.support import ROOT

DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_the_tour_can_be_walked(tmp_path: Path, media: Path) -> None:
    commands = [line for block in blocks("tour.md", "sh") for line in block.splitlines()]
    assert len(commands) >= 6
    said = {}
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["familiar", "--home", "tour"]
        words = [word.replace("build/media", str(media)) for word in words[3:]]
        done = subprocess.run(
            [sys.executable, "-m", "edge_app", "--home", str(tmp_path / "tour"), *words],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)
        said[words[0]] = done.stdout
    assert said["run"].count('"specversion"') == 1
    assert "Barack" not in said["run"]
    assert "Barack" in said["people"]


class Snapshots(http.server.BaseHTTPRequestHandler):
    """A black picture, a broken one, and so on."""

    asked = 0

    def do_GET(self) -> None:
        Snapshots.asked += 1
        picture = cv2.imencode(".jpg", np.zeros((120, 160, 3), np.uint8))[1].tobytes()
        body = picture if Snapshots.asked % 2 else b"no picture"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Snapshots) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/still.jpg"
        server.shutdown()
        serving.join()


def test_the_camera_of_the_tutorial_is_one(address: str) -> None:
    (code,) = blocks("add-a-camera.md", "python")
    assert len(code.splitlines()) <= 45  # with its imports
    tutorial: dict[str, Any] = {}
    exec(compile(code, "add-a-camera.md", "exec"), tutorial)  # noqa: S102 - our own page
    camera = tutorial["SnapshotCamera"](address)
    assert camera.origin is FrameOrigin.LIVE
    camera.open()
    first, second = camera.read(), camera.read()
    assert first.image_bgr.shape == (120, 160, 3)
    assert (first.sequence, second.sequence, camera.undecodable) == (1, 2, 1)
    assert second.time_s >= first.time_s
    camera.close()


def test_a_camera_of_the_tutorial_that_is_gone_says_so() -> None:
    (code,) = blocks("add-a-camera.md", "python")
    tutorial: dict[str, Any] = {}
    exec(compile(code, "add-a-camera.md", "exec"), tutorial)  # noqa: S102 - our own page
    camera = tutorial["SnapshotCamera"]("http://127.0.0.1:1/still.jpg")
    camera.open()
    with pytest.raises(CameraError, match="check its address"):
        camera.read()
    camera.close()


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "deploy/docs/mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    named = set(re.findall(r"([\w/-]+\.md)$", menu, re.MULTILINE))
    there = {path.name for path in DOCS.glob("*.md")}
    there |= {f"reference/{path.name}" for path in (DOCS / "reference").glob("*.md")}
    assert there - named == set()
