"""The operators' page over real HTTP, asked by browsers that behave, and by others."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3

from edge_app.adapters.mqtt import OFFLINE, Incoming
from edge_app.backend.accounts import Accounts
from edge_app.backend.audit import Action, Entry, first_broken, newest_entries
from edge_app.backend.database import Database
from edge_app.backend.roles import Role
from edge_app.backend.states import keep_state, note_collecting, read_state
from edge_app.backend.store import EncounterStore, newest
from edge_app.core.overview import encode_overview
from edge_app.records import Alert
from tests.adapters.test_mqtt import until
from tests.backend.test_store import alert
from tests.databases import emptied
from tests.overviews import an_overview
from tests.stations import Asker, Serving, certified, serving

PASSWORD = "four words not together"  # noqa: S105 - nobody else's
PLACES = ("encounters", "people", "devices", "erasures", "audit")


class Backend:
    """A page over a database of its own."""

    def __init__(self, page: Serving) -> None:
        self.page = page

    def signed_in(self, role: Role, pool: urllib3.PoolManager | None = None) -> Asker:
        asker = self.page.asker(pool)
        asker.to(asker.post("/en/sign-in", name=f"ann-{role}", password=PASSWORD))
        return asker

    def database(self) -> closing[Database]:
        return closing(Database("", self.page.home))

    def keep(self, *alerts: Alert) -> None:
        with self.database() as database:
            EncounterStore(database).keep(alerts, now=datetime.now(UTC))

    def trail(self) -> tuple[Entry, ...]:
        with self.database() as database, database.reading() as execute:
            assert first_broken(execute) is None
            return newest_entries(execute, 10_000)

    def did(self) -> list[str]:
        return [entry.action.value for entry in self.trail()]


def furnish(home: Path) -> None:
    home.mkdir()
    now = datetime.now(UTC)
    with closing(Database("", home)) as database:
        for role in Role:
            Accounts(database).add(f"ann-{role}", role, PASSWORD, now=now)
        with database.writing() as execute:
            note_collecting(execute, "one", now=now)
            topic = "familiar/v1/riverside/gate-1/state/availability"
            keep_state(execute, read_state(Incoming(topic, OFFLINE, None, None)), now=now)
    (home / "overview.json").write_bytes(encode_overview(an_overview(now)))


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    furnish(folder / "home")
    overview = folder / "home" / "overview.json"
    with serving(folder, "--overview", overview, page="backend") as page:
        yield Backend(page)
    said = page.said.read_text()
    assert PASSWORD not in said
    assert "ann-" not in said


def keys(asker: Asker) -> list[str]:
    asker.get("/en/encounters")
    return re.findall(r'data-key="([^"]+)"', asker.text)


def fields_of(one: Alert) -> dict[str, str]:
    return {"site": one.site, "device": one.device, "alert_id": one.alert_id}


def key(one: Alert) -> str:
    return f"{one.site}.{one.device}.{one.alert_id}"


# --------------------------------------------------------------------------------- signing in


def test_nobody_sees_anything_without_signing_in(backend: Backend) -> None:
    asker = backend.page.asker()
    assert asker.to(asker.get("/")) == "/en/sign-in"
    for place in PLACES:
        answer = asker.ask("GET", f"/en/{place}", Accept="text/html")
        assert (answer.status, answer.headers["location"]) == (303, "/en/sign-in")
        assert answer.data == b""
    for path in ("/en/live", "/en/proof/0123456789ab"):
        answer = asker.get(path)
        assert (answer.status, answer.data) == (401, b"")
    assert asker.post("/en/acknowledge", site="a", device="b", alert_id="c").status == 401
    for cookie in ("session=", "session=x", "session=" + "A" * 43):
        asker.cookie = cookie
        assert asker.get("/en/people").status == 401


def test_a_role_sees_its_own_places_and_no_others(backend: Backend) -> None:
    seen = {
        Role.CARER: {"encounters"},
        Role.OPERATOR: {"encounters", "people", "devices", "erasures"},
        Role.AUDITOR: {"erasures", "audit"},
    }
    for role, places in seen.items():
        asker = backend.signed_in(role)
        for place in PLACES:
            assert asker.get(f"/en/{place}").status == (200 if place in places else 403), place
            shown = set(re.findall(r'href="/en/([a-z]+)"[^>]*>[A-Z]', asker.text))
            assert shown & set(PLACES) == places
        assert asker.get("/en/live" if role is Role.AUDITOR else "/en/audit").status == 403
    auditor = backend.signed_in(Role.AUDITOR)
    one = alert(900)
    backend.keep(one)
    assert auditor.post("/en/acknowledge", **fields_of(one)).status == 403


def test_a_wrong_password_says_nothing_of_who_has_an_account(backend: Backend) -> None:
    pages = []
    for name in ("ann-carer", "nobody-of-that-name", "", "x" * 200, "\0"):
        asker = backend.page.asker()
        answer = asker.post("/en/sign-in", name=name, password=PASSWORD[1:])
        assert answer.status == 403
        assert "set-cookie" not in answer.headers
        pages.append(asker.text)
    assert len(set(pages)) == 1
    until(lambda: "sign_in_refused" in backend.did(), "it is noted")
    refused = [entry for entry in backend.trail() if entry.action == "sign_in_refused"]
    assert {(entry.who, entry.role) for entry in refused} == {("ann-carer", "carer")}


def test_a_password_that_was_typed_for_a_name_is_kept_nowhere(backend: Backend) -> None:
    backend.page.asker().post("/en/sign-in", name="my-secret-password", password=PASSWORD)
    assert all("my-secret-password" not in str(entry) for entry in backend.trail())
    assert "my-secret-password" not in backend.page.said.read_text()


def test_guessing_is_slowed_down(backend: Backend) -> None:
    asker = backend.page.asker()
    statuses = [
        asker.post("/en/sign-in", name="guessed", password=PASSWORD).status for _ in range(5)
    ]
    assert statuses[:3] == [403, 403, 403]
    assert 429 in statuses


def test_a_session_is_the_cookies_alone_and_ends_at_sign_out(backend: Backend) -> None:
    asker = backend.signed_in(Role.CARER)
    for rule in ("httponly", "samesite=strict", "path=/"):
        assert rule in asker.set_cookie.lower()
    again = backend.signed_in(Role.CARER)
    assert again.cookie != asker.cookie
    kept = asker.cookie
    assert asker.to(asker.post("/en/sign-out")) == "/en/sign-in"
    asker.cookie = kept
    assert asker.get("/en/encounters").status == 401
    assert again.get("/en/encounters").status == 200
    kept = again.cookie
    again.post("/en/sign-in", name="ann-carer", password=PASSWORD)
    assert again.cookie != kept
    again.cookie = kept
    assert again.get("/en/encounters").status == 401


def test_whose_account_changes_is_signed_out(backend: Backend) -> None:
    now = datetime.now(UTC)
    with backend.database() as database:
        accounts = Accounts(database)
        accounts.add("leaver", Role.CARER, PASSWORD, now=now)
        changes: list[Callable[[], None]] = [
            lambda: accounts.set_role("leaver", Role.OPERATOR),
            lambda: accounts.set_password("leaver", PASSWORD + "!"),
            lambda: accounts.remove("leaver"),
        ]
        for change in changes:
            asker = backend.page.asker()
            for password in (PASSWORD, PASSWORD + "!"):
                asker.post("/en/sign-in", name="leaver", password=password)
            assert asker.get("/en/encounters").status == 200
            change()
            assert asker.get("/en/encounters").status == 401


def test_only_its_own_pages_may_ask(backend: Backend) -> None:
    asker = backend.signed_in(Role.CARER)
    one = alert(901)
    backend.keep(one)
    fields = fields_of(one)
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    for headers in (
        {}, {"Origin": "https://evil.example"}, {"Origin": "null"},
        {"Origin": asker.url, "Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        assert asker.ask("POST", "/en/acknowledge", body, **headers).status == 403
    # From here, without the session's token or with another's.
    other = backend.signed_in(Role.CARER)
    for token in ("", "x", other.token):
        assert asker.post("/en/acknowledge", **fields, token=token).status == 403
    assert asker.ask("GET", "/en/sign-in", Host="evil.example").status == 421
    with backend.database() as database, database.reading() as execute:
        found = {one.alert.alert_id: one.acknowledged for one in newest(execute, 100)}
    assert found[one.alert_id] is None


# --------------------------------------------------------------------------------- encounters


def test_encounters_are_shown_and_seen_to(backend: Backend) -> None:
    asker, other = backend.signed_in(Role.CARER), backend.signed_in(Role.OPERATOR)
    one = alert(1, demo=True)
    backend.keep(one)
    assert key(one) in keys(asker)
    text = asker.text
    for shown in ("glasses-1, riverside", one.consent_record_id, one.subject_ref, "0.71", "demo"):
        assert shown in text
    fields = fields_of(one)
    assert asker.to(asker.post("/en/acknowledge", **fields)) == "/en/encounters"
    assert "Seen to by ann-carer" in asker.text
    other.get("/en/encounters")
    assert other.to(other.post("/en/acknowledge", **fields)) == "/en/encounters"
    assert "Seen to by ann-carer" in other.text
    acts = [entry for entry in backend.trail() if entry.action == "acknowledged"]
    assert [(entry.who, entry.detail) for entry in acts] == [("ann-carer", "riverside/glasses-1")]


def test_what_is_no_encounter_cannot_be_seen_to(backend: Backend) -> None:
    asker = backend.signed_in(Role.CARER)
    before = backend.did().count("acknowledged")
    for alert_id in ("", "\0", "a" * 65, "' OR 1=1 --"):
        fields = {"site": "riverside", "device": "gate-1", "alert_id": alert_id}
        assert asker.post("/en/acknowledge", **fields).status == 400
    fields = {"site": "riverside", "device": "gate-1", "alert_id": "not-there"}
    assert asker.post("/en/acknowledge", **fields).status == 303
    assert backend.did().count("acknowledged") == before


def test_the_trail_holds_nothing_of_anybody_who_was_met(backend: Backend) -> None:
    one = alert(2, subject_ref="c" * 32, consent_record_id="0f8fad5b-d9cb-469f-a165-00000canary0")
    backend.keep(one)
    for role in Role:
        asker = backend.signed_in(role)
        for place in PLACES:
            asker.get(f"/en/{place}?record=0f8fad5b&digest=0123456789ab")
        asker.get("/en/proof/0123456789ab")
        asker.post("/en/acknowledge", **fields_of(one))
        asker.post("/en/sign-out")
    backend.page.asker().post("/en/sign-in", name=one.subject_ref, password=one.alert_id)
    trail = backend.trail()
    at_the_command_line = {Action.ACCOUNT_ADDED, Action.ACCOUNT_CHANGED, Action.ACCOUNT_REMOVED}
    others = at_the_command_line | {Action.FORGOT, Action.PRUNED}
    assert {entry.action for entry in trail} >= set(Action) - others
    for secret in (
        one.subject_ref,
        one.alert_id,
        one.consent_record_id,
        "0123456789ab",
        "0f8fad5b",
    ):
        assert all(secret not in str(entry) for entry in trail)
    assert one.subject_ref not in backend.page.said.read_text()


# ------------------------------------------------------------------------------- live events


class Stream:
    """A browser's EventSource."""

    def __init__(self, asker: Asker) -> None:
        self._answer = asker.pool.request(
            "GET", asker.url + "/en/live", headers={"Cookie": asker.cookie}, preload_content=False,
            retries=False, timeout=urllib3.Timeout(30),
        )  # fmt: skip
        self.status = self._answer.status
        self._text = ""

    def next(self, *kinds: str) -> tuple[str, dict[str, object]]:
        """The next event of one of these kinds."""
        while True:
            while "\n\n" not in self._text:
                chunk = self._answer.read1(65_536)
                assert chunk, "the stream has ended"
                self._text += chunk.decode()
            event, _, self._text = self._text.partition("\n\n")
            found = re.fullmatch(r"event: (\w+)\ndata: (.*)", event)
            if found and found[1] in kinds:
                return found[1], json.loads(found[2])

    def rest(self) -> bytes:
        return self._answer.read()

    def close(self) -> None:
        self._answer.close()


