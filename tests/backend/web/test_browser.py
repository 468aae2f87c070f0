"""The operators' page in a browser, over a real broker and a real collector.

Screenshots of every step are left in build/backend; `make pictures` puts some of them into docs/.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, Playwright, ViewportSize, sync_playwright

from edge_app.adapters.events import departure_to_cloudevent
from edge_app.adapters.mqtt import ONLINE, Outgoing, Topics, tell_all
from edge_app.backend.accounts import Accounts
from edge_app.backend.database import Database
from edge_app.backend.roles import Role
from edge_app.core.overview import encode_overview
from edge_app.records import Departure
from tests.adapters.test_mqtt import LINK
from tests.adapters.test_mqtt import until as until_stored
from tests.backends import Backend, alerts, publish, stored_ids
from tests.brokers import Mosquitto
from tests.browsers import NARROW, PHONE, chromium, faults, overflow_px, until
from tests.overviews import an_overview
from tests.stations import Serving, serving
from tests.support import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.network]

SHOTS = ROOT / "build" / "backend"
DESK: ViewportSize = {"width": 1100, "height": 760}
PASSWORD = "four words not together"  # noqa: S105 - nobody else's
HEALTH = (ROOT / "deploy" / "schemas" / "examples" / "health-v1-running.json").read_bytes()


class Room:
    """A broker, a collector, a page, and people who look at it."""

    def __init__(self, broker: Mosquitto, page: Serving, browser: Browser) -> None:
        self.broker = broker
        self.page = page
        self._browser = browser
        self._shots = 0

    def person(
        self, role: Role | None, *, scripts: bool = True, scheme: Literal["light", "dark"] = "light"
    ) -> Page:
        context = self._browser.new_context(
            locale="en-GB", timezone_id="Europe/London", viewport=DESK,
            java_script_enabled=scripts, color_scheme=scheme,
        )  # fmt: skip
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(self.page.url + "/")
        if role is not None:
            page.locator("#name").fill(f"ann-{role}")
            page.locator("#password").fill(PASSWORD)
            page.locator("main button[type=submit]").click()
        return page

    def see(self, page: Page, what: str) -> None:
        """Fails on what axe-core finds, and on a page that has to be scrolled sideways."""
        self._shots += 1
        page.locator("h1").wait_for()
        for size, window in (("narrow", NARROW), ("phone", PHONE), ("desk", DESK)):
            page.set_viewport_size(window)
            assert faults(page) == [], f"{what}, {size}"
            assert overflow_px(page) <= 0, f"{what}, {size}"
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=SHOTS / f"{what}-{size}.png", full_page=size != "desk")

    def say(self, *messages: Outgoing) -> None:
        tell_all(
            self.broker.address, tls=None, messages=list(messages), client_id="device", link=LINK
        )


@pytest.fixture(scope="module")
def play() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture
def room(play: Playwright, tmp_path: Path) -> Iterator[Room]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    home, now = tmp_path / "home", datetime.now(UTC)
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(tmp_path / "mosquitto"))
        stack.enter_context(Backend(home, broker))
        with closing(Database("", home)) as database:
            for role in Role:
                Accounts(database).add(f"ann-{role}", role, PASSWORD, now=now)
        overview = tmp_path / "overview.json"
        overview.write_bytes(encode_overview(an_overview(now)))
        page = stack.enter_context(serving(tmp_path, "--overview", overview, page="backend"))
        browser = chromium(play)
        stack.callback(browser.close)
        yield Room(broker, page, browser)


def shown(page: Page) -> list[str]:
    return [item.get_attribute("data-key") or "" for item in page.locator(".encounter").all()]


def live(page: Page) -> None:
    until(page, "document.querySelector('#state.on') !== null")


def wait(page: Page, is_so: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if is_so():
            return
        page.wait_for_timeout(30)
    pytest.fail(page.inner_text("main"))


def test_a_carer_sees_encounters_come_sees_to_them_and_sees_them_go(room: Room) -> None:
    nobody = room.person(None)
    room.see(nobody, "sign-in")
    nobody.locator("#name").fill("ann-carer")
    nobody.locator("#password").fill("not the password")
    nobody.locator("main button[type=submit]").click()
    nobody.get_by_role("alert").wait_for()
    until(nobody, "document.activeElement.getAttribute('role') === 'alert'")
    room.see(nobody, "sign-in-refused")

    carer, operator = room.person(Role.CARER), room.person(Role.OPERATOR)
    live(carer)
    live(operator)
    carer.get_by_text("No encounters are kept.").wait_for()
    room.see(carer, "encounters-none")

    one, two, three = alerts(3)
    publish(room.broker, [one, two])
    wait(carer, lambda: len(shown(carer)) == 2)
    assert carer.title().startswith("(2) ")
    assert "New:" in carer.locator("#news").inner_text()
    publish(room.broker, [three])
    wait(carer, lambda: len(shown(carer)) == 3)
    wait(operator, lambda: shown(operator) == shown(carer))
    assert shown(carer)[0].endswith(three.alert_id)

    # By keyboard alone, and without leaving the place.
    first = carer.locator(".encounter").first
    first.locator("button").focus()
    carer.keyboard.press("Enter")
    first.get_by_text("Seen to by ann-carer").wait_for()
    until(carer, "document.activeElement.closest('.encounter') !== null")
    operator.locator(".encounter").first.get_by_text("Seen to by ann-carer").wait_for()
    assert carer.title().startswith("(2) ")
    carer.locator(".encounter summary").nth(1).click()
    room.see(carer, "encounters")

    # Somebody leaves: the device says so, and they are gone from every screen.
    gone = Departure(
        "019ca945-0a01-7000-8000-000000000001", two.site, two.device, two.subject_ref, two.time,
        two.expiry_time,
    )  # fmt: skip
    topics = Topics(two.site, two.device)
    room.say(Outgoing(topics.departure, departure_to_cloudevent(gone)))
    wait(carer, lambda: not any(key.endswith(two.alert_id) for key in shown(carer)))
    wait(operator, lambda: shown(operator) == shown(carer))
    assert len(shown(carer)) == 2

    operator.get_by_role("button", name="Sign out").click()
    operator.wait_for_url("**/en/sign-in")
    operator.go_back()
    operator.wait_for_url("**/en/sign-in")


def test_what_goes_wrong_is_seen(room: Room) -> None:
    carer = room.person(Role.CARER)
    live(carer)
    button = carer.get_by_role("button", name="Sound")
    button.click()
    until(carer, "document.querySelector('#sound').getAttribute('aria-pressed') === 'true'")
    os.kill(room.page.pid, signal.SIGSTOP)
    carer.get_by_text("This page has lost its connection.").wait_for()
    assert carer.locator("#state.on").count() == 0
    room.see(carer, "encounters-lost")
    os.kill(room.page.pid, signal.SIGCONT)
    live(carer)
    assert carer.get_by_role("alert").filter(visible=True).count() == 0
    with closing(Database("", room.page.home)) as database:
        Accounts(database).remove("ann-carer")
    carer.get_by_text("You are signed out. Nothing new is shown.").wait_for()
    carer.get_by_role("link", name="Sign in").click()
    carer.wait_for_url("**/en/sign-in")


def test_people_devices_erasures_and_who_did_what(room: Room) -> None:
    for number, state in enumerate((HEALTH, HEALTH.replace(b'"running"', b'"camera lost"')), 1):
        topics = Topics("riverside", f"gate-{number}")
        room.say(
            Outgoing(topics.availability, ONLINE, retain=True),
            Outgoing(topics.health, state, retain=True),
        )
    operator = room.person(Role.OPERATOR)
    for place, text in (
        ("People", "ends within 30 days"),
        ("Devices", "camera lost"),
        ("Erasures", "not everywhere yet"),
    ):
        operator.get_by_role("link", name=place, exact=True).click()
        operator.get_by_text(text).first.wait_for()
        room.see(operator, place.lower())
    with operator.expect_download() as download:
        operator.get_by_role("link", name="Take the proof").first.click()
    assert download.value.suggested_filename == "familiar-proof-of-erasure.json"
    operator.get_by_role("link", name="Which devices").first.click()
    operator.get_by_text("Cannot be asked (1)").wait_for()
    room.see(operator, "erasure")
    auditor = room.person(Role.AUDITOR)
    auditor.get_by_role("link", name="Who did what").click()
    auditor.get_by_text("took a proof of erasure").wait_for()
    room.see(auditor, "audit")
    auditor.goto(room.page.url + "/en/encounters")
    auditor.get_by_text("Not for your role").wait_for()
    room.see(auditor, "refused")


@pytest.mark.parametrize(("language", "seen"), [("de", "gekümmert"), ("fr", "charge")])
def test_it_works_without_scripts_in_every_language_and_in_the_dark(
    room: Room, language: str, seen: str
) -> None:
    publish(room.broker, alerts(1))
    until_stored(lambda: len(stored_ids(room.page.home)) == 1, "it is stored")
    carer = room.person(None, scripts=False, scheme="dark")
    carer.locator(f"a[hreflang={language}]").click()
    carer.locator("#name").fill("ann-carer")
    carer.locator("#password").fill(PASSWORD)
    carer.locator("main button[type=submit]").click()
    carer.locator(".encounter button").click()
    assert seen in carer.locator(".encounter .seen").inner_text()
    dark = room.person(Role.OPERATOR, scheme="dark")
    dark.locator(f"a[hreflang={language}]").click()
    live(dark)
    room.see(dark, f"dark-{language}")
    for place in ("people", "devices", "erasures"):
        dark.goto(f"{room.page.url}/{language}/{place}")
        assert faults(dark) == []
