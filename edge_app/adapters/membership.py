"""What a device knows of its fleet: where the gallery comes from, and until when it may match.

<home>/fleet/source.json   the address, in clear
<home>/fleet/root.json     the trusted root metadata
<home>/fleet/lease         until when the newest metadata is fresh; sealed
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_app.adapters.durable import exclusive, file_state, write_durably
from edge_app.adapters.keys import derive
from edge_app.errors import ConfigError, GalleryError

_BOUND: Final = b"familiar lease 1"
_NONCE_BYTES: Final = 12


class Membership:
    """The folder `<home>/fleet`."""

    def __init__(self, folder: Path, store_key: bytes) -> None:
        """Name the folder, which need not exist. store_key: 32 bytes."""
        self.folder = folder
        self._cipher = AESGCM(derive(store_key, salt=b"", purpose=_BOUND, length=32))
        self._lease_path = folder / "lease"

    def source(self) -> tuple[str, bytes] | None:
        """(address, root metadata) as `join` kept them; None before the first.

        Raises:
            ConfigError: the files were altered.
        """
        path = self.folder / "source.json"
        try:
            url = json.loads(path.read_bytes())["url"]
            root = (self.folder / "root.json").read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"cannot use {path}: {error}; sync with --url and --root") from error
        return str(url), root

    def join(self, url: str, root: bytes) -> None:
        """Remember where the gallery comes from. Raises StorageError."""
        with exclusive(self.folder):
            write_durably(self.folder / "root.json", root)
            write_durably(self.folder / "source.json", json.dumps({"url": url}).encode())

    def lease(self) -> datetime | None:
        """Until when this device may match; None if it belongs to no fleet.

        Raises:
            GalleryError: the file was altered.
        """
        try:
            data = self._lease_path.read_bytes()
            text = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _BOUND)
            return datetime.fromisoformat(text.decode())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, InvalidTag) as error:
            raise GalleryError(
                f"cannot use {self._lease_path}: it was altered; run `familiar sync`"
            ) from error

    def extend(self, until: datetime) -> None:
        """Remember until when the newest metadata is fresh. Raises StorageError."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, until.isoformat().encode(), _BOUND)
        with exclusive(self.folder):
            write_durably(self._lease_path, nonce, sealed)

    def fingerprint(self) -> tuple[int, int, int]:
        """Changes with the lease."""
        return file_state(self._lease_path)