@pytest.fixture
def stream(backend: Backend) -> Iterator[Stream]:
    opened = Stream(backend.signed_in(Role.CARER))
    yield opened
    opened.close()


def test_encounters_come_and_go_live(backend: Backend, stream: Stream) -> None:
    stream.next("beat")
    one = alert(3, subject_ref="d" * 32)
    backend.keep(one)
    _, come = stream.next("encounter")
    assert come["key"] == key(one)
    assert "<form" in str(come["html"])
    asker = backend.signed_in(Role.OPERATOR)
    asker.get("/en/encounters")
    asker.post("/en/acknowledge", **fields_of(one))
    _, seen = stream.next("encounter")
    assert seen["key"] == key(one)
    assert "Seen to by ann-operator" in str(seen["html"])
    with backend.database() as database:
        EncounterStore(database).forget(["d" * 32], until=datetime.now(UTC) + timedelta(days=1))
    assert stream.next("gone") == ("gone", {"key": key(one)})
    _, beat = stream.next("beat")
    assert key(one) not in str(beat["order"])
    assert beat["problem"] == ""


def test_a_stream_begins_with_all_there_is_the_newest_last(backend: Backend) -> None:
    backend.keep(*(alert(number, device="gate-9") for number in range(10, 13)))
    stream = Stream(backend.signed_in(Role.CARER))
    there = []
    while (event := stream.next("encounter", "beat"))[0] == "encounter":
        there.append(event[1]["key"])
    assert list(reversed(there)) == event[1]["order"]
    stream.close()


