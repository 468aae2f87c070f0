"""What a device has to tell its fleet's operator, kept until the operator has heard it.

<home>/fleet/operator.json     the fleet, and the key that only its operator can open
<home>/fleet/leaving/<digest>  a revocation code that was presented here; sealed
<home>/fleet/acknowledged      the generation that was acknowledged last, and when

A code is kept until its tombstone comes in the fleet's signed gallery: a server's word is not
enough, for it may be anybody's. On the way it is sealed to the operator, whatever the transport.
For the same reason, and because an operator may have to restore a backup, an acknowledgment is
said again once a day.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.durable import exclusive, write_durably
from edge_app.adapters.keys import derive
from edge_app.adapters.post import ACKNOWLEDGE_DOOR, BYTES, REVOKE_DOOR, post
from edge_app.core.acknowledge import sign_acknowledgment
from edge_app.core.canonical import from_json, to_json
from edge_app.core.keyring import seal_for
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.errors import DeliveryError, EdgeAppError, GalleryError, StorageError

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 1_024
_BOUND: Final = b"familiar relay 1"
_NONCE_BYTES: Final = 12
_SAID_AGAIN_AFTER: Final = timedelta(days=1)
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Operator:
    """`operator.json`. key: raw X25519, in hex."""

    fleet: str
    key: str


@dataclass(frozen=True, slots=True)
class _Said:
    """`acknowledged`. time: by the device's clock."""

    generation: int
    time: datetime


