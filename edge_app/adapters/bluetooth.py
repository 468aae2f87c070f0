"""What Linux knows of a Bluetooth link: who is paired, and whether what is sent is encrypted.

BlueZ tells over D-Bus who is paired (org.bluez.Device1), but not whether a link is encrypted. The
kernel does: `HCIGETCONNLIST` lists each link with its mode, and `HCI_LM_ENCRYPT` stands in it as
long as the controller encrypts (bluetooth/hci.h; net/bluetooth/hci_conn.c, `get_link_mode`). No
privilege is needed to ask.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_app.errors import ConfigError

_AF_BLUETOOTH: Final = 31
_BTPROTO_HCI: Final = 1
_HCIGETCONNLIST: Final = 0x800448D4
"""_IOR('H', 212, int)"""
_REQUEST: Final = struct.Struct("=HH")
"""struct hci_conn_list_req: dev_id, conn_num"""
_LINK: Final = struct.Struct("=H6sBBHI")
"""struct hci_conn_info: handle, bdaddr (last byte first), type, out, state, link_mode"""
_MAX_LINKS: Final = 64
_LE_LINK: Final = 0x80
_BT_CONNECTED: Final = 1
_HCI_LM_ENCRYPT: Final = 0x0004

_BLUEZ: Final = "org.bluez"
_CALL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A device as BlueZ knows it.

    path:     on D-Bus, e.g. /org/bluez/hci0/dev_C0_FF_EE_00_00_01.
    name:     what it calls itself.
    paired:   keys are kept with which a link to it is encrypted.
    services: the UUIDs of what it offers, in lower case.
    """

    path: str
    address: str
    name: str
    paired: bool
    connected: bool
    services: frozenset[str]

    @property
    def adapter(self) -> int:
        """The number of the adapter: 0 for hci0."""
        return int(self.path.split("/")[3].removeprefix("hci"))


async def peers() -> list[Peer]:
    """Every device that BlueZ knows. Raises ConfigError if there is no BlueZ, or no adapter."""
    objects = (await _call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))[0]
    if not any("org.bluez.Adapter1" in interfaces for interfaces in objects.values()):
        raise ConfigError("there is no Bluetooth adapter; plug one in, see `bluetoothctl list`")
    devices = {
        path: {name: value.value for name, value in interfaces["org.bluez.Device1"].items()}
        for path, interfaces in objects.items()
        if "org.bluez.Device1" in interfaces
    }
    return [_peer(path, found) for path, found in devices.items()]


async def paired_peer(address: str) -> Peer:
    """The device of this address. Raises ConfigError if it is not paired, or nothing can be told.

    address: six pairs of digits, e.g. "C0:FF:EE:00:00:01".
    """
    for peer in await peers():
        if peer.address == address:
            # A pairing that BlueZ did not keep is gone at the next link, and encryption with it.
            if peer.paired:
                return peer
            break
    raise ConfigError(
        f"the glasses are not paired; run `bluetoothctl`, then `scan on`, `pair {address}`"
    )


async def disconnect(peer: Peer) -> None:
    """End the link to a device, whoever made it. Raises ConfigError if there is no BlueZ."""
    await _call(peer.path, "org.bluez.Device1", "Disconnect")


def require_answer(peer: Peer) -> None:
    """Raise ConfigError unless the kernel tells which links are encrypted."""
    _links(peer.adapter)


def require_encrypted(peer: Peer) -> None:
    """Raise ConfigError unless the kernel says that every link to the device is encrypted now."""
    modes = [link.encrypted for link in _links(peer.adapter) if link.address == peer.address]
    if not modes or not all(modes):
        raise ConfigError(
            "the link to the glasses is not encrypted, so no name is sent; remove them with "
            "`bluetoothctl`, reset them in their charger, and pair them again"
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A Bluetooth LE link that is up, as the kernel knows it."""

    address: str
    encrypted: bool


def _links(adapter: int) -> list[Link]:
    try:
        with socket.socket(_AF_BLUETOOTH, socket.SOCK_RAW, _BTPROTO_HCI) as kernel:
            answer = bytearray(_REQUEST.size + _MAX_LINKS * _LINK.size)
            _REQUEST.pack_into(answer, 0, adapter, _MAX_LINKS)
            fcntl.ioctl(kernel, _HCIGETCONNLIST, answer, True)
    except OSError as error:
        raise ConfigError(
            f"the kernel does not say whether the link to the glasses is encrypted "
            f"({error.strerror}), so no name is sent; switch Bluetooth on, and allow AF_BLUETOOTH "
            "to the service, see docs/wearer.md"
        ) from error
    return parse_links(answer)


def parse_links(answer: bytes | bytearray) -> list[Link]:
    """The Bluetooth LE links in the kernel's answer to HCIGETCONNLIST."""
    _, count = _REQUEST.unpack_from(answer)
    found = _LINK.iter_unpack(answer[_REQUEST.size : _REQUEST.size + count * _LINK.size])
    return [
        Link(address[::-1].hex(":").upper(), bool(mode & _HCI_LM_ENCRYPT))
        for _, address, kind, _, state, mode in found
        if kind == _LE_LINK and state == _BT_CONNECTED
    ]


def _peer(path: str, found: dict[str, Any]) -> Peer:
    return Peer(
        path=path,
        address=str(found.get("Address", "")).upper(),
        name=str(found.get("Name", "")),
        paired=bool(found.get("Paired")) and bool(found.get("Bonded", True)),
        connected=bool(found.get("Connected")),
        services=frozenset(str(uuid).lower() for uuid in found.get("UUIDs", ())),
    )


async def _call(path: str, interface: str, member: str) -> Sequence[Any]:
    """Call BlueZ on the system's bus. Raises ConfigError if it does not answer."""
    from dbus_fast import BusType, DBusError, MessageType  # noqa: PLC0415 - the extra `frame`
    from dbus_fast.aio import MessageBus  # noqa: PLC0415 - the same
    from dbus_fast.message import Message  # noqa: PLC0415 - the same

    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        async with asyncio.timeout(_CALL_S):
            await bus.connect()
            message = Message(destination=_BLUEZ, path=path, interface=interface, member=member)
            reply = await bus.call(message)
    except (OSError, TimeoutError, DBusError) as error:
        raise ConfigError(_NO_BLUEZ) from error
    finally:
        was_connected = bus.connected
        bus.disconnect()
        if was_connected:
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    if reply is None or reply.message_type is MessageType.ERROR:
        raise ConfigError(_NO_BLUEZ)
    return reply.body


_NO_BLUEZ: Final = (
    "BlueZ does not answer; `sudo apt install bluez`, and add the user to the group bluetooth"
)
