"""`familiar doctor`: one line for each part that has to work, and what to do where it does not.

It changes nothing in the home folder, and opens the camera with its light on or not at all (P7).
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_app.adapters.cameras import parse_source
from edge_app.adapters.cameras.reopening import ReopeningCamera
from edge_app.adapters.durable import file_state
from edge_app.adapters.gpio import PinContact, PinLight, header
from edge_app.adapters.haptic import PinMotor
from edge_app.adapters.indicator import LedIndicator
from edge_app.adapters.keys import (
    STORE_KEY_NAME,
    existing_store_key,
    keys_in_home,
    outbox_key,
    store_key,
)
from edge_app.adapters.mqtt import Topics, check_broker
from edge_app.adapters.outbox import Outbox, OutboxCounts
from edge_app.adapters.sealed import disk_swaps
from edge_app.app import (
    Home,
    boot_id,
    broker,
    embedder_sha256,
    impostor_tail,
    intended_use,
    link_settings,
    load_models,
    make_camera,
    open_gallery,
)
from edge_app.config import Config
from edge_app.core.calibrate import threshold_for
from edge_app.errors import EdgeAppError
from edge_app.evaluation.bench import machine
from edge_app.ports import Clock
from edge_app.records import Calibration, ClockState, Touch


class Health(StrEnum):
    WELL = "well"
    WARNING = "warning"
    FAULT = "fault"
    NOT_USED = "not used"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `detail` says what to do unless all is well."""

    part: str
    health: Health
    detail: str


def examine(
    config: Config, home: Home, *, camera: str, broker_url: str, clock: Clock
) -> Iterator[Finding]:
    """Runs every check; each yields its finding as soon as it is known. Raises nothing."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("runtime", _runtime),
        ("models", lambda: _models(config)),
        ("home", lambda: _home(home)),
        ("key", lambda: _key(home)),
        ("other keys", lambda: _other_keys(home)),
        ("gallery", lambda: _gallery(config, home, clock)),
        ("fleet", lambda: _fleet(home, clock)),
        ("outbox", lambda: _outbox(config, home, clock)),
        ("indicator", lambda: _indicator(config)),
        ("pins", lambda: _pins(config, clock)),
        ("camera", lambda: _camera(config, camera, clock)),
        ("display", lambda: _display(config)),
        ("speech", lambda: _speech(config)),
        ("broker", lambda: _broker(config, broker_url, clock)),
        ("clock", lambda: _clock(clock)),
        ("swap", _swap),
        ("core dumps", _core_dumps),
        ("controller", lambda: _controller(config)),
    )
    for part, check in checks:
        try:
            yield check()
        except EdgeAppError as error:
            yield Finding(part, Health.FAULT, str(error))
        except OSError as error:
            detail = f"cannot be checked ({error}); check who owns the file, and the disk"
            yield Finding(part, Health.FAULT, detail)


def _runtime() -> Finding:
    here = machine()
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    return Finding(
        "runtime",
        Health.WELL,
        f"Python {here.python} on {here.cores} x {here.cpu} ({here.architecture}); {packages}",
    )


def _models(config: Config) -> Finding:
    models = load_models(config)
    impostor_tail(models.embedder.sha256)
    names = [*models.detectors, models.mesh.name, models.embedder.name]
    return Finding("models", Health.WELL, f"{', '.join(names)}: hashes and shapes as published")


def _home(home: Home) -> Finding:
    folder = home.folder
    if not folder.exists():
        return Finding("home", Health.NOT_USED, f"{folder} is made by the first enrolment or run")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            "home",
            Health.FAULT,
            f"{folder} is no folder that this user may write; name another with --home, or run "
            f"`chown` on it",
        )
    free = f"{shutil.disk_usage(folder).free // 2**20} MB free"
    if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
        return Finding(
            "home",
            Health.FAULT,
            f"the disk of {folder} is nearly full, {free}: alerts and galleries cannot be stored; "
            f"free at least {_LEAST_FREE_BYTES // 2**20} MB, e.g. with `journalctl --vacuum-size`",
        )
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding(
            "home", Health.WARNING, f"others may look into {folder}; run `chmod 700 {folder}`"
        )
    return Finding("home", Health.WELL, f"{folder}, {free}")


_LEAST_FREE_BYTES = 100 * 2**20
"""A full outbox takes 20 MB, and a gallery is there twice while a new one comes."""


def _key(home: Home) -> Finding:
    if existing_store_key(home.keys) is None:
        store_is_there = (home.folder / "store" / "gallery.sealed").exists()
        if store_is_there:
            store_key(home.keys)  # says that it is gone, and makes none
        return Finding("key", Health.NOT_USED, "none yet: the first enrolment or run makes it")
    path = home.folder / "keys" / STORE_KEY_NAME
    if path not in keys_in_home(home.keys):
        return Finding("key", Health.WELL, "the gallery's key is kept outside the home folder")
    return Finding(
        "key",
        Health.WARNING,
        f"a gallery key was found in {path.parent}: whoever steals this storage has both; "
        "on a device, keep it as a systemd credential (LoadCredentialEncrypted=store.key)",
    )


def _needs_key(part: str, home: Home) -> Finding | None:
    """What to say of a part that there is nothing of before there is a key."""
    if existing_store_key(home.keys) is not None:
        return None
    return Finding(part, Health.NOT_USED, "nothing yet: nobody is enrolled, run `familiar enrol`")


def _other_keys(home: Home) -> Finding:
    """The station's and the device's, if this home has them; `_key` is the gallery's."""
    names = [path.name for path in keys_in_home(home.keys) if path.name != STORE_KEY_NAME]
    if not names:
        return Finding("other keys", Health.WELL, "no other key is kept in the home folder")
    credentials = " ".join(f"LoadCredentialEncrypted={name}" for name in names)
    return Finding(
        "other keys",
        Health.WARNING,
        f"{' and '.join(names)} in {home.folder / 'keys'}: whoever steals this storage can read "
        f"the fleet's gallery or sign consents; keep them as systemd credentials ({credentials})",
    )


