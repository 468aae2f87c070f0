"""`familiar backend run` as a process of its own, and alerts for it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_app.adapters.events import CONTENT_TYPE, to_cloudevent
from edge_app.adapters.mqtt import Outgoing, Topics, tell_all
from edge_app.backend.database import DATABASE_NAME
from edge_app.records import Alert
from tests.adapters.test_mqtt import LINK
from tests.adapters.test_mqtt import alert as new_alert
from tests.brokers import PASSWORD, Mosquitto
from tests.support import ROOT


class Backend:
    """One instance; it has subscribed once its context is entered."""

    def __init__(
        self,
        home: Path,
        broker: Mosquitto,
        instance: str = "one",
        *,
        metrics_port: int = 0,
        database: str = "",
    ) -> None:
        home.mkdir(exist_ok=True)
        self._home = home
        self._config = home / f"{instance}.toml"
        self._config.write_text(
            f'[mqtt]\nbroker = "mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"\n'
            "backoff_min_s = 0.05\nbackoff_max_s = 0.2\n"
            f'[backend]\ninstance = "{instance}"\nmetrics_port = {metrics_port}\n'
            f'database = "{database}"\n'
        )
        self._errors = home / f"{instance}.log"
        self.process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self, *arguments: str) -> list[str]:
        begin = [sys.executable, "-m", "edge_app", "--verbose", "--home", str(self._home)]
        return [*begin, "--config", str(self._config), "backend", *arguments]

    def start(self) -> None:
        with self._errors.open("a") as errors:
            self.process = subprocess.Popen(
                self.command("run"), cwd=ROOT, stderr=errors, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "collecting\n", self.said()

    def said(self) -> str:
        return self._errors.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        status = process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def stored_ids(home: Path) -> list[str]:
    """Of a backend with SQLite; sorted, which is the order of new alerts."""
    if not (home / DATABASE_NAME).exists():
        return []
    with closing(sqlite3.connect(home / DATABASE_NAME)) as database:
        found = database.execute("SELECT alert_id FROM encounter ORDER BY alert_id").fetchall()
    return [alert_id for (alert_id,) in found]


def alerts(count: int, begin: int = 0) -> list[Alert]:
    """Of this moment, of several people and devices."""
    return [
        replace(new_alert(number), device=f"glasses-{number % 7}", subject_ref=f"{number % 5}" * 32)
        for number in range(begin, begin + count)
    ]


def publish(broker: Mosquitto, sent: Sequence[Alert]) -> None:
    """As devices do; when this returns, the broker has all of them."""
    messages = [
        Outgoing(
            Topics(one.site, one.device).match,
            to_cloudevent(one),
            content_type=CONTENT_TYPE,
            expiry_s=300,
        )
        for one in sent
    ]
    tell_all(broker.address, tls=None, messages=messages, client_id="sender", link=LINK)
