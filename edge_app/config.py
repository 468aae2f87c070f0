"""One frozen, typed configuration: the only place where defaults live.

A device reads one TOML file. What it does not state is the default below; a key that does
not exist is an error, and so is a number outside its bounds: no value of any key can turn
one of Familiar's promises off.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_app.core.attention import AttentionLimits
from edge_app.core.decide import DecisionRule
from edge_app.core.decode import GEOMETRIES
from edge_app.core.quality import QualityLimits
from edge_app.core.scan import ScanPlan
from edge_app.core.track import TrackingLimits
from edge_app.errors import ConfigError
from edge_app.records import NODE_NAME_PATTERN, Purpose

NodeName = Annotated[str, Field(pattern=f"^{NODE_NAME_PATTERN}$")]

PINS = tuple(f"GPIO{number}" for number in range(4, 28))
"""The pins of a Raspberry Pi's header that may be named. GPIO0 to 3 are the two I2C buses, with
resistors of their own."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class CameraConfig(_Section):
    """Which camera, and what is asked of it.

    source: a device number or path ("0", "/dev/video0"), an MJPEG address, or "picamera2".
    The rest: see `edge_app.adapters.cameras`.
    """

    source: str = "0"
    width_px: int = 1920
    height_px: int = 1080
    fps: float = 30.0
    timeout_s: float = 5.0
    max_jpeg_bytes: int = 8_000_000
    min_side_px: int = 64
    max_pixels: int = 50_000_000
    reopen_first_s: float = 0.5
    reopen_factor: float = 2.0
    reopen_longest_s: float = 30.0
    reopen_jitter: float = 0.3


class ReplayConfig(_Section):
    """How files are replayed, in demo mode only.

    still_s: how long a still picture is shown: long enough for the three-frame rule.
    """

    still_s: float = 1.5
    fps: float = 30.0


class LookConfig(_Section):
    """How often and how hard the pipeline looks; see `edge_app.pipeline.Rules`."""

    min_detection_score: float = 0.4
    max_detection_overlap: float = 0.3
    candidates: int = 5
    better_quality: float = 1.15
    look_interval_s: float = 0.1
    rest_s: float = 0.3
    looks_per_frame: int = 8
    min_continuity: float = 0.9
    min_coherence: float = 0.2
    encounter_gap_s: float = 60.0
    asked_s: float = 5.0


class MatchConfig(_Section):
    """target_fpir: share of strangers' searches that may return anyone (P8).
    least_gallery: how many templates a gallery's first threshold holds for: so many can be
                   enrolled before `familiar calibrate` is due.
    headroom:      growth, as a share of the templates enrolled, that `familiar calibrate` leaves
                   room for.
    index: the search structure; "auto" takes what is fastest at the gallery's size.
    """

    target_fpir: float = 0.003
    least_gallery: int = 25
    headroom: float = 0.5
    index: Literal["auto", "exact", "int8", "annoy"] = "auto"


class IndexConfig(_Section):
    """How a search index is built and chosen; see `edge_app.adapters.index.IndexSettings`."""

    trees: int = 40
    min_recall: float = 0.99
    sample_count: int = 200
    sample_similarity: float = 0.5
    rows_per_search: int = 20
    annoy_budget_ms: float = 5.0


class EnrolmentConfig(_Section):
    """What an enrolment must reach. The limits are stricter than the device's own.

    min_frames, max_frames: frames of a live capture that must be good, and at most averaged:
                         the gain of more is small (docs/adr/0011).
    frames_per_pose:     good frames that the guide waits for in each pose.
    pose_timeout_s:      how long it waits, once the liveness challenge is passed.
    min_similarity:      a frame less like the others (cosine) is an outlier.
    duplicate_similarity: a frame more like a kept one adds nothing.
    relative_similarity: a new person this close to an enrolled one is worth a warning.
    same_similarity:     this close, the two could not be told apart, and it is refused.
    validity_days:       how long the consent holds unless withdrawn.
    turn_deg, straight_deg, step_timeout_s, max_lost_s, min_relief: see
                         `edge_app.core.liveness.LivenessRule`.
    """

    min_frames: int = 5
    max_frames: int = 5
    frames_per_pose: int = 2
    pose_timeout_s: float = 4.0
    min_similarity: float = 0.35
    duplicate_similarity: float = 0.97
    relative_similarity: float = 0.55
    same_similarity: float = 0.7
    validity_days: int = 365
    turn_deg: float = 18.0
    straight_deg: float = 10.0
    step_timeout_s: float = 12.0
    max_lost_s: float = 1.0
    min_relief: float = -0.02


