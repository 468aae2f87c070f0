"""Where a page is served: on this machine alone, or encrypted."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import uvicorn
from cryptography import x509
from starlette.types import ASGIApp

from edge_app.errors import ConfigError

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_MOST_REQUESTS: Final = 64


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A server's certificate, with the chain up to its root, and its key; both PEM files."""

    certificate: Path
    key: Path


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_served(host: str, identity: TlsIdentity | None, now: datetime) -> frozenset[str]:
    """By which names browsers may ask: the certificate's, or this machine's own.

    Raises:
        ConfigError: a page beyond this machine without TLS, or a certificate that no browser takes.
    """
    if identity is None:
        if not is_loopback(host):
            raise ConfigError(
                f"what this page shows leaves this machine encrypted only: give --certificate and "
                f"--key to listen at {host}, or leave --host away"
            )
        return _LOOPBACK_NAMES
    _context(identity)
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigError(
            f"{identity.certificate}: holds from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; give one that is valid today"
        )
    return frozenset(_names(certificate, identity.certificate))


def serve(
    service: ASGIApp,
    *,
    host: str,
    port: int,
    identity: TlsIdentity | None,
    ready: Callable[[int], None],
    most_requests: int = _MOST_REQUESTS,
) -> None:
    """Serve until a signal ends it. No request is logged: what it names must reach no log.

    port:  0 takes a free one. ready: told the port once it listens.
    most_requests: at once; those that come on top are turned away.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    config = uvicorn.Config(
        service,
        log_config=None,  # ours holds
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=most_requests,
        timeout_graceful_shutdown=1,
        ssl_certfile=None if identity is None else identity.certificate,
        ssl_keyfile=None if identity is None else identity.key,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {host} port {port}: {_reason(error)}; give another --host or --port"
        ) from error
    with listening:
        ready(listening.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listening])


def _reason(error: OSError) -> str:
    # `create_server` puts the address into the text once more.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _context(identity: TlsIdentity) -> ssl.SSLContext:
    """Raises ConfigError unless the files are a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(identity.certificate, identity.key, password="")  # nosec B106 - none: it must not ask
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{identity.certificate} and {identity.key} are not a certificate and its key, in PEM "
            f"without a password ({reason})"
        ) from error
    return context


def _names(certificate: x509.Certificate, path: Path) -> list[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound as error:
        raise ConfigError(
            f"{path}: names no host (subjectAltName), so no browser takes it; make another"
        ) from error
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return [
        *alternative.get_values_for_type(x509.DNSName),
        *(f"[{address}]" if address.version == 6 else str(address) for address in addresses),
    ]
