"""Sign-in at an identity provider: OpenID Connect Core 1.0, authorization code flow.

With PKCE (RFC 7636, S256), state and nonce; the provider is known by its discovery document, and
its ID token by its keys. Where the roles are not in that, its user info is asked once; no token is
kept.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from urllib3.exceptions import HTTPError

from edge_app.backend.roles import Role
from edge_app.errors import ConfigError, SignInError, SignInFault
from edge_app.ports import Clock

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
"""What an ID token may be signed with: public keys only, so that no secret of ours makes one."""

_SCOPE: Final = "openid profile"
_TIMEOUT_S: Final = (5.0, 10.0)
_MAX_BYTES: Final = 1_048_576
_LEEWAY_S: Final = 60
_KNOWN_FOR_S: Final = 3_600.0
_LONGEST_NAME: Final = 128

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """An identity provider, and what its claims mean here.

    issuer:     https://..., without `/.well-known`.
    name_claim: what the audit trail calls somebody; `sub` where it is missing.
    role_claim: where the roles are; dots lead into objects.
    roles:      what it says there -> what somebody is here; of several the first of these holds.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name_claim: str
    role_claim: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun: where the browser goes, and what is kept until it comes back."""

    url: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    back: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the provider vouches for. name: "ann (id.example)", as unique as its claim is."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Provider:
    metadata: Mapping[str, Any]
    keys: KeySet
    read_s: float


class OidcClient:
    """For several threads; every method waits for the provider."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        """Name the provider, which is asked when somebody first signs in.

        Raises:
            ConfigError: its address is not one that can be trusted.
        """
        if not _is_trustworthy(settings.issuer):
            raise ConfigError(
                f"backend.oidc.issuer {settings.issuer!r} is not encrypted; write https://..."
            )
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._provider: _Provider | None = None

    def begin(self, back: str) -> Begun:
        """Begin a sign-in. back: where the provider sends the browser.

        Raises:
            SignInError: the provider is not there, or says what it must not.
        """
        provider = self._known()
        verifier, nonce = secrets.token_urlsafe(64), secrets.token_urlsafe(32)
        url, state = self._session(back).create_authorization_url(
            provider.metadata["authorization_endpoint"],
            state=secrets.token_urlsafe(32),
            code_verifier=verifier,
            nonce=nonce,
        )
        return Begun(url, state, nonce, verifier, back)

    def finish(self, begun: Begun, answer: Mapping[str, str]) -> Person:
        """Who it is that came back. answer: the query that they came with.

        Raises:
            SignInError: the provider refused, or is not there; somebody else's answer; nobody who
                has a role here. Its text names no person and holds no token.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInError(SignInFault.BROKEN, "the answer is not to what was asked")
        provider = self._known()
        # RFC 9207: an answer of another provider must not be taken for this one's.
        tells = provider.metadata.get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", "" if tells else self._settings.issuer) != self._settings.issuer:
            raise SignInError(SignInFault.BROKEN, "another provider answered")
        if "error" in answer or not answer.get("code"):
            raise SignInError(SignInFault.REFUSED, "the provider let nobody in")
        id_token, access_token = self._tokens(provider, begun, answer["code"])
        claims = self._claims(id_token, provider, begun)
        if _found(claims, self._settings.role_claim) is None:
            claims = {**_user_info(provider, access_token, str(claims["sub"])), **claims}
        name = _name(claims, self._settings.name_claim)
        # Told apart from a local account of that name, which can hold neither space nor bracket.
        return Person(f"{name} ({urlsplit(self._settings.issuer).hostname})", self._role(claims))

    def _session(self, back: str) -> OAuth2Session:
        # As a header where there is a secret; without one PKCE alone shows who asks.
        settings = self._settings
        method = "client_secret_basic" if settings.client_secret else "none"
        return OAuth2Session(
            settings.client_id,
            settings.client_secret or None,
            token_endpoint_auth_method=method,
            scope=_SCOPE,
            redirect_uri=back,
            code_challenge_method="S256",
            default_timeout=_TIMEOUT_S,
        )

    def _tokens(self, provider: _Provider, begun: Begun, code: str) -> tuple[str, str]:
        """The ID token, and the access token if there is one."""
        try:
            token = self._session(begun.back).fetch_token(
                provider.metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=begun.verifier,
                redirect_uri=begun.back,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _unreachable(error) from error
        except AuthlibBaseError as error:
            raise SignInError(
                SignInFault.BROKEN, f"the provider gave no token: {error.error}"
            ) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise SignInError(SignInFault.BROKEN, "the provider's token is no JSON") from error
        found = token if isinstance(token, dict) else {}
        id_token, access_token = found.get("id_token"), found.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise SignInError(SignInFault.BROKEN, "the provider gave no ID token")
        return id_token, access_token

    def _claims(self, id_token: str, provider: _Provider, begun: Begun) -> Mapping[str, Any]:
        settings = self._settings
        try:
            token = jwt.decode(id_token, provider.keys, algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            # It may have changed its keys. One look, however many tokens are not its own.
            provider = self._read()
            token = _decoded(id_token, provider.keys)
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": begun.nonce},
        )
        claims = token.claims
        try:
            rules.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            reason = getattr(error, "error", "malformed")
            claim = getattr(error, "claim", "")
            raise SignInError(
                SignInFault.BROKEN, f"the provider's token does not hold: {reason} {claim}".rstrip()
            ) from error
        # OpenID Connect Core 1.0, section 3.1.3.7: with several audiences, it says which one asked.
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if several else settings.client_id) != settings.client_id:
            raise SignInError(SignInFault.BROKEN, "the provider's token is for another program")
        return dict(claims)

    def _role(self, claims: Mapping[str, Any]) -> Role:
        found = _found(claims, self._settings.role_claim)
        said = {found} if isinstance(found, str) else set()
        if isinstance(found, list):
            said = {one for one in found if isinstance(one, str)}
        for value, role in self._settings.roles.items():
            if value in said:
                return role
        raise SignInError(SignInFault.NO_ROLE, "who signed in has no role here")

    def _known(self) -> _Provider:
        with self._lock:
            provider = self._provider
        now_s = self._clock.monotonic_s()
        if provider is not None and now_s - provider.read_s < _KNOWN_FOR_S:
            return provider
        return self._read()

    def _read(self) -> _Provider:
        """The provider as it is now. Raises SignInError."""
        issuer = self._settings.issuer
        metadata = _fetch_json(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if metadata.get("issuer") != issuer:
            raise SignInError(SignInFault.BROKEN, f"{issuer} calls itself by another name")
        for endpoint in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            address = metadata.get(endpoint)
            if not isinstance(address, str) or not _is_trustworthy(address):
                raise SignInError(SignInFault.BROKEN, f"its {endpoint} is not encrypted")
        provider = _Provider(
            metadata, _keys(_fetch_json(metadata["jwks_uri"])), self._clock.monotonic_s()
        )
        with self._lock:
            self._provider = provider
        return provider


def _found(claims: Mapping[str, Any], path: str) -> Any:
    """What is there; None if nothing is."""
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _user_info(provider: _Provider, access_token: str, subject: str) -> dict[str, Any]:
    """OpenID Connect Core 1.0, section 5.3: it counts if it is of the same subject."""
    address = provider.metadata.get("userinfo_endpoint")
    if not isinstance(address, str) or not _is_trustworthy(address) or not access_token:
        return {}
    found = _fetch_json(address, {"Authorization": f"Bearer {access_token}"})
    if found.get("sub") != subject:
        raise SignInError(SignInFault.BROKEN, "the provider tells of somebody else")
    return found


def _decoded(id_token: str, keys: KeySet) -> jwt.Token:
    try:
        return jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError) as error:
        reason = getattr(error, "error", "malformed")
        raise SignInError(
            SignInFault.BROKEN, f"the provider's token is not its own: {reason}"
        ) from error


