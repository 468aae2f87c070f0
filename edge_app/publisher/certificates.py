"""X.509 for a fleet's MQTT broker: an authority, its certificates, its revocation list (RFC 5280).

Keys are P-256. A client's common name is what the broker knows it by: `site/device` for a device,
a plain name for others; the organisational unit says which of these it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_COMMON_NAME: Final = 64
"""RFC 5280, appendix A.1: ub-common-name."""

_SKEW: Final = timedelta(days=1)
"""A device whose clock is behind by less than this takes a new certificate."""


class Role(StrEnum):
    """Who a client is to the broker; see `deploy/mosquitto/README.md` for what each may do."""

    DEVICE = "device"
    BACKEND = "backend"
    OPERATOR = "operator"
    DESK = "desk"
    HOME_ASSISTANT = "home-assistant"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.key.public_key()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(name: str, *, now: datetime, lifetime: timedelta) -> Authority:
    """A self-signed authority that may sign no other."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:MAX_COMMON_NAME])])
    public_key = key.public_key()
    builder = _builder(
        subject, subject, public_key, signer=public_key, begin=now, until=now + lifetime
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def server_certificate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """For a broker that is reached as any of `hosts`: names or addresses, the first one its own."""
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:MAX_COMMON_NAME])])
    builder = _leaf(authority, subject, public_key, now=now, lifetime=lifetime)
    builder = builder.add_extension(names, critical=False)
    return _sign(authority, builder, ExtendedKeyUsageOID.SERVER_AUTH)


def client_certificate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    name: str,
    role: Role,
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """For a client of that name, of 1 to `MAX_COMMON_NAME` characters."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = _leaf(authority, subject, public_key, now=now, lifetime=lifetime)
    return _sign(authority, builder, ExtendedKeyUsageOID.CLIENT_AUTH)


def revocation_list(
    authority: Authority,
    old: x509.CertificateRevocationList | None,
    serials: Sequence[int],
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateRevocationList:
    """The old list with more serial numbers; entries stay for ever."""
    number = 1
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _SKEW)
        .next_update(now + lifetime)
    )
    known: set[int] = set()
    if old is not None:
        number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
        for entry in old:
            known.add(entry.serial_number)
            builder = builder.add_revoked_certificate(entry)
    for serial in sorted(set(serials) - known):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(revoked.build())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    builder = builder.add_extension(_issuer_id(authority.public_key), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def common_name(certificate: x509.Certificate) -> str:
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def role_of(certificate: x509.Certificate) -> Role:
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return Role(str(attribute.value))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return signed.public_bytes(serialization.Encoding.PEM)


def _leaf(
    authority: Authority,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    issuer = authority.certificate
    until = min(now + lifetime, issuer.not_valid_after_utc)
    builder = _builder(
        subject, issuer.subject, public_key, signer=authority.public_key, begin=now, until=until
    )
    no_authority = x509.BasicConstraints(ca=False, path_length=None)
    builder = builder.add_extension(no_authority, critical=True)
    return builder.add_extension(_usage(signs_certificates=False), critical=True)


def _sign(
    authority: Authority, builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier
) -> x509.Certificate:
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    signer: ec.EllipticCurvePublicKey,
    begin: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_id(signer), critical=False)
    )


def _issuer_id(public_key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
