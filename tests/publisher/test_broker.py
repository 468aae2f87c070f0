"""The fleet's broker, for real: who gets in, who can do what, and who is out at once."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from edge_app.adapters.durable import write_durably
from edge_app.adapters.mqtt import (
    MATCHES_OF_ALL_DEVICES,
    OFFLINE,
    ONLINE,
    LinkSettings,
    MqttPublisher,
    Outgoing,
    TlsFiles,
    Topics,
    check_broker,
)
from edge_app.adapters.mqtt.link import Connector, DurableSession, Link, tls_context
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.sinks import OutboxSink
from edge_app.errors import ConfigError, DeliveryError, KeyFileError, StorageError
from edge_app.publisher.broker import LIST_LIFETIME, BrokerFolder
from edge_app.publisher.certificates import (
    Role,
    client_certificate,
    key_pem,
    new_authority,
    new_key,
    pem,
)
from tests.adapters.test_mqtt import SETTINGS, ManualClock, alert, until
from tests.brokers import FleetMosquitto
from tests.fleets import Fleet
from tests.test_fleet_cli import familiar

NOW = datetime.now(UTC)
LINK = LinkSettings(connect_timeout_s=5, keepalive_s=30)
ONE, TWO = Topics("home", "one"), Topics("home", "two")


@dataclass
class Site:
    """A broker, and the operator's folder that says who may use it."""

    mosquitto: FleetMosquitto
    authority: BrokerFolder
    stack: ExitStack

    def files(self, name: str, role: Role = Role.DEVICE) -> TlsFiles:
        folder, _ = self.authority.add(name, role, now=NOW)
        return TlsFiles(folder / "ca.crt", folder / "client.crt", folder / "client.key")

    def connect(
        self, name: str, role: Role = Role.DEVICE, *, client_id: str = "any", durable: bool = False
    ) -> Link:
        return self.connect_with(self.files(name, role), client_id=client_id, durable=durable)

    def connect_with(
        self, files: TlsFiles, *, client_id: str = "any", durable: bool = False
    ) -> Link:
        address = self.mosquitto.address
        session = DurableSession(600, ONE.availability, 0) if durable else None
        context = tls_context(address, files)
        connector = Connector(address, context, client_id, LINK, session)
        try:
            link = connector.connect()
        except DeliveryError as error:
            if "hangs up" not in str(error):
                raise
            link = connector.connect()  # it was reading its files again
        self.stack.callback(link.drop)
        return link

    def listening(self, *topic_filters: str, role: Role = Role.BACKEND) -> Link:
        link = self.connect(f"{role.value}-1", role)
        for topic_filter in topic_filters:
            link.subscribe(topic_filter, 5)
            link.subscribed.clear()
        return link

    def refusal(self, files: TlsFiles) -> str:
        with pytest.raises(DeliveryError) as caught:
            check_broker(self.mosquitto.address, tls=files, client_id="any", link=LINK)
        return str(caught.value)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    mosquitto = FleetMosquitto(tmp_path / "mosquitto")
    authority = BrokerFolder(tmp_path / "operator")
    authority.init("broker.example", mosquitto.served, now=NOW)
    with mosquitto, ExitStack() as stack:
        yield Site(mosquitto, authority, stack)