class StationConfig(_Section):
    """The page of `familiar station serve`; see `edge_app.enrolment.visits.VisitLimits`.

    max_jpeg_bytes: longest picture taken from a browser's camera.
    """

    idle_s: float = 600.0
    gap_s: float = 8.0
    most_visits: int = 16
    most_captures: int = 5
    max_jpeg_bytes: int = 1_500_000


class ControllerConfig(_Section):
    """Who answers for the data; printed on every consent notice and receipt."""

    name: str = "The wearer of this device"
    address: str = "not stated"
    contact: str = "not stated"
    jurisdiction: str = "not stated"


class MqttConfig(_Section):
    """broker: mqtt://host:1883 or mqtts://user@host:8883; empty: alerts wait in the outbox.
    hold_s: how long an acknowledged alert is kept; longer than the broker's interval of saving.
    """

    broker: str = ""
    password_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    alert_expiry_s: float = 3600.0
    max_inflight: int = 20
    connect_timeout_s: float = 10.0
    keepalive_s: int = 30
    ack_timeout_s: float = 20.0
    hold_s: float = 20.0
    poll_interval_s: float = 0.2
    backoff_min_s: float = 0.5
    backoff_max_s: float = 60.0
    session_expiry_s: int = 86_400
    will_delay_s: int = 30
    drain_s: float = 5.0
    health_interval_s: float = 60.0


class HomeAssistantConfig(_Section):
    """discovery: at its start the device introduces itself to Home Assistant, over the broker.
    prefix: of the topics where Home Assistant looks for that."""

    discovery: bool = False
    prefix: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")] = "homeassistant"


class LogConfig(_Section):
    """format: lines for people, or a JSON object a line.
    level: what is less than this is not logged; `--verbose` is "info"."""

    format: Literal["text", "json"] = "text"
    level: Literal["error", "warning", "info"] = "warning"


class MetricsConfig(_Section):
    """port: on the loopback interface, where Prometheus finds counts and times; 0: none."""

    port: int = 0


class SyncConfig(_Section):
    """deadline_s: for one look at the fleet's gallery, all files together.
    interval_s: between two looks of a running device; it spreads them by up to `jitter` of it.
    backoff_s: before the next look after a failed one; it doubles up to the interval.
    tell_deadline_s: for telling the operator who left here and what is installed, at each look."""

    deadline_s: float = 300.0
    interval_s: float = 300.0
    jitter: float = 0.2
    backoff_s: float = 10.0
    tell_deadline_s: float = 10.0


class OutboxConfig(_Section):
    max_alerts: int = 10_000


class OledConfig(_Section):
    """How a display of 128 x 64 pixels is connected; see
    `edge_app.adapters.displays.oled.OledWiring`."""

    controller: Literal["ssd1306", "ssd1309"] = "ssd1306"
    bus: Literal["i2c", "spi"] = "i2c"
    i2c_bus: int = 1
    i2c_address: int = 0x3C
    spi_bus: int = 0
    spi_device: int = 0
    spi_data_pin: int = 24
    spi_reset_pin: int = 25
    upside_down: bool = False


class WebConfig(_Section):
    """Where the wearer's page is served, for glasses with a browser.

    host: an address of this device. Names go out encrypted, or not at all: any other than
          127.0.0.1 needs a certificate and its key, as PEM files.
    name: what the certificate calls this device; empty: its address, or its host name.
    """

    host: str = "127.0.0.1"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{0,253}$")] = ""
    port: int = 8470
    certificate_file: str = ""
    key_file: str = ""


class FrameConfig(_Section):
    """Brilliant Labs' Frame, over Bluetooth LE.

    address: of the glasses, as `bluetoothctl devices Paired` shows it. Names are sent to paired
             glasses, over an encrypted link, or not at all.
    """

    address: Annotated[str, Field(pattern=r"^([0-9A-F]{2}(:[0-9A-F]{2}){5})?$")] = ""


