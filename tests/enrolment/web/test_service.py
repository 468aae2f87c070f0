"""The station's page over real HTTP, asked by browsers that behave, and by others."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from pypdfium2 import PdfDocument

from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import Config
from edge_app.people import list_people
from tests.fleets import Fleet, code_of
from tests.stations import NAME, Asker, Serving, certified, serving

PAGES = ("notice", "capture", "summary", "receipt", "done", "gone")


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Serving]:
    picture = media / "enrolled-1.jpg"
    with serving(tmp_path_factory.mktemp("station"), "--demo", "--source", picture) as page:
        yield page
    said = page.said.read_text()
    assert NAME not in said
    assert not re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-", said)


@pytest.fixture
def asker(station: Serving) -> Asker:
    return station.asker()


def people(station: Serving) -> list[str]:
    home = Home(station.home, None)
    return [person.name for person in list_people(Config(), home, SystemClock())]


def captured(asker: Asker) -> None:
    """Up to the summary."""
    asker.agrees()
    assert asker.call("/en/start").status == 204
    while "go" not in (said := json.loads(asker.call("/en/look").data)):
        assert set(said) == {"turn", "ask", "hint", "done", "total"}
    assert said == {"go": "/en/summary"}
    assert asker.get("/en/summary").status == 200


# ---------------------------------------------------------------------------- the whole way


def test_from_the_notice_to_leaving(station: Serving, asker: Asker) -> None:
    captured(asker)
    assert NAME in asker.text
    assert people(station) == []
    assert asker.to(asker.post("/en/show")) == "/en/receipt"
    code = asker.code()
    assert '<svg role="img"' in asker.text
    pdf = PdfDocument(io.BytesIO(asker.get("/en/receipt.pdf").data))
    shown = "".join(page.get_textpage().get_text_range() for page in pdf)
    pdf.close()
    assert code[:14] in shown
    assert people(station) == []
    assert asker.post("/en/finish").status == 400  # without the tick
    assert people(station) == []
    asker.get("/en/receipt")
    assert asker.to(asker.post("/en/finish", have="yes")) == "/en/done"
    assert people(station) == [NAME]

    assert asker.get("/en/receipt").headers["location"] == "/en/done"
    assert asker.get("/en/receipt.pdf").headers["location"] == "/en/visit"
    other = station.asker()
    for wrong in ("", "ABCD", code[:-1] + ("0" if code[-1] != "0" else "1")):
        assert other.post("/en/record", code=wrong).status == 400
    other.post("/de/record", code=code.lower().replace("-", " "))
    assert NAME in other.text
    assert "Hilfe beim Erkennen" in other.text
    saved = other.post("/en/record", code=code, download="yes")
    assert json.loads(saved.data)["name"] == NAME
    assert "attachment" in saved.headers["content-disposition"]
    assert other.post("/en/leave", code=code).status == 200
    assert "You have left." in other.text
    assert people(station) == []
    other.post("/en/record", code=code)
    assert "Nothing is kept here of anybody" in other.text
    other.post("/en/leave", code=code)
    assert "Nobody with this code is here" in other.text


@pytest.mark.parametrize("at", ["notice", "summary", "receipt"])
def test_whoever_stops_leaves_nothing(station: Serving, asker: Asker, at: str) -> None:
    if at == "notice":
        asker.to(asker.post("/fr/begin"))
    else:
        captured(asker)
    if at == "receipt":
        asker.to(asker.post("/en/show"))
    language = "fr" if at == "notice" else "en"
    assert asker.to(asker.post(f"/{language}/stop")) == f"/{language}/gone"
    assert NAME not in asker.text
    assert people(station) == []
    for page in PAGES:
        answer = asker.get(f"/{language}/{page}")
        assert answer.status == (200 if page == "gone" else 303)
    assert asker.get(f"/{language}/receipt.pdf").status == 303


# ------------------------------------------------------------------------------- consent


def test_no_consent_is_ticked_beforehand_nor_after_a_fault(asker: Asker) -> None:
    asker.to(asker.post("/en/begin"))
    assert asker.text.count('type="checkbox"') == 2
    assert "checked" not in asker.text
    assert asker.post("/en/agree", name=NAME, read="yes").status == 400
    assert "checked" not in asker.text
    assert f'value="{NAME}"' in asker.text
    assert asker.text.count('aria-invalid="true"') == 1
    assert asker.get("/en/capture").headers["location"] == "/en/notice"


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({}, {"name", "read", "agree"}),
        ({"name": " ", "read": "on", "agree": "no"}, {"name", "read", "agree"}),
        ({"name": "A\x1b[2J", "read": "yes", "agree": "yes"}, {"name"}),
        ({"name": "A" * 81, "read": "yes", "agree": "yes"}, {"name"}),
        ({"name": "A", "relation": "\n", "read": "yes", "agree": ""}, {"agree"}),
        ({"name": "A", "relation": "a\nb", "read": "yes", "agree": "yes"}, {"relation"}),
    ],
)
def test_what_is_missing_is_named(asker: Asker, fields: dict[str, str], missing: set[str]) -> None:
    asker.to(asker.post("/en/begin"))
    assert asker.post("/en/agree", **fields).status == 400
    assert set(re.findall(r'<li><a href="#(\w+)">', asker.text)) == missing
    assert set(re.findall(r'id="(\w+)-fault"', asker.text)) == missing


def test_a_name_is_text_and_never_markup(asker: Asker) -> None:
    asker.to(asker.post("/en/begin"))
    name = '"><script>alert(1)</script>{{ 7777*7777 }}'
    asker.post("/en/agree", name=name)
    assert "<script>alert" not in asker.text
    assert "60481729" not in asker.text
    assert "{{ 7777*7777 }}" in asker.text


# ------------------------------------------------------------------------------ sessions


def test_the_cookie_is_for_this_page_alone(asker: Asker) -> None:
    assert "set-cookie" not in asker.get("/en/").headers
    asker.post("/en/begin")
    name, *rules = asker.set_cookie.split("; ")
    assert name.startswith("visit=")
    assert {rule.lower() for rule in rules} == {"httponly", "path=/", "samesite=strict"}


@pytest.mark.parametrize("path", ["agree", "show", "finish", "stop"])
@pytest.mark.parametrize("sent", ["", "é", "another's"])
def test_a_form_without_the_visits_own_token_does_nothing(
    station: Serving, asker: Asker, path: str, sent: str
) -> None:
    if sent == "another's":
        other = station.asker()
        other.to(other.post("/en/begin"))
        sent = other.token
    asker.to(asker.post("/en/begin"))
    fields = {"name": NAME, "read": "yes", "agree": "yes", "have": "yes"}
    assert asker.post(f"/en/{path}", **{**fields, "token": sent}).status == 403
    assert asker.get("/en/notice").status == 200


@pytest.mark.parametrize("path", ["start", "look", "stay"])
def test_nor_does_a_script(asker: Asker, path: str) -> None:
    asker.agrees()
    asker.token = asker.token[::-1]
    assert asker.call(f"/en/{path}").status == 403


def test_one_session_enrols_once(asker: Asker) -> None:
    """One use of the station's key for each browser session."""
    captured(asker)
    for path in ("start", "look"):
        answer = asker.call(f"/en/{path}")
        assert answer.status == 303 or json.loads(answer.data) == {"go": "/en/summary"}
    assert asker.to(asker.post("/en/agree", name="B", read="yes", agree="yes")) == "/en/visit"
    assert asker.get("/en/visit").headers["location"] == "/en/summary"
    assert NAME in asker.ask("GET", "/en/summary").data.decode()
    asker.post("/en/stop")


