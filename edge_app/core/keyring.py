"""Keys of a fleet's gallery: who can open which generation.

Every shard has its key; the keyring holds them all under the generation's key; that key is sealed
to each device by HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, AES-256-GCM). The generation's
key is new at every publication, so a device that was removed opens no later keyring. HPKE's base
mode does not name its sender: the files are targets of the TUF repository, whose signatures do.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edge_app.errors import GalleryError, KeyFileError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
WRAP_BYTES: Final = 80  # 32 of the encapsulated key, 32 of the key, 16 of the tag
_ID_BYTES: Final = 32
KEYRING_MAGIC: Final = b"FAMKEY\x00\x01"
_WRAPS_MAGIC: Final = b"FAMWRP\x00\x01"
_ENTRY: Final = struct.Struct(f"<I{KEY_BYTES}s")
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def device_id(public_key: bytes) -> str:
    """Hex SHA-256 of a device's raw X25519 public key."""
    return hashlib.sha256(public_key).hexdigest()


def seal_keyring(
    keys: Mapping[int, bytes], *, fleet: str, generation: int, key: bytes, nonce: bytes
) -> bytes:
    """The shards' keys under the generation's key. nonce: 12 bytes, never used with this key."""
    entries = b"".join(_ENTRY.pack(number, keys[number]) for number in sorted(keys))
    return KEYRING_MAGIC + nonce + AESGCM(key).encrypt(nonce, entries, _bound(fleet, generation))


def open_keyring(data: bytes, *, fleet: str, generation: int, key: bytes) -> Mapping[int, bytes]:
    """Shard number -> key.

    Raises:
        GalleryError: altered, of another generation or fleet, or another key's.
    """
    begin = len(KEYRING_MAGIC) + NONCE_BYTES
    if len(data) < begin or not data.startswith(KEYRING_MAGIC):
        raise GalleryError("the gallery's keyring is of another format; update the program")
    try:
        entries = AESGCM(key).decrypt(
            data[len(KEYRING_MAGIC) : begin], data[begin:], _bound(fleet, generation)
        )
    except (InvalidTag, ValueError) as error:
        raise GalleryError("the gallery's keyring was altered; fetch it again") from error
    if len(entries) % _ENTRY.size:
        raise GalleryError("the gallery's keyring is cut off; fetch it again")
    return dict(_ENTRY.iter_unpack(entries))


def wrap(key: bytes, public_key: bytes, *, fleet: str, generation: int) -> bytes:
    """The generation's key for one device: 80 bytes.

    public_key: the device's raw X25519 key.
    """
    return _SUITE.encrypt(
        key,
        X25519PublicKey.from_public_bytes(public_key),
        info=_for_device(fleet, generation, public_key),
    )


def unwrap(data: bytes, private_key: X25519PrivateKey, *, fleet: str, generation: int) -> bytes:
    """The generation's key.

    Raises:
        KeyFileError: wrapped for another device, fleet or generation, or altered.
    """
    public_key = private_key.public_key().public_bytes_raw()
    try:
        key = _SUITE.decrypt(data, private_key, info=_for_device(fleet, generation, public_key))
    except (InvalidTag, ValueError) as error:
        raise KeyFileError(
            "this device's key does not open the gallery; have the operator add it again"
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyFileError("the gallery's key is of another length; update the program")
    return key


def group_of(device: str, groups: int) -> int:
    """Which of `groups` files a device's wrap is in."""
    return int(device[:8], 16) % groups


def wraps_name(group: int) -> str:
    return f"wraps-{group}.bin"


def encode_wraps(wraps: Mapping[str, bytes]) -> bytes:
    """A file of wraps. wraps: device id -> 80 bytes."""
    entries = (bytes.fromhex(device) + wraps[device] for device in sorted(wraps))
    return _WRAPS_MAGIC + b"".join(entries)


def find_wrap(data: bytes, device: str) -> bytes | None:
    """A device's wrap in a file of them; None if it has none.

    Raises:
        GalleryError: not such a file.
    """
    step = _ID_BYTES + WRAP_BYTES
    body = data[len(_WRAPS_MAGIC) :]
    if not data.startswith(_WRAPS_MAGIC) or len(body) % step:
        raise GalleryError("the devices' wrapped keys are malformed; fetch them again")
    wanted = bytes.fromhex(device)
    for begin in range(0, len(body), step):
        if body[begin : begin + _ID_BYTES] == wanted:
            return body[begin + _ID_BYTES : begin + step]
    return None


def seal_for(public_key: bytes, message: bytes, *, fleet: str) -> bytes:
    """A message that only the operator of a fleet can open. public_key: raw X25519."""
    key = X25519PublicKey.from_public_bytes(public_key)
    return _SUITE.encrypt(message, key, info=b"familiar to operator 1\0" + fleet.encode())


def open_for(private_key: X25519PrivateKey, data: bytes, *, fleet: str) -> bytes:
    """A message of `seal_for`.

    Raises:
        GalleryError: altered, or sealed to another operator or fleet.
    """
    try:
        return _SUITE.decrypt(data, private_key, info=b"familiar to operator 1\0" + fleet.encode())
    except (InvalidTag, ValueError) as error:
        raise GalleryError(
            "this enrolment was sealed to another operator or fleet, or was altered; enrol again "
            "with this operator's fleet.json"
        ) from error


def encode_tombstones(digests: frozenset[str]) -> bytes:
    """Digests as `consent.tombstone_ids` makes them, 32 bytes each, sorted."""
    return b"".join(bytes.fromhex(digest) for digest in sorted(digests))


def decode_tombstones(data: bytes) -> frozenset[str]:
    """Raises GalleryError if the file is cut off."""
    if len(data) % _ID_BYTES:
        raise GalleryError("the gallery's tombstones are cut off; fetch them again")
    return frozenset(data[i : i + _ID_BYTES].hex() for i in range(0, len(data), _ID_BYTES))


def _for_device(fleet: str, generation: int, public_key: bytes) -> bytes:
    return b"familiar wrap 1\0" + _bound(fleet, generation) + public_key


def _bound(fleet: str, generation: int) -> bytes:
    return fleet.encode() + b"\0" + struct.pack("<Q", generation)