def test_whoever_signs_out_hears_no_more(backend: Backend) -> None:
    asker = backend.signed_in(Role.CARER)
    stream = Stream(asker)
    stream.next("beat")
    asker.post("/en/sign-out")
    stream.next("end")
    assert stream.rest() == b""


def test_a_session_has_a_few_streams_and_no_more(backend: Backend) -> None:
    asker = backend.signed_in(Role.CARER)
    asker.pool = urllib3.PoolManager(maxsize=10)
    streams = [Stream(asker) for _ in range(5)]
    assert [stream.status for stream in streams] == [200] * 4 + [429]
    for stream in streams:
        stream.close()
    deadline_s = time.monotonic() + 30
    while (again := Stream(asker)).status != 200:
        assert time.monotonic() < deadline_s
        again.close()
        time.sleep(0.2)
    again.close()


# ------------------------------------------------------------------- people, devices, erasures


def test_people_are_listed_by_record_and_never_by_name(backend: Backend) -> None:
    asker = backend.signed_in(Role.OPERATOR)
    assert asker.get("/en/people").status == 200
    rows = re.findall(r'<tr><th scope="row"><span class="letters" title="([^"]+)"', asker.text)
    assert len(rows) == 50
    assert "All (120)" in asker.text
    asker.get("/en/people?page=2")
    last = re.findall(r'<tr><th scope="row"><span class="letters" title="([^"]+)"', asker.text)
    assert len(last) == 20
    asker.get(f"/en/people?record={rows[3]}")
    assert asker.text.count('<tr><th scope="row">') == 1
    asker.get("/en/people?state=expired")
    assert "valid</span>" not in asker.text
    for hostile in ("state=%3Cscript%3E&record=%3Cscript%3Ealert(1)", "page=-1", "page=9" * 20,
                    "page=%00", "record=" + "x" * 5_000):  # fmt: skip
        assert asker.get(f"/en/people?{hostile}").status == 200
        assert "<script>alert" not in asker.text


