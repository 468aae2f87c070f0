"""Campaigns against delivery (P10): what becomes of decided alerts when things die in between.

    python -m tests.campaigns [CAMPAIGN [FAULTS]]

A real mosquitto, a real outbox on a disk, and a backend that watches. Each campaign prints what
became of every alert. The exit status is 1 if one was lost, late or out of order.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from typing import Final

from edge_app.adapters.clock import ManualClock, SystemClock
from edge_app.ports import Clock
from tests.brokers import Mosquitto
from tests.campaigns.faults import MuteBroker, Network
from tests.campaigns.mortal import decide_until_killed, read_ledger
from tests.campaigns.rig import (
    BROKER_LINES,
    LIFETIME_S,
    SETTINGS,
    Device,
    Ends,
    Result,
    Witness,
    judge,
    make_publisher,
    open_outbox,
    until,
)
from tests.support import largest_file

_PAUSE_S: Final = 0.01
_LOSES_S: Final = 3.0
"""What this mosquitto got in so many seconds before a kill may not be on its disk: it saves in
whole seconds, and after more than the one that it is told."""
_ROOM: Final = 10_000
"""For so many alerts has an outbox by default."""


def killed_devices(faults: int, folder: Path, moments: random.Random) -> Result:
    """kill -9 of the process that decides and delivers, at any moment of its life."""
    clock, ends = SystemClock(), Ends(folder / "device")
    ends.folder.mkdir()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.campaigns.mortal"])
    with _watched_broker(folder, clock) as (broker, witness):
        for number in range(faults):
            process = processes.Process(
                target=decide_until_killed, args=(ends.folder, broker.address, 100_000 * number)
            )
            process.start()
            time.sleep(moments.uniform(0, 0.4))
            process.kill()
            process.join()
            assert process.exitcode == -SIGKILL, "it ended by itself"
            _show(number, faults)
        with closing(open_outbox(ends.folder, clock)) as outbox:
            publisher = make_publisher(outbox, broker.address, SETTINGS)
            publisher.start()
            try:
                until(lambda: outbox.counts().pending == 0, "the rest is delivered")
            finally:
                publisher.close(0.0)
            ends.decided, ends.counts = read_ledger(ends.folder), outbox.counts()
        return _judged(faults, ends, witness, clock, between=faults)


def killed_brokers(faults: int, folder: Path, moments: random.Random) -> Result:
    """kill -9 of mosquitto, with the backend listening or away. It saves every second or so."""
    clock = SystemClock()
    settings = replace(SETTINGS, hold_s=_LOSES_S)
    with _watched_broker(folder, clock) as (broker, witness):
        broker.save()  # a subscription that it forgets is the backend's to renew
        device = Device(folder / "device", clock, broker.address, settings)
        with device.at_work(_PAUSE_S):
            for number in range(faults):
                time.sleep(moments.uniform(0.2, 2 * _LOSES_S))
                is_away = moments.random() < 0.5
                if is_away:
                    witness.go()
                    time.sleep(moments.uniform(0, 0.5))
                broker.stop(SIGKILL)
                time.sleep(moments.uniform(0, 0.5))
                broker.start()
                if is_away:
                    witness.come()
                _show(number, faults)
        return _judged(faults, device.ends, witness, clock)


def an_outage(faults: int, folder: Path, _: random.Random) -> Result:
    """An hour without a broker, in compressed time; `faults` alerts are decided meanwhile."""
    clock = ManualClock(datetime.now(UTC))
    with _watched_broker(folder, clock) as (broker, witness):
        device = Device(folder / "device", clock, broker.address, SETTINGS, max_alerts=_ROOM)
        broker.stop()
        with device.at_work(pause_s=None):
            for number in range(faults):
                # The last tenth of the short-lived outlive the outage.
                device.decide(number, LIFETIME_S / 10 if number % 10 == 9 else LIFETIME_S)
                clock.advance((LIFETIME_S - 2) / faults)
                _show(number, faults)
            broker.start()
        return _judged(faults, device.ends, witness, clock)


def half_open_connections(faults: int, folder: Path, moments: random.Random) -> Result:
    """A network that loses its connections without a word."""
    clock = SystemClock()
    with _watched_broker(folder, clock) as (broker, witness):
        with closing(Network(broker.address)) as network:
            device = Device(folder / "device", clock, network.address)
            with device.at_work(_PAUSE_S):
                for number in range(faults):
                    time.sleep(moments.uniform(0, 1))
                    network.freeze()
                    time.sleep(moments.uniform(0, 2))
                    network.thaw()
                    _show(number, faults)
        return _judged(faults, device.ends, witness, clock)


def mute_brokers(faults: int, folder: Path, moments: random.Random) -> Result:
    """A broker that takes connections and messages and acknowledges none, then the right one."""
    clock = SystemClock()
    with _watched_broker(folder, clock) as (broker, witness):
        with closing(MuteBroker()) as mute, closing(Network(broker.address)) as network:
            device = Device(folder / "device", clock, network.address)
            with device.at_work(_PAUSE_S):
                for number in range(faults):
                    network.lead_to(mute.port)
                    time.sleep(moments.uniform(0, 2))
                    network.lead_to(broker.port)
                    time.sleep(moments.uniform(0, 1))
                    _show(number, faults)
            assert mute.taken_bytes > 0
        return _judged(faults, device.ends, witness, clock)


def full_disks(faults: int, folder: Path, moments: random.Random) -> Result:
    """A disk without room for a while: nothing at all, or enough for half an alert."""
    clock = SystemClock()
    with _watched_broker(folder, clock) as (broker, witness):
        device = Device(folder / "device", clock, broker.address)
        with device.at_work(_PAUSE_S):
            for number in range(faults):
                time.sleep(moments.uniform(0, 0.5))
                with largest_file(
                    moments.choice([0, device.log_bytes() + moments.randrange(8192)])
                ):
                    time.sleep(moments.uniform(0, 0.5))
                _show(number, faults)
        assert device.ends.refused > 0
        return _judged(faults, device.ends, witness, clock)


@contextmanager
def _watched_broker(folder: Path, clock: Clock) -> Iterator[tuple[Mosquitto, Witness]]:
    with Mosquitto(folder / "mosquitto", BROKER_LINES) as broker:
        witness = Witness(broker.address, clock)
        try:
            yield broker, witness
        finally:
            witness.go()


def _judged(faults: int, ends: Ends, witness: Witness, clock: Clock, *, between: int = 0) -> Result:
    witness.wait_for(ends.decided)
    return judge(faults, ends, witness.arrivals, clock.now(), between=between)


CAMPAIGNS: Final[Mapping[str, tuple[Callable[[int, Path, random.Random], Result], int]]] = {
    "device-killed": (killed_devices, 1000),
    "broker-killed": (killed_brokers, 200),
    "outage": (an_outage, 10_000),
    "half-open": (half_open_connections, 200),
    "never-acknowledged": (mute_brokers, 200),
    "disk-full": (full_disks, 500),
}
"""By name, with how many faults in earnest."""


def _show(number: int, faults: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{number + 1} of {faults} ", end="", file=sys.stderr)


def main(arguments: list[str]) -> int:
    logging.getLogger("edge_app").addHandler(logging.NullHandler())
    if arguments and arguments[0] not in CAMPAIGNS:
        print(f"no campaign {arguments[0]!r}; choose one of: {', '.join(CAMPAIGNS)}")
        return 2
    held = True
    for name in arguments[:1] or CAMPAIGNS:
        campaign, faults = CAMPAIGNS[name]
        if len(arguments) > 1:
            faults = int(arguments[1])
        begun_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = campaign(faults, Path(folder), random.Random())  # noqa: S311
        print(f"{name}: {result}, {time.monotonic() - begun_s:.0f} s", flush=True)
        held = held and result.holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