def _name(claims: Mapping[str, Any], claim: str) -> str:
    for value in (claims.get(claim), claims.get("sub")):
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
            return value
    raise SignInError(SignInFault.BROKEN, "the provider does not say who it is")


def _keys(found: Mapping[str, Any]) -> KeySet:
    """The keys of kinds that are known here."""
    listed = found.get("keys")
    public = [
        key
        for key in (listed if isinstance(listed, list) else ())
        if isinstance(key, dict)
        and key.get("kty") in {"RSA", "EC", "OKP"}
        and key.get("use", "sig") == "sig"
    ]
    try:
        return KeySet.import_key_set({"keys": public})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise SignInError(SignInFault.BROKEN, "the provider's keys cannot be read") from error


def _fetch_json(url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    try:
        with requests.get(
            url, timeout=_TIMEOUT_S, allow_redirects=False, stream=True,
            headers={"Accept": "application/json", **(headers or {})},
        ) as answer:  # fmt: skip
            if answer.status_code != requests.codes.ok:
                raise SignInError(
                    SignInFault.UNREACHABLE, f"{url} answers with {answer.status_code}"
                )
            data = answer.raw.read(_MAX_BYTES + 1, decode_content=True)
        found = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (requests.RequestException, HTTPError) as error:
        raise _unreachable(error) from error
    except (ValueError, RecursionError) as error:
        raise SignInError(SignInFault.BROKEN, f"{url} is no JSON") from error
    if not isinstance(found, dict):
        raise SignInError(SignInFault.BROKEN, f"{url} is no JSON object of at most 1 MB")
    return found


def _unreachable(error: Exception) -> SignInError:
    return SignInError(
        SignInFault.UNREACHABLE, f"the identity provider is not reached ({type(error).__name__})"
    )


def _is_trustworthy(address: str) -> bool:
    """Encrypted, or on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https" and host:
        return True
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host == "localhost"