def publish(link: Link, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> str:
    """What the broker says to it."""
    before = len(link.acknowledged)
    link.publish(Outgoing(topic, payload, retain=retain))
    until_pumped(link, lambda: len(link.acknowledged) > before)
    return str(link.acknowledged[-1][1])


def until_pumped(link: Link, condition: Any) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        link.pump(0.05)


def heard(link: Link, last_topic: str) -> list[str]:
    """The topics that came, up to the last one."""
    until_pumped(link, lambda: any(m.topic == last_topic for m in link.received))
    return [message.topic for message in link.received]


# --- topics ---------------------------------------------------------------------------------


def test_a_device_publishes_as_itself_and_as_nobody_else(site: Site) -> None:
    backend = site.listening("familiar/#")
    device = site.connect("home/one")
    for topic in (
        TWO.match,
        TWO.availability,
        TWO.reply("x"),
        TWO.request,
        ONE.request,
        ONE.gallery_changed,
        "familiar/v1/home/one",
        "familiar/v1/home/one/event/other",
        "familiar/v1/home/one/state/a/b",
        "familiar/v1/home/one/two/event/match",
        "familiar/v1/away/one/event/match",
        "homeassistant/device/one/config",
        "anything",
        "$SYS/broker/uptime",
        "$share/group/familiar/v1/home/two/event/match",
    ):
        with suppress(DeliveryError):  # mosquitto hangs up on a malformed topic
            assert publish(device, topic) == "Not authorized", topic
            continue
        device = site.connect("home/one")
    assert publish(device, ONE.reply("x")) != "Not authorized"
    assert publish(device, ONE.gallery) == "Success"
    assert publish(device, ONE.match) == "Success"
    assert heard(backend, ONE.match) == [ONE.gallery, ONE.match]


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+/#", "familiar/#", MATCHES_OF_ALL_DEVICES, TWO.commands, TWO.request, TWO.reply("+")],
)
def test_a_device_hears_its_own_commands_and_nothing_of_others(
    site: Site, topic_filter: str
) -> None:
    device, other = site.connect("home/one"), site.connect("home/two")
    for wanted in (topic_filter, f"$share/group/{topic_filter}", ONE.commands):
        with suppress(DeliveryError):
            device.subscribe(wanted, 5)
        device.subscribed.clear()
    operator = site.connect("operator", Role.OPERATOR)
    publish(other, TWO.match)
    publish(other, TWO.availability, ONLINE, retain=True)
    publish(other, TWO.reply("x"))
    publish(operator, TWO.request)
    publish(operator, TWO.gallery_changed, retain=True)
    publish(operator, ONE.request)
    assert set(heard(device, ONE.request)) == {ONE.request}


def test_every_role_does_its_work_and_no_more(site: Site) -> None:
    device = site.connect("home/one")
    device.subscribe(ONE.commands, 5)
    denied = "Not authorized"
    backend = site.listening("familiar/#", role=Role.BACKEND)
    desk = site.listening("familiar/#", role=Role.DESK)
    operator = site.listening("familiar/#", role=Role.OPERATOR)
    for topic in (ONE.match, ONE.availability, ONE.request, ONE.gallery_changed, ONE.reply("x")):
        assert publish(backend, topic) == denied
    assert publish(desk, ONE.request) == "Success"
    for topic in (ONE.match, ONE.availability, ONE.gallery_changed, ONE.reply("x")):
        assert publish(desk, topic) == denied
    assert publish(operator, ONE.request) == "Success"
    assert publish(operator, ONE.gallery_changed) == "Success"
    for topic in (ONE.match, ONE.availability, ONE.reply("x")):
        assert publish(operator, topic) == denied
    for topic in (ONE.match, ONE.gallery, ONE.reply("x"), ONE.reply("last"), ONE.health):
        publish(device, topic)
    assert heard(backend, ONE.health) == [ONE.match, ONE.gallery, ONE.health]
    assert heard(desk, ONE.reply("last")) == [ONE.reply("x"), ONE.reply("last")]
    assert heard(operator, ONE.health) == [
        ONE.gallery, ONE.reply("x"), ONE.reply("last"), ONE.health,
    ]  # fmt: skip


HOME = "homeassistant/device"


def test_devices_introduce_themselves_while_a_home_assistant_is_let_in(site: Site) -> None:
    own, others = f"{HOME}/home/one/config", f"{HOME}/home/two/config"
    device = site.connect("home/one")
    assert publish(device, own) == "Not authorized"
    home = site.listening("#", role=Role.HOME_ASSISTANT)
    backend = site.connect("backend-1", Role.BACKEND)
    until(lambda: publish(device, own, b"{1}", retain=True) == "Success", "the broker read it")
    for topic in (
        others,
        "homeassistant/sensor/home/one/config",
        f"{HOME}/one/config",
        f"{HOME}/home/one/two/config",
        "homeassistant/status",
    ):
        assert publish(device, topic) == "Not authorized", topic
    publish(backend, f"{HOME}/backend-1/config")  # its own, which nobody reads
    assert publish(backend, own) == "Not authorized"
    for topic in (ONE.request, ONE.gallery_changed, ONE.match):
        assert publish(home, topic) == "Not authorized", topic
    assert publish(home, "homeassistant/status") == "Success"
    for topic in (ONE.reply("x"), ONE.match, ONE.health):
        publish(device, topic)
    assert heard(home, ONE.health)[-3:] == [own, ONE.match, ONE.health]
    assert publish(home, own, b"", retain=True) == "Success", "it is deleted there"
    site.authority.remove("home-assistant-1", now=datetime.now(UTC))
    until(lambda: publish(device, own) == "Not authorized", "the broker read it")
    assert HOME not in (site.mosquitto.served / "acl").read_text()