def test_devices_are_shown_with_what_troubles_them(backend: Backend) -> None:
    asker = backend.signed_in(Role.OPERATOR)
    assert asker.get("/en/devices").status == 200
    assert "gate-1" in asker.text
    assert "offline" in asker.text
    assert "has not confirmed the newest gallery" in asker.text
    assert "removed at generation 30" in asker.text


def test_a_proof_of_erasure_is_to_be_had_by_who_may(backend: Backend) -> None:
    for role in (Role.OPERATOR, Role.AUDITOR):
        asker = backend.signed_in(role)
        asker.get("/en/erasures?digest=ba9876543210")
        assert "Cannot be asked (1)" in asker.text
        answer = asker.get("/en/proof/ba9876543210")
        assert answer.status == 200
        proof = json.loads(answer.data)
        assert proof["digest"] == "ba9876543210"
        assert [device["name"] for device in proof["erased"]] == ["gate-1"]
        assert [device["name"] for device in proof["unreachable"]] == ["gate-3"]
        assert asker.get("/en/proof/ffffffffffff").status == 404
    assert backend.signed_in(Role.CARER).get("/en/proof/ba9876543210").status == 403


def test_no_page_has_a_picture_or_a_script_of_another_place(backend: Backend) -> None:
    asker = backend.signed_in(Role.OPERATOR)
    for place in PLACES:
        answer = asker.get(f"/en/{place}")
        assert "<img" not in asker.text
        assert not re.findall(r'(?:src|href)="(?!/)', asker.text.replace('href="#main"', ""))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "camera=()" in answer.headers["permissions-policy"]


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_every_page_is_in_every_language(backend: Backend, language: str) -> None:
    for role in (Role.OPERATOR, Role.AUDITOR):
        asker = backend.signed_in(role)
        for place in (*PLACES, "sign-in"):
            asker.get(f"/{language}/{place}")
            assert f'<html lang="{language}">' in asker.text or place == "sign-in"


