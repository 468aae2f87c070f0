"""Who may connect to a fleet's MQTT broker, as whom, and who no longer.

    <operator>/broker/authority.json   the broker's host name, and the folder that it reads
                      ca.key ca.crt    what signs; the key stays here
                      crl.pem          who was removed: the broker gets a copy
                      issued/          every client's certificate, by serial number
                      clients/NAME/    what is carried to a client: ca.crt client.crt client.key
    <broker folder>/  ca.crt server.crt server.key crl.pem acl, and the broker's mosquitto.conf

The files of the broker folder belong to whoever owns that folder, and nobody else can read them.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_app.adapters.durable import exclusive, make_private_folder, write_durably
from edge_app.adapters.mqtt import BrokerAddress, LinkSettings, TlsFiles, Topics, check_broker
from edge_app.core.canonical import from_json, to_json
from edge_app.errors import ConfigError, DeliveryError, KeyFileError
from edge_app.publisher.certificates import (
    MAX_COMMON_NAME,
    Authority,
    Role,
    client_certificate,
    common_name,
    key_pem,
    new_authority,
    new_key,
    pem,
    revocation_list,
    role_of,
    server_certificate,
)
from edge_app.records import NODE_NAME_PATTERN

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
LIFETIME: Final = timedelta(days=730)
"""Of a certificate."""

LIST_LIFETIME: Final = timedelta(days=365)
"""Of the revocation list. When it is over, the broker refuses everybody."""

RENEW_BEFORE: Final = timedelta(days=60)
"""A certificate or list that ends within this is due."""

CONFIGURATION_NAME: Final = "mosquitto.conf"
_KICK_LIFETIME: Final = timedelta(minutes=10)
_PAUSES_S: Final = (0.5, 2.0)
_LINK: Final = LinkSettings(connect_timeout_s=10.0, keepalive_s=30)
_DEVICE_ACL: Final = """\
# Made by `familiar broker`, which writes it anew: edits are lost.
# %u is the common name of the client's certificate: site/device for a device.
pattern write familiar/v1/%u/event/match
pattern write familiar/v1/%u/event/departure
pattern write familiar/v1/%u/state/+
pattern write familiar/v1/%u/reply/+
pattern read familiar/v1/%u/cmd/+
"""
_DISCOVERY_ACL: Final = """\
pattern write homeassistant/device/%u/config
"""
"""Only where a Home Assistant is let in: whoever steals a device could make it show things."""

_ROLE_ACL: Final = {
    Role.DEVICE: (),
    Role.BACKEND: ("read familiar/v1/+/+/event/#", "read familiar/v1/+/+/state/#"),
    Role.OPERATOR: (
        "write familiar/v1/+/+/cmd/+",
        "read familiar/v1/+/+/reply/+",
        "read familiar/v1/+/+/state/#",
    ),
    Role.DESK: ("write familiar/v1/+/+/cmd/request", "read familiar/v1/+/+/reply/+"),
    # Not `homeassistant/#`: a name without a site is no device, and introduces nothing. Whoever
    # deletes a device there deletes what it said of itself.
    Role.HOME_ASSISTANT: (
        "readwrite homeassistant/device/+/+/config",
        "write homeassistant/status",
        "read familiar/v1/+/+/event/match",
        "read familiar/v1/+/+/state/+",
    ),
}


@dataclass(frozen=True, slots=True)
class AuthorityFile:
    """`authority.json`."""

    format: int
    host: str
    broker_folder: str


@dataclass(frozen=True, slots=True)
class Client:
    """A certificate that the broker takes."""

    name: str
    role: Role
    until: datetime


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """When what ends; all aware, UTC. due: what `renew` or a new certificate is needed for."""

    host: str
    clients: tuple[Client, ...]
    server_until: datetime
    list_until: datetime
    due: tuple[str, ...]


class BrokerFolder:
    """The files of both folders. Every method takes its turn with other processes."""

    def __init__(self, operator_folder: Path) -> None:
        """Name the operator's folder."""
        self.folder = operator_folder / "broker"
        self._issued = self.folder / "issued"

    @property
    def exists(self) -> bool:
        return (self.folder / "authority.json").exists()

    def init(self, host: str, served: Path, *, now: datetime) -> bool:
        """Make the authority, and the files of the broker's folder. Returns whether it was made.

        host:   the name or address under which clients reach the broker.
        served: the folder that the broker reads; it exists, and belongs to the broker's user.

        Raises ConfigError if there is one for another host or folder; StorageError.
        """
        if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host):
            raise ConfigError(f"{host!r} is neither a host name nor an address; correct it")
        wanted = AuthorityFile(1, host, str(served.resolve()))
        with exclusive(self.folder):
            if self.exists:
                if self._file() != wanted:
                    raise ConfigError(
                        f"{self.folder} is the authority of {self._file().host} and "
                        f"{self._file().broker_folder} already; name another operator's folder"
                    )
                return False
            if not served.is_dir():
                raise ConfigError(f"{served} is no folder; make it, for the broker's user")
            if not (self.folder / "ca.crt").exists():
                made = new_authority(f"Familiar {host}", now=now, lifetime=AUTHORITY_LIFETIME)
                write_durably(self.folder / "ca.key", key_pem(made.key))
                write_durably(self.folder / "ca.crt", pem(made.certificate))
            if not (self.folder / "crl.pem").exists():
                self._revoke((), None, now)
            make_private_folder(self._issued)
            self._serve(served, host, now)
            self._write_acl(served, now)
            # Last: the authority is there when its file is.
            write_durably(self.folder / "authority.json", to_json(wanted, _damaged))
            return True

    def add(self, name: str, role: Role, *, now: datetime) -> tuple[Path, bool]:
        """Let a client in; returns the folder to carry to it, and whether it is new.

        A client that is in, and stays in for `RENEW_BEFORE`, gets no new certificate.

        Raises ConfigError for a name that does not fit the role, or that has another role.
        """
        _require_name(name, role)
        with exclusive(self.folder):
            served = self._served()
            carried = self.folder / "clients" / name
            there = [client for client in self._clients(now) if client.name == name]
            for client in there:
                if client.role is not role:
                    raise ConfigError(f"{name} is a {client.role} already; choose another name")
            new = not any(client.until - now > RENEW_BEFORE for client in there)
            if new:
                self._issue(name, role, carried, now)
            self._write_acl(served, now)
            self._reload(served)
            return carried, new

    def remove(self, name: str, *, now: datetime) -> bool:
        """Let a client in no more, and end its connection and session.

        Returns whether the broker was told; if it does not run here, it knows when it starts.

        Raises ConfigError if nobody has this name; DeliveryError if the running broker is not
        reached; StorageError.
        """
        with exclusive(self.folder):
            served = self._served()
            serials = [c.serial_number for c in self._certificates() if common_name(c) == name]
            if not serials:
                raise ConfigError(f'no client is called "{name}"; see `familiar broker status`')
            # The list keeps it from connecting, but not a connection that it has; taking over its
            # session ends that, and the broker says for it that it is offline.
            self._revoke(serials, self._list(), now)
            self._serve(served, self._file().host, now)
            try:
                told = self._reload(served) and self._take_over(served, name, now)
            finally:
                # A handshake from before may still become a connection: it may do nothing.
                self._write_acl(served, now)
                self._reload(served)
            return told and self._take_over(served, name, now)

    def named(self, device: str, *, now: datetime) -> str | None:
        """The client name of a device, whatever its site; None if it has no certificate.

        Raises ConfigError if several sites have a device of this name.
        """
        names = {c.name for c in self._clients(now) if c.name.partition("/")[2] == device}
        if len(names) > 1:
            raise ConfigError(
                f"{' and '.join(sorted(names))} have one name; run `familiar broker remove` for it"
            )
        return names.pop() if names else None

    def renew(self, *, now: datetime) -> BrokerStatus:
        """A fresh revocation list, and server certificate if it is due. Raises as `status`."""
        with exclusive(self.folder):
            served = self._served()
            self._revoke((), self._list(), now)
            self._serve(served, self._file().host, now)
            self._write_acl(served, now)
            self._reload(served)
            return self.status(now=now)

    def status(self, *, now: datetime) -> BrokerStatus:
        """What there is, and what ends soon. Raises ConfigError, KeyFileError."""
        served = self._served()
        server_until = _certificate(served / "server.crt").not_valid_after_utc
        list_until = self._list().next_update_utc or now
        clients = self._clients(now)
        ends = {
            "the revocation list": list_until,
            "the broker's certificate": server_until,
            **{client.name: client.until for client in clients},
        }
        return BrokerStatus(
            host=self._file().host,
            clients=clients,
            server_until=server_until,
            list_until=list_until,
            due=tuple(what for what, until in ends.items() if until - now <= RENEW_BEFORE),
        )

    # ------------------------------------------------------------------------- reading

    def _file(self) -> AuthorityFile:
        path = self.folder / "authority.json"
        try:
            return from_json(path.read_bytes(), AuthorityFile, _damaged)
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.folder} has no authority; begin with `familiar broker init`"
            ) from error
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}; check its owner") from error

    def _served(self) -> Path:
        return Path(self._file().broker_folder)

    def _authority(self) -> Authority:
        return Authority(_certificate(self.folder / "ca.crt"), _key(self.folder / "ca.key"))

    def _certificates(self) -> list[x509.Certificate]:
        """All that were issued to clients."""
        return [_certificate(path) for path in sorted(self._issued.glob("*.crt"))]

    def _clients(self, now: datetime) -> tuple[Client, ...]:
        """Those who may connect, each with the certificate that lasts longest."""
        revoked = {entry.serial_number for entry in self._list()}
        latest: dict[str, Client] = {}
        for certificate in self._certificates():
            until, name = certificate.not_valid_after_utc, common_name(certificate)
            if certificate.serial_number in revoked or until <= now:
                continue
            if name not in latest or latest[name].until < until:
                latest[name] = Client(name, role_of(certificate), until)
        return tuple(latest[name] for name in sorted(latest))

    def _list(self) -> x509.CertificateRevocationList:
        path = self.folder / "crl.pem"
        try:
            return x509.load_pem_x509_crl(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeyFileError(f"cannot use {path}: {error}; restore its newest copy") from error

    # ------------------------------------------------------------------------- writing

    def _revoke(
        self, serials: Sequence[int], old: x509.CertificateRevocationList | None, now: datetime
    ) -> None:
        fresh = revocation_list(self._authority(), old, serials, now=now, lifetime=LIST_LIFETIME)
        write_durably(self.folder / "crl.pem", pem(fresh))

    def _issue(self, name: str, role: Role, carried: Path, now: datetime) -> None:
        authority, key = self._authority(), new_key()
        certificate = client_certificate(
            authority, key.public_key(), name, role, now=now, lifetime=LIFETIME
        )
        make_private_folder(carried)
        write_durably(carried / "ca.crt", pem(authority.certificate))
        write_durably(carried / "client.key", key_pem(key))
        write_durably(carried / "client.crt", pem(certificate))
        # Last: cut off before, the client is not in, and its next certificate replaces this one.
        write_durably(self._issued / f"{certificate.serial_number:040x}.crt", pem(certificate))

    def _serve(self, served: Path, host: str, now: datetime) -> None:
        """Write what the broker reads, but for its access rules."""
        authority = self._authority()
        self._hand_over(served / "crl.pem", pem(self._list()))
        self._hand_over(served / "ca.crt", pem(authority.certificate))
        server = served / "server.crt"
        if not server.exists() or _certificate(server).not_valid_after_utc - now <= RENEW_BEFORE:
            key = new_key()
            hosts = list(dict.fromkeys((host, "localhost", "127.0.0.1", "::1")))
            certificate = server_certificate(
                authority, key.public_key(), hosts, now=now, lifetime=LIFETIME
            )
            self._hand_over(served / "server.key", key_pem(key))
            self._hand_over(server, pem(certificate))

    def _write_acl(self, served: Path, now: datetime) -> None:
        clients = self._clients(now)
        names = {client.name for client in clients}
        removed = {
            common_name(c) for c in self._certificates() if c.not_valid_after_utc > now
        } - names
        blocks = [
            f"\nuser {client.name}\n" + "".join(f"topic {r}\n" for r in _ROLE_ACL[client.role])
            for client in clients
            if client.role is not Role.DEVICE
        ]
        blocks += [f"\nuser {name}\ntopic deny #\n" for name in sorted(removed)]
        at_home = any(client.role is Role.HOME_ASSISTANT for client in clients)
        rules = _DEVICE_ACL + (_DISCOVERY_ACL if at_home else "")
        self._hand_over(served / "acl", (rules + "".join(blocks)).encode())

    def _hand_over(self, path: Path, content: bytes) -> None:
        with exclusive(path.parent):
            write_durably(path, content)
        owner = path.parent.stat()
        if os.geteuid() == 0:
            # That user might put a link in its place.
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    # ------------------------------------------------------------------- the running broker

    def _reload(self, served: Path) -> bool:
        """Have the broker read its files again. Returns whether it runs here."""
        pid_file = Path(_setting(served, "pid_file"))
        try:
            pid = int(pid_file.read_text("ascii"))
            if Path(f"/proc/{pid}/comm").read_text("ascii") != "mosquitto\n":
                return False  # it was killed, and its number is another's now
            os.kill(pid, signal.SIGHUP)
        except (FileNotFoundError, ProcessLookupError):
            return False
        except (OSError, ValueError) as error:
            raise DeliveryError(
                f"cannot signal the broker named in {pid_file}: {error}; restart it yourself"
            ) from error
        return True

    def _take_over(self, served: Path, name: str, now: datetime) -> bool:
        """End a client's connection and session, by connecting in its place.

        A broker that is reading its files again may hang up: it is asked more than once.
        """
        authority, key = self._authority(), new_key()
        certificate = client_certificate(
            authority, key.public_key(), name, Role.DEVICE, now=now, lifetime=_KICK_LIFETIME
        )
        port = int(_setting(served, "listener").split()[0])
        address = BrokerAddress("localhost", port, tls=True, username=None, password=None)
        with _in_memory(key_pem(key) + pem(certificate)) as path:
            tls = TlsFiles(self.folder / "ca.crt", path, None)
            for pause_s in _PAUSES_S:
                with suppress(DeliveryError):
                    check_broker(address, tls=tls, client_id=name, link=_LINK)
                    return True
                time.sleep(pause_s)
            check_broker(address, tls=tls, client_id=name, link=_LINK)
        return True


def _damaged(where: str, expected: str) -> ConfigError:
    return ConfigError(f"authority.json: {where} is not {expected}; restore it")


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """A file that is on no disk, for a library that reads files only."""
    descriptor = os.memfd_create("familiar", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _require_name(name: str, role: Role) -> None:
    if role is Role.DEVICE:
        site, _, device = name.partition("/")
        Topics(site, device)
    elif not re.fullmatch(NODE_NAME_PATTERN, name):
        raise ConfigError(f"{name!r} is no name for a {role}; use a-z, 0-9 and - only")
    if len(name) > MAX_COMMON_NAME:
        raise ConfigError(f"{name}: a certificate holds {MAX_COMMON_NAME} characters; shorten it")


def _setting(served: Path, name: str) -> str:
    """A setting of the broker's own configuration. Raises ConfigError."""
    path = served / CONFIGURATION_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; copy deploy/mosquitto's there") from error
    for line in lines:
        word, _, value = line.partition(" ")
        if word == name and value.strip():
            return value.strip()
    raise ConfigError(f"{path} does not state {name}; copy deploy/mosquitto's there")


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot use {path}: {error}; restore it") from error


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise KeyFileError(f"cannot use {path}: {error}; restore it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path} is no P-256 key; restore it")
    return key