def _gallery(config: Config, home: Home, clock: Clock) -> Finding:
    if nothing := _needs_key("gallery", home):
        return nothing
    sha256 = embedder_sha256(config)
    stored = home.store().load(intended_use(config, home, sha256), now=clock.now())
    gallery = open_gallery(config, home, sha256, clock, remember_time=False)
    left_out = sum(stored.admission.left_out.values())
    locked = "locked in memory" if stored.locked else "not locked in memory"
    count = len(stored.admission.people)
    detail = (
        f"{count} {'person' if count == 1 else 'people'} for {config.purpose}, generation "
        f"{gallery.generation}, threshold {gallery.calibration.threshold:.3f} for an FPIR of "
        f"{gallery.calibration.target_fpir:g} among up to {gallery.calibration.max_templates}, "
        f"{locked}"
    )
    measured = _threshold_measured(gallery.calibration)
    if measured > gallery.calibration.threshold + _THRESHOLD_TOLERANCE:
        return Finding(
            "gallery",
            Health.WARNING,
            f"{detail}; strangers were measured again since, and need {measured:.3f}: run "
            "`familiar calibrate`",
        )
    if left_out:
        return Finding(
            "gallery",
            Health.WARNING,
            f"{detail}; {left_out} left out, see `familiar people list`",
        )
    return Finding("gallery", Health.WELL, detail)


_THRESHOLD_TOLERANCE = 0.001


def _threshold_measured(calibration: Calibration) -> float:
    """What the tail that ships today asks for."""
    tail = impostor_tail(calibration.model_sha256)
    return threshold_for(tail, calibration.target_fpir, calibration.max_templates).threshold