# --- sessions -------------------------------------------------------------------------------


def test_a_device_cannot_take_over_the_session_of_another(site: Site) -> None:
    device = site.connect("home/one", durable=True)
    device.subscribe(ONE.commands, 5)
    device.drop()
    operator = site.connect("operator", Role.OPERATOR)
    until(lambda: publish(operator, ONE.request, b'"waits"') == "Success", "it is kept")
    for client_id in ("home/one", ONE.client_id, "any"):
        thief = site.connect("home/two", client_id=client_id, durable=True)
        thief.pump(0.3)
        assert not thief.received
        thief.disconnect()
    back = site.connect("home/one", durable=True)
    until_pumped(back, lambda: back.received)
    assert back.received[0].payload == b'"waits"'


def test_a_device_that_is_connected_stays_so_when_others_claim_its_name(site: Site) -> None:
    device = site.connect("home/one")
    site.connect("home/two", client_id="home/one")
    site.connect("backend-1", Role.BACKEND, client_id="home/one")
    assert publish(device, ONE.gallery) != "Not authorized"


# --- the way in -----------------------------------------------------------------------------


def test_nobody_connects_without_a_certificate_of_this_authority(
    site: Site, tmp_path: Path
) -> None:
    good, served = site.files("home/one"), site.mosquitto.served
    assert "client certificate" in site.refusal(replace(good, certificate=None, key=None))
    stranger = new_authority("Familiar broker.example", now=NOW, lifetime=timedelta(days=9))
    key = new_key()
    forged = client_certificate(
        stranger, key.public_key(), "home/one", Role.DEVICE, now=NOW, lifetime=timedelta(days=9)
    )
    (tmp_path / "forged.pem").write_bytes(key_pem(key) + pem(forged))
    site.refusal(TlsFiles(good.ca, tmp_path / "forged.pem", None))
    site.refusal(TlsFiles(good.ca, served / "server.crt", served / "server.key"))
    old = site.authority.add("home/old", Role.DEVICE, now=NOW - timedelta(days=900))[0]
    site.refusal(TlsFiles(good.ca, old / "client.crt", old / "client.key"))
    with pytest.raises(DeliveryError, match="mqtt or mqtts"):
        check_broker(
            replace(site.mosquitto.address, tls=False), tls=None, client_id="any", link=LINK
        )
    assert check_broker(site.mosquitto.address, tls=good, client_id="any", link=LINK)