class Relay:
    """The queue in `<home>/fleet`."""

    def __init__(self, folder: Path, store_key: bytes) -> None:
        """Name the folder, which need not exist. store_key: 32 bytes."""
        self._folder = folder
        self._operator_path = folder / "operator.json"
        self._leaving = folder / "leaving"
        self._acknowledged_path = folder / "acknowledged"
        self._cipher = AESGCM(derive(store_key, salt=b"", purpose=_BOUND, length=32))

    @property
    def waiting(self) -> int:
        """How many codes the operator has not confirmed yet."""
        return len(self._digests())

    def heard(self, operator: Operator, tombstones: frozenset[str]) -> None:
        """Take note of what a signed generation says: whose it is, and who has left.

        On a full disk nothing is noted, and the next generation says it again.
        """
        try:
            if self._operator() != operator:
                with exclusive(self._folder):
                    write_durably(self._operator_path, to_json(operator, _malformed))
            for digest in tombstones.intersection(self._digests()):
                (self._leaving / digest).unlink(missing_ok=True)
        except (StorageError, OSError) as error:
            _log.warning("what waits for the operator cannot be put in order: %s", error)

    def keep(self, code: str) -> None:
        """Have the operator told that the holder of this code leaves. Durable when this returns.

        Raises:
            ConsentError: not a revocation code.
            StorageError: it cannot be kept, or too many wait.
        """
        code = normalise_code(code)
        digest = revocation_sha256(code)
        with exclusive(self._leaving):
            waiting = self._digests()
            if digest in waiting:
                return
            if len(waiting) >= MAX_WAITING:
                raise StorageError(
                    "too many revocations wait for the operator; run `familiar sync`"
                )
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = self._cipher.encrypt(nonce, code.encode(), _BOUND + digest.encode())
            write_durably(self._leaving / digest, nonce, sealed)

    def tell(self, url: str, code: str, *, deadline_s: float) -> None:
        """Tell the operator that the holder of this code leaves.

        url: of the fleet's repository and service. code: normalised.

        Raises:
            ConfigError: not an address.
            DeliveryError: not reached, not taken, or no operator is known yet.
        """
        operator = self._operator()
        if operator is None:
            raise DeliveryError("the fleet's operator is not known yet; run `familiar sync`")
        sealed = seal_for(bytes.fromhex(operator.key), code.encode(), fleet=operator.fleet)
        _post(url, REVOKE_DOOR, sealed, deadline_s)

    def tell_waiting(
        self, url: str, *, deadline_s: float, monotonic_s: Callable[[], float]
    ) -> None:
        """Tell the operator of everyone who waits, within so many seconds together.

        Whoever is taken waits on, too, until a signed generation confirms it.

        Raises:
            ConfigError: not an address.
        """
        until = monotonic_s() + deadline_s
        for code in self._codes():
            try:
                self.tell(url, code, deadline_s=until - monotonic_s())
            except DeliveryError as error:
                _log.info("a revocation waits: %s", error)

    def acknowledge(
        self,
        url: str,
        generation: int,
        *,
        key: Ed25519PrivateKey,
        device_id: str,
        now: datetime,
        deadline_s: float,
    ) -> bool:
        """Tell the operator that this generation is installed; returns whether it was due.

        key: the device's signing key. now: aware, UTC.

        Raises:
            ConfigError: not an address.
            DeliveryError: not reached, or not taken; to be tried again.
            StorageError: that it was taken cannot be kept; it will be told once more.
        """
        operator = self._operator()
        if operator is None or not self._is_due(generation, now):
            return False
        statement = sign_acknowledgment(
            key, fleet=operator.fleet, device_id=device_id, generation=generation, time=now
        )
        _post(url, ACKNOWLEDGE_DOOR, statement, deadline_s)
        with exclusive(self._folder):
            said = _Said(generation, now.replace(microsecond=0))
            write_durably(self._acknowledged_path, to_json(said, _malformed))
        return True

    def _operator(self) -> Operator | None:
        try:
            operator = from_json(self._operator_path.read_bytes(), Operator, _malformed)
        except (OSError, GalleryError):
            return None  # the next sync writes it anew
        return operator if _HEX.fullmatch(operator.key) else None

    def _is_due(self, generation: int, now: datetime) -> bool:
        try:
            said = from_json(self._acknowledged_path.read_bytes(), _Said, _malformed)
        except (OSError, GalleryError):
            return True
        # A clock that was ahead and is not any more must not silence the device.
        fresh = timedelta(0) <= now - said.time + timedelta(seconds=1) <= _SAID_AGAIN_AFTER
        return said.generation != generation or not fresh

    def _digests(self) -> list[str]:
        with suppress(OSError):
            return sorted(p.name for p in self._leaving.iterdir() if _HEX.fullmatch(p.name))
        return []

    def _codes(self) -> Iterator[str]:
        for digest in self._digests():
            try:
                data = (self._leaving / digest).read_bytes()
                code = self._cipher.decrypt(
                    data[:_NONCE_BYTES], data[_NONCE_BYTES:], _BOUND + digest.encode()
                ).decode("ascii")
            except FileNotFoundError:
                continue  # confirmed meanwhile
            except (OSError, InvalidTag, ValueError):
                _log.warning("a revocation that waits for the operator cannot be read")
            else:
                yield code


def tell_operator(
    relay: Relay,
    url: str,
    generation: int,
    *,
    key: Ed25519PrivateKey,
    device_id: str,
    now: datetime,
    deadline_s: float,
    monotonic_s: Callable[[], float],
) -> None:
    """Tell the operator what it has not heard yet. Fails silently: the next look tries again."""
    until = monotonic_s() + deadline_s
    try:
        relay.tell_waiting(url, deadline_s=deadline_s, monotonic_s=monotonic_s)
        relay.acknowledge(
            url,
            generation,
            key=key,
            device_id=device_id,
            now=now,
            deadline_s=until - monotonic_s(),
        )
    except EdgeAppError as error:
        _log.info("the operator is told at the next look: %s", error)


def _post(url: str, door: str, body: bytes, deadline_s: float) -> None:
    if deadline_s <= 0:
        raise DeliveryError(f"the operator at {url} took too long; it is tried again")
    answer = post(url, door, body, kind=BYTES, deadline_s=deadline_s)
    if answer.status != 202:
        raise DeliveryError(f"the operator at {url} did not take it (HTTP {answer.status})")


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(f"what is known of the operator is malformed: {where} is not {expected}")
