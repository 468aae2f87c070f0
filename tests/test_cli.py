"""The command line as a user meets it: a process of its own, real pictures, real files.

Whatever is wrong ends in one line that says what to do, a status that is not 0, no traceback,
and a home that is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.brokers import PASSWORD, Mosquitto, free_port
from tests.support import ROOT, picture

PERSON = ("--name", "Zebedee Quux", "--relation", "friend", "--purpose", "assist")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on standard error that is no log. Fails on a traceback, or two lines."""
        said = [line for line in self.err.splitlines() if line.startswith("familiar: ")]
        lines = [line for line in said if not line.startswith("familiar: WARNING ")]
        assert "Traceback" not in self.err, self.err
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass(frozen=True)
class Familiar:
    home: Path

    def __call__(
        self,
        *arguments: str | Path,
        environment: dict[str, str] | None = None,
        typed: str = "",
        redirected: str = "",
    ) -> Done:
        """redirected: what a shell is told after the command, such as ">/dev/full"."""
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirected}', "sh", *self.command(*arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            input=typed,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **(environment or {})},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "edge_app", "--home", *map(str, (self.home, *arguments))]

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
        assert f"Usage: familiar {command} " in familiar(command, "--help").out
    flag = next(line for line in familiar("run", "--help").out.splitlines() if "--demo" in line)
    assert "bool" not in flag
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
    assert path.stat().st_mode & 0o077 == 0  # who was met when is the wearer's business


def test_the_summary_counts_and_says_why_nobody_was_recognised(
    enrolled: Familiar, media: Path
) -> None:
    done = enrolled("run", "--demo", "--source", media / "enrolled-1.jpg")
    assert "1 alert (1 not delivered yet)" in done.err
    assert "Nobody" not in done.err
    done = enrolled("run", "--demo", "--source", media / "partial-1.jpg")
    assert "every face was rejected as cut off" in done.err
    (enrolled.home / "config.toml").write_text("[replay]\nfps = 1\nstill_s = 6.0\n")
    done = enrolled("run", "--demo", "--source", media / "enrolled-2.jpg")
    assert "needs 3 looks" in done.err


def test_people_are_listed_exported_and_removed(enrolled: Familiar) -> None:
    (person,) = json.loads(enrolled("people", "list", "--json").out)
    assert person["name"] == "Zebedee Quux"
    record = json.loads(enrolled("people", "export", person["person_id"]).out)
    assert record["consent_record"]["purpose"] == "assist"
    assert "embedding" not in json.dumps(record)
    removed = enrolled("people", "remove", person["person_id"], "--json")
    assert json.loads(removed.out) == {"person_id": person["person_id"], "removed": True}
    assert json.loads(enrolled("people", "list", "--json").out) == []
    assert "nobody" in enrolled("people", "remove", person["person_id"]).error_line


@pytest.mark.parametrize("columns", ["60", "80", "100"])
def test_the_list_of_people_shortens_nothing(enrolled: Familiar, columns: str) -> None:
    (person,) = json.loads(enrolled("people", "list", "--json").out)
    assert datetime.fromisoformat(person["valid_until"]).isoformat() == person["valid_until"]
    shown = enrolled("people", "list", environment={"COLUMNS": columns}).out
    assert max(map(len, shown.splitlines())) <= int(columns)
    for text in (person["person_id"], "Zebedee Quux", person["valid_until"][:10], "demo"):
        assert text in shown


def test_names_are_shown_as_they_are(familiar: Familiar, media: Path) -> None:
    name = ("--name", ":smile: [red]Zoë 山田", "--purpose", "assist")
    assert not familiar("enrol", "--demo", *name, "--source", media / "enrolled-1.jpg").status
    (person,) = json.loads(familiar("people", "list", "--json").out)
    assert person["name"] == name[1]
    for columns in ("60", "120"):
        assert name[1] in familiar("people", "list", environment={"COLUMNS": columns}).out


def test_the_code_on_the_receipt_lets_the_person_leave(familiar: Familiar, media: Path) -> None:
    receipt = familiar("enrol", "--demo", *PERSON, "--source", media / "enrolled-1.jpg").out
    lines = receipt.splitlines()
    code = lines[lines.index("YOUR REVOCATION CODE, SHOWN THIS ONCE") + 2].strip()
    backup = Path(shutil.copytree(familiar.home / "store", familiar.home / "yesterday"))
    assert "standard input" in familiar("revoke").error_line
    assert familiar("revoke", "-", typed=code.lower() + "\n").status == 0
    assert json.loads(familiar("people", "list", "--json").out) == []
    # Somebody restores yesterday's gallery.
    shutil.copytree(backup, familiar.home / "store", dirs_exist_ok=True)
    assert familiar("people", "list").status == 6
    (familiar.home / "withdrawn" / "floor").write_text("0")  # and makes it look the newest
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


