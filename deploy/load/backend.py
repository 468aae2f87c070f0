"""How much a broker and its backends carry, on this machine and over loopback.

    python deploy/load/backend.py OUT.json [--devices 2000] [--rate 500] [--seconds 60]
                                           [--instances 2] [--tls] [--database postgresql://...]

A real mosquitto, real `familiar backend run` processes, and as many devices as asked for: each with
an MQTT 5 connection of its own, which publishes match events with QoS 1 at random moments and
counts the acknowledgments. Lag is from the event's own time to its committed row. Ends with 1 if
an alert is lost, or if p99 is 1 s or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sqlite3
import ssl
import struct
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import numpy as np
import psycopg

from edge_app.adapters.events import CONTENT_TYPE, new_alert_id, to_cloudevent
from edge_app.adapters.mqtt import BrokerAddress
from edge_app.backend.database import DATABASE_NAME
from edge_app.errors import DeliveryError
from edge_app.publisher.certificates import key_pem, new_authority, new_key, pem, server_certificate
from tests.adapters.test_mqtt import EXAMPLE
from tests.backends import Backend
from tests.brokers import Mosquitto, free_port

BROKER = "max_queued_messages 20000\nmax_packet_size 20000\n"  # as in deploy/mosquitto
MAX_P99_S = 1.0
CONNECTING_AT_ONCE = 100
MOST_TO_WAIT_S = 60.0
EXPIRY_S = 3600
KEEPALIVE_S = 600
SPARE_FILES = 500


@dataclass(frozen=True, slots=True)
class Lag:
    """From decision to row. in_time: share of rows that were committed within 1 s."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    in_time: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident. per_device_kb: of the broker, for one connection."""

    broker_before_mb: float
    broker_mb: float
    per_device_kb: float
    backends_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked for, and what it came to. cpu: cores' worth of time, while it lasted."""

    machine: str
    cores: int
    database: str
    tls: bool
    devices: int
    instances: int
    asked_per_s: float
    seconds: float
    published: int
    acknowledged: int
    stored: int
    per_s: float
    lag: Lag
    memory: Memory
    broker_cpu: float
    backends_cpu: tuple[float, ...]


# ------------------------------------------------------------------------------- devices


