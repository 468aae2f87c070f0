"""The wearer's page in a real browser: what is seen, and what is gone when the device is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, Playwright, ViewportSize, sync_playwright

from edge_app.adapters.displays.web import PageAddress, WebDisplay
from edge_app.core.present import phrases
from edge_app.records import Direction, HudLine, HudView
from tests.browsers import chromium, faults, until

pytestmark = pytest.mark.browser

GLASSES: ViewportSize = {"width": 640, "height": 400}
LEFT, AHEAD, RIGHT = Direction
ANNA = HudLine("Anna", "colleague", LEFT, unsure=False)
BO = HudLine("Bo", "neighbour", RIGHT, unsure=True)
LONG = HudLine("Maximilian-Alexander von und zu Hohenstein-Gontard", "cousin", AHEAD, unsure=False)
TANGUT = "\U00017000\U00017001\U00017002"  # letters that hardly any browser has
NAMES = "[...document.querySelectorAll('.name')].map(e => e.textContent).join('|')"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def play() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(play: Playwright) -> Iterator[Browser]:
    started = chromium(play)
    yield started
    started.close()


@pytest.fixture
def address() -> PageAddress:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    return PageAddress("127.0.0.1", "", port, "t" * 43, None, None)


@pytest.fixture
def display(address: PageAddress) -> Iterator[WebDisplay]:
    served = WebDisplay(address, language="en")
    yield served
    served.close()


@pytest.fixture
def glasses(browser: Browser, display: WebDisplay, address: PageAddress) -> Iterator[Page]:
    """The page as it is open on the glasses; it complains of nothing."""
    page = browser.new_page(viewport=GLASSES)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address.url)
    yield page
    page.close()
    assert not [text for text in complaints if "net::ERR" not in text]


def test_people_come_and_go(glasses: Page, display: WebDisplay) -> None:
    display.show(HudView((ANNA, BO), ""))
    until(glasses, f"{NAMES} === 'Anna|Bo'")
    assert glasses.evaluate("[...document.querySelectorAll('li')].map(e => e.className)") == [
        "left new",
        "right unsure new",
    ]
    text = glasses.inner_text("#people")
    assert "probably · neighbour" in text
    assert "on your left" in text
    display.show(HudView((BO,), "no sound"))
    until(glasses, f"{NAMES} === 'Bo' && {STATUS} === 'no sound'")
    assert glasses.evaluate("document.querySelector('li').className") == "right unsure"
    display.show(HudView((), ""))
    until(glasses, f"{NAMES} === '' && {STATUS} === ''")
    assert "Anna" not in glasses.content()


def test_every_line_stays_inside_the_glass(glasses: Page, display: WebDisplay) -> None:
    outside = """[...document.querySelectorAll('.name, .more, svg, #status')].filter(e => {
      const box = e.getBoundingClientRect();
      return box.left < 0 || box.right > innerWidth + .5 || box.top < -.5
        || box.bottom > innerHeight + .5;
    }).length"""
    for width, height in ((640, 400), (320, 240), (480, 800)):
        glasses.set_viewport_size({"width": width, "height": height})
        for people in ((LONG,), (LONG, BO), (LONG, LONG, LONG)):
            display.show(HudView(people, "camera lost", fault=True))
            until(glasses, f"document.querySelectorAll('li').length === {len(people)}")
            assert glasses.evaluate(outside) == 0, (width, height, len(people))


def test_a_short_name_is_large_and_a_long_one_is_smaller(
    glasses: Page, display: WebDisplay
) -> None:
    heights = []
    for line in (ANNA, LONG):
        display.show(HudView((line,), ""))
        until(glasses, f"{NAMES} === {line.name!r}")
        heights.append(glasses.evaluate("document.querySelector('.name').clientHeight"))
    assert heights[0] > 90
    assert heights[1] < heights[0] / 2


def test_no_letter_is_shown_as_a_box(glasses: Page, display: WebDisplay) -> None:
    texts = "[...document.querySelectorAll('.name, .more')].map(e => e.textContent).join('|')"
    for name, relation, shown in (
        ("Zoë Ødegård", "friend", "Zoë Ødegård|friend"),
        (TANGUT, "friend", "friend"),
        (TANGUT, TANGUT, "someone you know"),
        (f"Anna {TANGUT[0]}", "", "Anna"),
        (f"A {TANGUT}", "", "someone you know"),
    ):
        display.show(HudView((), ""))
        until(glasses, f"{NAMES} === ''")
        display.show(HudView((HudLine(name, relation, LEFT, unsure=False),), ""))
        until(glasses, f"{NAMES} !== ''")
        assert glasses.evaluate(texts) == shown


def test_a_name_is_text_whatever_it_holds(glasses: Page, display: WebDisplay) -> None:
    name = "<img src=x onerror=document.title=1> </script>\u2028&amp;"
    display.show(HudView((HudLine(name, "", AHEAD, unsure=False),), ""))
    until(glasses, "document.querySelectorAll('.name').length === 1")
    assert glasses.evaluate(NAMES) == name
    assert glasses.title() == "Familiar"


def test_a_device_that_is_gone_leaves_no_name_and_is_found_again(
    glasses: Page, display: WebDisplay, address: PageAddress
) -> None:
    display.show(HudView((ANNA,), ""))
    until(glasses, f"{NAMES} === 'Anna'")
    display.close()
    until(glasses, f"{STATUS} === {phrases('en').display_lost!r}")
    assert "Anna" not in glasses.content()
    again = WebDisplay(address, language="en")
    again.show(HudView((BO,), ""))
    until(glasses, f"{NAMES} === 'Bo'")
    again.close()


def test_a_device_that_hangs_is_believed_for_seconds_only(
    glasses: Page, display: WebDisplay
) -> None:
    display.show(HudView((ANNA,), ""))
    until(glasses, f"{NAMES} === 'Anna'")
    glasses.evaluate("clearTimeout(silence); lost()")  # what the timer does
    until(glasses, f"{NAMES} === ''")
    display.show(HudView((BO,), ""))
    until(glasses, f"{NAMES} === 'Bo'")
    assert glasses.evaluate("SILENCE_MS") == 6000
    assert glasses.evaluate("silence") > 0


def test_who_wants_no_motion_sees_none(
    browser: Browser, glasses: Page, display: WebDisplay
) -> None:
    moves = "getComputedStyle(document.querySelector('li')).animationName"
    glasses.emulate_media(reduced_motion="reduce")
    display.show(HudView((ANNA,), ""))
    until(glasses, f"{NAMES} === 'Anna'")
    assert glasses.evaluate(moves) == "none"
    glasses.emulate_media(reduced_motion="no-preference")
    assert glasses.evaluate(moves) == "come"


def test_axe_finds_nothing(glasses: Page, display: WebDisplay) -> None:
    for view in (
        HudView((), ""),
        HudView((ANNA, BO, LONG), "+2 more"),
        HudView((), "camera lost", fault=True),
    ):
        display.show(view)
        until(glasses, f"{STATUS} === {view.status!r}")
        glasses.wait_for_timeout(200)  # until the names have come
        assert faults(glasses) == []
