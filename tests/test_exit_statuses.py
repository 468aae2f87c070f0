"""Every exit status of docs/reference/exit-statuses.md comes out of the program."""

from __future__ import annotations

import array
import fcntl
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers import free_port
from tests.support import ROOT


@dataclass(frozen=True)
class Case:
    """A command, and the configuration it runs with."""

    arguments: str
    toml: str = ""


ENROL = "enrol --demo --name A --purpose assist --source MEDIA/enrolled-1.jpg"
CASES = {
    0: Case("people list"),
    1: Case("doctor", '[camera]\nsource = "/dev/video99"'),
    2: Case("people list", 'purpose = "surveillance"'),
    3: Case(ENROL),  # with a network missing
    4: Case("run --source /dev/video99"),
    5: Case("run --source /dev/video99", '[indicator]\nled = "none-such"'),
    6: Case("people remove none-such"),
    7: Case(f"{ENROL} --source MEDIA/stranger-1.jpg"),
    8: Case("listen --broker mqtt://127.0.0.1:PORT"),
    9: Case("calibrate --dry-run --report /proc/none/report.html"),
    10: Case("run --source /dev/video99", '[pins]\nbutton = "GPIO17"'),
    130: Case("revoke -"),
}


def test_every_status_of_the_page_is_tried() -> None:
    page = (ROOT / "docs/reference/exit-statuses.md").read_text(encoding="utf-8")
    assert [int(status) for status in re.findall(r"^\| (\d+) ", page, re.MULTILINE)] == [*CASES]


@pytest.fixture(scope="module")
def without_a_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "edge_app", folder / "edge_app")
    shutil.copytree(ROOT / "models", folder / "models", symlinks=True)
    (folder / "models" / "facemesh.tflite").unlink()
    return folder


def command(case: Case, folder: Path, media: Path) -> list[str]:
    config = folder / "config.toml"
    config.write_text(case.toml, encoding="utf-8")
    words = case.arguments.replace("MEDIA", str(media)).replace("PORT", str(free_port())).split()
    options = ["--home", str(folder / "home"), "--config", str(config)]
    return [sys.executable, "-m", "edge_app", *options, *words]


@pytest.mark.parametrize("status", [status for status in CASES if status != 130])
def test_a_status(status: int, tmp_path: Path, media: Path, without_a_network: Path) -> None:
    done = subprocess.run(
        command(CASES[status], tmp_path, media),
        cwd=without_a_network if status == 3 else ROOT,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("familiar: ")]
    assert len(lines) == (status > 1), done.stderr


def test_ctrl_c(tmp_path: Path, media: Path) -> None:
    """While it waits for the rest of a line: it has then taken what is in the pipe."""
    with subprocess.Popen(
        command(CASES[130], tmp_path, media), cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"half a code")
        process.stdin.flush()
        left = array.array("i", [1])
        while left[0] and process.poll() is None:
            time.sleep(0.02)
            fcntl.ioctl(process.stdin, termios.FIONREAD, left)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
