"""An imitation of BlueZ and of Brilliant Labs' Frame, for the real SDK on a real D-Bus.

Real are dbus-daemon, dbus-fast, bleak, the maker's SDK, and a Lua interpreter that runs the program
for the glasses. Imitated, after the sources of BlueZ and of the glasses' firmware, are org.bluez,
the radio, the glasses' `frame` table, and the kernel's word on encryption (`Glasses.encrypted`).
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lupa.lua54
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from edge_app.adapters.bluetooth import Link
from edge_app.errors import ConfigError

ADDRESS = "C0:FF:EE:00:00:01"
TWIN = "C0:FF:EE:00:00:02"
SERVICE = "7a230001-5475-a6a4-654c-8431f6ad49c4"
TO_GLASSES = "7a230002-5475-a6a4-654c-8431f6ad49c4"
FROM_GLASSES = "7a230003-5475-a6a4-654c-8431f6ad49c4"
MTU = 247
ADAPTER = "/org/bluez/hci0"

_BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""


class BreakError(Exception):
    """The break signal, inside the glasses' program."""


class LuaGlasses:
    """The glasses' Lua and what it draws, after the firmware's luaport.c, display.c, bluetooth.c.

    notify: called with each notification, from the Lua's thread.
    """

    def __init__(self, notify: Callable[[bytes], None]) -> None:
        self.shown: list[tuple[str, int, int, str]] = []
        self.shows = 0
        self.received: list[bytes] = []
        self.now_s = 1000.0
        self.deaf = False
        self.running = False
        self._notify = notify
        self._drawn: list[tuple[str, int, int, str]] = []
        self._data: queue.Queue[bytes] = queue.Queue()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._break = False
        self._end = False
        self._taps = 0
        self._heard: Any = None
        self._tapped: Any = None
        self._thread = threading.Thread(target=self._repl, daemon=True)
        self._thread.start()

    def write(self, value: bytes) -> None:
        """A packet over the air."""
        self.received.append(value)
        if self.deaf:
            return
        if value[:1] == b"\x01":
            self._data.put(value[1:])
        elif value == b"\x03":
            self._break = True
        elif not self.running:
            self._lines.put(value)

    def tap(self) -> None:
        self._taps += 1

    def close(self) -> None:
        self._end = True
        self._lines.put(None)
        self._thread.join()

    def _repl(self) -> None:
        lua = lupa.lua54.LuaRuntime(encoding=None, register_eval=False, unpack_returned_tuples=True)
        frame = lua.table()
        for name, calls in self._library().items():
            frame[name.encode()] = lua.table_from({k.encode(): f for k, f in calls.items()})
        frame[b"sleep"] = self._sleep
        lua.globals()[b"frame"] = frame
        lua.globals()[b"print"] = lambda value: self._notify(b"%d" % value)
        while (line := self._lines.get()) is not None:
            self._break = False
            self.running = line == b"run()"
            try:
                lua.execute(line)
            except BreakError:
                pass
            except lupa.lua54.LuaError as error:
                self._notify(str(error).encode())
            self.running = False

    def _library(self) -> dict[str, dict[str, Callable[..., Any]]]:
        return {
            "display": {"text": self._text, "show": self._show},
            "bluetooth": {"send": self._send, "receive_callback": self._on_data},
            "imu": {"tap_callback": self._on_tap},
            "time": {"utc": lambda: self.now_s},
        }

    def _text(self, text: bytes, x: int, y: int, how: Any) -> None:
        colour = how[b"color"].decode()
        if not (1 <= x <= 640 and 1 <= y <= 352 and colour in {"WHITE", "YELLOW", "RED"}):
            raise ValueError((x, y, colour))
        self._drawn.append((text.decode(), x, y, colour))

    def _show(self) -> None:
        self.shown, self._drawn = [row for row in self._drawn if row[0] != " "], []
        self.shows += 1

    def _send(self, data: bytes) -> None:
        self._notify(b"\x01" + data)

    def _on_data(self, function: Any) -> None:
        self._heard = function

    def _on_tap(self, function: Any) -> None:
        self._tapped = function

    def _sleep(self, _seconds: float) -> None:
        """Interrupts run here; the firmware's come between any two instructions."""
        threading.Event().wait(0.001)
        if self._break or self._end:
            raise BreakError
        while not self._data.empty():
            self._heard(self._data.get())
        if self._taps:
            self._taps -= 1
            self._tapped()