class VoiceConfig(_Section):
    """How names are spoken, with speech = true.

    voice:        of espeak-ng, e.g. "de+f3"; empty: the language's own.
    rate_wpm:     words a minute.
    synthesiser:  another program than espeak-ng, which reads text and writes a WAV, e.g.
                  ["piper", "-m", "/usr/local/share/voices/en.onnx", "-f", "-"].
    device:       ALSA's name of where it is played; empty: its default.
    stereo_width: how far to the side a name may sound, 0 (middle) to 1 (one ear only).
    again_s:      nobody is named again within this time.
    quiet:        hours in which nothing is said unless asked for, e.g. "22:00-07:00".
    time_zone:    of those hours, e.g. "Europe/Berlin"; empty: the device's own.
    timeout_s, retry_s: see `edge_app.adapters.speech.ProgramSpeaker`.
    """

    voice: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]{0,64}$")] = ""
    rate_wpm: int = 160
    synthesiser: tuple[str, ...] = ()
    device: Annotated[str, Field(pattern=r"^([^-].*)?$")] = ""
    stereo_width: float = 0.8
    again_s: float = 120.0
    quiet: str = ""
    time_zone: str = ""
    timeout_s: float = 10.0
    retry_s: float = 10.0


class HudConfig(_Section):
    """What the wearer sees and hears.

    display: "auto" is the terminal if there is one.
    oled:    for display = "oled".
    framebuffer: the device for display = "framebuffer".
    web:     for display = "web".
    frame:   for display = "frame".
    fonts:   TrueType or OpenType files, tried in order for each name; none: DejaVu Sans, where it
             is installed. What they lack is never drawn as a box.
    speech:  names are also spoken, as [hud.voice] says.
    lease_warning_h: how long before the fleet's gallery is too old the display says so.
    answer_s: how long after "who is this?" the answer is due.
    notice_s: how long an answer without a name stays on the display.
    The rest: see `edge_app.core.steady.PresentSettings`.
    """

    display: Literal["auto", "terminal", "oled", "framebuffer", "web", "frame", "none"] = "auto"
    oled: OledConfig = OledConfig()
    framebuffer: str = "/dev/fb0"
    web: WebConfig = WebConfig()
    frame: FrameConfig = FrameConfig()
    fonts: tuple[str, ...] = ()
    speech: bool = False
    voice: VoiceConfig = VoiceConfig()
    language: Literal["en", "de", "fr"] = "en"
    lease_warning_h: float = 4.0
    unsure_margin: float = 0.05
    unsure_slack: float = 0.02
    ahead_share: float = 0.34
    side_slack: float = 0.04
    hold_s: float = 0.5
    max_people: int = 3
    answer_s: float = 0.7
    notice_s: float = 4.0


class IndicatorConfig(_Section):
    """led: folder of the LED that tells bystanders the camera is open, below /sys/class/leds.
    Empty, and `pins.indicator` too: the device has none of its own (the camera's own light is all
    there is).
    """

    led: str = ""


class PinsConfig(_Section):
    """What is connected to the pins of a Raspberry Pi's header, see docs/wiring.md.

    indicator: the light that tells bystanders the camera is open; in place of `indicator.led`.
    shutter:   the privacy switch: it connects its pin to ground while the camera may be open.
    button:    "who is this?": it connects its pin to ground while it is pressed.
    motor:     taps the wearer: on while its pin is high.
    settle_s:  how long a contact must be steady.
    motor_rest_s: how long the motor plays no other pattern after it began one.
    """

    indicator: str = ""
    shutter: str = ""
    button: str = ""
    motor: str = ""
    settle_s: float = 0.03
    motor_rest_s: float = 2.0


class RetentionConfig(_Section):
    """For how many hours the backend keeps an encounter, by its purpose."""

    assist: float = 24.0
    entry: float = 24.0
    care: float = 24.0
    self_exclusion: float = 24.0


class OidcRolesConfig(_Section):
    """What the role claim says for each role; of several, the first of these holds. Empty: nobody
    has it by their provider.
    """

    operator: str = ""
    auditor: str = ""
    carer: str = ""


