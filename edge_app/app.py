"""The composition root: builds the parts from the configuration."""

from __future__ import annotations

import atexit
import logging
import math
import os
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from edge_app.adapters.calibration_file import read_tails
from edge_app.adapters.cameras import CameraSettings, SourceSpec, make_source
from edge_app.adapters.cameras.picture import PictureLimits
from edge_app.adapters.cameras.reopening import Backoff, ReopeningCamera
from edge_app.adapters.cameras.replay import ReplayCamera, StillTiming
from edge_app.adapters.gallery_store import GalleryStore
from edge_app.adapters.gpio import PinButton, PinContact, PinLight, PinShutter, header
from edge_app.adapters.haptic import NullHaptic, PinMotor
from edge_app.adapters.heap import give_back, share_one_heap
from edge_app.adapters.index import IndexKind, IndexSettings, build_index
from edge_app.adapters.indicator import LedIndicator, NoIndicator
from edge_app.adapters.keys import KeySources, store_key, trusted_stations
from edge_app.adapters.membership import Membership
from edge_app.adapters.mqtt import (
    BrokerAddress,
    LinkSettings,
    MqttPublisher,
    OnCommand,
    PublisherSettings,
    TlsFiles,
    Topics,
    parse_broker_url,
)
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.relay import Relay
from edge_app.adapters.stopwatch import StageHistogram
from edge_app.adapters.tflite import load_model, read_manifest
from edge_app.config import Config
from edge_app.core.calibrate import (
    ImpostorTail,
    require_meets,
    require_plausible,
    tail_for,
    threshold_for,
)
from edge_app.core.consent import IntendedUse
from edge_app.core.gallery import Gallery, IndexFactory, build_gallery
from edge_app.core.health import Reading
from edge_app.errors import CalibrationError, ConfigError
from edge_app.pipeline import Models, Rules
from edge_app.ports import Clock, Haptic, Indicator, Shutter
from edge_app.records import Calibration, ClockState

if TYPE_CHECKING:
    from edge_app.adapters.metrics import MetricsServer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder with one device's state, and where its keys come from."""

    folder: Path
    key_file: Path | None

    @property
    def keys(self) -> KeySources:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        return KeySources(
            home=self.folder,
            credentials_folder=Path(credentials) if credentials else None,
            store_key_file=self.key_file,
            station_key_file=None,
        )

    @property
    def outbox_path(self) -> Path:
        return self.folder / "outbox.sqlite"

    @property
    def told_path(self) -> Path:
        return self.folder / "told.sqlite"

    def membership(self) -> Membership:
        """What is known of this home's fleet. Raises KeyFileError."""
        return Membership(self.folder / "fleet", store_key(self.keys))

    def relay(self) -> Relay:
        """What is to be told to the operator of this home's fleet. Raises KeyFileError."""
        return Relay(self.folder / "fleet", store_key(self.keys))

    def store(self) -> GalleryStore:
        """The encrypted gallery. Raises KeyFileError."""
        withdrawn = self.folder / "withdrawn"
        return GalleryStore(self.folder / "store", store_key(self.keys), withdrawn=withdrawn)


def protect_memory() -> None:
    """Keeps templates in this process's memory out of core dumps (P5).

    Not PR_SET_DUMPABLE, which would close /proc/self/fd, and with it sealed memory, to us too.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # One byte and not none: a handler behind a pipe in core_pattern is told to go away only by
    # the limit 1 (core(5)). A dump to a file needs more than that to hold anything.
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def save_memory_and_threads() -> None:
    """One heap; and OpenCV works in the calling thread: its pictures are too small to share, and
    its threads spin between them. The networks' threads are `model_threads`, BLAS's one.
    """
    share_one_heap()
    cv2.setNumThreads(1)


# ------------------------------------------------------------------------------- parts


def models_dir() -> Path:
    """Where the networks are: inside the installed package, or beside it in a checkout."""
    packaged = Path(str(files("edge_app"))) / "_models"
    return packaged if packaged.is_dir() else packaged.parents[1] / "models"


def load_models(config: Config, *, stills: bool = True) -> Models:
    """Loads and checks the networks. Raises ModelError.

    stills: also the one that searches single pictures, 14 MB; a running camera needs it not.
    """
    folder, threads = models_dir(), config.model_threads
    scan = config.scan
    names = {scan.scan_detector, scan.follow_detector}
    if stills:
        names.add(scan.tile_detector)
    return Models(
        detectors={name: load_model(folder, name, threads=threads) for name in sorted(names)},
        mesh=load_model(folder, "facemesh", threads=threads),
        embedder=load_model(folder, config.embedder, threads=threads),
    )


def embedder_sha256(config: Config) -> str:
    """The configured embedder's hash, without loading it. Raises ModelError."""
    return read_manifest(models_dir()).models[config.embedder].sha256


