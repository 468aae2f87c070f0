"""Where the page is served: on this machine, or over TLS to those whom somebody admits."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
import urllib3
from typer.testing import CliRunner

from edge_app.__main__ import app
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.web.serve import TlsIdentity, is_loopback, names_served
from edge_app.app import Home
from edge_app.config import Config
from edge_app.errors import ConfigError
from edge_app.people import export_person, list_people
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr
from tests.heads import relief
from tests.stations import NAME, Asker, Serving, certified, serving

NOW = datetime.now(UTC)
ANGLES = {
    "": (0.0, 0.0),
    "straight": (0.0, 0.0),
    "left": (38.0, 0.0),
    "right": (-38.0, 0.0),
    "up": (0.0, 20.0),
    "down": (0.0, -14.0),
}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> TlsIdentity:
    return certified(tmp_path_factory.mktemp("tls"))


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("::", False), ("192.0.2.1", False), ("example.org", False),
        ("", False), ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_what_only_this_machine_reaches(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    if loopback:
        assert "localhost" in names_served(host, None, NOW)
    else:
        with pytest.raises(ConfigError, match="--certificate and --key"):
            names_served(host, None, NOW)


def test_browsers_ask_by_the_names_of_the_certificate(identity: TlsIdentity) -> None:
    names = {"localhost", "127.0.0.1", "[::1]", "*.example.org"}
    assert names_served("192.0.2.1", identity, NOW) == names


def test_certificates_that_no_browser_takes(tmp_path: Path, identity: TlsIdentity) -> None:
    ended = certified(tmp_path, days=-1)
    with pytest.raises(ConfigError, match="give one that is valid today"):
        names_served("192.0.2.1", ended, NOW)
    with pytest.raises(ConfigError, match="names no host"):
        names_served("192.0.2.1", certified(tmp_path, client=True), NOW)
    (tmp_path / "empty").touch()
    wrong = [
        TlsIdentity(tmp_path / "none", tmp_path / "page.key"),
        TlsIdentity(tmp_path / "empty", tmp_path / "page.key"),
        TlsIdentity(identity.certificate, tmp_path / "page.key"),
        TlsIdentity(identity.key, identity.certificate),
    ]
    for each in wrong:
        with pytest.raises(ConfigError, match="are not a certificate and its key"):
            names_served("192.0.2.1", each, NOW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "192.0.2.1"], "encrypted only"),
        (["--tablet"], "over TLS only"),
        (["--certificate", "a"], "go together"),
        (["--fleet", "a"], "go together"),
        (["--demo", "--fleet", "a", "--to", "b"], "stay on the device"),
        (["--demo", "--tablet", "--source", "a.jpg"], "leave --source away"),
        (["--source", "a.jpg"], "add --demo"),
        (["--demo"], "--demo replays files"),
        (["--port", "65536"], None),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path, options: list[str], message: str | None
) -> None:
    run = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), "station", "serve", *options])
    if message is None:
        assert run.exit_code == 2
    else:
        assert isinstance(run.exception, ConfigError)
        assert message in str(run.exception)
        assert "\n" not in str(run.exception)
    assert not (tmp_path / "home").exists()


def test_a_taken_port_is_named(tmp_path: Path, media: Path) -> None:
    with serving(tmp_path, "--demo", "--source", media / "enrolled-1.jpg") as first:
        port = first.url.rpartition(":")[2]
        options = ["--demo", "--source", str(media / "enrolled-1.jpg"), "--port", port]
        run = CliRunner().invoke(app, ["--home", str(tmp_path), "station", "serve", *options])
    assert isinstance(run.exception, ConfigError)
    assert "Address already in use; give another --host or --port" in str(run.exception)


# -------------------------------------------------------------------------------- a tablet


@pytest.fixture(scope="module")
def tablets(tmp_path_factory: pytest.TempPathFactory, identity: TlsIdentity) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("tablets")
    files = ("--certificate", identity.certificate, "--key", identity.key)
    with serving(folder, "--tablet", "--host", "127.0.0.1", *files) as page:
        yield page


@pytest.fixture
def pool(identity: TlsIdentity) -> urllib3.PoolManager:
    return urllib3.PoolManager(ca_certs=str(identity.certificate.parent / "ca.pem"))


def test_a_tablet_is_admitted_once_with_each_code(
    tablets: Serving, pool: urllib3.PoolManager
) -> None:
    tablet = tablets.asker(pool)
    code = tablets.admission()
    for wrong in ("", "ABCD-EFGH", code[:-1], code + "A", "é"):
        assert tablet.post("/en/begin", admission=wrong).status == 403
        assert "does not admit" in tablet.text
        assert not tablet.cookie
    assert tablet.post("/en/begin", admission=code.lower().replace("-", " ")).status == 303
    name, *rules = tablet.set_cookie.split("; ")
    assert name.startswith("__Host-visit=")
    assert {rule.lower() for rule in rules} == {"httponly", "path=/", "samesite=strict", "secure"}
    assert tablets.admission() != code
    other = tablets.asker(pool)
    assert other.post("/en/begin", admission=code).status == 403
    assert other.get("/en/leave").status == 200  # leaving needs nobody's admission
    assert other.get("/en/record").status == 200


def test_nothing_older_than_tls_1_3_is_spoken(tablets: Serving, identity: TlsIdentity) -> None:
    old = ssl.create_default_context(cafile=str(identity.certificate.parent / "ca.pem"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(urllib3.exceptions.SSLError):
        urllib3.PoolManager(ssl_context=old).request("GET", tablets.url, retries=False)
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", tablets.url.replace("https", "http"), retries=False)


def look(tablet: Asker, image: ImageBgr) -> dict[str, str]:
    answer = tablet.call("/en/look", cv2.imencode(".jpg", image)[1].tobytes())
    assert answer.status == 200
    said: dict[str, str] = json.loads(answer.data)
    return said


def test_a_tablet_enrols_whoever_does_as_asked_and_the_record_says_how(
    tablets: Serving, pool: urllib3.PoolManager, pipeline: Pipeline, portrait: ImageBgr
) -> None:
    """P4: live, guided, with the liveness check; and that it was a browser's camera is signed."""
    person = relief(pipeline, portrait)
    poses = {turn: person.turned(*angles) for turn, angles in ANGLES.items()}
    tablet = tablets.asker(pool)
    tablet.agrees(admission=tablets.admission())
    assert tablet.call("/en/start").status == 204
    said, turns = {"turn": ""}, [""]
    while "go" not in said:
        turns += [said["turn"]] * (said["turn"] != turns[-1])
        said = look(tablet, poses[said["turn"]])
    assert said["go"] == "/en/summary", turns
    assert len(turns) > 9
    tablet.get("/en/summary")
    tablet.to(tablet.post("/en/show"))
    assert tablet.to(tablet.post("/en/finish", have="yes")) == "/en/done"
    home, clock = Home(tablets.home, None), SystemClock()
    (found,) = list_people(Config(), home, clock)
    assert (found.name, found.fault, found.demo) == (NAME, "", False)
    record = json.loads(export_person(Config(), home, found.person_id, clock))["consent_record"]
    assert record["collection_method"] == "live_guided_browser_capture"


def test_a_still_picture_from_a_tablet_enrols_nobody(
    tablets: Serving, pool: urllib3.PoolManager, portrait: ImageBgr
) -> None:
    tablet = tablets.asker(pool)
    tablet.agrees(admission=tablets.admission())
    assert tablet.call("/en/start").status == 204
    for _ in range(12):
        assert "go" not in look(tablet, portrait)
    assert tablet.call("/en/look", b"no picture").status == 200
    assert tablet.to(tablet.post("/en/stop")) == "/en/gone"
