"""What the Linux kernel and BlueZ say of a Bluetooth link: whether it is encrypted, and to whom."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
import subprocess
from typing import Final

from edge_app.errors import ConfigError, DeliveryError

ADDRESS: Final = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}")

# Numbers: a Python that was built without the headers of BlueZ has no names for them.
_AF_BLUETOOTH: Final = 31
_BTPROTO_HCI: Final = 1
_HCIGETCONNLIST: Final = 0x800448D4  # _IOR('H', 212, int) of the kernel's net/bluetooth/hci_sock.h
_LIST: Final = struct.Struct("=HH")
"""hci_conn_list_req: the controller, and how many connections follow."""
_CONNECTION: Final = struct.Struct("=H6sBBHI")
"""hci_conn_info: handle, address (last byte first), kind, direction, state, link mode."""
_LE_LINK: Final = 0x80
_ENCRYPTED: Final = 0x0004  # HCI_LM_ENCRYPT
_MOST_CONNECTIONS: Final = 16
_MOST_CONTROLLERS: Final = 4
_WITHIN_S: Final = 10.0


def is_bonded(address: str) -> bool:
    """Whether the wearer has paired this machine with that device, in BlueZ.

    Raises:
        ConfigError: BlueZ is not installed, or does not answer.
    """
    try:
        told = subprocess.run(  # noqa: S603 - the address is one  # nosec B603
            ("bluetoothctl", "info", _checked(address)),  # noqa: S607 - from PATH  # nosec B607
            capture_output=True, text=True, timeout=_WITHIN_S, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(
            "BlueZ does not answer; install the Debian package bluez, and start bluetooth.service"
        ) from error
    said = {line.strip() for line in told.splitlines()}
    return "Paired: yes" in said and "Bonded: no" not in said


def require_encrypted(address: str) -> None:
    """Have the kernel say that what goes to this device now is encrypted on its way.

    Raises:
        DeliveryError: it is not, or the kernel does not say so.
    """
    try:
        with socket.socket(_AF_BLUETOOTH, socket.SOCK_RAW, _BTPROTO_HCI) as controllers:
            lists = [_connections(controllers, number) for number in range(_MOST_CONTROLLERS)]
    except OSError as error:
        raise DeliveryError(f"the kernel tells nothing of Bluetooth ({error.strerror})") from error
    if not any(encrypted(found, address) for found in lists):
        raise DeliveryError("the link to the glasses is not encrypted; pair them anew")


def encrypted(connections: bytes, address: str) -> bool:
    """Whether a list of connections, as the kernel gives it, has an encrypted one to there."""
    wanted = bytes.fromhex(_checked(address).replace(":", ""))[::-1]
    _, count = _LIST.unpack_from(connections)
    found = (
        _CONNECTION.unpack_from(connections, _LIST.size + number * _CONNECTION.size)
        for number in range(min(count, _MOST_CONNECTIONS))
    )
    return any(
        there == wanted and kind == _LE_LINK and mode & _ENCRYPTED
        for _, there, kind, _, _, mode in found
    )


def _connections(controllers: socket.socket, number: int) -> bytes:
    room = _LIST.pack(number, _MOST_CONNECTIONS) + bytes(_MOST_CONNECTIONS * _CONNECTION.size)
    try:
        return fcntl.ioctl(controllers, _HCIGETCONNLIST, room)
    except OSError:  # there is no such controller
        return bytes(_LIST.size)


def _checked(address: str) -> str:
    if not ADDRESS.fullmatch(address):
        raise ConfigError(
            f"{address!r} is no Bluetooth address; write it as AA:BB:CC:DD:EE:FF, as "
            "`bluetoothctl devices` does"
        )
    return address
