"""Fetches a fleet's repository: TUF over HTTP, within a total time and known sizes.

Signatures, freshness and hashes are TUF's to check (`tuf.ngclient`). Added here: a deadline for
everything together, since a server that drips bytes would otherwise hold a device for ever, and one
kind of error for whatever a network can do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface, Updater

from edge_app.adapters.durable import make_private_folder, write_durably
from edge_app.errors import GalleryError, StorageError

_CHUNK_BYTES = 65_536
_SOCKET_TIMEOUT_S = 10.0


class GalleryServer:
    """One look at a repository. `refresh` first."""

    def __init__(
        self,
        url: str,
        *,
        folder: Path,
        root: bytes,
        deadline_s: float,
        monotonic_s: Callable[[], float],
    ) -> None:
        """Prepare to fetch from `url` within `deadline_s` seconds from now.

        folder: of the metadata and files that were fetched before.
        root:   the trusted root metadata this device was provisioned with.

        Raises:
            GalleryError: not an address, or the root is no root.
            StorageError: the folder cannot be written.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise GalleryError(f"{url} is not an http(s) address; name the gallery's server")
        self._url = url.rstrip("/")
        self._metadata = folder / "metadata"
        self._files = folder / "files"
        make_private_folder(self._metadata)
        make_private_folder(self._files)
        self._fetcher = _DeadlineFetcher(monotonic_s() + deadline_s, monotonic_s)
        try:
            self._updater = Updater(
                str(self._metadata),
                metadata_base_url=f"{self._url}/metadata/",
                target_base_url=f"{self._url}/targets/",
                fetcher=self._fetcher,
                bootstrap=root,
            )
        except (RepositoryError, ValueError) as error:
            raise GalleryError(
                f"the root metadata cannot be used: {error}; get root.json from the operator again"
            ) from error
        except OSError as error:
            raise _not_stored(self._metadata, error) from error

    @property
    def fetched_bytes(self) -> int:
        """How much came over the network so far."""
        return self._fetcher.fetched_bytes

    def refresh(self) -> datetime:
        """Fetch and check the metadata; returns when it ends to be fresh.

        Raises:
            GalleryError: not reached in time, or not authentic, or not fresh. What was installed
                is untouched.
            StorageError: the metadata cannot be stored.
        """
        try:
            self._updater.refresh()
            timestamp = Metadata.from_file(str(self._metadata / "timestamp.json")).signed
        except DownloadError as error:
            raise self._unreached(error) from error
        except RepositoryError as error:
            raise GalleryError(
                f"the gallery at {self._url} is not authentic or not fresh: {error}; nothing was "
                "changed, tell the operator"
            ) from error
        except OSError as error:
            raise _not_stored(self._metadata, error) from error
        expires: datetime = timestamp.expires
        return expires.replace(tzinfo=expires.tzinfo or UTC)

    def read(self, name: str, *, most_bytes: int) -> bytes:
        """A file of the repository, from before if it has not changed.

        Raises:
            GalleryError: there is none, it is larger than `most_bytes`, or not what was signed.
            StorageError: it cannot be kept.
        """
        info = self._updater.get_targetinfo(name)
        if info is None:
            raise GalleryError(f"the gallery at {self._url} holds no {name}; tell the operator")
        if info.length > most_bytes:
            raise GalleryError(
                f"{name} of the gallery is of {info.length} bytes, more than it can be; tell the "
                "operator"
            )
        sha256 = info.hashes.get("sha256", "")
        kept = self._files / sha256
        if (found := _if_whole(kept, sha256)) is not None:
            return found
        staged = self._files / "fetching"
        try:
            self._updater.download_target(info, str(staged))
            data = staged.read_bytes()
        except DownloadError as error:
            raise self._unreached(error) from error
        except RepositoryError as error:
            raise GalleryError(
                f"{name} of the gallery is not what was signed: {error}; nothing was changed, "
                "tell the operator"
            ) from error
        except OSError as error:
            raise _not_stored(staged, error) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise GalleryError(f"{name} of the gallery changed on this disk; check the disk")
        write_durably(kept, data)
        staged.unlink(missing_ok=True)
        return data

    def forget_but(self, names: frozenset[str]) -> None:
        """Delete the kept files but those of these names (`read`'s)."""
        infos = (self._updater.get_targetinfo(name) for name in names)
        kept = {info.hashes.get("sha256", "") for info in infos if info is not None}
        for path in self._files.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _unreached(self, error: DownloadError) -> GalleryError:
        why = error.__cause__ or error
        return GalleryError(
            f"cannot fetch the gallery from {self._url}: {why}; check the address and the network, "
            "the device goes on with what it has"
        )


class _DeadlineFetcher(FetcherInterface):
    def __init__(self, deadline_s: float, monotonic_s: Callable[[], float]) -> None:
        self._deadline_s = deadline_s
        self._monotonic_s = monotonic_s
        self._pool = urllib3.PoolManager(retries=False, timeout=_SOCKET_TIMEOUT_S)
        self.fetched_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        self._require_time()
        response = self._pool.request("GET", url, preload_content=False, redirect=False)
        if response.status != 200:
            response.close()  # what is left of the answer must not be taken for the next one
            raise DownloadHTTPError(f"{url}: HTTP {response.status}", response.status)
        return self._chunks(response)

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            # read1: what has arrived, however little, so that the deadline is looked at.
            while chunk := response.read1(_CHUNK_BYTES):
                self._require_time()
                self.fetched_bytes += len(chunk)
                yield chunk
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"the transfer broke off: {error}") from error
        finally:
            response.close()

    def _require_time(self) -> None:
        if self._monotonic_s() > self._deadline_s:
            raise DownloadError("it took too long")


def _if_whole(path: Path, sha256: str) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def _not_stored(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error.strerror or error}; check the disk")