def _fleet(home: Home, clock: Clock) -> Finding:
    if nothing := _needs_key("fleet", home):
        return nothing
    membership = home.membership()
    source, lease = membership.source(), membership.lease()
    if source is None:
        return Finding("fleet", Health.NOT_USED, "this device belongs to none")
    url = source[0]
    if lease is None or lease <= clock.now():
        ended = f"ended {lease:%Y-%m-%d %H:%M} UTC" if lease else "has not begun"
        return Finding(
            "fleet",
            Health.FAULT,
            f"the lease {ended}: nobody is recognised until `familiar sync` reaches {url} again",
        )
    until = f"{lease:%Y-%m-%d %H:%M} UTC"
    if problem := _unreachable(f"{url}/metadata/timestamp.json"):
        return Finding(
            "fleet",
            Health.FAULT,
            f"{url} {problem}: no revocation comes from there, and matching ends {until}; check "
            "the network, or sync with the right --url",
        )
    return Finding("fleet", Health.WELL, f"{url} answers; matching is allowed until {until}")


def _unreachable(url: str) -> str:
    """Why nothing can be fetched from there; empty if something can."""
    import urllib3  # noqa: PLC0415 - slow

    try:
        with urllib3.PoolManager(retries=False, timeout=_PATIENCE_S) as pool:
            answer = pool.request("GET", url, preload_content=False)
            answer.close()
    except urllib3.exceptions.HTTPError as error:
        return f"cannot be reached ({type(error).__name__})"
    return "" if answer.status == 200 else f"answers with status {answer.status}"


_PATIENCE_S = 5.0


def _outbox(config: Config, home: Home, clock: Clock) -> Finding:
    """Looks at a copy: opening the file itself would write to it, and a device may have it open."""
    path = home.outbox_path
    if not path.exists():
        return Finding("outbox", Health.NOT_USED, "none yet: no alert was ever decided")
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        try:
            if not _copied_whole(path, copy):
                return Finding(
                    "outbox", Health.NOT_USED, "not checked: alerts come and go just now"
                )
            counts = _counts(copy, config, home, clock)
        except EdgeAppError as error:
            return Finding("outbox", Health.FAULT, str(error).replace(str(copy), str(path)))
    told = (
        f"{counts.pending} waiting, {counts.delivered} delivered, {counts.expired} expired, "
        f"{counts.forced_out} forced out"
    )
    if counts.pending > _NEARLY_FULL * config.outbox.max_alerts:
        return Finding(
            "outbox",
            Health.WARNING,
            f"{told}: nearly full, and then the oldest are dropped; let it reach its broker",
        )
    return Finding("outbox", Health.WELL, told)


_NEARLY_FULL = 0.9


def _copied_whole(path: Path, copy: Path) -> bool:
    """Whether nobody wrote meanwhile."""
    files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    before = [file_state(file) for file in files]
    for file in files:
        shutil.copyfile(file, copy.with_name(file.name))
    return [file_state(file) for file in files] == before


def _counts(path: Path, config: Config, home: Home, clock: Clock) -> OutboxCounts:
    """After opening every alert in it. Raises KeyFileError, StorageError."""
    outbox = Outbox(
        path,
        key=outbox_key(store_key(home.keys)),
        max_alerts=config.outbox.max_alerts,
        boot_id=boot_id(),
        clock=clock,
    )
    with closing(outbox):
        outbox.next(after=0, limit=config.outbox.max_alerts)
        return outbox.counts()


def _camera(config: Config, name: str, clock: Clock) -> Finding:
    spec = parse_source(name)
    if not spec.is_live:
        return Finding("camera", Health.NOT_USED, "a replay is configured; nothing to check")
    if config.indicator.led and LedIndicator(Path(config.indicator.led)).is_on():
        return Finding(
            "camera",
            Health.NOT_USED,
            "not checked, because its light is on and so it is in use; stop the device first",
        )
    stop = threading.Event()
    source = make_camera(config, [spec], still_s=0.1, realtime=False, clock=clock, stop=stop)
    if isinstance(source, ReopeningCamera) and source.covered:
        return Finding(
            "camera",
            Health.NOT_USED,
            "not checked, because its privacy switch covers it; uncover it, then try again",
        )
    patience = threading.Timer(2 * config.camera.timeout_s, stop.set)  # `read` reopens for ever
    source.open()
    patience.start()
    try:
        frame = source.read()
    finally:
        patience.cancel()
        source.close()
    if frame is None:
        return Finding(
            "camera",
            Health.FAULT,
            f"{source.description} opens and gives no picture; check its cable, or try another",
        )
    return Finding(
        "camera",
        Health.WELL,
        f"{source.description} gives {frame.width_px} x {frame.height_px} pixels",
    )


