"""`familiar doctor`: one line for each part that has to work, and what to do where it does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_app.adapters.cameras import parse_source
from edge_app.adapters.cameras.reopening import ReopeningCamera
from edge_app.adapters.gpio import PinContact, PinLight, header
from edge_app.adapters.haptic import PinMotor
from edge_app.adapters.indicator import LedIndicator
from edge_app.adapters.keys import STORE_KEY_NAME, keys_in_home, store_key
from edge_app.adapters.mqtt import Topics, check_broker
from edge_app.adapters.sealed import disk_swaps
from edge_app.app import (
    Home,
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
        ("key", lambda: _key(home)),
        ("other keys", lambda: _other_keys(home)),
        ("gallery", lambda: _gallery(config, home, clock)),
        ("indicator", lambda: _indicator(config)),
        ("pins", lambda: _pins(config, clock)),
        ("camera", lambda: _camera(config, camera, clock)),
        ("broker", lambda: _broker(config, broker_url)),
        ("clock", lambda: _clock(clock)),
        ("swap", _swap),
        ("controller", lambda: _controller(config)),
    )
    for part, check in checks:
        try:
            yield check()
        except EdgeAppError as error:
            yield Finding(part, Health.FAULT, str(error))


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
    names = [*models.detectors, models.mesh.name, models.embedder.name]
    return Finding("models", Health.WELL, f"{', '.join(names)}: hashes and shapes as published")


def _key(home: Home) -> Finding:
    path = home.folder / "keys" / STORE_KEY_NAME
    existed = path.exists()
    store_key(home.keys)
    if not path.exists():
        return Finding("key", Health.WELL, "the gallery's key is kept outside the home folder")
    made = "was found in" if existed else "has been made in"
    return Finding(
        "key",
        Health.WARNING,
        f"a gallery key {made} {path.parent}: whoever steals this storage has both; "
        "on a device, keep it as a systemd credential (LoadCredentialEncrypted=store.key)",
    )


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
    sha256 = embedder_sha256(config)
    stored = home.store().load(intended_use(config, home, sha256), now=clock.now())
    gallery = open_gallery(config, home, sha256, clock)
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


def _broker(config: Config, url: str) -> Finding:
    if not url:
        return Finding("broker", Health.NOT_USED, "none is configured: alerts wait in the outbox")
    address, tls = broker(config, url)
    probe = Topics(config.site, config.device).client_id + "-doctor"
    spoken = check_broker(address, tls=tls, client_id=probe, link=link_settings(config))
    return Finding("broker", Health.WELL, spoken)


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
