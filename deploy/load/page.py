"""How soon an encounter is on every screen that watches, on this machine and over loopback.

    python deploy/load/page.py OUT.json [--screens 50] [--rate 5] [--seconds 30]

A real mosquitto, a real collector, a real `familiar backend serve`, and as many open live views as
asked for. Lag is from the event's own time to its arrival in a browser's stream. Ends with 1 if an
encounter misses a screen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import urllib3

from deploy.load.backend import cpu_s, resident_mb
from edge_app.backend.accounts import Accounts
from edge_app.backend.database import Database
from edge_app.backend.roles import Role
from tests.backends import Backend, alerts, publish
from tests.brokers import Mosquitto
from tests.stations import serving

PASSWORD = "four words not together"  # noqa: S105 - of this measurement alone  # nosec B105
PER_PERSON = 4
LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """lags in milliseconds; page_cpu: share of a core."""

    machine: str
    cores: int
    screens: int
    encounters: int
    shown: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    page_cpu: float
    page_mb: float


class Screen(threading.Thread):
    """A browser's live view: when which encounter came."""

    def __init__(self, url: str, cookie: str) -> None:
        super().__init__(daemon=True)
        self._answer = urllib3.PoolManager().request(
            "GET", f"{url}/en/live", headers={"Cookie": cookie}, preload_content=False,
            retries=False, timeout=urllib3.Timeout(60),
        )  # fmt: skip
        self.came_s: dict[str, float] = {}
        self.is_ready = threading.Event()

    def run(self) -> None:
        with suppress(urllib3.exceptions.HTTPError):  # the page has ended
            self._read()

    def _read(self) -> None:
        text = ""
        while part := self._answer.read1(65_536):
            text += part.decode()
            *events, text = text.split("\n\n")
            for event in events:
                if event.startswith("event: beat"):
                    self.is_ready.set()
                found = re.match(r'event: encounter\ndata: \{"key": "[^"]*\.([^".]+)"', event)
                if found:
                    self.came_s.setdefault(found[1], time.time())


def cookies(url: str, home: Path, count: int) -> list[str]:
    """Of as many people as it takes."""
    found = []
    pool = urllib3.PoolManager()
    with closing(Database("", home)) as database:
        for number in range(-(-count // PER_PERSON)):
            name = f"carer-{number}"
            Accounts(database).add(name, Role.CARER, PASSWORD, now=datetime.now(UTC))
            answer = pool.request(
                "POST", f"{url}/en/sign-in", fields={"name": name, "password": PASSWORD},
                encode_multipart=False, headers={"Origin": url}, redirect=False, retries=False,
            )  # fmt: skip
            found += [answer.headers["set-cookie"].partition(";")[0]] * PER_PERSON
    return found[:count]


def drive(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> Load:
    home = folder / "home"
    broker = stack.enter_context(Mosquitto(folder / "mosquitto"))
    stack.enter_context(Backend(home, broker))
    page = stack.enter_context(serving(folder, page="backend"))
    screens = [Screen(page.url, one) for one in cookies(page.url, home, arguments.screens)]
    for screen in screens:
        screen.start()
    for screen in screens:
        screen.is_ready.wait(LONGEST_S)
    begun_s, busy_s = time.monotonic(), cpu_s(page.pid)
    sent: dict[str, float] = {}
    while (past_s := time.monotonic() - begun_s) < arguments.seconds:
        (one,) = alerts(1, begin=len(sent))
        publish(broker, [one])
        sent[one.alert_id] = one.time.timestamp()
        time.sleep(max(0.0, len(sent) / arguments.rate - past_s))
    busy = (cpu_s(page.pid) - busy_s) / (time.monotonic() - begun_s)
    until_s = time.monotonic() + LONGEST_S
    while time.monotonic() < until_s and any(len(s.came_s) < len(sent) for s in screens):
        time.sleep(0.2)
    lags_ms = [1_000 * (came - sent[i]) for screen in screens for i, came in screen.came_s.items()]
    p50, p95, p99 = np.percentile(lags_ms, [50, 95, 99]).round(0)
    return Load(
        platform.machine(), len(os.sched_getaffinity(0)), len(screens), len(sent), len(lags_ms),
        p50, p95, p99, round(max(lags_ms), 0), round(busy, 3), round(resident_mb(page.pid), 1),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="show encounters on many screens")
    parser.add_argument("out", type=Path)
    parser.add_argument("--screens", type=int, default=50)
    parser.add_argument("--rate", type=float, default=5.0, help="encounters a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        load = drive(arguments, Path(folder), stack)
    arguments.out.write_text(json.dumps(asdict(load), indent=2) + "\n", "utf-8")
    print(
        f"{load.shown} of {load.encounters * load.screens} shown on {load.screens} screens; "
        f"p50 {load.p50_ms:g} ms, p99 {load.p99_ms:g} ms, longest {load.longest_ms:g} ms; "
        f"the page takes {load.page_cpu:.0%} of a core, {load.page_mb:g} MB"
    )
    if load.shown != load.encounters * load.screens:
        sys.exit("an encounter missed a screen")


if __name__ == "__main__":
    main()