def test_one_person_is_before_the_camera(station: Serving, asker: Asker) -> None:
    asker.agrees()
    assert asker.call("/en/start").status == 204
    other = station.asker()
    other.agrees("de")
    assert other.call("/de/start").status == 409
    assert other.get("/de/picture").headers["location"] == "/static/nothing.svg"
    asker.post("/en/stop")


@pytest.mark.parametrize("page", PAGES)
def test_without_a_visit_every_page_says_that_it_is_over(asker: Asker, page: str) -> None:
    answer = asker.get(f"/en/{page}")
    assert answer.status == (200 if page == "gone" else 303)
    asker.cookie = "visit=" + "A" * 43
    assert asker.get(f"/en/{page}").status == answer.status


def test_a_page_answers_in_the_language_of_the_notice_that_was_read(asker: Asker) -> None:
    asker.to(asker.post("/de/begin"))
    assert asker.get("/en/notice").headers["location"] == "/de/notice"


# ------------------------------------------------------------------------ who may ask, and how


def test_every_answer_is_kept_by_nobody_and_runs_nothing_of_others(asker: Asker) -> None:
    for path in ("/", "/en/", "/en/leave", "/static/station.js", "/nowhere", "/en/notice"):
        headers = asker.get(path).headers
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "server" not in headers