class Glasses:
    """Glasses in reach of an adapter, on a bus of their own. Change what is public at any time.

    paired:    what BlueZ says; None: it has never heard of them.
    encrypted: what the kernel says of the link; None: there is no such socket.
    twin:      others of the same name answer in their place.
    """

    def __init__(self, folder: Path) -> None:
        self.paired: bool | None = True
        self.encrypted: bool | None = True
        self.in_reach = True
        self.adapter = True
        self.twin = False
        self.connected = ""
        self.connects = 0
        self.lua = LuaGlasses(self._notify)
        self._path = folder / "bus"
        config = folder / "bus.conf"
        config.write_text(_BUS_CONFIG.format(path=self._path))
        self._daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--print-address", "--nofork"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it cannot raise its limit of open files everywhere
        )
        assert self._daemon.stdout is not None
        self.bus_address = self._daemon.stdout.readline().decode().strip()
        self._loop = asyncio.new_event_loop()
        self._fds: list[int] = []
        self._bus = self._loop.run_until_complete(self._export())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lua.close()
        self._bus.disconnect()
        gone = self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        asyncio.run_coroutine_threadsafe(gone, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for fd in self._fds:
            os.close(fd)
        self._daemon.terminate()
        self._daemon.wait()
        assert self._daemon.stdout is not None
        self._daemon.stdout.close()

    def links(self, adapter: int) -> list[Link]:
        """In place of the kernel's answer."""
        if self.encrypted is None:
            raise ConfigError("the kernel does not say")
        return [Link(self.connected, self.encrypted)] if self.connected else []

    def drop(self) -> None:
        """They are carried out of reach."""
        self.in_reach = False
        self._loop.call_soon_threadsafe(self._disconnected)

    async def _export(self) -> MessageBus:
        bus = MessageBus(bus_address=self.bus_address, negotiate_unix_fd=True)
        await bus.connect()
        bus.add_message_handler(self._answer)
        await bus.request_name("org.bluez")
        return bus

    def _answer(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.sender is None:
            return None
        reply = _REPLIES.get(message.member or "")
        if reply is None:
            return None
        return reply(self, message) or Message.new_method_return(message)

    def _objects(self, message: Message) -> Message:
        found: dict[str, dict[str, dict[str, Variant]]] = {}
        if self.adapter:
            adapter = {"Powered": Variant("b", True), "Roles": Variant("as", ["central"])}
            found[ADAPTER] = {"org.bluez.Adapter1": adapter}
        for address in (ADDRESS, TWIN):
            found |= self._device(address)
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [found])

    def _device(self, address: str) -> dict[str, dict[str, dict[str, Variant]]]:
        if not self.adapter or (self.paired is None if address == ADDRESS else not self.twin):
            return {}
        path, here = _path(address), self.connected == address
        device = {
            "Address": Variant("s", address),
            "Alias": Variant("s", "Frame 4F"),
            "Name": Variant("s", "Frame 4F"),
            "Adapter": Variant("o", ADAPTER),
            "Paired": Variant("b", bool(self.paired) and address == ADDRESS),
            "Connected": Variant("b", here),
            "ServicesResolved": Variant("b", here),
            "UUIDs": Variant("as", [SERVICE]),
        }
        objects = {path: {"org.bluez.Device1": device}}
        if here:
            service = f"{path}/service0001"
            objects[service] = {
                "org.bluez.GattService1": {
                    "UUID": Variant("s", SERVICE),
                    "Device": Variant("o", path),
                    "Primary": Variant("b", True),
                }
            }
            for number, (uuid, flags) in enumerate(_CHARACTERISTICS.items(), 2):
                objects[f"{service}/char{number:04x}"] = {
                    "org.bluez.GattCharacteristic1": {
                        "UUID": Variant("s", uuid),
                        "Service": Variant("o", service),
                        "Flags": Variant("as", flags),
                        "Value": Variant("ay", b""),
                        "MTU": Variant("q", MTU),
                    }
                }
        return objects

    def _scan(self, _message: Message) -> None:
        address = TWIN if self.twin else ADDRESS
        if self.in_reach and not self.connected:
            self._loop.call_later(0.02, self._changed, address, {"RSSI": Variant("n", -50)})

    def _connect(self, message: Message) -> None:
        self.connected = (message.path or "")[-17:].replace("_", ":")
        self.connects += 1
        for path, interfaces in list(self._device(self.connected).items())[1:]:
            self._signal("/", _MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])
        up = {"Connected": Variant("b", True), "ServicesResolved": Variant("b", True)}
        self._changed(self.connected, up)

    def _disconnect(self, _message: Message) -> None:
        self._loop.call_soon(self._disconnected)

    def _disconnected(self) -> None:
        if self.connected:
            address, self.connected = self.connected, ""
            down = {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)}
            self._changed(address, down)

    def _write(self, message: Message) -> Message | None:
        if not self.connected:
            return Message.new_error(message, "org.bluez.Error.Failed", "Not connected")
        self.lua.write(bytes(message.body[0]))
        return None

    def _acquire(self, message: Message) -> Message:
        ours, theirs = socket.socketpair()
        self._fds += [ours.detach(), theirs.detach()]
        return Message.new_method_return(message, "hq", [0, MTU], unix_fds=[self._fds[-1]])

    def _notify(self, value: bytes) -> None:
        def send() -> None:
            if self.connected:
                path = f"{_path(self.connected)}/service0001/char0003"
                changed = {"Value": Variant("ay", value)}
                body = ["org.bluez.GattCharacteristic1", changed, []]
                self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

        self._loop.call_soon_threadsafe(send)

    def _changed(self, address: str, changed: dict[str, Variant]) -> None:
        body = ["org.bluez.Device1", changed, []]
        self._signal(_path(address), _PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _signal(self, path: str, interface: str, name: str, kinds: str, body: list[Any]) -> None:
        self._bus.send(Message.new_signal(path, interface, name, kinds, body))


def _path(address: str) -> str:
    return f"{ADAPTER}/dev_{address.replace(':', '_')}"


_MANAGER = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_CHARACTERISTICS = {
    TO_GLASSES: ["write", "write-without-response"],
    FROM_GLASSES: ["notify"],
}
_REPLIES: dict[str, Callable[[Glasses, Message], Message | None]] = {
    "GetManagedObjects": Glasses._objects,
    "SetDiscoveryFilter": lambda _glasses, _message: None,
    "StartDiscovery": Glasses._scan,
    "StopDiscovery": lambda _glasses, _message: None,
    "Connect": Glasses._connect,
    "Disconnect": Glasses._disconnect,
    "WriteValue": Glasses._write,
    "AcquireWrite": Glasses._acquire,
    "StartNotify": lambda _glasses, _message: None,
    "StopNotify": lambda _glasses, _message: None,
}