def make_rules(config: Config) -> Rules:
    """The pipeline's rules, as configured."""
    return Rules(
        purpose=config.purpose,
        scan=config.scan,
        tracking=config.tracking,
        attention=config.attention,
        quality=config.quality,
        decision=config.decision,
        **config.look.model_dump(),
    )


def index_factory(config: Config) -> IndexFactory:
    """Builds the search index that the configuration names."""
    settings = IndexSettings(**config.index.model_dump())
    return partial(build_index, kind=IndexKind(config.match.index), settings=settings)


def intended_use(config: Config, home: Home, model_sha256: str) -> IntendedUse:
    """What this device may use templates for (P2). Raises KeyFileError."""
    return IntendedUse(config.purpose, model_sha256, trusted_stations(home.folder))


def impostor_tail(model_sha256: str) -> ImpostorTail:
    """How strangers score with this embedder, as shipped. Raises CalibrationError."""
    return tail_for(read_tails(models_dir() / "calibration" / "impostor_tail.json"), model_sha256)


def first_calibration(config: Config, model_sha256: str) -> Calibration:
    """The threshold that a gallery begins with. Raises CalibrationError."""
    return calibration_for(config, model_sha256, config.match.least_gallery)


def calibration_for(config: Config, model_sha256: str, templates: int) -> Calibration:
    """The threshold for a gallery of so many templates. Raises CalibrationError."""
    tail = impostor_tail(model_sha256)
    calibration = threshold_for(tail, config.match.target_fpir, templates)
    require_plausible(calibration)
    return calibration


def size_with_headroom(config: Config, templates: int, headroom: float | None = None) -> int:
    """For how many templates to calibrate a gallery that holds `templates` now.

    headroom: growth as a share of those; None: as configured.
    """
    growth = config.match.headroom if headroom is None else headroom
    return max(config.match.least_gallery, math.ceil(templates * (1 + growth)))


def open_gallery(
    config: Config, home: Home, model_sha256: str, clock: Clock, *, remember_time: bool = True
) -> Gallery:
    """The gallery of everyone who may be recognised now, with the threshold it was given.

    remember_time: keep the newest time that was seen, for who starts later. Writes.

    Raises GalleryError, KeyFileError, or CalibrationError when the gallery has outgrown that
    threshold, or it is for another model or a higher FPIR than configured (P8).
    """
    store, now = home.store(), clock.now()
    is_trusted = remember_time and clock.state() is ClockState.SYNCHRONISED
    store.require_time(now, trusted=is_trusted)
    stored = store.load(intended_use(config, home, model_sha256), now=now)
    for fault, people in stored.admission.left_out.items():
        _log.warning("left out %d of the gallery: %s", people, fault.value)
    calibration = stored.calibration
    if calibration is None:
        if len(stored.admission.people):
            raise CalibrationError("the gallery has no threshold yet; run `familiar calibrate`")
        calibration = first_calibration(config, model_sha256)
    require_meets(calibration, config.match.target_fpir)
    gallery = build_gallery(
        stored.admission,
        stored.matrix,
        generation=stored.generation,
        calibration=calibration,
        index_factory=index_factory(config),
    )
    del stored
    give_back()
    return gallery


@cache
def _contact(pin: str, pins: Any) -> PinContact:
    """One for all cameras: a pin can be taken once, and a station makes a camera for each visit."""
    contact = PinContact(pin, pins=pins)
    atexit.register(contact.close)
    return contact


def make_indicator(config: Config) -> Indicator:
    """The light that the configuration names. Raises IndicatorError, ConfigError or PinError."""
    if config.pins.indicator:
        return PinLight(config.pins.indicator, pins=header())
    return LedIndicator(Path(config.indicator.led)) if config.indicator.led else NoIndicator()


def make_shutter(config: Config, clock: Clock) -> Shutter | None:
    """The privacy switch; None if there is none. Raises ConfigError or PinError."""
    pins = config.pins
    if not pins.shutter:
        return None
    return PinShutter(_contact(pins.shutter, header()), settle_s=pins.settle_s, clock=clock)


def make_haptic(config: Config, clock: Clock) -> Haptic:
    """The motor that taps the wearer, if there is one. Raises ConfigError or PinError."""
    pins = config.pins
    if not pins.motor:
        return NullHaptic()
    return PinMotor(pins.motor, pins=header(), rest_s=pins.motor_rest_s, clock=clock)