class Device(asyncio.Protocol):
    """One connection, which speaks as much MQTT 5 as a device that only publishes."""

    def __init__(self, number: int, address: BrokerAddress) -> None:
        self._number = number
        self._address = address
        self._received = bytearray()
        self._sent = 0
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.acknowledged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        body = text("MQTT") + bytes([5, 0xC2]) + struct.pack(">HB", KEEPALIVE_S, 0)
        who = f"load-{self._number}", self._address.username or "", self._address.password or ""
        self.transport.write(packet(0x10, body + b"".join(map(text, who))))

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 2 and len(self._received) >= 2 + self._received[1]:
            kind, size = self._received[0] >> 4, self._received[1]  # below 128: one byte
            body = bytes(self._received[2 : 2 + size])
            del self._received[: 2 + size]
            if kind == 2 and body[1] == 0:
                self.connected.set_result(None)
            elif kind == 2:
                self.connected.set_exception(DeliveryError(f"refused: reason {body[1]}"))
            elif kind == 4 and (len(body) < 3 or body[2] == 0):
                self.acknowledged += 1

    def publish(self) -> None:
        """An alert, decided now."""
        now = datetime.now(UTC)
        self._sent += 1
        alert = replace(
            EXAMPLE,
            alert_id=new_alert_id(int(now.timestamp() * 1000), os.urandom(10)),
            site="load",
            device=f"device-{self._number}",
            subject_ref=os.urandom(16).hex(),
            sequence=self._sent,
            time=now,
            expiry_time=now + timedelta(seconds=EXPIRY_S),
        )
        properties = b"\x01\x01\x02" + struct.pack(">I", EXPIRY_S) + b"\x03" + text(CONTENT_TYPE)
        topic = text(f"familiar/v1/load/device-{self._number}/event/match")
        head = topic + struct.pack(">H", self._sent) + bytes([len(properties)]) + properties
        self.transport.write(packet(0x32, head + to_cloudevent(alert)))


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(first: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, low = divmod(rest, 128)
        length.append(low | (0x80 if rest else 0))
        if not rest:
            return bytes([first]) + length + body


async def connected(count: int, address: BrokerAddress, tls: ssl.SSLContext | None) -> list[Device]:
    """So many devices, all of them accepted by the broker."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one(number: int) -> Device:
        async with gate:
            _, device = await loop.create_connection(
                lambda: Device(number, address), address.host, address.port, ssl=tls
            )
            await device.connected
            return device

    return list(await asyncio.gather(*map(one, range(count))))


async def publish(devices: list[Device], per_s: float, seconds: float) -> int:
    """Alerts of random devices at random moments; returns how many."""
    chance = np.random.default_rng()
    published, begun_s, due_s = 0, time.monotonic(), 0.0
    while True:
        due_s += chance.exponential(1 / per_s)
        if due_s > seconds:
            return published
        wait_s = begun_s + due_s - time.monotonic()
        if wait_s > 0.001:
            await asyncio.sleep(wait_s)
        elif published % 50 == 0:
            await asyncio.sleep(0)
        devices[chance.integers(len(devices))].publish()
        published += 1


def tls_listener(folder: Path) -> tuple[int, str, ssl.SSLContext]:
    """(port, lines for the broker, what devices trust): TLS 1.3, for devices alone."""
    now, lifetime = datetime.now(UTC), timedelta(days=1)
    authority, key = new_authority("load", now=now, lifetime=lifetime), new_key()
    server = server_certificate(
        authority, key.public_key(), ["127.0.0.1"], now=now, lifetime=lifetime
    )
    for name, content in (
        ("ca.crt", pem(authority.certificate)),
        ("server.crt", pem(server)),
        ("server.key", key_pem(key)),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644)  # mosquitto reads it as a user of its own
    port = free_port()
    lines = f"listener {port} 127.0.0.1\ntls_version tlsv1.3\n"
    lines += f"certfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
    return port, lines, ssl.create_default_context(cafile=folder / "ca.crt")


# ---------------------------------------------------------------------------- measuring


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scraped(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # nosec B310 - our own
        lines = str(answer.read(), "utf-8").splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def lags_ms(database: str, home: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of every stored row, from its decision to the transaction that stored it."""
    query = "SELECT received_ms - time_ms FROM encounter"
    if database:
        with psycopg.connect(database) as connection:
            rows = connection.execute(query).fetchall()
    else:
        with closing(sqlite3.connect(home / DATABASE_NAME)) as file:
            rows = file.execute(query).fetchall()
    return np.array([row[0] for row in rows], np.float64)


def lag(database: str, home: Path, counts: list[dict[str, float]]) -> Lag:
    """The metrics know when rows were committed, to a bucket; rows when that began."""
    begun_ms = lags_ms(database, home)
    p50, p95, p99 = np.percentile(begun_ms, [50, 95, 99]).round(1)
    total = sum(count["familiar_backend_lag_seconds_count"] for count in counts)
    soon = sum(count['familiar_backend_lag_seconds_bucket{le="1.0"}'] for count in counts)
    return Lag(p50, p95, p99, float(begun_ms.max()), round(soon / total, 5))


async def drive(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> Load:
    database, home = arguments.database, folder / "home"
    port, listener, tls = tls_listener(folder) if arguments.tls else (0, "", None)
    broker = stack.enter_context(Mosquitto(folder / "mosquitto", BROKER + listener))
    ports = [free_port() for _ in range(arguments.instances)]
    backends = [
        stack.enter_context(
            Backend(home, broker, f"instance-{port}", metrics_port=port, database=database)
        )
        for port in ports
    ]
    before_mb = resident_mb(broker.pid)
    address = replace(broker.address, port=port) if tls else broker.address
    devices = await connected(arguments.devices, address, tls)
    connected_mb = resident_mb(broker.pid)
    pids = [broker.pid, *(backend.pid for backend in backends)]
    busy_s, begun_s = [cpu_s(pid) for pid in pids], time.monotonic()
    published = await publish(devices, arguments.rate, arguments.seconds)
    seconds = time.monotonic() - begun_s
    busy = [round((cpu_s(p) - b) / seconds, 3) for p, b in zip(pids, busy_s, strict=True)]
    counts: list[dict[str, float]] = []
    until_s = time.monotonic() + MOST_TO_WAIT_S
    while time.monotonic() < until_s:
        await asyncio.sleep(0.2)
        counts = [scraped(port) for port in ports]
        if sum(count["familiar_backend_stored_total"] for count in counts) >= published:
            break
    memory = Memory(
        round(before_mb, 1),
        round(resident_mb(broker.pid), 1),
        round((connected_mb - before_mb) * 1024 / len(devices), 2),
        tuple(round(resident_mb(backend.pid), 1) for backend in backends),
    )
    for device in devices:
        device.transport.close()
    return Load(
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        database="postgresql" if database else "sqlite",
        tls=arguments.tls,
        devices=len(devices),
        instances=len(backends),
        asked_per_s=arguments.rate,
        seconds=round(seconds, 1),
        published=published,
        acknowledged=sum(device.acknowledged for device in devices),
        stored=len(lags_ms(database, home)),
        per_s=round(published / seconds, 1),
        lag=lag(database, home, counts),
        memory=memory,
        broker_cpu=busy[0],
        backends_cpu=tuple(busy[1:]),
    )


def allow_files(count: int) -> None:
    """For this process and the broker that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            sys.exit(f"{count} connections need `ulimit -n {wanted}`; the limit here is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description="load broker and backends over loopback")
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=500.0, help="alerts a second, all together")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--tls", action="store_true", help="devices connect with TLS 1.3")
    parser.add_argument("--database", default="", help="postgresql://..., which has to be empty")
    arguments = parser.parse_args()
    allow_files(arguments.devices)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        load = asyncio.run(drive(arguments, Path(folder), stack))
    arguments.out.write_text(json.dumps(asdict(load), indent=2) + "\n", "utf-8")
    print(
        f"{load.stored} of {load.published} alerts stored, {load.per_s:g} a second from "
        f"{load.devices} devices; p50 {load.lag.p50_ms:g} ms, p99 {load.lag.p99_ms:g} ms, "
        f"longest {load.lag.longest_ms:g} ms; {load.lag.in_time:.3%} committed within 1 s"
    )
    if load.stored != load.published or load.lag.p99_ms >= MAX_P99_S * 1000:
        sys.exit("alerts are lost" if load.stored != load.published else "p99 is too long")


if __name__ == "__main__":
    main()
