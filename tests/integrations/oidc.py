"""Signing in at a certified OpenID provider in a browser: `make check-oidc`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.adapters.test_mqtt import until
from tests.brokers import free_port
from tests.browsers import chromium
from tests.integrations.programs import started
from tests.providers import CLIENT_SECRET
from tests.stations import Serving, serving
from tests.support import ROOT

SOURCE = ROOT / "tests" / "integrations" / "oidc_provider" / "provider.js"
PROGRAM = ROOT / "build" / "oidc-provider"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Serving]:
    port, provider_port = free_port(), free_port()
    secret = tmp_path / "secret"
    secret.write_text(CLIENT_SECRET)
    # For browsers another site than the page's: which cookies come back depends on it.
    config = f"""
[backend.oidc]
issuer = "http://localhost:{provider_port}"
client_secret_file = "{secret}"
[backend.oidc.roles]
carer = "carers"
"""
    back = f"http://127.0.0.1:{port}/signed-in"
    # The program lies beside what it needs, where node looks for that.
    shutil.copy(SOURCE, PROGRAM)
    command = ("node", "provider.js", str(provider_port), back)
    with started(command, PROGRAM) as program:
        until(lambda: program.ended() or "listening" in program.text, "it listens")
        with serving(tmp_path, "--port", str(port), config=config, page="backend") as served:
            yield served


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        opened = chromium(play)
        yield opened
        opened.close()


def sign_in(browser: Browser, page: Serving, name: str) -> Page:
    shown = browser.new_context().new_page()
    shown.goto(page.url + "/")
    shown.get_by_role("link", name="Sign in there").click()
    shown.locator("input[name=login]").fill(name)
    shown.locator("input[name=password]").fill("anything: it is a provider for trying out")
    shown.locator("button[type=submit]").click()
    shown.get_by_role("button", name="Continue").click()
    return shown


def test_who_has_a_role_is_let_in_and_who_has_none_is_not(browser: Browser, page: Serving) -> None:
    ann = sign_in(browser, page, "ann")
    ann.wait_for_url("**/en/encounters")
    assert ann.locator("header .out").inner_text().startswith("ann (localhost) · carer")
    bob = sign_in(browser, page, "bob")
    bob.get_by_text("You are known there, but have no role here.").wait_for()
    bob.goto(page.url + "/en/encounters")
    assert bob.url.endswith("/en/sign-in")
    ann.get_by_role("button", name="Sign out").click()
    ann.wait_for_url("**/en/sign-in")
    assert "ann" not in page.said.read_text()


def test_who_refuses_there_is_not_let_in(browser: Browser, page: Serving) -> None:
    shown = browser.new_page()
    shown.goto(page.url + "/")
    shown.get_by_role("link", name="Sign in there").click()
    shown.get_by_role("link", name="[ Cancel ]").click()
    shown.get_by_text("did not let you in").wait_for()
