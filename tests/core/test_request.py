"""Requests to a device and its answers, as bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.request import (
    MAX_REQUEST_BYTES,
    Reply,
    RevokeRequest,
    Status,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from edge_app.core.revocation import new_code, spoken_code
from edge_app.errors import ConsentError, DeliveryError, EdgeAppError

CODE = new_code(b"fifteen bytes!!")


def test_a_request_comes_back_as_it_was() -> None:
    assert decode_request(encode_request(RevokeRequest(CODE))) == RevokeRequest(CODE)


def test_a_code_may_be_written_as_on_the_receipt() -> None:
    payload = json.dumps({"request": "revoke", "code": f" {spoken_code(CODE).lower()} "})
    assert decode_request(payload.encode()) == RevokeRequest(CODE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"junk",
        b"\xff\xfe",
        b'"revoke"',
        b"[" * MAX_REQUEST_BYTES,
        b'{"request": "revoke"}',
        b'{"code": "%s"}' % CODE.encode(),
        b'{"request": "revoke", "code": 1}',
        b'{"request": "revoke", "code": null}',
        b'{"request": "revoke", "code": ["%s"]}' % CODE.encode(),
        b'{"request": "enrol", "code": "%s"}' % CODE.encode(),
        b'{"request": "revoke", "code": "%s", "more": 1}' % CODE.encode(),
        encode_request(RevokeRequest(CODE)) + b" " * MAX_REQUEST_BYTES,
    ],
)
def test_what_is_no_request_is_refused_in_one_line(payload: bytes) -> None:
    with pytest.raises(DeliveryError, match=r"request|text") as caught:
        decode_request(payload)
    assert "\n" not in str(caught.value)
    assert CODE not in str(caught.value)


@pytest.mark.parametrize("code", ["", "x" * 26, CODE[:-1], CODE + "0", "\ud800", "U" * 26])
def test_what_is_no_code_is_refused_and_not_repeated(code: str) -> None:
    payload = json.dumps({"request": "revoke", "code": code}).encode()
    with pytest.raises(ConsentError) as caught:
        decode_request(payload)
    assert not code or code not in str(caught.value)


@pytest.mark.parametrize("cut", range(len(encode_request(RevokeRequest(CODE)))))
def test_a_request_cut_off_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(DeliveryError):
        decode_request(encode_request(RevokeRequest(CODE))[:cut])


def test_a_request_shows_no_code() -> None:
    assert CODE not in repr(RevokeRequest(CODE))


@pytest.mark.parametrize("status", Status)
def test_an_answer_comes_back_as_it_was(status: Status) -> None:
    reply = Reply(status, "one line")
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"status": "left"}',
        b'{"status": "gone", "detail": ""}',
        b'{"status": [], "detail": ""}',
        b'{"status": "left", "detail": 1}',
        b'{"status": "left", "detail": "two\\nlines"}',
        b'{"status": "left", "detail": "\\u001b[2J"}',
        b'{"status": "left", "detail": "", "more": 1}',
        b'{"status": "left", "detail": "%s"}' % (b"x" * 2_000),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error(payload: bytes) -> None:
    with pytest.raises(DeliveryError, match="cannot be read"):
        decode_reply(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for decode in (decode_request, decode_reply):
        try:
            decode(payload)
        except EdgeAppError:
            continue
