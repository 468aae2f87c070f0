"""Chromium without a window, and what axe-core says of a page."""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import pytest
from playwright.sync_api import Browser, Page, Playwright, ViewportSize

from edge_app.records import ImageBgr
from models import build
from tests.support import ROOT

AXE = build.Package(
    registry="npm",
    version="4.14.1",
    archive="axe-core-4.14.1.tgz",
    archive_sha256="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    licence="MPL-2.0",
)
PHONE: ViewportSize = {"width": 390, "height": 844}
KIOSK: ViewportSize = {"width": 1080, "height": 1920}
NARROW: ViewportSize = {"width": 320, "height": 640}


def chromium(play: Playwright, *options: str) -> Browser:
    """A browser, to be closed. Fails with what to install if there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is missing; install it (Debian: apt install chromium)")
    return play.chromium.launch(
        executable_path=program, args=["--no-sandbox", "--disable-gpu", *options]
    )


def fake_camera(path: Path, images: Sequence[ImageBgr], *, fps: int = 5) -> tuple[str, ...]:
    """Options that make chromium's camera show these pictures of one size, over and over."""
    height, width = images[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for image in images:
            planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
            file.write(b"FRAME\n" + planes.tobytes())
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={path}",
    )


@cache
def axe_script() -> str:
    """axe-core, which only tests use."""
    archive = build.fetch("axe-core", AXE, ROOT / "build" / "axe-core")
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def faults(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA and good practice, a line for each."""
    page.evaluate(axe_script())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate(f"axe.run({{runOnly: {json.dumps(tags)}}})")
    assert found["passes"], "axe-core looked at nothing"
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflow_px(page: Page) -> int:
    """By how much the page is wider than the window."""
    return int(page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth"))


def until(page: Page, expression: str) -> None:
    """Wait for it to be true. Playwright's own way evaluates strings inside the page, which the
    page's policy forbids."""
    deadline_s = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline_s, (expression, page.url, page.inner_text("main"))
        page.wait_for_timeout(30)
