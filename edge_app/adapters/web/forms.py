"""What browsers send: small, whole, and in time."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_MAX_FORM_BYTES: Final = 4_096
_MAX_FIELDS: Final = 12
_BODY_WITHIN_S: Final = 20.0


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form; answers 400 to what is none."""
    data = await read_body(request, _MAX_FORM_BYTES)
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise HTTPException(400) from None
    return dict(pairs)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Answers 413 to more, and 408 to what drips in."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None  # nobody reads it
    return bytes(body)