class OidcConfig(_Section):
    """An identity provider for `familiar backend serve`.

    issuer: https://..., as its discovery document has it; empty: local accounts alone.
    client_secret_file: a private file; empty: a public client.
    name_claim: what the audit trail calls somebody.
    role_claim: dots lead into objects, as in realm_access.roles.
    """

    issuer: str = ""
    client_id: str = "familiar"
    client_secret_file: str = ""
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    roles: OidcRolesConfig = OidcRolesConfig()


class BackendConfig(_Section):
    """`familiar backend`, which no device needs.

    instance: unlike that of any other with the same database, among which alerts are shared.
    database: postgresql://user@host/name; empty: a SQLite file in the home.
    metrics_port: 0 for none.
    most_untaken: alerts on their way to an instance at once.
    overview_file: what `familiar operator overview` writes, for the page; empty: none.
    session_s: when everybody has to sign in to the page again; idle_s: who does nothing there.
    audit_days: how long the trail of who did what is kept.
    """

    instance: NodeName = "backend"
    database: str = ""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9477
    most_untaken: int = 500
    session_expiry_s: int = 86_400
    purge_interval_s: float = 10.0
    retention_h: RetentionConfig = RetentionConfig()
    overview_file: str = ""
    session_s: float = 43_200.0
    idle_s: float = 1_800.0
    audit_days: float = 365.0
    oidc: OidcConfig = OidcConfig()


class Config(_Section):
    """All of it. Attributes of the core's own records are documented there."""

    site: NodeName = "home"
    device: NodeName = "glasses"
    purpose: Purpose = Purpose.ASSIST
    embedder: Literal["mobilefacenet_int8", "mobilefacenet_float"] = "mobilefacenet_int8"
    model_threads: int = 1
    camera: CameraConfig = CameraConfig()
    replay: ReplayConfig = ReplayConfig()
    look: LookConfig = LookConfig()
    match: MatchConfig = MatchConfig()
    index: IndexConfig = IndexConfig()
    enrolment: EnrolmentConfig = EnrolmentConfig()
    station: StationConfig = StationConfig()
    controller: ControllerConfig = ControllerConfig()
    mqtt: MqttConfig = MqttConfig()
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    outbox: OutboxConfig = OutboxConfig()
    sync: SyncConfig = SyncConfig()
    hud: HudConfig = HudConfig()
    indicator: IndicatorConfig = IndicatorConfig()
    pins: PinsConfig = PinsConfig()
    backend: BackendConfig = BackendConfig()
    scan: ScanPlan = ScanPlan(
        tile_detector="blazeface_back",
        scan_detector="blazeface_wide",
        follow_detector="blazeface_short",
        tile=0.24,
        scan_tile=0.37,
        overlap=0.2,
        scan_overlap=0.14,
        max_tile_face=0.33,
        min_input_px=13.0,
        min_scan_score=0.55,
        tiles_per_frame=2,
        still_frames=4,
        follow_margin=2.0,
        motion_luma=12,
    )
    tracking: TrackingLimits = TrackingLimits(
        min_overlap=0.2, max_lost_s=0.7, position_noise=0.05, acceleration_noise=4.0
    )
    attention: AttentionLimits = AttentionLimits(
        horizontal_fov_deg=70.0, max_distance_m=4.0, max_yaw_deg=35.0, zone=()
    )
    quality: QualityLimits = QualityLimits(
        min_interocular_px=20.0,
        min_presence=0.5,
        max_yaw_deg=40.0,
        max_pitch_deg=35.0,
        min_sharpness=0.055,
        min_brightness=30.0,
        max_brightness=230.0,
        min_contrast=12.0,
        min_under_eye_luma_ratio=0.30,
        max_under_eye_colour_distance=45.0,
        max_lower_face_colour_distance=45.0,
    )
    enrolment_quality: QualityLimits = QualityLimits(
        min_interocular_px=50.0,
        min_presence=0.9,
        max_yaw_deg=35.0,
        max_pitch_deg=30.0,
        min_sharpness=0.08,
        min_brightness=50.0,
        max_brightness=210.0,
        min_contrast=18.0,
        min_under_eye_luma_ratio=0.45,
        max_under_eye_colour_distance=25.0,
        max_lower_face_colour_distance=28.0,
    )
    decision: DecisionRule = DecisionRule(
        min_agreeing_frames=3, min_agreeing_share=0.6, agreement_slack=0.1, min_margin=0.05
    )