@pytest.mark.parametrize("path", ["/xx/people", "/en/", "/en/nothing", "/static/../service.py",
                                  "/static/%2e%2e/service.py", "/en/proof/../audit"])  # fmt: skip
def test_other_paths_lead_nowhere(backend: Backend, path: str) -> None:
    assert backend.signed_in(Role.CARER).get(path).status in {403, 404}


# ---------------------------------------------------------------------------------- what fails


def test_what_keeps_encounters_away_is_said(tmp_path: Path) -> None:
    furnish(tmp_path / "home")
    with serving(tmp_path, page="backend") as page:
        backend = Backend(page)
        asker = backend.signed_in(Role.OPERATOR)
        stream = Stream(asker)
        assert stream.next("beat")[1]["problem"] == ""
        with backend.database() as database, database.writing() as execute:
            note_collecting(execute, "one", now=datetime.now(UTC) - timedelta(minutes=5))
        while stream.next("beat")[1]["problem"] != "silent":
            pass
        with backend.database() as database, database.writing() as execute:
            execute("DELETE FROM collecting")
        while stream.next("beat")[1]["problem"] != "never":
            pass
        asker.get("/en/encounters")
        assert re.search(r'data-problem="never">', asker.text)
        asker.get("/en/people")
        assert "was not told of a fleet" in asker.text
        with backend.database() as database, database.writing() as execute:
            execute("ALTER TABLE encounter RENAME TO elsewhere")
        while stream.next("beat")[1]["problem"] != "database":
            pass
        with backend.database() as database, database.writing() as execute:
            execute("ALTER TABLE elsewhere RENAME TO encounter")
        while stream.next("beat")[1]["problem"] != "never":
            pass
        with backend.database() as database, database.writing() as execute:
            execute("DROP TABLE audit")
        # What cannot be noted is not done.
        assert asker.get("/en/people").status == 503
        assert asker.get("/en/encounters").status == 503
        stream.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not there"), (b"{}", "cannot be read"), (b"", "cannot be read")],
)
def test_an_overview_that_is_none_is_told_of(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    furnish(tmp_path / "home")
    overview = tmp_path / "home" / "overview.json"
    overview.unlink()
    if content is not None:
        overview.write_bytes(content)
    with serving(tmp_path, "--overview", overview, page="backend") as page:
        asker = Backend(page).signed_in(Role.OPERATOR)
        for place in ("people", "devices", "erasures"):
            assert asker.get(f"/en/{place}").status == 200
            assert said in asker.text
        assert asker.get("/en/proof/0123456789ab").status == 404
        overview.write_bytes(encode_overview(an_overview(datetime.now(UTC) - timedelta(hours=1))))
        asker.get("/en/people")
        assert "This may be old" in asker.text
        overview.write_bytes(encode_overview(an_overview(datetime.now(UTC))))
        asker.get("/en/people")
        assert "Fleet riverside, as of" in asker.text


def test_beyond_this_machine_it_is_encrypted(tmp_path: Path) -> None:
    furnish(tmp_path / "home")
    identity = certified(tmp_path)
    options = ("--certificate", identity.certificate, "--key", identity.key)
    with serving(tmp_path, "--host", "0.0.0.0", *options, page="backend") as page:  # noqa: S104
        url = re.sub(r"//[^:]+:", "//localhost:", page.url)
        pool = urllib3.PoolManager(ca_certs=str(tmp_path / "ca.pem"))
        page.url = url
        asker = Backend(page).signed_in(Role.CARER, pool)
        assert asker.get("/en/encounters").status == 200
        assert asker.set_cookie.startswith("__Host-session=")
        assert "secure" in asker.set_cookie.lower()


def test_unencrypted_it_is_for_this_machine_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="encrypted only"),
        serving(tmp_path, "--host", "0.0.0.0", page="backend"),  # noqa: S104
    ):
        pass


