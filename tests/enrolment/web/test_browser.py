"""The station's page in a browser: from the notice to a recognised person, to leaving, to silence.

Screenshots of every step are left in build/station.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

from edge_app.adapters.clock import SystemClock
from edge_app.app import Home
from edge_app.config import Config
from edge_app.people import export_person, list_people
from edge_app.pipeline import Pipeline
from edge_app.records import ImageBgr
from tests.browsers import (
    KIOSK,
    NARROW,
    PHONE,
    chromium,
    fake_camera,
    faults,
    overflow_px,
    until,
)
from tests.heads import relief
from tests.stations import NAME, Serving, serving
from tests.support import ROOT, picture

pytestmark = [pytest.mark.browser, pytest.mark.network]

SHOTS = ROOT / "build" / "station"
PATIENT = "enrolment = { step_timeout_s = 60 }\nstation = { gap_s = 30 }\n"
"""A machine that is busy with other things takes its time between two pictures."""

ANGLES = {
    "straight": (0.0, 0.0),
    "left": (38.0, 0.0),
    "right": (-38.0, 0.0),
    "up": (0.0, 20.0),
    "down": (0.0, -14.0),
}


class Walk:
    """A page that is looked at in three sizes at every step."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self._name = name
        self._shots = 0
        self.said: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        SHOTS.mkdir(parents=True, exist_ok=True)

    def see(self, what: str) -> None:
        """Fails on what axe-core finds, and on a page that has to be scrolled sideways."""
        self._shots += 1
        self.page.wait_for_load_state()
        self.page.locator("h1").wait_for()
        self.page.set_viewport_size(NARROW)
        assert overflow_px(self.page) <= 0, what
        for size, window in (("kiosk", KIOSK), ("phone", PHONE)):
            self.page.set_viewport_size(window)
            assert faults(self.page) == [], f"{what}, {size}"
            assert overflow_px(self.page) <= 0, f"{what}, {size}"
            shot = SHOTS / f"{self._name}-{self._shots:02}-{what}-{size}.png"
            self.page.screenshot(path=shot, full_page=True)


