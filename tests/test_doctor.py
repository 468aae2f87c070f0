"""`familiar doctor` finds what is broken, says what to do, and changes nothing.

A device of a fleet that is well, with a real broker, a real camera address and a real light
folder, is broken in one way after the other.
"""

from __future__ import annotations

import errno
import http.server
import io
import json
import os
import resource
import shutil
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from PIL import Image
from typer.testing import CliRunner

from edge_app import doctor
from edge_app.__main__ import app
from edge_app.adapters import sealed
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.keys import outbox_key, store_key
from edge_app.adapters.outbox import Outbox
from edge_app.app import Home, models_dir
from edge_app.errors import ConfigError
from edge_app.publisher.broker import LIFETIME, LIST_LIFETIME, BrokerFolder
from edge_app.publisher.certificates import Role
from edge_app.records import Calibration, ClockState
from tests.brokers import FleetMosquitto, free_port
from tests.fleets import CLOCK, MODEL, Fleet, person, served

NOW: Final = datetime.now(UTC)
ONE_CARD: Final = " 0 [Headphones     ]: bcm2835_headpho - bcm2835 Headphones\n"


class Camera(http.server.BaseHTTPRequestHandler):
    """An MJPEG address; one picture, again and again."""

    opened = 0

    def do_GET(self) -> None:
        type(self).opened += 1
        picture = io.BytesIO()
        Image.new("RGB", (320, 240), "grey").save(picture, "JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {picture.tell()}\r\n\r\n"
        for _ in range(20):
            self.wfile.write(head.encode() + picture.getvalue() + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@dataclass(frozen=True)
class World:
    """What a device that is well needs around it."""

    fleet: Fleet
    url: str
    camera: str
    authority: BrokerFolder
    broker: FleetMosquitto
    files: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    fleet = Fleet(folder)
    home = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    broker, authority = FleetMosquitto(folder / "mosquitto"), BrokerFolder(folder / "broker")
    authority.init("localhost", broker.served, now=NOW)
    files, _ = authority.add("home/gate", Role.DEVICE, now=NOW)
    with (
        served(fleet.operator.repository) as url,
        served(folder, Camera) as camera,
        broker,
    ):
        fleet.sync(home, url)
        with closing(opened(home)) as outbox:
            for number in range(12):
                outbox.put(str(number), "t", b"x" * 900, NOW + timedelta(days=1))
        yield World(fleet, url, camera, authority, broker, files)


def opened(home: Home) -> Outbox:
    key = outbox_key(store_key(home.keys))
    return Outbox(home.outbox_path, key=key, max_alerts=100, boot_id="b", clock=CLOCK)


@dataclass
class Device:
    """The device that a test breaks. `stated`: its configuration, section by section."""

    world: World
    folder: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack
    stated: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(self.world.fleet.folder / "gate", self.path)
        self.path.chmod(0o700)
        light = self.folder / "light"
        light.mkdir()
        for name, text in (("brightness", "0"), ("max_brightness", "255"), ("trigger", "none")):
            (light / name).write_text(text)
        (self.folder / "fb0").touch()
        (self.folder / "cards").write_text(ONE_CARD)
        self.patch.setattr(doctor, "_SOUND_CARDS", self.folder / "cards")
        for name in ("espeak-ng", "aplay"):
            self.program(name).parent.mkdir(exist_ok=True)
            self.program(name).touch(mode=0o755)
        self.patch.setenv("PATH", str(self.folder / "bin"))
        files, address = self.world.files, self.world.broker.address
        self.stated = {
            "controller": dict.fromkeys(("name", "address", "contact", "jurisdiction"), "Harbour"),
            "camera": {"source": self.world.camera, "timeout_s": 0.5},
            "indicator": {"led": str(light)},
            "hud": {"display": "framebuffer", "framebuffer": f"{self.folder}/fb0", "speech": True},
            "mqtt": {
                "broker": str(address),
                "connect_timeout_s": 1,
                "ca_file": str(files / "ca.crt"),
                "certificate_file": str(files / "client.crt"),
                "key_file": str(files / "client.key"),
            },
        }

    @property
    def path(self) -> Path:
        return self.folder / "gate"

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    @property
    def home(self) -> Home:
        return Home(self.path, None)

    def link_models(self) -> Path:
        """A folder of models that may be broken."""
        copy = self.folder / "models"
        copy.mkdir()
        for path in models_dir().iterdir():
            (copy / path.name).symlink_to(path)
        self.patch.setattr("edge_app.app.models_dir", lambda: copy)
        return copy

    def use_broker(self, *, list_made: datetime = NOW, certificate_made: datetime = NOW) -> None:
        """Another broker, for which the same device has other files."""
        broker = FleetMosquitto(self.folder / "mosquitto")
        authority = BrokerFolder(self.folder / "broker")
        authority.init("localhost", broker.served, now=list_made)
        files, _ = authority.add("home/gate", Role.DEVICE, now=certificate_made)
        self.stack.enter_context(broker)
        self.stated["mqtt"] |= {
            "broker": str(broker.address),
            "ca_file": str(files / "ca.crt"),
            "certificate_file": str(files / "client.crt"),
            "key_file": str(files / "client.key"),
        }

    def examined(self) -> tuple[int, dict[str, dict[str, str]]]:
        """(exit status, findings by part)."""
        file = self.folder / "config.toml"
        file.write_text(
            'device = "gate"\n'
            + "".join(
                f"[{section}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
                for section, keys in self.stated.items()
            )
        )
        tomllib.loads(file.read_text())
        arguments = ["--home", str(self.path), "--config", str(file), "doctor", "--json"]
        done = CliRunner().invoke(app, arguments)
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, {found["part"]: found for found in json.loads(done.stdout)}


@pytest.fixture
def device(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with ExitStack() as stack:
        yield Device(world, tmp_path, monkeypatch, stack)


# --- the faults ---------------------------------------------------------------------------------


def disk_nearly_full(device: Device) -> None:
    usage = shutil.disk_usage(device.path)
    device.patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30 * 2**20))


def home_is_a_file(device: Device) -> None:
    shutil.rmtree(device.path)
    device.path.touch()


def home_open_to_others(device: Device) -> None:
    device.path.chmod(0o755)


def key_open_to_others(device: Device) -> None:
    (device.path / "keys" / "store.key").chmod(0o644)


def key_cut_short(device: Device) -> None:
    os.truncate(device.path / "keys" / "store.key", 31)


def key_gone(device: Device) -> None:
    (device.path / "keys" / "store.key").unlink()


def another_key(device: Device) -> None:
    (device.path / "keys" / "store.key").write_bytes(bytes(32))


def gallery_cut_off(device: Device) -> None:
    store = device.path / "store" / "gallery.sealed"
    os.truncate(store, store.stat().st_size // 2)


def threshold_outgrown(device: Device) -> None:
    device.home.store().calibrate(Calibration(0.6, 0.003, 1, MODEL))


def threshold_too_lax(device: Device) -> None:
    device.stated["match"] = {"target_fpir": 0.0001}


def clock_behind(device: Device) -> None:
    device.home.store().require_time(datetime.now(UTC) + timedelta(days=2), trusted=True)


def stations_damaged(device: Device) -> None:
    (device.path / "stations.json").write_text("{")


def lease_over(device: Device) -> None:
    device.home.membership().extend(datetime.now(UTC) - timedelta(hours=1))


def fleet_out_of_reach(device: Device) -> None:
    device.home.membership().join(f"http://127.0.0.1:{free_port()}", device.world.fleet.root)


def fleet_moved(device: Device) -> None:
    device.home.membership().join(f"{device.world.url}/old", device.world.fleet.root)


def outbox_damaged(device: Device) -> None:
    path = device.home.outbox_path
    os.truncate(path, path.stat().st_size // 2)


def outbox_nearly_full(device: Device) -> None:
    device.stated["outbox"] = {"max_alerts": 13}


def alert_altered(device: Device) -> None:
    with closing(sqlite3.connect(device.home.outbox_path)) as database:
        database.execute("UPDATE alert SET sealed = zeroblob(99) WHERE position = 1")
        database.commit()


def camera_missing(device: Device) -> None:
    device.stated["camera"]["source"] = "/dev/video77"


def camera_away(device: Device) -> None:
    device.stated["camera"]["source"] = f"http://127.0.0.1:{free_port()}/"


def light_missing(device: Device) -> None:
    device.stated["indicator"]["led"] = "/sys/class/leds/none-of-ours"


def light_broken(device: Device) -> None:
    (device.folder / "light" / "max_brightness").write_text("0")


def display_bus_missing(device: Device) -> None:
    device.stated["hud"]["display"] = "oled"
    device.stated["hud.oled"] = {"i2c_bus": 61}


def glasses_out_of_reach(device: Device) -> None:
    device.patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={device.folder}/no-bus")
    device.stated["hud"]["display"] = "frame"
    device.stated["hud.frame"] = {"address": "C0:FF:EE:00:00:01"}


def framebuffer_missing(device: Device) -> None:
    (device.folder / "fb0").unlink()


def espeak_missing(device: Device) -> None:
    device.program("espeak-ng").unlink()


def player_missing(device: Device) -> None:
    device.program("aplay").unlink()


def synthesiser_missing(device: Device) -> None:
    device.stated["hud.voice"] = {"synthesiser": ["piper", "-f", "-"]}


def no_sound_card(device: Device) -> None:
    (device.folder / "cards").write_text("--- no soundcards ---\n")


def broker_unreachable(device: Device) -> None:
    device.stated["mqtt"]["broker"] = f"mqtts://localhost:{free_port()}"


def broker_in_clear(device: Device) -> None:
    device.stated["mqtt"]["broker"] = f"mqtt://localhost:{device.world.broker.port}"


def wrong_authority(device: Device) -> None:
    other = BrokerFolder(device.folder / "other")
    (device.folder / "served").mkdir()
    shutil.copy(device.world.broker.served / "mosquitto.conf", device.folder / "served")
    other.init("localhost", device.folder / "served", now=NOW)
    device.stated["mqtt"]["ca_file"] = str(device.folder / "served" / "ca.crt")


def certificate_expired(device: Device) -> None:
    device.use_broker(certificate_made=NOW - LIFETIME - timedelta(days=1))


def certificate_ends_soon(device: Device) -> None:
    device.use_broker(certificate_made=NOW - LIFETIME + timedelta(days=9))


def revocation_list_expired(device: Device) -> None:
    device.use_broker(list_made=NOW - LIST_LIFETIME - timedelta(days=1))


def certificate_removed(device: Device) -> None:
    device.use_broker()
    BrokerFolder(device.folder / "broker").remove("home/gate", now=datetime.now(UTC))


def key_of_another_certificate(device: Device) -> None:
    files, _ = device.world.authority.add("home/other", Role.DEVICE, now=NOW)
    device.stated["mqtt"]["key_file"] = str(files / "client.key")


def password_missing(device: Device) -> None:
    device.stated["mqtt"]["password_file"] = f"{device.folder}/password"


def model_missing(device: Device) -> None:
    (device.link_models() / "facemesh.tflite").unlink()


def another_model(device: Device) -> None:
    path = device.link_models() / "facemesh.tflite"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"\x01")


def manifest_damaged(device: Device) -> None:
    path = device.link_models() / "manifest.json"
    path.unlink()
    path.write_text("{")


def tails_missing(device: Device) -> None:
    (device.link_models() / "calibration").unlink()


def swap_on(device: Device) -> None:
    swaps = device.folder / "swaps"
    swaps.write_text("Filename Type Size Used Priority\n/var/swap file 102396 0 -2\n")
    device.patch.setattr(sealed, "_SWAPS", swaps)


def core_dumps_on(device: Device) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    device.stack.callback(resource.setrlimit, resource.RLIMIT_CORE, (soft, hard))


def controller_unstated(device: Device) -> None:
    del device.stated["controller"]["contact"]


class Row(NamedTuple):
    """says: what is wrong, and what to do. also: other parts that cannot be well then."""

    induce: Callable[[Device], None]
    part: str
    health: str
    says: tuple[str, str]
    also: frozenset[str] = frozenset()


_CAMERA: Final = frozenset({"camera"})
_GALLERY: Final = frozenset({"gallery"})
_KEYED: Final = frozenset({"gallery", "fleet", "outbox"})
ROWS: Final = (
    Row(disk_nearly_full, "home", "fault", ("nearly full, 30 MB free", "free at least 100 MB")),
    Row(
        home_is_a_file, "home", "fault", ("is no folder", "--home"), _KEYED | {"key", "other keys"}
    ),
    Row(home_open_to_others, "home", "warning", ("others may look into", "chmod 700")),
    Row(key_open_to_others, "key", "fault", ("others may open", "chmod 600"), _KEYED),
    Row(key_cut_short, "key", "fault", ("does not hold 32 bytes", "restore it"), _KEYED),
    Row(key_gone, "key", "fault", ("the key of this gallery is gone", "restore it"), _KEYED),
    Row(another_key, "gallery", "fault", ("does not open", "put the right key back"), _KEYED),
    Row(gallery_cut_off, "gallery", "fault", ("is cut off", "restore")),
    Row(threshold_outgrown, "gallery", "fault", ("threshold", "familiar calibrate")),
    Row(threshold_too_lax, "gallery", "fault", ("FPIR", "calibrate")),
    Row(clock_behind, "gallery", "fault", ("has already seen", "set the clock")),
    Row(stations_damaged, "gallery", "fault", ("stations.json", "restore")),
    Row(lease_over, "fleet", "fault", ("the lease ended", "familiar sync")),
    Row(fleet_out_of_reach, "fleet", "fault", ("cannot be reached", "check the network")),
    Row(fleet_moved, "fleet", "fault", ("answers with status 404", "right --url")),
    Row(outbox_damaged, "outbox", "fault", ("damaged", "start again")),
    Row(outbox_nearly_full, "outbox", "warning", ("12 waiting", "reach its broker")),
    Row(alert_altered, "outbox", "fault", ("an alert was altered", "move the file aside")),
    Row(camera_missing, "camera", "fault", ("/dev/video77", "")),
    Row(camera_away, "camera", "fault", ("127.0.0.1", "")),
    Row(light_missing, "indicator", "fault", ("cannot be driven", "check its name"), _CAMERA),
    Row(light_broken, "indicator", "fault", ("cannot be driven", "check its name"), _CAMERA),
    Row(display_bus_missing, "display", "fault", ("/dev/i2c-61 is not there", "raspi-config")),
    Row(glasses_out_of_reach, "display", "fault", ("BlueZ does not answer", "apt install bluez")),
    Row(framebuffer_missing, "display", "fault", ("fb0 is not there", "hud.framebuffer")),
    Row(espeak_missing, "speech", "fault", ("not installed", "apt install espeak-ng")),
    Row(player_missing, "speech", "fault", ("aplay is not installed", "apt install alsa-utils")),
    Row(
        synthesiser_missing,
        "speech",
        "fault",
        ("piper is not installed", "correct hud.voice.synthesiser"),
    ),
    Row(no_sound_card, "speech", "fault", ("no sound card", "plug one in")),
    Row(broker_unreachable, "broker", "fault", ("nothing listens there", "start the broker")),
    Row(broker_in_clear, "broker", "fault", ("gives no MQTT answer", "mqtt or mqtts")),
    Row(wrong_authority, "broker", "fault", ("certificate not trusted", "right CA file")),
    Row(certificate_expired, "broker", "fault", ("certificate ended", "familiar broker add")),
    Row(certificate_ends_soon, "broker", "warning", ("certificate ends", "familiar broker add")),
    Row(
        revocation_list_expired,
        "broker",
        "fault",
        ("revocation list may have ended", "familiar broker status"),
    ),
    Row(
        certificate_removed, "broker", "fault", ("may have been removed", "familiar broker status")
    ),
    Row(
        key_of_another_certificate,
        "broker",
        "fault",
        ("TLS files cannot be used", "the key that fits"),
    ),
    Row(password_missing, "broker", "fault", ("password", "No such file")),
    Row(model_missing, "models", "fault", ("facemesh.tflite: No such file", "make models")),
    Row(another_model, "models", "fault", ("not the file of the manifest", "make models")),
    Row(manifest_damaged, "models", "fault", ("not a valid manifest", "make models"), _GALLERY),
    Row(tails_missing, "models", "fault", ("impostor_tail.json", "reinstall Familiar"), _GALLERY),
    Row(swap_on, "swap", "warning", ("/var/swap", "swapoff -a")),
    Row(core_dumps_on, "core dumps", "warning", ("on", "ulimit -c 0")),
    Row(controller_unstated, "controller", "warning", ("contact", "[controller]")),
)


def healths(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {part: finding["health"] for part, finding in found.items()}


@pytest.fixture(scope="module")
def well(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is found of a device that is well. Its clock and swap are the machine's."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        folder = tmp_path_factory.mktemp("well")
        status, found = Device(world, folder, patch, stack).examined()
    assert status == 0, found
    return healths(found)


def test_a_device_that_is_well(well: dict[str, str]) -> None:
    assert {part for part, health in well.items() if health != "well"} <= {
        "key", "other keys", "clock", "swap", "pins", "core dumps",
    }  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.induce.__name__)
def test_a_fault_is_found_and_explained(device: Device, well: dict[str, str], row: Row) -> None:
    row.induce(device)
    status, found = device.examined()
    finding = found[row.part]
    assert finding["health"] == row.health, finding
    for words in row.says:
        assert words in finding["detail"]
    assert "\n" not in finding["detail"]
    assert status == ("fault" in healths(found).values())
    others = {part for part, health in healths(found).items() if health != well[part]}
    assert others <= row.also | {row.part}


def test_there_are_at_least_twenty_faults() -> None:
    assert sum(row.health == "fault" for row in ROWS) >= 20


def test_the_camera_stays_closed_without_its_light(device: Device) -> None:
    """P7: also for a look at it."""
    before = Camera.opened
    device.examined()
    assert Camera.opened == before + 1
    light_broken(device)
    _, found = device.examined()
    assert found["camera"]["health"] == "fault"
    assert "indicator" in found["camera"]["detail"]
    assert Camera.opened == before + 1


def test_the_light_is_off_afterwards(device: Device) -> None:
    device.examined()
    assert (device.folder / "light" / "brightness").read_text() == "0"


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def test_nothing_in_the_home_is_changed(device: Device) -> None:
    """Nor is the newest time noted, as a run does with a clock that is synchronised."""
    device.patch.setattr(SystemClock, "state", lambda _: ClockState.SYNCHRONISED)
    (device.path / "withdrawn" / "newest-time").unlink()
    before = tree(device.path)
    assert before
    assert device.examined()[0] == 0
    assert tree(device.path) == before


def test_a_home_that_is_not_there_yet_is_not_made(device: Device) -> None:
    shutil.rmtree(device.path)
    status, found = device.examined()
    assert status == 0, found
    assert {healths(found)[part] for part in ("home", "key", "gallery", "fleet", "outbox")} == {
        "not used"
    }
    assert "familiar enrol" in found["gallery"]["detail"]
    assert not device.path.exists()


def test_an_outbox_that_a_device_writes_to_is_left_alone(device: Device) -> None:
    copied = shutil.copyfile

    def copy_and_write(source: Path, target: Path) -> None:
        copied(source, target)
        with source.open("ab") as file:
            file.write(b"x")

    device.patch.setattr(shutil, "copyfile", copy_and_write)
    status, found = device.examined()
    assert (status, found["outbox"]["health"]) == (0, "not used")


def test_an_outbox_that_cannot_be_read(device: Device) -> None:
    device.home.outbox_path.unlink()
    device.home.outbox_path.mkdir()
    status, found = device.examined()
    assert (status, found["outbox"]["health"]) == (1, "fault")
    assert "cannot be checked" in found["outbox"]["detail"]
    assert "check who owns the file" in found["outbox"]["detail"]


def test_a_key_that_does_not_exist_is_told_before_anything_is_checked(device: Device) -> None:
    device.stated["camera"]["sorce"] = "0"
    with pytest.raises(
        ConfigError, match=r'unknown key "camera.sorce"; did you mean "camera.source"'
    ):
        device.examined()


def test_a_home_of_somebody_else_is_told_before_anything_is_checked(device: Device) -> None:
    def refused(_: Path) -> bool:  # root, as which tests may run, is let in everywhere
        raise PermissionError(errno.EACCES, "Permission denied")

    device.patch.setattr(Path, "is_file", refused)
    done = CliRunner().invoke(app, ["--home", str(device.path), "doctor"])
    assert isinstance(done.exception, ConfigError)
    assert "run as the user that owns it" in str(done.exception)


def test_a_person_reads_one_line_for_each_part(device: Device) -> None:
    device.stated["mqtt"]["broker"] = ""
    _, found = device.examined()
    done = CliRunner().invoke(
        app, ["--home", str(device.path), "--config", f"{device.folder}/config.toml", "doctor"]
    )
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line[9:].split(":")[0] for line in lines] == [*found]
