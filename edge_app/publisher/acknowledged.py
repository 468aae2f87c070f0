"""What devices have acknowledged, and what follows for those who left.

One file per device: the newest statement as it was signed, and when it came. The signature is
checked again whenever it is read, so that the folder's files are evidence and not only notes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from edge_app.adapters.durable import exclusive, file_state, write_durably
from edge_app.core.acknowledge import (
    Erasure,
    Receipt,
    SignedAcknowledgment,
    decode_acknowledgment,
    verify_acknowledgment,
)
from edge_app.core.canonical import from_json, to_json
from edge_app.core.manifest import DeviceKey
from edge_app.errors import GalleryError
from edge_app.publisher.folder import Book, Departed


class Acknowledgments:
    """The folder `acknowledged/`. What was read is kept in memory, and read again if it changes."""

    def __init__(self, folder: Path, fleet: str) -> None:
        """Name the folder, which need not exist, and the fleet."""
        self._folder = folder
        self._fleet = fleet
        self._known: dict[str, tuple[tuple[int, int, int], Receipt | None]] = {}

    def keep(
        self, data: bytes, *, devices: Mapping[str, DeviceKey], generation: int, now: datetime
    ) -> bool:
        """Keep a device's statement if it goes forward; returns whether it does.

        devices:    of the fleet, by id.
        generation: the newest there is.
        now:        aware, UTC.

        Raises:
            GalleryError: malformed, not signed by a device of this fleet, or of a generation that
                does not exist.
            StorageError: it cannot be kept.
        """
        signed = decode_acknowledgment(data)
        statement = signed.statement
        device = devices.get(statement.device_id)
        if device is None:
            raise GalleryError("the acknowledgment is of no device of this fleet; have it added")
        self._verify(signed, device)
        if statement.generation > generation:
            raise GalleryError("the acknowledgment is of a generation that was never published")
        with exclusive(self._folder):
            known = self._read(device)
            if known is not None and known.signed.statement.generation >= statement.generation:
                return False
            receipt = Receipt(now.replace(microsecond=0), signed)
            write_durably(self._path(device.device_id), to_json(receipt, _malformed))
        return True

    def read(self, devices: Iterable[DeviceKey]) -> dict[str, Receipt]:
        """Device id -> the newest statement; devices that never made one are left out.

        A file that was altered says nothing: its device counts as one that has not spoken.
        """
        found = {device.device_id: self._read(device) for device in devices}
        return {name: receipt for name, receipt in found.items() if receipt is not None}

    def _read(self, device: DeviceKey) -> Receipt | None:
        path = self._path(device.device_id)
        state = file_state(path)
        known = self._known.get(device.device_id)
        if known is not None and known[0] == state:
            return known[1]
        try:
            receipt = from_json(path.read_bytes(), Receipt, _malformed)
            self._verify(receipt.signed, device)
        except (OSError, GalleryError):
            receipt = None
        self._known[device.device_id] = (state, receipt)
        return receipt

    def _verify(self, signed: SignedAcknowledgment, device: DeviceKey) -> None:
        verify_acknowledgment(
            signed,
            signing_key=bytes.fromhex(device.signing_key),
            fleet=self._fleet,
            device_id=device.device_id,
        )

    def _path(self, device_id: str) -> Path:
        return self._folder / f"{device_id}.json"


def erasure(book: Book, departed: Departed, receipts: Mapping[str, Receipt]) -> Erasure:
    """How far a departure has come. receipts: of the book's devices and its removed ones."""
    return next(erasures(book, [departed], receipts))


def erasures(
    book: Book, departed: Iterable[Departed], receipts: Mapping[str, Receipt]
) -> Iterator[Erasure]:
    """The same of many, in their order; thousands of devices are gone through once."""

    def held(device: DeviceKey) -> int:
        receipt = receipts.get(device.device_id)
        return receipt.signed.statement.generation if receipt else 0

    here = sorted(map(held, book.devices))
    gone = [(removed.generation, held(removed.device)) for removed in book.removed]
    for one in departed:
        yield Erasure(
            generation=one.generation,
            devices=len(here),
            acknowledged=len(here) - bisect_left(here, one.generation),
            # One that was removed before the person came never had them.
            removed=sum(last >= one.since and said < one.generation for last, said in gone),
        )


def everyone(book: Book) -> Iterator[DeviceKey]:
    """The devices of the fleet, and those that were."""
    yield from book.devices
    yield from (gone.device for gone in book.removed)


def _malformed(where: str, expected: str) -> GalleryError:
    return GalleryError(f"a kept acknowledgment is malformed: {where} is not {expected}")
