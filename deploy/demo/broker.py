"""An MQTT broker for the demo: on loopback, for one user, for as long as it runs.

    FAMILIAR_BROKER_PASSWORD=... python deploy/demo/broker.py

It takes a free port of 127.0.0.1 and prints one line, {"port": N}, when it is ready. The
user is "demo". SIGTERM or SIGINT ends it. It speaks MQTT 3.1.1 and keeps nothing on disk:
for anything but the demo use mosquitto.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # type: ignore[import-untyped]
from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.errors import AMQTTError  # type: ignore[import-untyped]
from pwdlib.hashers.argon2 import Argon2Hasher

HOST: Final = "127.0.0.1"
USER: Final = "demo"
PASSWORD_VARIABLE: Final = "FAMILIAR_BROKER_PASSWORD"  # noqa: S105 (its name, not its value)


_REFUSE_PROTOCOL: Final = b"\x20\x02\x00\x01"  # CONNACK, MQTT 3.1.1 section 3.2.2.3


class _Reader(StreamReaderAdapter):  # type: ignore[misc]
    """Gives amqtt first what was read before it, then the rest of the stream."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        if not self._head:
            return bytes(await super().read(n))
        taken, self._head = self._head[:n], self._head[n:]
        return taken + (await self.read(n - len(taken)) if len(taken) < n else b"")


async def _read_connect_head(reader: asyncio.StreamReader) -> bytes:
    """Read up to the protocol level, which is the last byte of what is returned."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    return head + await reader.readexactly(7)


async def serve(password_file: Path) -> None:
    """Run until a signal comes. The listening socket is ours, so it is loopback for certain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "external"}},
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(password_file)}
            },
        }
    )
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # amqtt reads the CONNECT of MQTT 5 as one of 3.1.1 and waits for bytes that never
        # come, so the refusal that MQTT 3.1.1 demands is given here.
        try:
            head = await _read_connect_head(reader)
            if head.endswith(b"MQTT\x05"):
                writer.write(_REFUSE_PROTOCOL)
                await writer.drain()
                writer.close()
                return
            await broker.external_connected(
                _Reader(head, reader), StreamWriterAdapter(writer), "default"
            )
        except (AMQTTError, EOFError, OSError):  # a client that is not well does not end the demo
            writer.close()

    server = await asyncio.start_server(connected, HOST, 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    server.close()
    await broker.shutdown()


def main() -> int:
    """Check the password and run; returns the exit status."""
    password = os.environ.pop(PASSWORD_VARIABLE, "")
    if not password:
        print(f"set {PASSWORD_VARIABLE} to a password made for this run", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="familiar-broker-") as folder:
        password_file = Path(folder, "users")
        password_file.write_text(f"{USER}:{Argon2Hasher().hash(password)}\n", encoding="utf-8")
        asyncio.run(serve(password_file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
