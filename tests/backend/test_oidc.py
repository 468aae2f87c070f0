"""Sign-in at an identity provider that answers over HTTP, rightly and wrongly."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from edge_app.adapters.clock import ManualClock
from edge_app.backend.accounts import NAME_PATTERN
from edge_app.backend.oidc import OidcClient, OidcSettings, Person
from edge_app.backend.roles import Role
from edge_app.errors import ConfigError, SignInError, SignInFault
from tests.providers import CLIENT_ID, CLIENT_SECRET, Provider, provider

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BACK = "https://backend.example/signed-in"
ROLES = {"operators": Role.OPERATOR, "auditors": Role.AUDITOR, "carers": Role.CARER}
CONFIGURATION = "/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


@pytest.fixture(scope="module")
def other_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})


@dataclass
class Meeting:
    """A client and its provider."""

    clock: ManualClock
    there: Provider
    settings: OidcSettings

    def client(self, **changes: Any) -> OidcClient:
        return OidcClient(replace(self.settings, **changes), self.clock)

    def sign_in(self, client: OidcClient | None = None, **changes: str) -> Person:
        client = client or self.client()
        begun = client.begin(BACK)
        return client.finish(begun, self.there.sign_in(begun.url, **changes))

    def refused(self, fault: SignInFault, client: OidcClient | None = None, **back: str) -> str:
        with pytest.raises(SignInError) as refused:
            self.sign_in(client, **back)
        text = str(refused.value)
        assert refused.value.fault is fault, text
        for secret in (CLIENT_SECRET, "248289761001", "ann", "eyJ"):
            assert secret not in text
        assert "\n" not in text
        return text


@pytest.fixture
def meeting(key: RSAKey) -> Iterator[Meeting]:
    clock = ManualClock(START)
    with provider(lambda: int(clock.now().timestamp()), key) as there:
        settings = OidcSettings(
            there.issuer, CLIENT_ID, CLIENT_SECRET, "preferred_username", "groups", ROLES
        )
        yield Meeting(clock, there, settings)


def test_somebody_with_a_role_is_let_in(meeting: Meeting) -> None:
    assert meeting.sign_in() == Person("ann (127.0.0.1)", Role.CARER)


def test_what_the_browser_carries_is_new_each_time_and_no_secret(meeting: Meeting) -> None:
    client = meeting.client()
    one, two = client.begin(BACK), client.begin(BACK)
    assert len({one.state, two.state, one.nonce, two.nonce, one.verifier, two.verifier}) == 6
    asked = parse_qs(urlsplit(one.url).query)
    assert asked["redirect_uri"] == [BACK]
    assert asked["scope"] == ["openid profile"]
    assert asked["nonce"] == [one.nonce]
    for secret in (one.verifier, CLIENT_SECRET):
        assert secret not in one.url
    assert one.verifier not in repr(one)
    assert CLIENT_SECRET not in repr(meeting.settings)


def test_a_public_client_has_no_secret(meeting: Meeting) -> None:
    meeting.there.secret = ""
    assert meeting.sign_in(meeting.client(client_secret="")).role is Role.CARER


def test_a_wrong_secret_is_refused_by_the_provider(meeting: Meeting) -> None:
    text = meeting.refused(SignInFault.BROKEN, meeting.client(client_secret=CLIENT_SECRET + "!"))
    assert "invalid_client" in text


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["carers"], Role.CARER), ("carers", Role.CARER), (["x", "auditors"], Role.AUDITOR),
        (["carers", "auditors", "operators"], Role.OPERATOR), (["carers", 7, None], Role.CARER),
    ],
)  # fmt: skip
def test_of_several_roles_the_first_in_our_order_holds(
    meeting: Meeting, groups: object, role: Role
) -> None:
    meeting.there.claims["groups"] = groups
    assert meeting.sign_in().role is role


@pytest.mark.parametrize("groups", [None, [], "", "carer", {"carers": 1}, 7, [["carers"]], True])
def test_whoever_has_no_role_is_not_let_in(meeting: Meeting, groups: object) -> None:
    meeting.there.claims["groups"] = groups
    meeting.there.user_info = {"sub": "248289761001"}
    meeting.refused(SignInFault.NO_ROLE)


def test_roles_that_are_not_in_the_token_are_asked_for(meeting: Meeting) -> None:
    meeting.there.claims.update({"groups": None, "preferred_username": None})
    meeting.there.user_info = {"sub": "248289761001", "groups": ["auditors"], "nonce": "x"}
    meeting.there.user_info["preferred_username"] = "bob"
    assert meeting.sign_in() == Person("bob (127.0.0.1)", Role.AUDITOR)
    meeting.there.user_info["sub"] = "another"
    meeting.refused(SignInFault.BROKEN)
    meeting.there.metadata["userinfo_endpoint"] = "http://evil.example/userinfo"
    meeting.refused(SignInFault.NO_ROLE)
    meeting.there.metadata["userinfo_endpoint"] = None
    meeting.refused(SignInFault.NO_ROLE)


def test_what_the_token_says_of_roles_holds(meeting: Meeting) -> None:
    meeting.there.user_info = {"sub": "248289761001", "groups": ["operators"]}
    assert meeting.sign_in().role is Role.CARER
    assert "/userinfo" not in meeting.there.asked


def test_roles_may_lie_deeper(meeting: Meeting) -> None:
    client = meeting.client(role_claim="realm_access.roles")
    meeting.there.user_info = {"sub": "248289761001"}
    meeting.refused(SignInFault.NO_ROLE, client)
    meeting.there.claims["realm_access"] = {"roles": ["operators"]}
    assert meeting.sign_in(client).role is Role.OPERATOR
    meeting.there.claims["realm_access"] = ["roles"]
    meeting.refused(SignInFault.NO_ROLE, client)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Zoë", "Zoë"), (None, "248289761001"), ("", "248289761001"), (7, "248289761001"),
     ("x" * 129, "248289761001"), ("a\nb", "248289761001"), ("a\0", "248289761001")],
)  # fmt: skip
def test_a_name_is_shown_if_it_is_one(meeting: Meeting, name: object, shown: str) -> None:
    meeting.there.claims["preferred_username"] = name
    assert meeting.sign_in().name == f"{shown} (127.0.0.1)"


# ----------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("state", ["", "x", "ü"])
def test_an_answer_to_another_question_is_none(meeting: Meeting, state: str) -> None:
    meeting.refused(SignInFault.BROKEN, state=state)
    assert "/token" not in meeting.there.asked


def test_a_refusal_is_one(meeting: Meeting) -> None:
    meeting.refused(SignInFault.REFUSED, error="access_denied", code="")
    meeting.refused(SignInFault.REFUSED, code="")
    assert "/token" not in meeting.there.asked


def test_a_code_is_good_once(meeting: Meeting) -> None:
    client = meeting.client()
    begun = client.begin(BACK)
    back = meeting.there.sign_in(begun.url)
    client.finish(begun, back)
    with pytest.raises(SignInError, match="invalid_grant"):
        client.finish(begun, back)


def test_a_code_of_somebody_else_is_worth_nothing(meeting: Meeting) -> None:
    client = meeting.client()
    mine, theirs = client.begin(BACK), client.begin(BACK)
    stolen = meeting.there.sign_in(theirs.url)
    with pytest.raises(SignInError, match="invalid_grant"):
        client.finish(mine, {**stolen, "state": mine.state})


def test_another_provider_cannot_answer_for_this_one(meeting: Meeting) -> None:
    meeting.refused(SignInFault.BROKEN, iss="https://evil.example")
    meeting.there.metadata["authorization_response_iss_parameter_supported"] = True
    meeting.refused(SignInFault.BROKEN)
    assert meeting.sign_in(iss=meeting.there.issuer).name == "ann (127.0.0.1)"


# ---------------------------------------------------------------------------------- its tokens

NOW = int(START.timestamp())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"iss": ["x"]},
        {"aud": "another"}, {"aud": None}, {"aud": []}, {"aud": ["another"]},
        {"aud": [CLIENT_ID, "another"]}, {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"azp": "another"}, {"nonce": None}, {"nonce": "x"}, {"nonce": 7},
        {"exp": NOW - 61}, {"exp": None}, {"exp": "soon"}, {"iat": NOW + 61}, {"iat": None},
        {"nbf": NOW + 61}, {"sub": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_does_not_hold(meeting: Meeting, claims: dict[str, object]) -> None:
    meeting.there.claims.update(claims)
    meeting.refused(SignInFault.BROKEN)


def test_clocks_may_differ_by_a_minute_and_no_more(meeting: Meeting) -> None:
    meeting.there.claims.update({"exp": NOW - 59, "iat": NOW + 59, "nbf": NOW + 59})
    assert meeting.sign_in().name == "ann (127.0.0.1)"
    client = meeting.client()
    meeting.there.claims.clear()
    begun = client.begin(BACK)
    back = meeting.there.sign_in(begun.url)
    at = meeting.there.now()
    meeting.there.now = lambda: at
    meeting.clock.advance(361)
    with pytest.raises(SignInError, match="expired"):
        client.finish(begun, back)


def test_several_audiences_hold_if_we_asked(meeting: Meeting) -> None:
    meeting.there.claims.update({"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID})
    assert meeting.sign_in().name == "ann (127.0.0.1)"


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _made(header: dict[str, str], claims: dict[str, Any], secret: bytes) -> str:
    """A token as no library would make it."""
    signed = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
    digest = hmac.digest(secret, signed.encode(), "sha256") if secret else b""
    return f"{signed}.{_part(digest)}"


def _unsigned(claims: dict[str, Any]) -> str:
    return _made({"alg": "none"}, claims, b"")


def _shared(key: RSAKey) -> Callable[[dict[str, Any]], str]:
    """Signed with what is public, as if it were a secret that both have."""
    return lambda claims: _made({"alg": "HS256", "kid": "first"}, claims, key.as_pem(private=False))


def _of(key: RSAKey, kid: str) -> Callable[[dict[str, Any]], str]:
    return lambda claims: jwt.encode({"alg": "RS256", "kid": kid}, claims, key)


def test_only_its_own_keys_sign(meeting: Meeting, key: RSAKey, other_key: RSAKey) -> None:
    def altered(claims: dict[str, Any]) -> str:
        head, body, signature = _of(key, "first")(claims).split(".")
        return ".".join((head, body[:-2] + ("A" if body[-2] != "A" else "B") + body[-1], signature))

    for encode in (
        _unsigned, _shared(key), _of(other_key, "first"), _of(other_key, "second"), altered,
        lambda _: "", lambda _: "a.b.c", lambda _: "a.b.c.d.e", lambda _: "x" * 100_000,
    ):  # fmt: skip
        meeting.there.encode = encode
        meeting.refused(SignInFault.BROKEN)


def test_other_kinds_of_keys_are_taken(meeting: Meeting) -> None:
    curve = ECKey.generate_key("P-256", {"kid": "curve"})
    meeting.there.keys = [curve]
    assert meeting.sign_in().name == "ann (127.0.0.1)"


def test_keys_may_change(meeting: Meeting, other_key: RSAKey) -> None:
    client = meeting.client()
    meeting.sign_in(client)
    asked = meeting.there.asked.count("/jwks")
    meeting.sign_in(client)
    assert meeting.there.asked.count("/jwks") == asked
    meeting.there.keys = [other_key]
    assert meeting.sign_in(client).name == "ann (127.0.0.1)"
    assert meeting.there.asked.count("/jwks") == asked + 1
    meeting.clock.advance(3_601)
    meeting.sign_in(client)
    assert meeting.there.asked.count("/jwks") == asked + 2


def test_keys_of_unknown_kinds_are_left_out(meeting: Meeting) -> None:
    found = meeting.there.jwks()
    found["keys"] += [{"kty": "new", "kid": "x"}, {"kty": "oct", "k": "eA"}, "x", None]
    body = json.dumps(found).encode()
    meeting.there.answers["/jwks"] = (200, {}, body)
    assert meeting.sign_in().name == "ann (127.0.0.1)"


# ------------------------------------------------------------------------------ its own address


@pytest.mark.parametrize(
    "issuer",
    ["http://provider.example", "", "provider.example", "ftp://127.0.0.1", "https://", "http://[",
     "http://127.0.0.1.evil.example", "http://localhost.evil.example"],
)  # fmt: skip
def test_an_issuer_that_is_not_encrypted_is_refused(meeting: Meeting, issuer: str) -> None:
    with pytest.raises(ConfigError, match="not encrypted"):
        meeting.client(issuer=issuer)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"}, {"issuer": None},
        {"token_endpoint": None}, {"token_endpoint": 7},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"}, {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)  # fmt: skip
def test_a_description_that_is_none(meeting: Meeting, metadata: dict[str, Any]) -> None:
    meeting.there.metadata.update(metadata)
    meeting.refused(SignInFault.BROKEN)


@pytest.mark.parametrize("path", [CONFIGURATION, "/jwks", "/token"])
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, {}, b"oops"), (302, {"Location": "https://evil.example"}, b""), (200, {}, b"{"),
        (200, {}, b"[]"), (200, {}, b"\xff"), (200, {}, b"[" * 100_000), (200, {}, b"{}"),
        (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        (200, {}, b'{"keys": ' + b" " * 1_100_000 + b"[]}"),
    ],
)  # fmt: skip
def test_answers_that_are_none(
    meeting: Meeting, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    meeting.there.answers[path] = (status, headers, body)
    with pytest.raises(SignInError) as refused:
        meeting.sign_in()
    assert refused.value.fault in {SignInFault.BROKEN, SignInFault.UNREACHABLE}


def test_a_provider_that_is_away_is_tried_again(meeting: Meeting) -> None:
    client = meeting.client(issuer="http://127.0.0.1:9")
    with pytest.raises(SignInError) as refused:
        client.begin(BACK)
    assert refused.value.fault is SignInFault.UNREACHABLE
    meeting.there.answers[CONFIGURATION] = (503, {}, b"")
    client = meeting.client()
    with pytest.raises(SignInError):
        client.begin(BACK)
    del meeting.there.answers[CONFIGURATION]
    assert meeting.sign_in(client).name == "ann (127.0.0.1)"


def test_nobody_can_be_called_like_a_local_account(meeting: Meeting) -> None:
    meeting.there.claims["preferred_username"] = "ann-carer"
    assert re.fullmatch(NAME_PATTERN, "ann-carer")
    assert not re.fullmatch(NAME_PATTERN, meeting.sign_in().name)