_ZONE_AREA = (0.01, 0.8)

_QUALITY_BOUNDS = {
    "min_interocular_px": (12, 400),
    "min_presence": (0.1, 1),
    "max_yaw_deg": (1, 60),
    "max_pitch_deg": (1, 60),
    "min_sharpness": (0.01, 1),
    "min_brightness": (10, 255),
    "max_brightness": (10, 250),
    "min_contrast": (4, 100),
    "min_under_eye_luma_ratio": (0.1, 1),
    "max_under_eye_colour_distance": (5, 60),
    "max_lower_face_colour_distance": (5, 60),
}

BOUNDS: Mapping[str, tuple[float, float]] = {
    "model_threads": (1, 16),
    "camera.width_px": (64, 4096),
    "camera.height_px": (64, 4096),
    "camera.fps": (1, 240),
    "camera.timeout_s": (0.1, 120),
    "camera.max_jpeg_bytes": (10_000, 100_000_000),
    "camera.min_side_px": (32, 1080),
    "camera.max_pixels": (10_000, 100_000_000),
    "camera.reopen_first_s": (0.05, 60),
    "camera.reopen_factor": (1, 10),
    "camera.reopen_longest_s": (0.05, 600),
    "camera.reopen_jitter": (0, 1),
    "replay.still_s": (0.1, 60),
    "replay.fps": (1, 240),
    "look.min_detection_score": (0.3, 0.99),
    "look.max_detection_overlap": (0.05, 0.9),
    "look.candidates": (2, 20),
    "look.better_quality": (1.01, 1.5),
    "look.look_interval_s": (0.0, 0.2),
    "look.rest_s": (0.0, 0.5),
    "look.looks_per_frame": (1, 100),
    "look.min_continuity": (0.85, 1),
    "look.min_coherence": (0.15, 0.9),
    "look.encounter_gap_s": (1, 86_400),
    "look.asked_s": (1, 10),
    "match.target_fpir": (1e-7, 0.02),
    "match.least_gallery": (1, 100_000),
    "match.headroom": (0, 10),
    "index.trees": (1, 500),
    "index.min_recall": (0.9, 1),
    "index.sample_count": (20, 5000),
    "index.sample_similarity": (0.2, 0.95),
    "index.rows_per_search": (1, 500),
    "index.annoy_budget_ms": (0, 1000),
    "enrolment.min_frames": (2, 20),
    "enrolment.max_frames": (1, 10),
    "enrolment.frames_per_pose": (1, 10),
    "enrolment.pose_timeout_s": (1, 30),
    "enrolment.min_similarity": (0.2, 0.9),
    "enrolment.duplicate_similarity": (0.5, 1),
    "enrolment.relative_similarity": (0.1, 0.9),
    "enrolment.same_similarity": (0.6, 0.95),
    "enrolment.validity_days": (1, 730),
    "enrolment.turn_deg": (12, 30),
    "enrolment.straight_deg": (4, 11),
    "enrolment.step_timeout_s": (3, 60),
    "enrolment.max_lost_s": (0, 2),
    "enrolment.min_relief": (-0.2, 0.3),
    "station.idle_s": (120, 3600),
    "station.gap_s": (2, 30),
    "station.most_visits": (1, 200),
    "station.most_captures": (1, 10),
    "station.max_jpeg_bytes": (50_000, 10_000_000),
    "mqtt.alert_expiry_s": (1, 86_400),
    "mqtt.max_inflight": (1, 1000),
    "mqtt.connect_timeout_s": (0.1, 120),
    "mqtt.keepalive_s": (5, 600),
    "mqtt.ack_timeout_s": (0.5, 300),
    "mqtt.hold_s": (1, 600),
    "mqtt.poll_interval_s": (0.01, 10),
    "mqtt.backoff_min_s": (0.05, 60),
    "mqtt.backoff_max_s": (0.05, 3600),
    "mqtt.session_expiry_s": (0, 604_800),
    "mqtt.will_delay_s": (0, 3600),
    "mqtt.drain_s": (0, 120),
    "mqtt.health_interval_s": (10, 3600),
    "metrics.port": (0, 65_535),
    "outbox.max_alerts": (10, 1_000_000),
    "sync.deadline_s": (1, 3600),
    "sync.interval_s": (10, 3600),
    "sync.jitter": (0, 1),
    "sync.backoff_s": (1, 600),
    "sync.tell_deadline_s": (1, 60),
    "hud.oled.i2c_bus": (0, 63),
    "hud.oled.i2c_address": (0x08, 0x77),
    "hud.oled.spi_bus": (0, 15),
    "hud.oled.spi_device": (0, 15),
    "hud.oled.spi_data_pin": (1, 63),
    "hud.oled.spi_reset_pin": (1, 63),
    "hud.web.port": (1024, 65_535),
    "hud.voice.rate_wpm": (80, 400),
    "hud.voice.stereo_width": (0, 1),
    "hud.voice.again_s": (0, 3600),
    "hud.voice.timeout_s": (1, 60),
    "hud.voice.retry_s": (1, 600),
    "hud.lease_warning_h": (0, 24),
    "hud.unsure_margin": (0, 0.5),
    "hud.unsure_slack": (0, 0.05),
    "hud.ahead_share": (0.05, 0.9),
    "hud.side_slack": (0, 0.2),
    "hud.hold_s": (0, 2),
    "hud.max_people": (1, 3),
    "hud.answer_s": (0.3, 0.8),
    "hud.notice_s": (1, 30),
    "pins.settle_s": (0.01, 0.2),
    "pins.motor_rest_s": (1, 60),
    "backend.metrics_port": (0, 65_535),
    "backend.most_untaken": (1, 65_535),
    "backend.session_expiry_s": (60, 604_800),
    "backend.purge_interval_s": (1, 600),
    **{f"backend.retention_h.{purpose}": (0.1, 168) for purpose in Purpose},
    "backend.session_s": (300, 86_400),
    "backend.idle_s": (60, 28_800),
    "backend.audit_days": (30, 3_650),
    "scan.tile": (0.1, 1),
    "scan.scan_tile": (0.1, 1),
    "scan.overlap": (0, 0.5),
    "scan.scan_overlap": (0, 0.5),
    "scan.max_tile_face": (0.1, 1),
    "scan.min_input_px": (0, 64),
    "scan.min_scan_score": (0.3, 0.9),
    "scan.tiles_per_frame": (1, 49),
    "scan.still_frames": (1, 30),
    "scan.follow_margin": (1.2, 6),
    "scan.motion_luma": (1, 255),
    "tracking.min_overlap": (0.05, 0.9),
    "tracking.max_lost_s": (0.1, 5),
    "tracking.position_noise": (0.001, 1),
    "tracking.acceleration_noise": (0.1, 100),
    "attention.horizontal_fov_deg": (30, 120),
    "attention.max_distance_m": (0.3, 6),
    "attention.max_yaw_deg": (5, 45),
    **{f"quality.{key}": bounds for key, bounds in _QUALITY_BOUNDS.items()},
    **{f"enrolment_quality.{key}": bounds for key, bounds in _QUALITY_BOUNDS.items()},
    "decision.min_agreeing_frames": (3, 30),
    "decision.min_agreeing_share": (0.5, 1),
    "decision.agreement_slack": (0, 0.15),
    "decision.min_margin": (0.01, 0.5),
}
"""Lowest and highest value of every number. Where a bound guards a promise it is narrow:
nobody beyond 6 m or turned away by more than 45 degrees is a conversation partner (P11), and
fewer than three agreeing frames never make a name."""


