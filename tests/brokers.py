"""A real mosquitto on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from secrets import SystemRandom
from types import TracebackType
from typing import Self

import pytest

from edge_app.adapters.mqtt import BrokerAddress
from tests.support import ROOT, catches

PASSWORD = "not-in-any-log-7f3a"  # noqa: S105 - for brokers that live as long as a test


def free_port() -> int:
    """One that nobody has. Below those that the kernel gives to connections in the meantime."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _program() -> str:
    # Debian puts it where users have no path to it.
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.fail("mosquitto is missing: run `sudo apt install mosquitto`")
    return program


class Mosquitto:
    """The real broker, on loopback, with a password and with persistence."""

    protocol = "MQTT 5"

    def __init__(self, folder: Path, extra: str = "") -> None:
        folder.mkdir()
        self.port = free_port()
        self.address = BrokerAddress("127.0.0.1", self.port, False, "user", PASSWORD)
        self._folder = folder
        self._configuration = folder / "conf"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            ["mosquitto_passwd", "-c", "-b", folder / "users", "user", PASSWORD],
            check=True, capture_output=True,
        )  # fmt: skip
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"allow_anonymous false\npassword_file {folder / 'users'}\n"
            f"persistence true\npersistence_location {folder}/\n"
            + ("user root\n" if os.geteuid() == 0 else "")
            + extra
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program(), "-c", str(self._configuration)], stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + 20
        while not (self._listens() and catches(self.pid, signal.SIGHUP)):
            assert time.monotonic() < deadline_s, "mosquitto does not listen"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def save(self) -> None:
        """Have sessions and retained states written to the disk, for the first time."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        deadline_s = time.monotonic() + 20
        while not (self._folder / "mosquitto.db").exists():
            assert time.monotonic() < deadline_s, "mosquitto does not save"
            time.sleep(0.02)

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

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


class FleetMosquitto(Mosquitto):
    """The real broker with deploy/mosquitto/mosquitto.conf, on loopback and in folders of its own.

    `served` is what `familiar broker init --broker-dir` names. It is to be filled before `start`.
    """

    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.served.mkdir(parents=True)
        self.port = free_port()
        self.address = BrokerAddress("localhost", self.port, True, None, None)
        self._folder = folder
        self._configuration = self.served / "mosquitto.conf"
        self._process = None
        text = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text()
        for ours, theirs in (
            ("listener 8883", f"listener {self.port} 127.0.0.1"),
            ("/etc/mosquitto/familiar", str(self.served)),
            ("/run/mosquitto", str(folder)),
            ("/var/lib/mosquitto", str(folder)),
            ("log_dest syslog", "log_dest stderr"),
        ):
            assert ours in text
            text = text.replace(ours, theirs)
        self._configuration.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
