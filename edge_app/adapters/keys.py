"""Where keys come from, and the names made with them.

The store key opens the gallery; the station key signs consents. Each is 32 raw bytes, looked
for in this order: a systemd credential, a file named in the configuration, and
`<home>/keys/<name>`, which is made on demand. A device whose keys are kept in the home folder
is as safe as that folder; a credential sealed to the TPM keeps them out of a stolen card.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge_app.adapters.durable import exclusive, file_state, write_durably
from edge_app.core.consent import station_id
from edge_app.errors import KeyFileError

KEY_BYTES: Final = 32
STORE_KEY_NAME: Final = "store.key"
STATION_KEY_NAME: Final = "station.key"
DEVICE_KEY_NAME: Final = "device.key"
PAGE_KEY_NAME: Final = "page.key"
STATIONS_NAME: Final = "stations.json"
SUBJECT_REF_LENGTH: Final = 32  # 128 bits: no two people of a site share one
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class KeySources:
    """Where to look.

    home:               the folder of this device's state.
    credentials_folder: systemd's `$CREDENTIALS_DIRECTORY`, if there is one.
    store_key_file, station_key_file: as named in the configuration, if they are.
    """

    home: Path
    credentials_folder: Path | None
    store_key_file: Path | None
    station_key_file: Path | None


def store_key(sources: KeySources) -> bytes:
    """The key of the gallery store, made on demand.

    Raises:
        KeyFileError: a key file is missing, open to others, or of the wrong length, or there is
            a gallery but no key.
        StorageError: a new key cannot be written.
    """
    found = existing_store_key(sources)
    if found is not None:
        return found
    store = sources.home / "store"
    if (store / "gallery.sealed").exists():
        raise KeyFileError(
            f"the key of this gallery is gone from {_keys_folder(sources) / STORE_KEY_NAME}; "
            f"restore it, or move {store} away and enrol everyone again"
        )
    with exclusive(_keys_folder(sources)):
        return _home_key(STORE_KEY_NAME, sources) or _make_key(STORE_KEY_NAME, sources)


def existing_store_key(sources: KeySources) -> bytes | None:
    """The key of the gallery store; None if there is none yet. Raises KeyFileError."""
    found = _given_key(STORE_KEY_NAME, sources.store_key_file, sources)
    return found if found is not None else _home_key(STORE_KEY_NAME, sources)


def station_key(sources: KeySources) -> Ed25519PrivateKey:
    """The key with which this home signs consents, made on demand.

    A home that makes its own key is its own operator, so it comes to trust that station; a
    key that was provisioned is trusted when its public half is in `stations.json`.

    Raises:
        KeyFileError: a key file is missing, open to others, or of the wrong length.
        StorageError: a new key cannot be written.
    """
    found = _given_key(STATION_KEY_NAME, sources.station_key_file, sources)
    if found is not None:
        return Ed25519PrivateKey.from_private_bytes(found)
    with exclusive(_keys_folder(sources)):
        existing = _home_key(STATION_KEY_NAME, sources)
        if existing is not None:
            return Ed25519PrivateKey.from_private_bytes(existing)
        key = Ed25519PrivateKey.generate()
        # Trust first: killed in between, a trusted key that nobody has does no harm.
        _trust(sources.home, key.public_key().public_bytes_raw())
        write_durably(_keys_folder(sources) / STATION_KEY_NAME, key.private_bytes_raw())
        return key


def device_key(sources: KeySources) -> X25519PrivateKey:
    """The key that a fleet's galleries are opened with, made on demand.

    Raises:
        KeyFileError: a key file is missing, open to others, or of the wrong length.
        StorageError: a new key cannot be written.
    """
    found = _given_key(DEVICE_KEY_NAME, None, sources)
    if found is None:
        with exclusive(_keys_folder(sources)):
            found = _home_key(DEVICE_KEY_NAME, sources)
            if found is None:
                found = X25519PrivateKey.generate().private_bytes_raw()
                write_durably(_keys_folder(sources) / DEVICE_KEY_NAME, found)
    return X25519PrivateKey.from_private_bytes(found)


def device_signing_key(sources: KeySources) -> Ed25519PrivateKey:
    """The key that this device acknowledges with: derived from its key, so there is one to keep.

    Raises what `device_key` does.
    """
    key = device_key(sources).private_bytes_raw()
    purpose = b"familiar device signature 1"
    return Ed25519PrivateKey.from_private_bytes(
        derive(key, salt=b"", purpose=purpose, length=KEY_BYTES)
    )


def page_token(sources: KeySources) -> str:
    """The secret part of the address of the wearer's page, made on demand: 43 URL-safe characters.

    It stays the same, so that the glasses find the page after a restart. Who removes the file gets
    another.

    Raises:
        KeyFileError: the key file is open to others, or of the wrong length.
        StorageError: a new key cannot be written.
    """
    found = _given_key(PAGE_KEY_NAME, None, sources)
    if found is None:
        with exclusive(_keys_folder(sources)):
            found = _home_key(PAGE_KEY_NAME, sources) or _make_key(PAGE_KEY_NAME, sources)
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def keys_in_home(sources: KeySources) -> tuple[Path, ...]:
    """The key files in the home that are in use: whoever steals this storage has them, too.

    A key that comes from a credential, or from a file that the configuration names, is none.
    """
    files = {
        STORE_KEY_NAME: sources.store_key_file,
        STATION_KEY_NAME: sources.station_key_file,
        DEVICE_KEY_NAME: None,
    }
    paths = {name: _keys_folder(sources) / name for name in files}
    return tuple(
        path
        for name, path in paths.items()
        if path.exists() and files[name] is None and not is_credential(name, sources)
    )


def is_credential(name: str, sources: KeySources) -> bool:
    """Whether systemd hands this key over."""
    folder = sources.credentials_folder
    return folder is not None and (folder / name).exists()


def trust_stations(home: Path, stations: Mapping[str, bytes]) -> None:
    """Let these stations be the trusted ones from now on. stations: id -> raw public key.

    Raises:
        StorageError: the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "stations": {name: key.hex() for name, key in sorted(stations.items())},
    }
    write_durably(home / STATIONS_NAME, json.dumps(content, indent=2).encode() + b"\n")