def _indicator(config: Config) -> Finding:
    if config.pins.indicator:
        pin_light = PinLight(config.pins.indicator, pins=header())
        pin_light.turn_on()
        pin_light.turn_off()
        return Finding("indicator", Health.WELL, f"{config.pins.indicator} goes on and off")
    if not config.indicator.led:
        return Finding(
            "indicator",
            Health.WARNING,
            "none is configured: bystanders see no light of ours; set indicator.led or "
            "pins.indicator",
        )
    light = LedIndicator(Path(config.indicator.led))
    if light.is_on():
        return Finding("indicator", Health.WELL, f"{config.indicator.led} is on, in use")
    light.turn_on()
    light.turn_off()
    return Finding("indicator", Health.WELL, f"{config.indicator.led} goes on and off")


def _pins(config: Config, clock: Clock) -> Finding:
    """The switch, the button and the motor; the light is `_indicator`'s."""
    pins, found, held = config.pins, [], ""
    if pins.shutter:
        uncovered = _is_closed(pins.shutter)
        found.append(f"the privacy switch on {pins.shutter} {_SWITCH[uncovered]} the camera")
    if pins.button:
        if _is_closed(pins.button):
            held = f"the button on {pins.button} is held, or its pin is short-circuited to ground"
        found.append(held or f"the button on {pins.button} is not pressed")
    if pins.motor:
        motor = PinMotor(pins.motor, pins=header(), rest_s=pins.motor_rest_s, clock=clock)
        motor.play(Touch.RECOGNISED)
        clock.sleep(_TAPS_S)
        motor.close()
        found.append(f"the motor on {pins.motor} should have tapped twice")
    if not found:
        return Finding("pins", Health.NOT_USED, "no switch, button or motor is configured")
    return Finding("pins", Health.WARNING if held else Health.WELL, "; ".join(found))


_SWITCH = {True: "uncovers", False: "covers"}

_TAPS_S = 0.5


def _is_closed(pin: str) -> bool:
    contact = PinContact(pin, pins=header())
    try:
        return contact.is_closed()
    finally:
        contact.close()


def _display(config: Config) -> Finding:
    hud = config.hud
    oled = hud.oled
    buses = {
        "i2c": Path(f"/dev/i2c-{oled.i2c_bus}"),
        "spi": Path(f"/dev/spidev{oled.spi_bus}.{oled.spi_device}"),
    }
    match hud.display:
        case "oled":
            device, remedy = buses[oled.bus], f"enable {oled.bus.upper()} with `raspi-config`"
        case "framebuffer":
            device, remedy = Path(hud.framebuffer), "check hud.framebuffer and the display's driver"
        case "frame":
            return _glasses(hud.frame.address)
        case _:
            return Finding("display", Health.NOT_USED, f'hud.display is "{hud.display}"')
    if not device.exists():
        fault = f"{device} is not there; {remedy}"
    elif not os.access(device, os.R_OK | os.W_OK):
        fault = f"{device} may not be used by this user; add it to the group of {device}"
    else:
        return Finding("display", Health.WELL, f"{device} is there")
    return Finding("display", Health.FAULT, f"{fault}, or choose another hud.display")


def _glasses(address: str) -> Finding:
    from edge_app.adapters.displays.frame import (  # noqa: PLC0415 - it brings asyncio
        require_glasses,
    )

    try:
        require_glasses(address)
    except EdgeAppError as error:
        return Finding("display", Health.FAULT, str(error))
    return Finding(
        "display",
        Health.WELL,
        "the glasses are paired; whether their link is encrypted is asked before each packet",
    )