@contextmanager
def listening_button(config: Config, clock: Clock, ask: Callable[[], None]) -> Iterator[None]:
    """While it is entered, the "who is this?" button asks, if there is one.

    Raises ConfigError or PinError.
    """
    pins = config.pins
    if not pins.button:
        yield
        return
    contact = PinContact(pins.button, pins=header())
    button = PinButton(contact, settle_s=pins.settle_s, clock=clock, on_press=ask)
    try:
        yield
    finally:
        button.close()


def make_camera(
    config: Config,
    specs: Sequence[SourceSpec],
    *,
    still_s: float,
    realtime: bool,
    clock: Clock,
    stop: threading.Event,
    waits_covered: bool = False,
) -> ReplayCamera | ReopeningCamera:
    """The frame source; a live one with its indicator (P7) and its shutter.

    waits_covered: whether one that is covered by its shutter can be opened, and then waits.

    Raises CameraError, IndicatorError, ConfigError or PinError.
    """
    camera = config.camera
    is_live = any(spec.is_live for spec in specs)
    return make_source(
        specs,
        settings=CameraSettings(
            width_px=camera.width_px,
            height_px=camera.height_px,
            fps=round(camera.fps),
            timeout_s=camera.timeout_s,
            max_jpeg_bytes=camera.max_jpeg_bytes,
            pictures=PictureLimits(
                min_side_px=camera.min_side_px,
                max_pixels=camera.max_pixels,
                fit_width_px=camera.width_px,
                fit_height_px=camera.height_px,
            ),
            stills=StillTiming(still_s=still_s, fps=config.replay.fps),
            backoff=Backoff(
                first_s=camera.reopen_first_s,
                factor=camera.reopen_factor,
                longest_s=camera.reopen_longest_s,
                jitter=camera.reopen_jitter,
            ),
        ),
        indicator=make_indicator(config) if is_live else NoIndicator(),
        shutter=make_shutter(config, clock) if is_live else None,
        clock=clock,
        realtime=realtime,
        stop_event=stop,
        waits_covered=waits_covered,
    )


def link_settings(config: Config) -> LinkSettings:
    return LinkSettings(
        connect_timeout_s=config.mqtt.connect_timeout_s, keepalive_s=config.mqtt.keepalive_s
    )


def broker(config: Config, url: str) -> tuple[BrokerAddress, TlsFiles | None]:
    """The broker at `url` with the configured password and TLS files. Raises ConfigError."""
    address = parse_broker_url(url)
    mqtt = config.mqtt
    if mqtt.password_file:
        address = replace(address, password=_read_secret(Path(mqtt.password_file)))
    tls = TlsFiles(_path(mqtt.ca_file), _path(mqtt.certificate_file), _path(mqtt.key_file))
    return address, tls if address.tls else None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file: cannot read {path}: {error}") from error


def make_publisher(
    config: Config, url: str, outbox: Outbox, topics: Topics, on_command: OnCommand | None = None
) -> MqttPublisher:
    """Delivers the outbox to the broker at `url`, once started. Raises ConfigError."""
    address, tls = broker(config, url)
    mqtt = config.mqtt
    return MqttPublisher(
        outbox,
        address=address,
        tls=tls,
        topics=topics,
        link=link_settings(config),
        settings=PublisherSettings(
            max_inflight=mqtt.max_inflight,
            ack_timeout_s=mqtt.ack_timeout_s,
            hold_s=mqtt.hold_s,
            poll_interval_s=mqtt.poll_interval_s,
            backoff_min_s=mqtt.backoff_min_s,
            backoff_max_s=mqtt.backoff_max_s,
            session_expiry_s=mqtt.session_expiry_s,
            will_delay_s=mqtt.will_delay_s,
        ),
        on_command=on_command,
    )


def boot_id() -> str:
    """The kernel's name for this boot: the run that a monotonic clock belongs to."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def serve_metrics(port: int, stages: StageHistogram, read: Callable[[], Reading]) -> MetricsServer:
    """Answers Prometheus from now on; see `MetricsServer`. Raises ConfigError."""
    try:
        from edge_app.adapters.metrics import MetricsServer  # noqa: PLC0415 - for who wants it
    except ImportError as error:
        raise ConfigError(
            "metrics.port is set, and prometheus-client is not installed; run `pip install "
            "familiar-edge[metrics]` or set it to 0"
        ) from error
    return MetricsServer(port, stages, read)