@pytest.mark.parametrize(("purpose", "fits"), [("sslclient", True), ("sslserver", False)])
def test_a_device_does_not_pass_for_the_broker(site: Site, purpose: str, fits: bool) -> None:
    """Its certificate is for clients: another device would not trust it."""
    files = site.files("home/one")
    verify = ("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(files.ca))
    done = subprocess.run((*verify, str(files.certificate)), capture_output=True, check=False)
    assert (done.returncode == 0) == fits


def test_older_tls_is_refused(site: Site) -> None:
    files = site.files("home/one")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(str(files.certificate), files.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", site.mosquitto.port)) as raw,
        pytest.raises(ssl.SSLError, match=r"version|ALERT"),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


def test_what_is_too_large_is_refused(site: Site) -> None:
    device = site.connect("home/one")
    with pytest.raises(DeliveryError, match="lost"):
        publish(device, ONE.match, b"x" * 30_000)
    assert publish(site.connect("home/one"), ONE.match, b"x" * 10_000) != "Not authorized"


# --- the way out ----------------------------------------------------------------------------


@contextmanager
def delivering(site: Site, tmp_path: Path, topics: Topics) -> Iterator[tuple[Outbox, Any]]:
    """A device at work."""
    outbox = Outbox(
        tmp_path / topics.device, key=bytes(32), max_alerts=100, boot_id="b", clock=ManualClock()
    )
    publisher = MqttPublisher(
        outbox, address=site.mosquitto.address, tls=site.files(topics.client_id), topics=topics,
        link=LINK, settings=SETTINGS,
    )  # fmt: skip
    with closing(outbox):
        publisher.start()
        until(lambda: publisher.status.connected, "the device connects")
        try:
            yield outbox, publisher
        finally:
            publisher.close(0)


def test_a_removed_device_is_cut_off_and_stays_out(site: Site, tmp_path: Path) -> None:
    backend = site.listening("familiar/#")
    with (
        delivering(site, tmp_path, ONE) as (outbox, publisher),
        delivering(site, tmp_path, TWO) as (other_outbox, other),
    ):
        until_pumped(backend, lambda: len(backend.received) == 2)
        OutboxSink(outbox, topic=ONE.match).put(alert(1))
        until(lambda: outbox.counts().pending == 0, "it delivers while it may")
        assert site.authority.remove("home/one", now=datetime.now(UTC))
        until(lambda: not publisher.status.connected, "it is cut off")
        OutboxSink(outbox, topic=ONE.match).put(alert(2))
        OutboxSink(other_outbox, topic=TWO.match).put(replace(alert(3), device="two"))
        until(lambda: other_outbox.counts().pending == 0, "the other device goes on")
        assert other.status.connected
        until_pumped(backend, lambda: backend.received[-1].topic == TWO.match)
        said = [(message.topic, message.payload) for message in backend.received]
        assert (ONE.availability, OFFLINE) in said, "backends learn that it is gone"
        assert sum(topic == ONE.match for topic, _ in said) == 1
        until(lambda: "client certificate" in publisher.status.detail, "it is refused")
        assert outbox.counts().pending == 1
    assert "client certificate" in site.refusal(revoked_files(site, "home/one"))
    site.mosquitto.stop()
    site.mosquitto.start()
    site.refusal(revoked_files(site, "home/one"))


def revoked_files(site: Site, name: str) -> TlsFiles:
    folder = site.authority.folder / "clients" / name
    return TlsFiles(folder / "ca.crt", folder / "client.crt", folder / "client.key")


def test_what_waits_for_a_removed_device_goes_with_it(site: Site) -> None:
    device = site.connect("home/one", durable=True)
    device.subscribe(ONE.commands, 5)
    device.drop()
    operator = site.connect("operator", Role.OPERATOR)
    until(lambda: publish(operator, ONE.request, b'"waits"') == "Success", "it is kept")
    site.authority.remove("home/one", now=datetime.now(UTC))
    assert publish(operator, ONE.request) == "No matching subscribers"
    again = site.connect("home/one", durable=True)  # with a new certificate
    again.pump(0.3)
    assert not again.received
    assert publish(again, ONE.gallery) != "Not authorized", "it may do its work again"


def test_a_handshake_from_before_the_removal_is_of_no_use(site: Site) -> None:
    """Whoever holds a stolen device may keep TLS connections in store: they may do nothing."""
    files = site.files("home/one")
    backend = site.listening("familiar/#")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(str(files.certificate), files.key)
    raw = socket.create_connection(("127.0.0.1", site.mosquitto.port))
    with context.wrap_socket(raw, server_hostname="localhost") as stored:
        assert site.authority.remove("home/one", now=datetime.now(UTC))
        connect = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
        stored.sendall(b"\x10" + bytes([len(connect)]) + connect)
        topic = ONE.match.encode()
        message = struct.pack(">H", len(topic)) + topic + b"stolen"
        with suppress(OSError):
            stored.sendall(b"\x30" + bytes([len(message)]) + message)
        publish(site.connect("home/two"), TWO.match)
        assert heard(backend, TWO.match) == [TWO.match]


def test_a_broker_that_does_not_run_refuses_from_its_start_on(site: Site) -> None:
    files = site.files("home/one")
    site.mosquitto.stop()
    assert not site.authority.remove("home/one", now=datetime.now(UTC))
    site.mosquitto.start()
    site.refusal(files)
    assert site.authority.remove("home/one", now=datetime.now(UTC)), "again, and told this time"


def test_the_commands_cut_a_device_off(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.device("one")
    fleet.device("two")
    mosquitto = FleetMosquitto(tmp_path / "mosquitto")
    at = ("--dir", str(fleet.operator.folder))

    def ran(*arguments: str, status: int = 0) -> Any:
        done = familiar(*arguments, *at, "--json", cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    init = ("broker", "init", "--host", "localhost", "--broker-dir", str(mosquitto.served))
    assert ran(*init) == {"host": "localhost", "made": True}
    assert ran(*init) == {"host": "localhost", "made": False}
    ran("broker", "add", "gate/one")
    assert ran("broker", "add", "backend-1", "--role", "backend")["added"]
    with mosquitto, ExitStack() as stack:
        site = Site(mosquitto, BrokerFolder(fleet.operator.folder), stack)
        files = site.files("gate/one")
        device = site.connect_with(files)
        assert ran("operator", "remove-device", "one")["broker_told"] is True
        with pytest.raises(DeliveryError):
            until_pumped(device, lambda: False)
        site.refusal(files)
        assert ran("operator", "remove-device", "two")["broker_told"] is None
        again = ran("operator", "remove-device", "one")
        assert (again["removed"], again["broker_told"]) == (False, None)
        assert "is called" in ran("operator", "remove-device", "nobody", status=2)
        clients = [client["name"] for client in ran("broker", "status")["clients"]]
        assert clients == ["backend-1"]
        assert ran("broker", "renew")["due"] == []
        assert ran("broker", "remove", "backend-1")["broker_told"] is True
        assert "is called" in ran("broker", "remove", "nobody", status=2)


# --- the files ------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[BrokerFolder, Path]:
    served = FleetMosquitto(tmp_path / "mosquitto").served
    return BrokerFolder(tmp_path / "operator"), served


def test_making_and_adding_twice_changes_nothing(folders: tuple[BrokerFolder, Path]) -> None:
    authority, served = folders
    assert not authority.exists
    assert authority.init("broker.example", served, now=NOW)
    first, new = authority.add("home/one", Role.DEVICE, now=NOW)
    assert new
    before = {path: path.read_bytes() for path in authority.folder.rglob("*") if path.is_file()}
    assert not authority.init("broker.example", served, now=NOW)
    assert authority.add("home/one", Role.DEVICE, now=NOW) == (first, False)
    assert {p: p.read_bytes() for p in authority.folder.rglob("*") if p.is_file()} == before
    with pytest.raises(ConfigError, match="already"):
        authority.init("other.example", served, now=NOW)
    assert authority.add("home/one", Role.DEVICE, now=NOW + timedelta(days=700))[1], "it is due"


def test_an_initialisation_that_was_cut_off_is_completed(
    folders: tuple[BrokerFolder, Path],
) -> None:
    authority, served = folders
    with pytest.raises(ConfigError, match="no folder"):
        authority.init("broker.example", served / "missing", now=NOW)
    assert not authority.exists
    kept = (authority.folder / "ca.crt").exists()
    assert authority.init("broker.example", served, now=NOW)
    assert not kept
    ca = (authority.folder / "ca.crt").read_bytes()
    authority.add("home/one", Role.DEVICE, now=NOW)
    authority.remove("home/one", now=datetime.now(UTC))
    (authority.folder / "authority.json").unlink()
    assert authority.init("broker.example", served, now=NOW)
    assert (authority.folder / "ca.crt").read_bytes() == ca
    assert authority.status(now=NOW).clients == (), "who was removed stays out"
    assert (served / "ca.crt").read_bytes() == ca


def test_keys_are_their_owners_and_the_authoritys_stays_at_home(
    folders: tuple[BrokerFolder, Path],
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    carried, _ = authority.add("home/one", Role.DEVICE, now=NOW)
    for path in [*authority.folder.rglob("*.key"), served / "server.key", served / "acl"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    ca_key = (authority.folder / "ca.key").read_bytes()
    for path in [*served.iterdir(), *carried.iterdir()]:
        assert path.read_bytes() != ca_key
    assert {path.name for path in carried.iterdir()} == {"ca.crt", "client.crt", "client.key"}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("one", Role.DEVICE),
        ("home/", Role.DEVICE),
        ("/one", Role.DEVICE),
        ("home/one/two", Role.DEVICE),
        ("home/+", Role.DEVICE),
        ("Home/one", Role.DEVICE),
        ("a" * 40 + "/" + "b" * 40, Role.DEVICE),
        ("", Role.BACKEND),
        ("home/one", Role.BACKEND),
        ("back end", Role.BACKEND),
        ("x\ntopic write #", Role.OPERATOR),
        ("../../etc", Role.DESK),
    ],
)
def test_names_that_fit_no_topic_or_file_are_refused(
    folders: tuple[BrokerFolder, Path], name: str, role: Role
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    with pytest.raises(ConfigError):
        authority.add(name, role, now=NOW)
    assert not list((authority.folder / "issued").iterdir())


def test_a_name_has_one_role(folders: tuple[BrokerFolder, Path]) -> None:
    authority, served = folders
    with pytest.raises(ConfigError, match="begin with"):
        authority.add("desk-1", Role.DESK, now=NOW)
    authority.init("broker.example", served, now=NOW)
    authority.add("desk-1", Role.DESK, now=NOW)
    with pytest.raises(ConfigError, match="desk already"):
        authority.add("desk-1", Role.OPERATOR, now=NOW)


def test_a_device_is_found_by_its_name_if_only_one_site_has_it(
    folders: tuple[BrokerFolder, Path],
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    assert authority.named("one", now=NOW) is None
    authority.add("home/one", Role.DEVICE, now=NOW)
    assert authority.named("one", now=NOW) == "home/one"
    authority.add("away/one", Role.DEVICE, now=NOW)
    with pytest.raises(ConfigError, match="away/one and home/one"):
        authority.named("one", now=NOW)
    authority.remove("away/one", now=datetime.now(UTC))
    assert authority.named("one", now=NOW) == "home/one"


def test_the_list_keeps_who_was_removed(folders: tuple[BrokerFolder, Path]) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    for number in range(30):
        authority.add(f"home/d{number}", Role.DEVICE, now=NOW)
    for number in (3, 5, 3):
        authority.remove(f"home/d{number}", now=datetime.now(UTC))
    authority.renew(now=NOW + timedelta(days=10))
    revoked = x509.load_pem_x509_crl((served / "crl.pem").read_bytes())
    assert len(revoked) == 2
    ca = x509.load_pem_x509_certificate((served / "ca.crt").read_bytes())
    assert revoked.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    number = revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert number == 5
    names = [client.name for client in authority.status(now=NOW).clients]
    assert len(names) == 28
    acl = (served / "acl").read_text()
    assert acl.count("topic deny #") == 2
    assert "user home/d3\ntopic deny #" in acl


def test_a_broker_cannot_bring_a_removed_client_back(folders: tuple[BrokerFolder, Path]) -> None:
    """What it reads is a copy: an older list in its place does not last."""
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    authority.add("home/one", Role.DEVICE, now=NOW)
    old = (served / "crl.pem").read_bytes()
    authority.remove("home/one", now=datetime.now(UTC))
    (served / "crl.pem").write_bytes(old)
    assert authority.status(now=NOW).clients == ()
    authority.renew(now=NOW)
    assert len(x509.load_pem_x509_crl((served / "crl.pem").read_bytes())) == 1


def test_a_client_whose_certificate_was_cut_off_gets_another(
    folders: tuple[BrokerFolder, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)

    def cut_off(path: Path, *parts: bytes) -> None:
        if path.parent.name == "issued":
            raise StorageError("cut off")
        write_durably(path, *parts)

    monkeypatch.setattr("edge_app.publisher.broker.write_durably", cut_off)
    with pytest.raises(StorageError):
        authority.add("backend-1", Role.BACKEND, now=NOW)
    monkeypatch.undo()
    assert authority.status(now=NOW).clients == ()
    carried, new = authority.add("backend-1", Role.BACKEND, now=NOW)
    assert new
    issued = [path.read_bytes() for path in (authority.folder / "issued").glob("*.crt")]
    assert issued == [(carried / "client.crt").read_bytes()]
    (served / "acl").write_bytes(b"")  # cut off before its last step
    authority.add("backend-1", Role.BACKEND, now=NOW)
    assert "user backend-1" in (served / "acl").read_text()


@pytest.mark.parametrize("host", ["", "a b", "broker/example", "brökér", "x" * 254])
def test_what_is_no_host_is_refused(folders: tuple[BrokerFolder, Path], host: str) -> None:
    authority, served = folders
    with pytest.raises(ConfigError, match="host"):
        authority.init(host, served, now=NOW)
    assert not authority.exists


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "b" * 63 + ".example.org"])
def test_a_broker_is_named_by_name_or_address(
    folders: tuple[BrokerFolder, Path], host: str
) -> None:
    authority, served = folders
    authority.init(host, served, now=NOW)
    certificate = x509.load_pem_x509_certificate((served / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert host in {str(name.value) for name in names}


def test_files_that_are_damaged_or_missing_are_named(folders: tuple[BrokerFolder, Path]) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    authority.add("home/one", Role.DEVICE, now=NOW)
    for path, error in (
        (authority.folder / "crl.pem", KeyFileError),
        (served / "mosquitto.conf", ConfigError),
    ):
        content = path.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\xff" * 50):
            path.write_bytes(damaged)
            with pytest.raises(error, match=path.name):
                authority.remove("home/one", now=datetime.now(UTC))
        path.unlink()
        with pytest.raises(error, match=path.name):
            authority.remove("home/one", now=datetime.now(UTC))
        path.write_bytes(content)
    pid = served.parent / "mosquitto.pid"
    pid.write_text("no number")
    with pytest.raises(DeliveryError, match="restart it"):
        authority.remove("home/one", now=datetime.now(UTC))
    pid.unlink()
    (authority.folder / "ca.key").write_bytes(b"junk")
    with pytest.raises(KeyFileError, match=r"ca\.key"):
        authority.add("home/two", Role.DEVICE, now=NOW)
    (authority.folder / "authority.json").write_bytes(b"{}")
    with pytest.raises(ConfigError, match=r"authority\.json"):
        authority.status(now=NOW)


def test_the_brokers_files_belong_to_its_user(folders: tuple[BrokerFolder, Path]) -> None:
    authority, served = folders
    if os.geteuid() == 0:
        os.chown(served, 12_345, 12_345)
    authority.init("broker.example", served, now=NOW)
    authority.add("home/one", Role.DEVICE, now=NOW)
    for name in ("ca.crt", "server.crt", "server.key", "crl.pem", "acl"):
        assert (served / name).stat().st_uid == served.stat().st_uid, name
    assert (authority.folder / "ca.key").stat().st_uid == os.geteuid()


def test_a_pid_file_that_was_left_behind_signals_nobody(
    folders: tuple[BrokerFolder, Path],
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    authority.add("home/one", Role.DEVICE, now=NOW)
    with subprocess.Popen(("sleep", "60")) as other:
        (served.parent / "mosquitto.pid").write_text(f"{other.pid}\n")
        assert not authority.remove("home/one", now=datetime.now(UTC))
        assert other.poll() is None
        other.kill()
    assert not authority.remove("home/one", now=datetime.now(UTC))


# --- time -----------------------------------------------------------------------------------


def test_an_expired_list_refuses_everybody_until_it_is_renewed(tmp_path: Path) -> None:
    """The trap that `status` and `renew` are there for."""
    then = NOW - LIST_LIFETIME - timedelta(days=1)
    mosquitto = FleetMosquitto(tmp_path / "mosquitto")
    authority = BrokerFolder(tmp_path / "operator")
    authority.init("broker.example", mosquitto.served, now=then)
    assert authority.status(now=then).due == ()
    soon = then + LIST_LIFETIME - timedelta(days=30)
    assert authority.status(now=soon).due == ("the revocation list",)
    with mosquitto, ExitStack() as stack:
        site = Site(mosquitto, authority, stack)
        files = site.files("home/one")
        site.refusal(files)
        assert authority.renew(now=NOW).due == ()
        until(lambda: works(site, files), "everybody is let in again")


def works(site: Site, files: TlsFiles) -> bool:
    with suppress(DeliveryError):
        return bool(check_broker(site.mosquitto.address, tls=files, client_id="a", link=LINK))
    return False


def test_the_brokers_certificate_is_renewed_when_it_is_due(
    folders: tuple[BrokerFolder, Path],
) -> None:
    authority, served = folders
    authority.init("broker.example", served, now=NOW)
    first = (served / "server.crt").read_bytes()
    authority.renew(now=NOW + timedelta(days=600))
    assert (served / "server.crt").read_bytes() == first
    authority.renew(now=NOW + timedelta(days=700))
    assert (served / "server.crt").read_bytes() != first