def test_doctor_does_not_wait_for_ever_for_a_picture(familiar: Familiar) -> None:
    familiar.home.mkdir()
    (familiar.home / "config.toml").write_text("[camera]\ntimeout_s = 0.2\n")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def promise_pictures() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(
                        b"HTTP/1.0 200 OK\r\n"
                        b"Content-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"
                    )
                    kept.append(connection)

        kept: list[socket.socket] = []
        threading.Thread(target=promise_pictures, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        done = familiar("doctor", "--camera", address, "--json")
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()
    findings = {finding["part"]: finding for finding in json.loads(done.out)}
    assert findings["camera"]["health"] == "fault"
    assert "gives no picture" in findings["camera"]["detail"]


def test_doctor_leaves_the_light_of_a_running_device_alone(familiar: Familiar) -> None:
    led = familiar.home / "led"
    led.mkdir(parents=True)
    for name, text in (("brightness", "255"), ("max_brightness", "255"), ("trigger", "none")):
        (led / name).write_text(text)
    (familiar.home / "config.toml").write_text(f'[indicator]\nled = "{led}"\n')
    done = familiar("doctor", "--camera", "http://127.0.0.1:9/", "--json")
    findings = {finding["part"]: finding for finding in json.loads(done.out)}
    assert findings["indicator"]["health"] == "well"
    assert "in use" in findings["indicator"]["detail"]
    assert findings["camera"]["health"] == "not used"
    assert (led / "brightness").read_text() == "255"


BENCH = ("bench", "--calls", "5", "--templates", "100")


def test_bench_stores_its_figures_and_compares_them(familiar: Familiar, tmp_path: Path) -> None:
    stored, before = tmp_path / "bench.json", tmp_path / "before.json"
    assert familiar("bench", "--against", before).status == 2
    before.write_text('{"stages": [{"stage": "embed", "ratio": 0.001}], "replays": []}')
    done = familiar(*BENCH, "--save", stored, "--against", before)
    assert done.status == 1
    assert "slower: embed" in done.out
    report = json.loads(stored.read_text())
    assert {"machine", "stages", "replays"} <= report.keys()
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
    assert done.status == 8
    assert "1 not delivered yet" in done.err
    assert "1 alert waits in the outbox" in done.error_line
    assert "broker" in enrolled("doctor", "--camera", "/dev/video77", "--broker", url).out


def test_a_broker_that_does_not_know_us_loses_nothing(
    enrolled: Familiar, media: Path, tmp_path: Path
) -> None:
    run = ("run", "--demo", "--source", media / "enrolled-1.jpg", "--broker")
    (enrolled.home / "config.toml").write_text("[mqtt]\ndrain_s = 2.0\n")
    with Mosquitto(tmp_path / "broker") as broker:
        done = enrolled(*run, f"mqtt://user:wrong@127.0.0.1:{broker.port}")
        assert done.status == 8
        assert "1 alert waits in the outbox" in done.error_line
        done = enrolled(*run, f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}")
        assert done.status == 0
        assert "(0 not delivered yet)" in done.err


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=400k tmpfs "$SMALL" || exit 98
cp -r --preserve=mode "$BEFORE" "$SMALL/home" || exit 98
dd if=/dev/zero of="$SMALL/ballast" 2>/dev/null && exit 98
"$@"
status=$?
cp -r --preserve=mode "$SMALL/home" "$AFTER" && umount "$SMALL" && exit $status
"""


def test_a_full_disk(enrolled: Familiar, media: Path, tmp_path: Path) -> None:
    small, after = Familiar(tmp_path / "small" / "home"), Familiar(tmp_path / "after")
    small.home.parent.mkdir()
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    enrol = small.command("enrol", "--demo", *PERSON, "--source", media / "stranger-1.jpg")
    ran = subprocess.run(
        # Unchanged: a private tree cannot be had in a chroot.
        ["unshare", *user, "--mount", "--propagation", "unchanged",
         "sh", "-c", _ON_A_SMALL_DISK, "sh", *enrol],
        check=False, capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "SMALL": str(small.home.parent), "BEFORE": str(enrolled.home),
             "AFTER": str(after.home)},
    )  # fmt: skip
    if ran.returncode == 98 or "unshare:" in ran.stderr:
        pytest.fail(
            "this test mounts a small disk in a namespace of its own; allow user namespaces "
            f"(sysctl kernel.unprivileged_userns_clone=1), or run it as root: {ran.stderr}"
        )
    done = Done(ran.returncode, ran.stdout, ran.stderr)
    assert done.status == 9
    assert "space" in done.error_line
    assert after.state() == enrolled.state()
    assert len(json.loads(after("people", "list", "--json").out)) == 1


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-", "| true"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nobody_is_enrolled_who_cannot_be_given_the_receipt(
    enrolled: Familiar, media: Path, redirected: str, form: tuple[str, ...]
) -> None:
    before = enrolled.state()
    file = enrolled.home.parent / "receipt.txt"
    options = ("--source", media / "stranger-1.jpg", "--receipt", file)
    done = enrolled("enrol", "--demo", *PERSON, *options, *form, redirected=redirected)
    assert "output" in done.error_line
    assert enrolled.state() == before
    assert not file.exists()


def test_a_receipt_is_written_where_it_was_asked_for(familiar: Familiar, media: Path) -> None:
    file = familiar.home.parent / "receipt.html"
    options = ("--source", media / "enrolled-1.jpg", "--language", "de", "--receipt", file)
    done = familiar("enrol", "--demo", *PERSON, *options)
    assert done.status == 0, done.err
    assert '<html lang="de">' in file.read_text()
    assert "BELEG" in done.out
    again = familiar("enrol", "--demo", *PERSON, *options)
    assert "name another file" in again.error_line
    assert file.exists()


@pytest.mark.parametrize(
    "command",
    [("people", "list"), ("people", "list", "--json"), ("--help",), BENCH,
     ("doctor", "--camera", "/dev/video77")],
)  # fmt: skip
def test_output_that_cannot_be_written(enrolled: Familiar, command: tuple[str, ...]) -> None:
    done = enrolled(*command, redirected=">/dev/full")
    assert done.status == 8
    assert "No space left" in done.error_line


def test_messages_that_cannot_be_written_stop_nothing(enrolled: Familiar, media: Path) -> None:
    run = ("run", "--demo", "--source", media / "enrolled-1.jpg", "--output", "json")
    done = enrolled(*run, redirected="2>/dev/full")
    assert done.status == 0
    assert len(done.out.splitlines()) == 1
    assert enrolled("people", "export", "x", redirected="2>/dev/full").status == 6


def test_a_terminal_that_knows_only_ascii(familiar: Familiar, media: Path) -> None:
    enrol = ("enrol", "--demo", "--name", "Zo\u00eb", "--purpose", "assist")
    done = familiar(*enrol, "--source", media / "enrolled-1.jpg",
                    environment={"PYTHONIOENCODING": "ascii"})  # fmt: skip
    assert done.status == 0, done.err
    assert "Zo?" in done.out
    (person,) = json.loads(familiar("people", "list", "--json").out)
    assert person["name"] == "Zo\u00eb"


def test_control_characters_are_not_echoed(familiar: Familiar) -> None:
    for arguments in (("people", "remove", "\x1b[31mred"), ("run", "--source", "\x1b[31mred://")):
        done = familiar(*arguments)
        assert "\x1b" not in done.err
        assert "red" in done.error_line


def test_an_empty_home_is_not_the_present_folder(familiar: Familiar) -> None:
    done = Familiar(Path())("--home", "", "people", "list")
    assert done.status == 2
    assert "--home" in done.error_line


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


def test_what_is_wanted_and_measured_for_programs(familiar: Familiar, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "verification.json").write_text('{"accuracy": 0.999}')
    file = tmp_path / "verdicts.json"
    done = familiar("evaluate", "targets", "--results", tmp_path / "results", "--json", file)
    assert done.status == 1  # most of it was not measured
    first, *others = json.loads(file.read_text())["targets"]
    assert first["measure"] == "verification accuracy"
    assert (first["measured"], first["ci95"], first["met"]) == (0.999, None, True)
    assert any(other["met"] is None for other in others)


def test_the_address_of_the_page_for_programs(familiar: Familiar) -> None:
    familiar.home.mkdir()
    (familiar.home / "config.toml").write_text('[hud]\ndisplay = "web"\n')
    done = familiar("page", "--json")
    assert json.loads(done.out)["url"] == familiar("page").out.strip()
