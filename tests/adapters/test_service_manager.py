import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.adapters.service_manager import ServiceManager


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "notify"))
        yield listener


def messages(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_ready_alive_and_stopping_are_told(heard: socket.socket) -> None:
    manager = ServiceManager(heard.getsockname())
    manager.ready()
    manager.alive("running")
    manager.stopping()
    assert messages(heard) == ["READY=1", "WATCHDOG=1\nSTATUS=running", "STOPPING=1"]


def test_being_alive_is_told_once_a_second_and_when_it_changes(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [10.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    manager = ServiceManager(heard.getsockname())
    for frame in range(61):
        now_s[0] = 10.0 + frame / 30
        manager.alive("running")
    assert len(messages(heard)) == 3
    manager.alive("lost")
    assert messages(heard) == ["WATCHDOG=1\nSTATUS=lost"]


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0familiar-test-{id(listener)}")
        ServiceManager("@" + listener.getsockname()[1:].decode()).ready()
        assert listener.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_nobody_who_listens_is_no_fault(address: str | None) -> None:
    manager = ServiceManager(address)
    manager.ready()
    manager.alive("running")
    manager.stopping()


def test_a_manager_that_is_gone_is_told_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager(str(tmp_path / "nowhere"))
    for _ in range(3):
        manager.ready()
    assert len(caplog.records) == 1


def test_a_full_socket_holds_nobody_up(heard: socket.socket) -> None:
    manager = ServiceManager(heard.getsockname())
    for number in range(10_000):
        manager.alive(f"status {number}")
    assert messages(heard)
    manager.alive("later")
    assert messages(heard) == ["WATCHDOG=1\nSTATUS=later"]
