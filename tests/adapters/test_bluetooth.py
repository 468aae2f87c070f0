"""What the kernel says of Bluetooth links."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters import bluetooth
from edge_app.adapters.bluetooth import Link, Peer, parse_links, require_encrypted
from edge_app.errors import ConfigError

ADDRESS = "C0:FF:EE:00:00:01"
ENCRYPT, MASTER = 0x4, 0x1
PEER = Peer(f"/org/bluez/hci1/dev_{ADDRESS}", ADDRESS, "Frame 4F", True, True, frozenset())


def link(
    address: str = ADDRESS, *, kind: int = 0x80, state: int = 1, mode: int = ENCRYPT | MASTER
) -> bytes:
    """struct hci_conn_info of <bluetooth/hci.h>, in the C compiler's own layout."""
    bdaddr = bytes.fromhex(address.replace(":", ""))[::-1]
    return struct.pack("@H6sBBHI", 64, bdaddr, kind, 1, state, mode)


def answer(*links: bytes) -> bytes:
    return struct.pack("@HH", 1, len(links)) + b"".join(links) + bytes(64)


@pytest.mark.parametrize(
    ("links", "found"),
    [
        ([], []),
        ([link()], [Link(ADDRESS, encrypted=True)]),
        ([link(mode=MASTER)], [Link(ADDRESS, encrypted=False)]),
        ([link(kind=1)], []),
        ([link(state=5)], []),
        (
            [link("00:00:00:00:00:02"), link(mode=0)],
            [Link("00:00:00:00:00:02", encrypted=True), Link(ADDRESS, encrypted=False)],
        ),
    ],
)
def test_links_in_the_kernels_answer(links: list[bytes], found: list[Link]) -> None:
    assert parse_links(answer(*links)) == found


@given(
    st.binary(min_size=4, max_size=4 + 64 * 16).map(
        lambda data: data[: 4 + (len(data) - 4) // 16 * 16]
    )
)
def test_any_answer_is_read(data: bytes) -> None:
    parse_links(data)


@pytest.mark.parametrize(
    "links",
    [
        [],
        [Link(ADDRESS, encrypted=False)],
        [Link("00:00:00:00:00:02", encrypted=True)],
        [Link(ADDRESS, encrypted=True), Link(ADDRESS, encrypted=False)],
    ],
)
def test_only_encrypted_links_will_do(monkeypatch: pytest.MonkeyPatch, links: list[Link]) -> None:
    monkeypatch.setattr(bluetooth, "_links", lambda _adapter: links)
    with pytest.raises(ConfigError, match="not encrypted"):
        require_encrypted(PEER)


def test_the_adapter_of_the_peer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def links(adapter: int) -> list[Link]:
        asked.append(adapter)
        return [Link(ADDRESS, encrypted=True)]

    monkeypatch.setattr(bluetooth, "_links", links)
    require_encrypted(PEER)
    assert asked == [1]


def test_a_kernel_without_bluetooth_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(ConfigError, match="Address family not supported"):
        require_encrypted(PEER)
