"""The process that is killed: a device that decides, delivers, and keeps a ledger of its own."""

from __future__ import annotations

import os
import random
import time
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

from edge_app.adapters.clock import SystemClock
from edge_app.adapters.mqtt import BrokerAddress
from edge_app.adapters.sinks import OutboxSink
from tests.campaigns.rig import (
    SETTINGS,
    TOPICS,
    Decided,
    lifetime_s,
    make_alert,
    make_publisher,
    open_outbox,
)

_LONGEST_PAUSE_S: Final = 0.02


def decide_until_killed(folder: Path, address: BrokerAddress, first: int) -> None:
    """Decide alerts, deliver them, and write down each that was stored, on to the disk."""
    clock = SystemClock()
    outbox = open_outbox(folder, clock)
    sink = OutboxSink(outbox, topic=TOPICS.match)
    ledger = os.open(folder / "ledger", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    make_publisher(outbox, address, SETTINGS).start()
    for number in count(first):
        alert = make_alert(number, clock.now(), lifetime_s(number))
        sink.put(alert)
        os.write(ledger, f"{alert.alert_id} {alert.expiry_time.isoformat()}\n".encode())
        os.fsync(ledger)
        time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311


def read_ledger(folder: Path) -> list[Decided]:
    """What every process wrote down."""
    lines = [line.split() for line in (folder / "ledger").read_text().splitlines()]
    return [Decided(alert_id, datetime.fromisoformat(expiry)) for alert_id, expiry in lines]