def recognised(home: Path, shown: Path) -> int:
    """How many alerts the device gives when this picture is before it."""
    command = [sys.executable, "-m", "edge_app", "--home", str(home), "run", "--demo"]
    done = subprocess.run(
        [*command, "--source", str(shown), "--output", "json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return len(done.stdout.splitlines())


# ------------------------------------------------------------------- a tablet, as a demo


@pytest.fixture(scope="module")
def play() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def tablet(
    play: Playwright, media: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser whose camera shows the portrait that the demo enrols."""
    image = picture(media / "enrolled-1.jpg")
    height, width = (side // 2 * 2 for side in image.shape[:2])
    even = np.ascontiguousarray(image[:height, :width])
    file = tmp_path_factory.mktemp("camera") / "camera.y4m"
    browser = chromium(play, *fake_camera(file, [even] * 5))
    yield browser
    browser.close()


def test_from_the_notice_to_silence(tablet: Browser, media: Path, tmp_path: Path) -> None:
    known = media / "enrolled-3.jpg"
    with serving(tmp_path, "--demo", "--tablet", config=PATIENT) as station:
        walk = Walk(tablet.new_page(viewport=PHONE), "tablet")
        decide(walk, station.url)
        hold_still(walk)
        code = take_the_code(walk)
        assert enrolled(station) == []
        finish(walk)
        assert enrolled(station) == [NAME]
        assert recognised(station.home, known) == 1
        look_at_the_record(walk, station.url, code)
        leave(walk, station.url, code)
        assert enrolled(station) == []
        assert recognised(station.home, known) == 0
        assert [line for line in walk.said if "status of 400" not in line] == []
        log = station.said.read_text()
    assert code not in log
    assert NAME not in log


def decide(walk: Walk, url: str) -> None:
    page = walk.page
    page.goto(url)
    walk.see("languages")
    page.get_by_role("link", name="English").click()
    walk.see("start")
    page.get_by_role("button", name="Enrol").click()
    walk.see("notice")
    assert page.locator(":checked").count() == 0
    page.get_by_role("button", name="I agree: go on").click()
    is_told(page)
    walk.see("notice-faults")
    assert page.locator(":checked").count() == 0
    page.get_by_label("Your name").fill(NAME)
    page.get_by_label("I have read this notice").check()
    page.get_by_label("I agree that numbers").check()
    page.get_by_role("button", name="I agree: go on").click()
    walk.see("camera")


def hold_still(walk: Walk) -> None:
    page = walk.page
    page.get_by_role("button", name="Start the camera").click()
    until(page, "document.getElementById('camera').videoWidth > 0")
    page.wait_for_url("**/summary")
    assert NAME in page.content()
    walk.see("summary")


def take_the_code(walk: Walk) -> str:
    page = walk.page
    page.get_by_role("button", name="Go on: show my code").click()
    walk.see("receipt")
    code = page.locator("#code").inner_text()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the receipt").click()
    assert saved.value.path().read_bytes().startswith(b"%PDF-")
    page.get_by_text("The whole receipt").click()
    walk.see("receipt-whole")
    page.emulate_media(media="print")
    page.screenshot(path=SHOTS / "tablet-paper.png", full_page=True)
    assert not page.get_by_role("button").first.is_visible()
    page.emulate_media(media="screen")
    return code


def finish(walk: Walk) -> None:
    page = walk.page
    page.get_by_role("button", name="Enrol me").click()
    is_told(page)
    walk.see("receipt-faults")
    page.get_by_label("I have my code").check()
    page.get_by_role("button", name="Enrol me").click()
    page.wait_for_url("**/done")
    walk.see("done")


def look_at_the_record(walk: Walk, url: str, code: str) -> None:
    page = walk.page
    page.goto(f"{url}/en/record")
    walk.see("record")
    page.get_by_label("Your code").fill(code)
    page.get_by_role("button", name="Show it here").click()
    page.get_by_text("This is kept of you").wait_for()
    assert NAME in page.content()
    walk.see("record-found")


def leave(walk: Walk, url: str, code: str) -> None:
    page = walk.page
    page.goto(f"{url}/en/leave")
    page.get_by_label("Your code").fill("ABCD")
    page.get_by_role("button", name="Erase me").click()
    is_told(page)
    walk.see("leave-faults")
    page.get_by_label("Your code").fill(code)
    page.get_by_role("button", name="Erase me").click()
    page.get_by_text("You have left.").wait_for()
    walk.see("left")


def is_told(page: Page) -> None:
    """The focus is on what went wrong, so that a screen reader says it."""
    until(page, "document.activeElement.getAttribute('role') === 'alert'")


def enrolled(station: Serving) -> list[str]:
    return [p.name for p in list_people(Config(), Home(station.home, None), SystemClock())]


# ------------------------------------------------------------------ a kiosk, with a camera


class Mirror:
    """An MJPEG camera before which a head turns as it is told."""

    def __init__(self, poses: dict[str, ImageBgr]) -> None:
        self.turn = "straight"
        self._jpegs = {
            turn: cv2.imencode(".jpg", image)[1].tobytes() for turn, image in poses.items()
        }
        mirror = self

        class Stream(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not mirror.closed.wait(0.05):
                        jpeg = mirror.jpeg()
                        head = f"--frame\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return  # the camera was closed

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                pass

        self.closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def jpeg(self) -> bytes:
        return self._jpegs[self.turn]

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def camera(pipeline: Pipeline, portrait: ImageBgr) -> Iterator[Mirror]:
    head = relief(pipeline, portrait)
    made = Mirror({turn: head.turned(*angles) for turn, angles in ANGLES.items()})
    yield made
    made.close()


@pytest.fixture
def mirror(camera: Mirror) -> Mirror:
    camera.turn = "straight"
    return camera


@pytest.fixture(scope="module")
def kiosk(camera: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("kiosk")
    with serving(folder, "--source", camera.url, config=PATIENT) as station:
        yield station


@pytest.fixture(scope="module")
def browser(play: Playwright) -> Iterator[Browser]:
    started = chromium(play)
    yield started
    started.close()


def tab_to(page: Page, name: str) -> None:
    """Reach what bears this label by the Tab key alone; what is reached has to be seen."""
    for _ in range(40):
        page.keyboard.press("Tab")
        label, outline = page.evaluate(
            "(() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.labels?.[0]?.textContent ?? e.textContent, s.outlineStyle]; })()"
        )
        if label.strip().startswith(name):
            assert outline == "solid", name
            return
    raise AssertionError(f"{name} is not reached")


def test_a_person_with_a_keyboard_is_guided_and_enrolled(
    browser: Browser, kiosk: Serving, mirror: Mirror
) -> None:
    page = browser.new_page(viewport=KIOSK)
    page.add_init_script(
        "window.spoken = []; speechSynthesis.speak = (said) => spoken.push(said.text);"
    )
    walk = Walk(page, "kiosk")
    decide_by_keyboard(page, kiosk.url)
    tab_to(page, "Hinweise sprechen")
    page.keyboard.press("Enter")
    assert page.locator("#speak").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    asked, spoken = follow(page, mirror)
    assert page.url.endswith("/de/summary"), page.content()
    assert len(asked) >= 9
    assert set(asked) <= set(spoken)
    walk.see("summary")
    tab_to(page, "Weiter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/receipt")
    tab_to(page, "Ich habe meinen Code")
    page.keyboard.press("Space")
    tab_to(page, "Mich anmelden")
    page.keyboard.press("Enter")
    page.wait_for_url("**/done")
    page.go_back()
    page.wait_for_url("**/done")  # nobody after them sees the code
    home = Home(kiosk.home, None)
    (person,) = list_people(Config(), home, SystemClock())
    assert (person.name, person.demo, person.fault) == (NAME, False, "")
    record = json.loads(export_person(Config(), home, person.person_id, SystemClock()))
    assert record["consent_record"]["collection_method"] == "live_guided_capture"
    assert walk.said == []


def decide_by_keyboard(page: Page, url: str) -> None:
    page.goto(f"{url}/de/")
    tab_to(page, "Anmelden")
    page.keyboard.press("Enter")
    page.wait_for_url("**/notice")
    tab_to(page, "Ihr Name")
    page.keyboard.type(NAME)
    for box in ("Ich habe diesen Hinweis", "Ich willige ein, dass"):
        tab_to(page, box)
        page.keyboard.press("Space")
    tab_to(page, "Ich willige ein: weiter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/capture")


def told(page: Page) -> tuple[str, str, list[str]]:
    """The turn that is asked for, in which words, and what was spoken; nothing on another page."""
    try:
        turn, ask, spoken = page.evaluate(
            "[document.getElementById('mirror')?.dataset.turn ?? '',"
            " document.getElementById('ask')?.textContent ?? '', window.spoken ?? []]"
        )
    except Error:  # between two pages
        return "", "", []
    return turn, ask, spoken


def follow(page: Page, mirror: Mirror) -> tuple[list[str], list[str]]:
    """Turn the head as the page asks; returns what it asked, and what it spoke."""
    asked: list[str] = []
    spoken: list[str] = []
    shots: set[str] = set()
    while page.url.endswith("/capture"):
        turn, ask, said = told(page)
        spoken = said or spoken
        if turn and asked[-1:] != [ask]:
            asked.append(ask)
        if turn and turn not in shots:
            shots.add(turn)
            page.screenshot(path=SHOTS / f"kiosk-turn-{turn}.png")
        mirror.turn = turn or "straight"
        page.wait_for_timeout(50)
    return asked, spoken


def test_who_turns_another_way_is_told_why_it_was_refused(
    browser: Browser, kiosk: Serving, mirror: Mirror
) -> None:
    """And the person may try again, with nothing kept of the first time."""
    page = browser.new_page(viewport=PHONE)
    walk = Walk(page, "refused")
    to_the_camera(page, kiosk.url)
    page.get_by_role("button", name="Start the camera").click()
    until(page, "!['', 'straight'].includes(document.getElementById('mirror').dataset.turn)")
    turn = page.locator("#mirror").get_attribute("data-turn")
    mirror.turn = "right" if turn == "left" else "left"
    page.get_by_text("It did not work this time").wait_for()
    is_told(page)
    assert "Not every turn of the head" in page.content()
    walk.see("refused")
    page.get_by_role("button", name="Stop, keep nothing").click()
    walk.see("gone")


def to_the_camera(page: Page, url: str) -> None:
    page.goto(f"{url}/en/")
    page.get_by_role("button", name="Enrol").click()
    page.get_by_label("Your name").fill(NAME)
    page.get_by_label("I have read this notice").check()
    page.get_by_label("I agree that numbers").check()
    page.get_by_role("button", name="I agree: go on").click()
    page.wait_for_url("**/capture")


def test_who_needs_more_time_gets_it(browser: Browser, kiosk: Serving) -> None:
    page = browser.new_page(viewport=PHONE)
    page.clock.install()
    page.goto(f"{kiosk.url}/en/")
    page.get_by_role("button", name="Enrol").click()
    page.wait_for_url("**/notice")
    page.wait_for_load_state()
    soon = page.locator("#soon")
    page.clock.fast_forward(530_000)
    assert not soon.is_visible()
    page.clock.fast_forward(20_000)
    assert soon.is_visible()
    Walk(page, "time").see("soon")
    page.get_by_role("button", name="I need more time").click()
    soon.wait_for(state="hidden")
    page.clock.fast_forward(530_000)
    assert not soon.is_visible()


def test_a_browser_without_a_camera_and_a_station_that_is_gone(
    browser: Browser, kiosk: Serving, mirror: Mirror, tmp_path: Path
) -> None:
    with serving(tmp_path, "--demo", "--tablet", config=PATIENT) as station:
        page = browser.new_page()
        to_the_camera(page, station.url)
        page.get_by_role("button", name="Start the camera").click()
        page.get_by_text("The browser did not give the camera").wait_for()
        assert page.get_by_role("button", name="Start the camera").is_visible()
    page = browser.new_page()
    to_the_camera(page, kiosk.url)
    page.context.set_offline(True)
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_text("The station does not answer").wait_for()
    page.context.set_offline(False)
    page.get_by_role("button", name="Start the camera").click()
    until(page, "document.getElementById('mirror').dataset.turn !== ''")
    # The person sees themselves, not the picture that stands for none.
    until(page, "document.getElementById('camera').naturalWidth > 4")
    page.context.set_offline(True)
    page.get_by_text("The station does not answer").wait_for()
