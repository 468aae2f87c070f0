"""The command line as a user meets it: a process of its own, real pictures, real files.

Whatever is wrong ends in one line that says what to do, a status that is not 0, no traceback,
and a home that is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.brokers import free_port
from tests.support import ROOT, picture

PERSON = ("--name", "Zebedee Quux", "--relation", "friend", "--purpose", "assist")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on standard error. Fails if it is a traceback, or not alone."""
        lines = [line for line in self.err.splitlines() if line.startswith("familiar: ")]
        assert "Traceback" not in self.err, self.err
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass(frozen=True)
class Familiar:
    home: Path

    def __call__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "edge_app", "--home", str(self.home), *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **(environment or {})},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def state(self) -> dict[str, str]:
        """Every stored file and what is in it; locks and databases' side files left out."""
        return {
            str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.home.rglob("*"))
            if path.is_file() and path.parent.name == "store" and path.name != "lock"
        }


@pytest.fixture(scope="session")
def enrolled_home(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Path:
    home = tmp_path_factory.mktemp("enrolled") / "home"
    sources = ("--source", media / "enrolled-1.jpg", "--source", media / "enrolled-2.jpg")
    done = Familiar(home)("enrol", "--demo", *PERSON, *sources)
    assert done.status == 0, done.err
    return home


@pytest.fixture
def familiar(tmp_path: Path) -> Familiar:
    return Familiar(tmp_path / "home")


@pytest.fixture
def enrolled(tmp_path: Path, enrolled_home: Path) -> Familiar:
    shutil.copytree(enrolled_home, tmp_path / "home")
    return Familiar(tmp_path / "home")


# --------------------------------------------------------------------------- what works


def test_version_and_help(familiar: Familiar) -> None:
    assert familiar("--version").out.startswith("familiar ")
    assert "Recognises the people who asked" in familiar("--help").out
    for command in ("enrol", "people", "run", "revoke", "listen", "doctor", "bench"):
        assert familiar(command, "--help").status == 0
    assert not familiar.home.exists()


def test_the_enrolled_person_is_reported_and_nobody_else(enrolled: Familiar, media: Path) -> None:
    sources = ("enrolled-3.jpg", "stranger-1.jpg", "stranger-2.png")
    arguments = [text for name in sources for text in ("--source", str(media / name))]
    done = enrolled("run", "--demo", *arguments, "--output", "json")
    assert done.status == 0, done.err
    (line,) = done.out.splitlines()
    event = json.loads(line)
    assert event["type"] == "org.familiar.match.v1"
    assert event["data"]["demo"] is True
    assert event["data"]["score"] > event["data"]["threshold"]
    assert "Zebedee" not in done.out + done.err


def test_a_single_still_satisfies_the_three_frame_rule(enrolled: Familiar, media: Path) -> None:
    done = enrolled("run", "--demo", "--source", media / "enrolled-1.jpg", "--output", "json")
    assert len(done.out.splitlines()) == 1


def test_a_folder_of_pictures(enrolled: Familiar, media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("stranger-1.jpg", "enrolled-2.jpg"):
        shutil.copy(media / name, folder)
    (folder / "notes.txt").write_text("not a picture")
    done = enrolled("run", "--demo", "--source", folder, "--output", "json")
    assert len(done.out.splitlines()) == 1


def test_a_summary_is_written(enrolled: Familiar, media: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    enrolled("run", "--demo", "--source", media / "stranger-1.jpg", "--summary", path)
    summary = json.loads(path.read_text())
    assert summary["frames"] == 45
    assert summary["alerts"] == 0
    assert summary["faces_embedded"] >= 3


def test_people_are_listed_exported_and_removed(enrolled: Familiar) -> None:
    (person,) = json.loads(enrolled("people", "list", "--json").out)
    assert person["name"] == "Zebedee Quux"
    record = json.loads(enrolled("people", "export", person["person_id"]).out)
    assert record["consent_record"]["purpose"] == "assist"
    assert "embedding" not in json.dumps(record)
    assert enrolled("people", "remove", person["person_id"]).status == 0
    assert json.loads(enrolled("people", "list", "--json").out) == []
    assert "nobody" in enrolled("people", "remove", person["person_id"]).error_line


def test_the_code_on_the_receipt_lets_the_person_leave(familiar: Familiar, media: Path) -> None:
    receipt = familiar("enrol", "--demo", *PERSON, "--source", media / "enrolled-1.jpg").out
    lines = receipt.splitlines()
    code = lines[lines.index("YOUR REVOCATION CODE, SHOWN THIS ONCE") + 2].strip()
    backup = familiar.home / "store" / "gallery.sealed"
    saved = backup.read_bytes()
    assert familiar("revoke", code.lower()).status == 0
    assert json.loads(familiar("people", "list", "--json").out) == []
    backup.write_bytes(saved)  # somebody restores yesterday's gallery
    (familiar.home / "store" / "floor").unlink()
    people = json.loads(familiar("people", "list", "--json").out)
    assert all(person["fault"] for person in people)
    done = familiar("run", "--demo", "--source", media / "enrolled-1.jpg", "--output", "json")
    assert done.out == ""


def test_doctor_tells_what_is_wrong_and_what_to_do(enrolled: Familiar) -> None:
    done = enrolled("doctor", "--camera", "/dev/video77", "--json")
    assert done.status == 1
    findings = {finding["part"]: finding for finding in json.loads(done.out)}
    assert findings["camera"]["health"] == "fault"
    assert "/dev/video77" in findings["camera"]["detail"]
    assert findings["models"]["health"] == "well"
    assert findings["gallery"]["health"] == "well"
    assert findings["key"]["health"] == "warning"


def test_bench_prints_json(familiar: Familiar) -> None:
    report = json.loads(familiar("bench", "--json", "--calls", "5").out)
    assert {"machine", "stages", "first_frame_ms"} <= report.keys()
    assert all(stage["p50_ms"] <= stage["p95_ms"] for stage in report["stages"])


# ------------------------------------------------------------------------ what is refused


@pytest.fixture
def bad(tmp_path: Path, media: Path) -> dict[str, Path]:
    """Sources that nobody can be enrolled from."""
    folder = tmp_path / "bad"
    folder.mkdir()
    made = {
        "no face": folder / "wall.png",
        "several faces": folder / "crowd.png",
        "1 x 1": folder / "dot.png",
        "20,000 px": folder / "huge.png",
        "truncated": folder / "cut.jpg",
        "text": folder / "text.jpg",
        "empty folder": folder / "empty",
        "missing": folder / "missing.jpg",
        "blurred": folder / "blurred.png",
    }
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(made["no face"]), cv2.resize(noise, (900, 600)))
    faces = [cv2.resize(picture(media / n), (600, 750)) for n in
             ("enrolled-1.jpg", "stranger-1.jpg")]  # fmt: skip
    cv2.imwrite(str(made["several faces"]), np.hstack(faces))
    Image.new("RGB", (1, 1)).save(made["1 x 1"])
    Image.new("1", (20_000, 20_000)).save(made["20,000 px"])
    made["truncated"].write_bytes((media / "enrolled-1.jpg").read_bytes()[:60_000])
    made["text"].write_text("this is not a picture\n")
    made["empty folder"].mkdir()
    portrait = picture(media / "enrolled-1.jpg")
    cv2.imwrite(str(made["blurred"]), cv2.GaussianBlur(portrait, (0, 0), 14))
    return made


@pytest.mark.parametrize(
    "kind",
    ["no face", "several faces", "1 x 1", "20,000 px", "truncated", "text", "empty folder",
     "missing", "blurred"],
)  # fmt: skip
def test_nobody_is_enrolled_from(enrolled: Familiar, bad: dict[str, Path], kind: str) -> None:
    before = enrolled.state()
    done = enrolled("enrol", "--demo", *PERSON, "--source", bad[kind])
    assert done.status not in {0, 1}
    assert len(done.error_line) > 40
    assert enrolled.state() == before


@pytest.mark.parametrize("kind", ["1 x 1", "20,000 px", "truncated", "text", "empty folder"])
def test_nothing_is_run_on(enrolled: Familiar, bad: dict[str, Path], kind: str) -> None:
    done = enrolled("run", "--demo", "--source", bad[kind], "--output", "json")
    assert done.status not in {0, 1}
    assert bad[kind].name in done.error_line
    assert done.out == ""


def test_files_need_demo_mode(familiar: Familiar, media: Path) -> None:
    source = ("--source", media / "enrolled-1.jpg")
    assert "--demo" in familiar("enrol", *PERSON, *source).error_line
    assert "--demo" in familiar("run", *source).error_line
    assert familiar.state() == {}


def test_a_camera_is_no_demo(familiar: Familiar) -> None:
    assert "--demo" in familiar("run", "--demo", "--source", "0").error_line


def test_consent_is_given_in_person(familiar: Familiar) -> None:
    """No pipe, no script and no option can agree for somebody."""
    assert "present" in familiar("enrol", *PERSON, "--source", "0").error_line


def test_another_purpose_than_the_devices(familiar: Familiar, media: Path) -> None:
    done = familiar("enrol", "--demo", "--name", "A", "--purpose", "entry", "--source",
                    media / "enrolled-1.jpg")  # fmt: skip
    assert "entry" not in done.out
    assert "assist" in done.error_line


def test_a_missing_model(enrolled: Familiar, media: Path, tmp_path: Path) -> None:
    models = tmp_path / "package" / "models"
    shutil.copytree(ROOT / "models", models)
    shutil.copytree(ROOT / "edge_app", tmp_path / "package" / "edge_app")
    (models / "facemesh.tflite").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "edge_app", "--home", str(enrolled.home), "run", "--demo",
         "--source", str(media / "enrolled-1.jpg")],
        check=False, capture_output=True, text=True, cwd=tmp_path / "package",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "package"), "COLUMNS": "400"},
    )  # fmt: skip
    line = Done(done.returncode, done.stdout, done.stderr).error_line
    assert done.returncode == 3
    assert "facemesh.tflite" in line
    assert "make models" in line


