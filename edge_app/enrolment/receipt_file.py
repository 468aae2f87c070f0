"""A receipt as a file: where the person asked for it, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from edge_app.adapters.durable import write_new
from edge_app.enrolment.receipt import Receipt, receipt_text
from edge_app.enrolment.receipt_page import receipt_page
from edge_app.errors import EnrolmentError


def _pdf(receipt: Receipt) -> bytes:
    # 20 MB of memory that only whoever prints shall pay for.
    from edge_app.enrolment.receipt_pdf import receipt_pdf  # noqa: PLC0415 - see above

    return receipt_pdf(receipt)


_FORMS: Final[Mapping[str, Callable[[Receipt], bytes]]] = {
    ".pdf": _pdf,
    ".html": lambda receipt: receipt_page(receipt).encode(),
    ".txt": lambda receipt: receipt_text(receipt).encode(),
}


def require_writable(path: Path, name: str) -> None:
    """Pass if a receipt for this name can be written there; asked before anybody is captured.

    Raises:
        EnrolmentError: the file exists, its ending names no form, or a PDF cannot show the name.
    """
    if path.suffix not in _FORMS:
        raise EnrolmentError(
            f"a receipt cannot be written as {path.name}; end the name in {', '.join(_FORMS)}"
        )
    if path.exists():
        raise EnrolmentError(f"{path} exists, and may be somebody's receipt; name another file")
    if path.suffix == ".pdf":
        from edge_app.enrolment.receipt_pdf import require_printable  # noqa: PLC0415 - as `_pdf`

        require_printable(name)


def write_receipt(receipt: Receipt, path: Path) -> None:
    """Write the form that the file's ending names, readable by its owner only.

    Raises EnrolmentError as `require_writable`, and StorageError.
    """
    require_writable(path, receipt.facts[0][1])
    write_new(path, _FORMS[path.suffix](receipt))


def receipt_from_json(data: bytes) -> Receipt:
    """The receipt that `station enrol --json` printed, alone or in that command's answer.

    Raises:
        EnrolmentError: something else.
    """
    try:
        plain = json.loads(data)
        plain = plain.get("receipt", plain)
        facts = tuple((str(label), str(value)) for label, value in plain.pop("facts"))
        receipt = Receipt(facts=facts, **plain)
        if not facts or not all(isinstance(value, str) for value in plain.values()):
            raise TypeError
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise EnrolmentError(
            "this is no receipt; give what `familiar station enrol --json` printed"
        ) from error
    return receipt


def receipt_json(receipt: Receipt) -> dict[str, object]:
    """The receipt as JSON values."""
    return asdict(receipt)
