"""Programs of others, started beside a real broker and a real device."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import NullDisplay
from edge_app.adapters.speech import NullSpeaker
from edge_app.app import Home
from edge_app.config import make_config
from edge_app.device import Device, Outputs
from edge_app.ports import FrameSource
from tests.brokers import PASSWORD, Mosquitto


class Program:
    """What it writes is there line by line, while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(30)
        self._reader.join()


@contextmanager
def started(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """The program in a folder of its own; standard output and errors in one.

    environment: added to this program's own.
    """
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    program = Program(process)
    try:
        yield program
    finally:
        program.end()


@contextmanager
def device_running(
    home: Home, source: FrameSource, broker_url: str, **stated: Any
) -> Iterator[None]:
    """A device of site "home" called "glasses"."""
    stop = threading.Event()
    device = Device(
        make_config(stated),
        home,
        source=source,
        lossless=True,
        outputs=Outputs(NullDisplay(), NullSpeaker(), (), broker_url),
        clock=SystemClock(),
        stop=stop,
    )
    thread = threading.Thread(target=device.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def sending(broker: Mosquitto) -> Iterator[Callable[[str, bytes], None]]:
    """Publishes retained messages, over a connection that may do everything."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("user", PASSWORD)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def send(topic: str, payload: bytes) -> None:
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(30)

    try:
        yield send
    finally:
        client.disconnect()
        client.loop_stop()
        left = client.socket()  # its thread may end before it has closed it
        if left is not None:
            left.close()
