"""The newcomer's way: from an empty folder to a synced device, by the commands of the README."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_app.__main__ import app
from edge_app.app import Home
from edge_app.operate import remove_device
from edge_app.publisher.folder import OperatorFolder
from edge_app.sync import introduce
from tests.fleets import CONFIG, Fleet, code_of, person, served, service
from tests.support import ROOT


def familiar(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "edge_app", *arguments),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FAMILIAR_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_from_an_empty_folder_to_a_synced_device(tmp_path: Path) -> None:
    def ran(*arguments: str) -> Any:
        return said(familiar(*arguments, "--json", cwd=tmp_path))

    made = ran("operator", "init", "--dir", "op", "--fleet", "harbour", "--purpose", "assist")
    assert made == {"fleet": "harbour", "purpose": "assist", "made": True}
    station = ran("--home", "desk", "station", "identity")
    ran("operator", "add-station", "--dir", "op", "--key", station["file"])
    first = familiar("--home", "gate", "sync", cwd=tmp_path)
    assert first.returncode == 2
    assert "give gate/device.json to the operator" in first.stderr
    ran("operator", "add-device", "--dir", "op", "--key", "gate/device.json")
    assert ran("operator", "publish", "--dir", "op")["generation"] == 1
    with served(tmp_path / "op" / "repository") as url:
        synced = ran("--home", "gate", "sync", "--url", url, "--root", "op/root.json")
        assert (synced["fleet"], synced["generation"], synced["changed"]) == ("harbour", 1, True)
        assert not ran("--home", "gate", "sync")["changed"]  # it knows the way now
    status = ran("operator", "status", "--dir", "op")
    assert (status["generation"], status["people"], len(status["devices"])) == (1, 0, 1)


def test_a_path_stays_in_one_piece(tmp_path: Path) -> None:
    folder = f"[b]{'long' * 40}"
    ask = ("operator", "init", "--dir", folder, "--fleet", "f", "--purpose", "assist")
    assert f"{folder}/root.json\n" in familiar(*ask, cwd=tmp_path).stdout


def test_a_station_enrols_the_living_only(tmp_path: Path) -> None:
    familiar("operator", "init", "--dir", "op", "--fleet", "f", "--purpose", "assist", cwd=tmp_path)
    done = familiar(
        *("station", "enrol", "--name", "A", "--purpose", "assist"),
        *("--fleet", "op/fleet.json", "--to", "op/inbox", "--source", "portrait.jpg"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "demo mode only" in done.stderr
    assert not list((tmp_path / "op" / "inbox").glob("*.enrolment"))


def test_leaving_at_the_station(tmp_path: Path) -> None:
    familiar("operator", "init", "--dir", "op", "--fleet", "f", "--purpose", "assist", cwd=tmp_path)
    done = familiar("station", "revoke", "--to", "op/inbox", "--code", code_of(1), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    published = said(familiar("operator", "publish", "--dir", "op", "--json", cwd=tmp_path))
    assert published["refused"] == []
    assert said(familiar("operator", "status", "--dir", "op", "--json", cwd=tmp_path))["left"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("operator", "status", "--dir", "none"), "cannot read none/fleet.json"),
        (("operator", "publish", "--dir", "none"), "fleet.json"),
        (("sync", "--url", "http://127.0.0.1:1"), "name it with --root"),
        (("sync", "--url", "http://127.0.0.1:1", "--root", "none"), "cannot read none"),
        (("revoke", "--url", "http://192.0.2.1", "-"), "revocation code"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_missing_is_named_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = familiar(*arguments, cwd=tmp_path)
    assert done.returncode in {2, 6}
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_leaving_at_one_device_says_whether_the_operator_knows(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    with service(fleet.operator) as url:
        fleet.sync(gate, url)
        done = familiar("--home", "gate", "revoke", code_of(1), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "You have left this gallery" in done.stdout
        assert "operator has noted it" in done.stdout
    done = familiar("--home", "gate", "revoke", code_of(1), cwd=tmp_path)
    assert "goes on trying" in " ".join(done.stdout.split())
    again = said(familiar("--home", "gate", "revoke", code_of(1), "--json", cwd=tmp_path))
    assert again == {"was_here": False, "operator": "waiting"}


def test_asking_how_far_it_has_come(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    gate = fleet.device("gate")
    fleet.device("lost")
    fleet.enrol([person(1)])
    fleet.publish()
    with service(fleet.operator) as url:

        def asked(*options: str) -> subprocess.CompletedProcess[str]:
            return familiar("revoke", code_of(1), "--url", url, *options, cwd=tmp_path)

        assert said(asked("--json")) == {"noted": True, "erasure": None}
        assert "has noted it" in asked().stdout
        fleet.publish()
        fleet.sync(gate, url)
        assert "Erased from generation 2 on 1 of 2 devices." in asked().stdout
        remove_device(fleet.operator, "lost")
        expected = "Erased from generation 2 on 1 of 1 device. 1 device was removed"
        assert expected in asked().stdout
        counts = {"generation": 2, "devices": 1, "acknowledged": 1, "removed": 1}
        assert said(asked("--json")) == {"noted": True, "erasure": counts}
    status = said(familiar("operator", "status", "--dir", "operator", "--json", cwd=tmp_path))
    assert status["departures"][0]["erasure"] == counts
    assert {expiry["role"] for expiry in status["expiries"]} == {
        *("root", "targets", "snapshot", "timestamp")
    }
    shown = familiar("operator", "status", "--dir", "operator", cwd=tmp_path).stdout
    assert "generation 2, said at" in shown
    assert "Root expires" in shown
    shown = familiar("operator", "status", "--dir", "operator", "--departures", cwd=tmp_path).stdout
    assert "Erased from generation 2 on 1 of 1 device." in shown
    assert "Name" not in shown
    assert code_of(1) not in shown


def test_every_command_may_be_repeated_and_speaks_json(tmp_path: Path) -> None:
    """The second time each says that nothing was left to do, and succeeds."""

    def ran(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return json.loads(done.output)

    def twice(*arguments: str) -> tuple[Any, Any]:
        return ran(*arguments), ran(*arguments)

    folder, desk, gate = (str(tmp_path / name) for name in ("op", "desk", "gate"))
    at = ("--dir", folder)
    first, again = twice("operator", "init", *at, "--fleet", "f", "--purpose", "assist")
    assert (first["made"], again["made"]) == (True, False)
    first, again = twice("--home", desk, "station", "identity")
    assert first == again
    first, again = twice("operator", "add-station", *at, "--key", first["file"])
    assert (first["added"], again["added"]) == (True, False)
    file, _ = introduce(CONFIG, Home(Path(gate), None))
    first, again = twice("operator", "add-device", *at, "--key", str(file))
    assert (first["added"], again["added"]) == (True, False)
    first, again = twice("station", "revoke", "--to", f"{folder}/inbox", "--code", code_of(1))
    assert first == again
    first, again = twice("operator", "publish", *at)
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["generation"] == again["generation"] == 1
    with service(OperatorFolder(Path(folder))) as url:
        where = ("--url", url, "--root", f"{folder}/root.json")
        first, again = twice("--home", gate, "sync", *where)
        assert (first["changed"], again["changed"]) == (True, False)
        first, again = twice("--home", gate, "revoke", code_of(2))
        assert first == again == {"was_here": False, "operator": "told"}
        first, again = twice("revoke", code_of(2), "--url", url)
        assert first == again == {"noted": True, "erasure": None}
    first, again = twice("operator", "status", *at)
    assert first == again
    assert first["devices"][0]["acknowledged"] == 1
    first, again = twice("operator", "renew", *at)
    assert set(first) == set(again) == {"fresh_until"}
    first, again = twice("operator", "rotate-root", *at)
    assert first == again == {"rotated": True}
    for kind, name in (("device", first_name(folder, "devices")), ("station", "glasses")):
        first, again = twice("operator", f"remove-{kind}", *at, name)
        assert (first["removed"], again["removed"]) == (True, False)


def first_name(folder: str, kind: str) -> str:
    done = CliRunner().invoke(app, ["operator", "status", "--dir", folder, "--json"])
    return str(json.loads(done.output)[kind][0]["name"])


def test_doctor_names_the_keys_that_lie_in_the_home(tmp_path: Path) -> None:
    Fleet(tmp_path).device("gate")
    done = familiar("--home", "gate", "doctor", "--camera", "/dev/video77", "--json", cwd=tmp_path)
    found = {finding["part"]: finding for finding in json.loads(done.stdout)}["other keys"]
    assert found["health"] == "warning"
    assert "LoadCredentialEncrypted=device.key" in found["detail"]
    assert "station.key" not in found["detail"]
