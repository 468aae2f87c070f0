"""The queue of what the operator has to hear: durable, sealed, bounded, and in nobody's way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.adapters import relay as module
from edge_app.adapters.relay import Operator, Relay
from edge_app.core.revocation import new_code, revocation_sha256, spoken_code
from edge_app.errors import ConfigError, ConsentError, DeliveryError, StorageError
from tests.support import ROOT

KEY = b"s" * 32
OPERATOR = Operator("harbour", "0d" * 32)
NOBODY = "http://127.0.0.1:1"


def code_of(number: int) -> str:
    return new_code(number.to_bytes(15))


def digest_of(number: int) -> str:
    return revocation_sha256(code_of(number))


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path / "fleet", KEY)


def codes(relay: Relay) -> set[str]:
    return set(relay._codes())


def test_nothing_waits(relay: Relay, tmp_path: Path) -> None:
    assert relay.waiting == 0
    relay.tell_waiting(NOBODY, deadline_s=1, monotonic_s=lambda: 0.0)
    assert not (tmp_path / "fleet").exists()


def test_a_code_is_kept_once_and_comes_back(relay: Relay, tmp_path: Path) -> None:
    relay.keep(spoken_code(code_of(1)).lower())
    relay.keep(code_of(1))
    relay.keep(code_of(2))
    assert relay.waiting == 2
    assert codes(Relay(tmp_path / "fleet", KEY)) == {code_of(1), code_of(2)}


def test_a_code_is_told_by_no_file(relay: Relay, tmp_path: Path) -> None:
    relay.keep(code_of(1))
    files = [path for path in (tmp_path / "fleet").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert code_of(1).encode() not in path.read_bytes() + path.name.encode()
        assert path.stat().st_mode & 0o077 == 0
    assert codes(Relay(tmp_path / "fleet", b"x" * 32)) == set()


def test_what_is_no_code_is_refused(relay: Relay) -> None:
    with pytest.raises(ConsentError):
        relay.keep("not a code")
    assert relay.waiting == 0


def test_the_signed_tombstone_ends_the_waiting(relay: Relay) -> None:
    for number in (1, 2):
        relay.keep(code_of(number))
    relay.heard(OPERATOR, frozenset({digest_of(1), digest_of(7)}))
    assert codes(relay) == {code_of(2)}
    relay.heard(OPERATOR, frozenset())
    assert relay.waiting == 1


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 60])
def test_a_damaged_file_does_not_hold_up_the_others(
    relay: Relay, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    relay.keep(code_of(1))
    relay.keep(code_of(2))
    (tmp_path / "fleet" / "leaving" / digest_of(1)).write_bytes(damage)
    assert codes(relay) == {code_of(2)}
    assert digest_of(1) not in caplog.text


def test_files_that_were_exchanged_are_noticed(relay: Relay, tmp_path: Path) -> None:
    relay.keep(code_of(1))
    folder = tmp_path / "fleet" / "leaving"
    (folder / digest_of(1)).rename(folder / digest_of(2))
    assert codes(relay) == set()


def test_no_more_wait_than_can_be(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    for number in range(3):
        relay.keep(code_of(number))
    with pytest.raises(StorageError, match="too many"):
        relay.keep(code_of(9))
    relay.keep(code_of(1))  # it waits already
    assert relay.waiting == 3


def test_a_full_disk_is_reported_and_leaves_nothing_half(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.keep(code_of(1))

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="disk is full"):
        relay.keep(code_of(2))
    relay.heard(OPERATOR, frozenset())  # says nothing, and changes nothing
    monkeypatch.undo()
    assert codes(relay) == {code_of(1)}
    relay.heard(OPERATOR, frozenset())
    with pytest.raises(DeliveryError, match="not reached"):
        relay.tell(NOBODY, code_of(1), deadline_s=1)


def test_without_an_operator_nothing_is_told(relay: Relay, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="not known yet"):
        relay.tell(NOBODY, code_of(1), deadline_s=1)
    for damage in (b"", b'{"fleet":"f","key":"zz"}', b"[]"):
        (tmp_path / "fleet").mkdir(exist_ok=True)
        (tmp_path / "fleet" / "operator.json").write_bytes(damage)
        with pytest.raises(DeliveryError, match="not known yet"):
            relay.tell(NOBODY, code_of(1), deadline_s=1)


def test_an_address_that_is_none_is_said(relay: Relay) -> None:
    relay.heard(OPERATOR, frozenset())
    with pytest.raises(ConfigError, match="not an http"):
        relay.tell("ftp://host", code_of(1), deadline_s=1)


def test_an_operator_out_of_reach_takes_no_longer_than_it_may(relay: Relay) -> None:
    relay.heard(OPERATOR, frozenset())
    for number in range(5):
        relay.keep(code_of(number))
    times = iter(range(100))
    relay.tell_waiting(NOBODY, deadline_s=2, monotonic_s=lambda: float(next(times)))
    assert relay.waiting == 5
    with pytest.raises(DeliveryError, match="too long"):
        relay.tell(NOBODY, code_of(1), deadline_s=0)


def test_what_was_not_taken_is_acknowledged_again(relay: Relay) -> None:
    signer = Ed25519PrivateKey.from_private_bytes(b"d" * 32)
    relay.heard(OPERATOR, frozenset())
    for _ in range(2):
        with pytest.raises(DeliveryError):
            relay.acknowledge(
                NOBODY,
                3,
                key=signer,
                device_id="ab" * 32,
                now=datetime(2026, 11, 23, tzinfo=UTC),
                deadline_s=1,
            )


def test_killed_at_any_moment_the_queue_is_whole(tmp_path: Path) -> None:
    """kill -9 while codes come in: each that was confirmed is there, and every file is readable."""
    folder = tmp_path / "fleet"
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from edge_app.adapters.relay import Relay
        from tests.adapters.test_relay import KEY, code_of
        relay = Relay(Path({str(folder)!r}), KEY)
        begin = relay.waiting
        for number in range(begin, begin + 1000):
            relay.keep(code_of(number))
            print(number, flush=True)
        """
    )
    confirmed = -1
    for more in (1, 2, 7, 20):
        with subprocess.Popen(
            (sys.executable, "-c", program),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as writer:
            assert writer.stdout is not None
            for _ in range(more):
                confirmed = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        relay = Relay(folder, KEY)
        found = codes(relay)
        assert len(found) == relay.waiting
        assert {code_of(number) for number in range(confirmed + 1)} <= found