def load_config(path: Path | None) -> Config:
    """The configuration in a TOML file; the defaults if there is no file named.

    Raises ConfigError, naming the key, for anything that is not a valid configuration.
    """
    if path is None:
        return make_config({})
    stated = tomllib.loads(read_toml(path))
    try:
        return make_config(stated)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_toml(path: Path) -> str:
    """The text of a file that is TOML. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; name an existing configuration") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from error
    return text


def make_config(stated: Mapping[str, Any]) -> Config:
    """The defaults, with what is stated (nested mappings) put over them.

    Raises ConfigError: the first fault that `examine_config` finds.
    """
    config, faults = examine_config(stated)
    if config is None:
        raise ConfigError(faults[0])
    return config


def examine_config(stated: Mapping[str, Any]) -> tuple[Config | None, tuple[str, ...]]:
    """The configuration, or None and everything that is wrong with it, each with its key."""
    faults: list[str] = []
    merged = _merge(Config().model_dump(), stated, prefix="", faults=faults)
    faults += _out_of_bounds(merged)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        faults += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return None, tuple(faults)
    faults += [
        *_scan_faults(config.scan),
        *_quality_faults(config.quality, "quality"),
        *_quality_faults(config.enrolment_quality, "enrolment_quality"),
        *_zone_faults(config.attention.zone, config.purpose),
        *_pin_faults(config),
    ]
    return (None if faults else config), tuple(faults)


def _scan_faults(plan: ScanPlan) -> Iterator[str]:
    for name in (plan.tile_detector, plan.scan_detector, plan.follow_detector):
        if name not in GEOMETRIES:
            yield f'scan: "{name}" is no detector; choose one of: {", ".join(GEOMETRIES)}'


def _quality_faults(limits: QualityLimits, section: str) -> Iterator[str]:
    if not limits.min_brightness < limits.max_brightness:
        yield f"{section}: min_brightness must be below max_brightness"


def _zone_faults(zone: tuple[tuple[float, float], ...], purpose: Purpose) -> Iterator[str]:
    """A zone is a marked part of the picture: inside it, and not nearly all of it (P11)."""
    if purpose is not Purpose.ASSIST and len(zone) < 3:
        yield (
            f'attention.zone: purpose "{purpose}" searches the marked zone only; '
            "state its corners, e.g. zone = [[0.3, 0], [0.7, 0], [0.7, 1], [0.3, 1]]"
        )
    if not zone:
        return
    if not all(0 <= share <= 1 for corner in zone for share in corner):
        yield "attention.zone: corners are shares of width and height, from 0 to 1"
        return
    edges = zip(zone, (*zone[1:], zone[0]), strict=True)
    area = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges)) / 2
    if not _ZONE_AREA[0] <= area <= _ZONE_AREA[1]:
        yield (
            f"attention.zone: covers {area:.0%} of the picture; mark between "
            f"{_ZONE_AREA[0]:.0%} and {_ZONE_AREA[1]:.0%}, the place where people agreed to be seen"
        )


def _pin_faults(config: Config) -> Iterator[str]:
    pins = config.pins
    stated = {key: pin for key, pin in pins.model_dump().items() if isinstance(pin, str) and pin}
    for key, pin in stated.items():
        if pin not in PINS:
            yield (
                f"pins.{key}: {pin!r} is no pin for it; write {PINS[0]} to {PINS[-1]}, the number "
                "of the GPIO and not of the pin, see docs/wiring.md"
            )
    for pin, times in Counter(stated.values()).items():
        if times > 1:
            yield f"pins: {pin} is named more than once; each part needs its own"
    if config.indicator.led and pins.indicator:
        yield "indicator.led and pins.indicator are both set; there is one light, state one"


def _merge(
    defaults: dict[str, Any], stated: Mapping[str, Any], *, prefix: str, faults: list[str]
) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in stated.items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f'; did you mean "{prefix}{close[0]}"?' if close else ""
            faults.append(f'unknown key "{prefix}{key}"{hint}')
        elif not isinstance(defaults[key], dict):
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = _merge(defaults[key], value, prefix=f"{prefix}{key}.", faults=faults)
        else:
            faults.append(f'"{prefix}{key}" is a section; write [{prefix}{key}]')
    return merged


def _out_of_bounds(tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in numbers(tree):
        low, high = BOUNDS.get(key, (-math.inf, math.inf))
        if not (math.isfinite(value) and low <= value <= high):
            yield f"{key}: {value:g} is not between {low:g} and {high:g}"


def numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a nested mapping, with its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value