def _speech(config: Config) -> Finding:
    if not config.hud.speech:
        return Finding("speech", Health.NOT_USED, "hud.speech is off")
    synthesiser = (config.hud.voice.synthesiser or ("espeak-ng",))[0]
    remedies = {
        "espeak-ng": "run `sudo apt install espeak-ng`",
        "aplay": "run `sudo apt install alsa-utils`",
    }
    for program in (synthesiser, "aplay"):
        if shutil.which(program) is None:
            remedy = remedies.get(program, "install it, or correct hud.voice.synthesiser")
            return Finding(
                "speech",
                Health.FAULT,
                f"{program} is not installed, so nobody hears the names; {remedy}",
            )
    if not _has_sound_card():
        return Finding(
            "speech",
            Health.FAULT,
            "there is no sound card, so nobody hears the names; plug one in, see `aplay -l`, or "
            "switch hud.speech off",
        )
    return Finding("speech", Health.WELL, f"{synthesiser}, aplay and a sound card are there")


_SOUND_CARDS = Path("/proc/asound/cards")


def _has_sound_card() -> bool:
    try:
        return "[" in _SOUND_CARDS.read_text("utf-8")  # else "--- no soundcards ---"
    except OSError:
        return False


def _broker(config: Config, url: str, clock: Clock) -> Finding:
    if not url:
        return Finding("broker", Health.NOT_USED, "none is configured: alerts wait in the outbox")
    address, tls = broker(config, url)
    until = _certificate_until(tls.certificate) if tls and tls.certificate else None
    if until is not None and until <= clock.now():
        return Finding(
            "broker",
            Health.FAULT,
            f"this device's certificate ended {until:%Y-%m-%d}, and {address} lets nobody in with "
            "it; run `familiar broker add` for this device again, and carry the files here",
        )
    probe = Topics(config.site, config.device).client_id + "-doctor"
    spoken = check_broker(address, tls=tls, client_id=probe, link=link_settings(config))
    if until is not None and until <= clock.now() + _CERTIFICATE_NOTICE:
        return Finding(
            "broker",
            Health.WARNING,
            f"{spoken}; this device's certificate ends {until:%Y-%m-%d}: run `familiar broker add` "
            "for this device again, and carry the files here",
        )
    return Finding("broker", Health.WELL, spoken)


_CERTIFICATE_NOTICE = timedelta(days=30)


def _certificate_until(path: Path) -> datetime | None:
    """When a certificate ends; None if it cannot be read, which connecting tells better."""
    from cryptography import x509  # noqa: PLC0415 - slow

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _clock(clock: Clock) -> Finding:
    shown = f"{clock.now():%Y-%m-%d %H:%M:%S} UTC"
    if clock.state() is ClockState.SYNCHRONISED:
        return Finding("clock", Health.WELL, f"{shown}, synchronised")
    return Finding(
        "clock",
        Health.WARNING,
        f"{shown}, not synchronised: consents are judged by it; enable systemd-timesyncd",
    )


def _swap() -> Finding:
    swaps = disk_swaps()
    if not swaps:
        return Finding("swap", Health.WELL, "no swap on a disk: templates stay in memory")
    return Finding(
        "swap",
        Health.WARNING,
        f"{', '.join(swaps)}: templates could be written to it; run `swapoff -a`, or use zram",
    )


def _core_dumps() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if 0 <= soft <= 1:
        return Finding("core dumps", Health.WELL, "off: templates in memory stay there")
    return Finding(
        "core dumps",
        Health.WARNING,
        "on: a crash could write templates to the disk; run `ulimit -c 0` first",
    )


def _controller(config: Config) -> Finding:
    party = config.controller
    unstated = [name for name, value in party.model_dump().items() if value == "not stated"]
    if not unstated:
        return Finding("controller", Health.WELL, f"{party.name}, {party.contact}")
    return Finding(
        "controller",
        Health.WARNING,
        f'consent notices will say "not stated" for {", ".join(unstated)}; set them under '
        "[controller] before you enrol anybody",
    )