def test_a_wrong_key(enrolled: Familiar, media: Path) -> None:
    before = enrolled.state()
    key = enrolled.home / "keys" / "store.key"
    key.write_bytes(b"\x01" * 32)
    for arguments in (("people", "list"), ("run", "--demo", "--source", media / "enrolled-1.jpg")):
        done = enrolled(*arguments)
        assert done.status == 6
        assert "key" in done.error_line
    assert enrolled.state() == before


def test_a_gallery_that_was_tampered_with(enrolled: Familiar) -> None:
    path = enrolled.home / "store" / "gallery.sealed"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "altered" in enrolled("people", "list").error_line


def test_a_broker_that_is_not_there_loses_nothing(enrolled: Familiar, media: Path) -> None:
    config = enrolled.home / "config.toml"
    config.write_text("[mqtt]\ndrain_s = 0.5\nconnect_timeout_s = 0.5\n")
    url = f"mqtt://127.0.0.1:{free_port()}"
    done = enrolled("run", "--demo", "--source", media / "enrolled-1.jpg", "--broker", url)
    assert done.status == 0
    assert "1 not delivered yet" in " ".join(done.err.split())
    assert "broker" in enrolled("doctor", "--camera", "/dev/video77", "--broker", url).out


def test_a_full_disk(enrolled: Familiar, media: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small disk; run it as root or in a container")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], check=True)
    try:
        shutil.copytree(enrolled.home, small / "home")
        on_small = Familiar(small / "home")
        before = on_small.state()
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={small / 'ballast'}"], check=False, capture_output=True
        )
        assert shutil.disk_usage(small).free == 0
        done = on_small("enrol", "--demo", *PERSON, "--source", media / "stranger-1.jpg")
        assert done.status == 9
        assert "space" in done.error_line
        assert on_small.state() == before
        assert len(json.loads(on_small("people", "list", "--json").out)) == 1
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize(
    ("text", "named"),
    [("purpos = 'assist'", "purpose"), ("[look]\nasked_s = 900", "look.asked_s"), ("[", "TOML")],
)
def test_a_wrong_configuration(familiar: Familiar, text: str, named: str) -> None:
    familiar.home.mkdir()
    (familiar.home / "config.toml").write_text(text)
    done = familiar("people", "list")
    assert done.status == 2
    assert named in done.error_line


def test_names_cannot_be_written_to_the_journal(enrolled: Familiar, media: Path) -> None:
    (enrolled.home / "config.toml").write_text('[hud]\ndisplay = "terminal"\n')
    assert "terminal" in enrolled("run", "--source", "0").error_line