def test_sessions_end(tmp_path: Path) -> None:
    furnish(tmp_path / "home")
    config = "backend = { session_s = 300, idle_s = 60 }\n"
    with serving(tmp_path, config=config, page="backend") as page:
        stream = Stream(Backend(page).signed_in(Role.CARER))
        assert 0 < int(str(stream.next("beat")[1]["left_s"])) <= 300
        stream.close()


def test_it_ends_when_told_to_whoever_is_watching(tmp_path: Path) -> None:
    furnish(tmp_path / "home")
    with serving(tmp_path, page="backend") as page:
        stream = Stream(Backend(page).signed_in(Role.CARER))
        stream.next("beat")
    stream.close()


def test_it_shows_what_is_in_a_postgresql(tmp_path: Path, postgresql_address: str) -> None:
    database = emptied(postgresql_address)
    with closing(Database(database, tmp_path)) as opened:
        Accounts(opened).add("ann-carer", Role.CARER, PASSWORD, now=datetime.now(UTC))
        with serving(tmp_path, config=f'backend.database = "{database}"\n', page="backend") as page:
            asker = Backend(page).signed_in(Role.CARER)
            stream = Stream(asker)
            assert stream.next("beat")[1]["problem"] == "never"
            one = alert(1)
            EncounterStore(opened).keep([one], now=datetime.now(UTC))
            assert stream.next("encounter")[1]["key"] == key(one)
            asker.get("/en/encounters")
            asker.to(asker.post("/en/acknowledge", **fields_of(one)))
            assert "Seen to by ann-carer" in asker.text
            EncounterStore(opened).forget([one.subject_ref], until=datetime.now(UTC))
            assert stream.next("gone")[1]["key"] == key(one)
            stream.close()
        with opened.reading() as execute:
            assert first_broken(execute) is None