def trusted_stations(home: Path) -> Mapping[str, bytes]:
    """Station id -> raw public key, from `<home>/stations.json`; empty if there is none.

    Raises:
        KeyFileError: the file cannot be read or is malformed.
    """
    path = home / STATIONS_NAME
    try:
        content = json.loads(path.read_bytes())
        stations = {name: bytes.fromhex(key) for name, key in content["stations"].items()}
        sound = all(name == station_id(key) for name, key in stations.items())
        if content["format"] != _FORMAT or not sound:
            raise ValueError("an id that is not its key's")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyFileError(
            f"cannot use {path}: {error}; restore it from a backup, or remove it and enrol again"
        ) from error
    return stations


def stations_state(home: Path) -> tuple[int, int, int]:
    """Changes whenever the trusted stations do; cheap enough to ask every second."""
    return file_state(home / STATIONS_NAME)


def site_key(key: bytes) -> bytes:
    """The key of a site's pseudonyms, derived from a store key."""
    return derive(key, salt=b"", purpose=b"familiar site pseudonyms 1", length=KEY_BYTES)


def outbox_key(key: bytes) -> bytes:
    """The key of the alerts that wait, derived from a store key."""
    return derive(key, salt=b"", purpose=b"familiar outbox 1", length=KEY_BYTES)


def told_key(key: bytes) -> bytes:
    """The key of whom alerts were of lately, derived from a store key."""
    return derive(key, salt=b"", purpose=b"familiar told 1", length=KEY_BYTES)


def subject_ref(key: bytes, site: str, person_id: str) -> str:
    """A person's pseudonym in the events of one site: 32 hex digits.

    key: as `site_key` returns it. Without it, neither the person id nor the same person's
    pseudonym at another site can be found from the pseudonym.
    """
    message = json.dumps([site, person_id]).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:SUBJECT_REF_LENGTH]


def derive(key: bytes, *, salt: bytes, purpose: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869): a key of its own for each purpose."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=purpose).derive(key)


def _keys_folder(sources: KeySources) -> Path:
    return sources.home / "keys"


def _given_key(name: str, key_file: Path | None, sources: KeySources) -> bytes | None:
    """From the credentials, or the file that the configuration names."""
    if sources.credentials_folder is not None:
        # No permission check: systemd's access list makes these look open to the group.
        found = read_key(sources.credentials_folder / name, must_be_private=False)
        if found is not None:
            return found
    if key_file is None:
        return None
    found = read_key(key_file, must_be_private=True)
    if found is None:
        raise KeyFileError(f"there is no key file {key_file}; create it or leave it unconfigured")
    return found


def _home_key(name: str, sources: KeySources) -> bytes | None:
    return read_key(_keys_folder(sources) / name, must_be_private=True)


def _make_key(name: str, sources: KeySources) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    write_durably(_keys_folder(sources) / name, key)
    return key


def read_key(path: Path, *, must_be_private: bool) -> bytes | None:
    """The 32 bytes of a key in a file, or None if there is no such file.

    Raises:
        KeyFileError: it cannot be read, is open to others though it must be private, or is of
            another length.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KeyFileError(
            f"cannot read the key file {path}: {error.strerror}; check its owner and permissions"
        ) from error
    if must_be_private and stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(f"others may open the key file {path}; run `chmod 600 {path}`")
    if len(key) != KEY_BYTES:
        raise KeyFileError(
            f"the key file {path} does not hold {KEY_BYTES} bytes; restore it from a backup"
        )
    return key


def _trust(home: Path, public_key: bytes) -> None:
    stations = {**trusted_stations(home), station_id(public_key): public_key}
    trust_stations(home, stations)