@pytest.mark.parametrize("page", ["/", "/en/", "/de/record", "/fr/leave"])
def test_pages_need_nothing_from_elsewhere_and_hold_no_script(asker: Asker, page: str) -> None:
    asker.get(page)
    assert not re.search(r'(src|href|action)="(?!/|#)', asker.text)
    assert re.findall(r"<script[^>]*>", asker.text) == ['<script src="/static/station.js" defer>']
    assert "style=" not in asker.text
    assert not re.search(r"\son\w+=", asker.text)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "[::2]", "127.0.0.2"]
)
def test_by_another_name_it_is_not_asked(asker: Asker, host: str) -> None:
    """A foreign page whose name was made to point here gets nothing to read."""
    assert asker.ask("GET", "/en/", Host=host).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_of_other_pages_are_refused(asker: Asker, headers: dict[str, str]) -> None:
    if "Sec-Fetch-Site" in headers:
        headers = {"Origin": asker.url, **headers}
    for path in ("begin", "leave", "record", "agree"):
        answer = asker.ask("POST", f"/en/{path}", b"code=ABCD", **headers)
        assert answer.status == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"code=" + b"A" * 4_092, 413),
        (b"code=%ff%fe", 400),
        (b"\xff\x00", 400),
        (b"&".join(b"a%d=1" % n for n in range(20)), 400),
        (b"code=" + b"A" * 500, 400),
        (b"code=%00%00", 400),
    ],
    ids=["empty", "long", "not utf-8", "not ascii", "many fields", "no code", "zeros"],
)
def test_forms_that_are_none(asker: Asker, body: bytes, status: int) -> None:
    for path in ("record", "leave"):
        assert asker.ask("POST", f"/en/{path}", body, Origin=asker.url).status == status


def test_a_picture_that_is_too_long_is_not_read(asker: Asker) -> None:
    asker.agrees()
    assert asker.call("/en/look", b"\xff" * 1_500_001).status == 413


@pytest.mark.parametrize(
    "path",
    ["/xx/", "/en/nothing", "/static/../words/en.toml", "/static/%2e%2e/service.py", "/EN/", "/en"],
)
def test_there_is_nothing_else(asker: Asker, path: str) -> None:
    assert asker.get(path).status in {404, 307}
    assert "import" not in asker.text


def test_a_request_that_breaks_off_harms_nobody(station: Serving, asker: Asker) -> None:
    host, port = station.url.removeprefix("http://").split(":")
    head = f"POST /en/leave HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {station.url}\r\n"
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(f"{head}Content-Length: 99\r\n\r\ncode=A".encode())
    assert asker.get("/en/leave").status == 200


# -------------------------------------------------------------------- other kinds of station


CARE = """
purpose = "care"
attention.zone = [[0.3, 0], [0.7, 0], [0.7, 1], [0.3, 1]]
controller = { name = "Haus am See", contact = "haus@example.org" }
"""


def test_in_care_somebody_says_who_decides(tmp_path: Path, media: Path) -> None:
    picture = media / "enrolled-1.jpg"
    with serving(tmp_path, "--demo", "--source", picture, config=CARE) as station:
        asker = station.asker()
        asker.to(asker.post("/de/begin"))
        assert 'type="radio"' in asker.text
        assert "checked" not in asker.text
        agreed = {"name": "زيد", "read": "yes", "agree": "yes"}
        for basis in ("", "legitimate_interest"):
            assert asker.post("/de/agree", **agreed, basis=basis).status == 400
            assert re.findall(r'<li><a href="#(\w+)">', asker.text) == ["basis"]
        asker.post("/de/agree", **agreed, basis="legal_representative")
        assert asker.call("/de/start").status == 204
        while "go" not in json.loads(asker.call("/de/look").data):
            pass
        asker.get("/de/summary")
        assert "die Einwilligung Ihrer gesetzlichen Vertretung" in asker.text
        assert "Haus am See" in asker.text
        asker.post("/de/show")
        paper = asker.get("/de/receipt.pdf")  # no font for a PDF shapes these letters
        assert (
            paper.headers["content-disposition"] == 'attachment; filename="familiar-receipt.html"'
        )
        assert "زيد" in paper.data.decode()


def test_a_fleets_station_keeps_nothing_and_passes_on_who_leaves(
    tmp_path: Path,
) -> None:
    identity = certified(tmp_path)
    fleet = Fleet(tmp_path / "fleet")
    public, inbox = fleet.operator.folder / "fleet.json", fleet.operator.inbox
    options = ("--tablet", "--certificate", identity.certificate, "--key", identity.key)
    with serving(tmp_path, *options, "--fleet", public, "--to", inbox) as station:
        asker = station.asker(urllib3.PoolManager(ca_certs=str(tmp_path / "ca.pem")))
        asker.post("/en/begin", admission=station.admission())
        asker.get("/en/notice")
        assert "sends it to every device of the fleet" in asker.text
        asker.get("/en/record")
        assert "This station keeps nothing itself" in asker.text
        asker.post("/en/leave", code=code_of(1))
        assert "you are left out from the next publication on" in asker.text
    assert len(list(inbox.glob("*.revocation"))) == 1


def test_nothing_but_keys_is_left_of_whoever_stops(tmp_path: Path, media: Path) -> None:
    """P1, P5: a captured and signed enrolment that nobody finished."""
    with serving(tmp_path, "--demo", "--source", media / "enrolled-1.jpg") as station:
        asker = station.asker()
        captured(asker)
        asker.post("/en/show")
        before = {path.name for path in station.home.rglob("*")}
        keys = {"keys", "lock", "station.key", "stations.json", "store.key"}
        assert before <= {"config.toml", *keys}
        # The station is ended while the code is shown.
    assert {path.name for path in station.home.rglob("*")} == before
