"""The nouns of Familiar: immutable values that pass between its parts.

Frames of reference: `_px` is pixels of the full camera image, x to the right, y down,
origin at the outer corner of the top left pixel. Left and right are the viewer's unless
a name says `subject_`. Times: `time_s` is seconds on the frame source's monotonic clock;
`datetime` values are aware and in UTC.

Arrays inside records are read-only by convention and never shown by `repr`: an embedding
or a picture must not reach a log line by accident (P1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
ImageBgr = NDArray[np.uint8]
"""shape (height, width, 3), dtype uint8, channels blue, green, red."""


NODE_NAME_PATTERN = "[a-z0-9-]{1,64}"
"""What a site or a device may be called: its name is a level of MQTT topics."""


class Purpose(StrEnum):
    """What a person may consent to. There are no others, and there is no "other"."""

    ASSIST = "assist"
    ENTRY = "entry"
    CARE = "care"
    SELF_EXCLUSION = "self_exclusion"


class FrameOrigin(StrEnum):
    """Where a frame's light came from; decides which templates exist for it (P4)."""

    LIVE = "live"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image.

    image_bgr: uint8 (height, width, 3).
    time_s:    capture time on the source's monotonic clock.
    sequence:  counts every frame the source produced, dropped ones too.
    """

    image_bgr: ImageBgr = field(repr=False)
    time_s: float
    sequence: int
    origin: FrameOrigin

    @property
    def width_px(self) -> int:
        return int(self.image_bgr.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.image_bgr.shape[0])


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned rectangle in pixels; x1 and y1 are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """BlazeFace's six keypoints, shape (6, 2), float32, pixels of the frame.

    Order: the subject's right eye, left eye, nose tip, mouth centre, right ear, left ear.
    """

    points_px: Float32Array = field(repr=False)

    @property
    def subject_right_eye(self) -> Float32Array:
        return np.asarray(self.points_px[0], dtype=np.float32)

    @property
    def subject_left_eye(self) -> Float32Array:
        return np.asarray(self.points_px[1], dtype=np.float32)

    @property
    def interocular_px(self) -> float:
        return float(np.hypot(*(self.points_px[1] - self.points_px[0])))


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A face the detector reported. `score` is the detector's, in 0 to 1."""

    box_px: Box
    landmarks: Landmarks
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceMesh:
    """FaceMesh's 468 points, shape (468, 3), float32: x, y in frame pixels, z in the same scale.

    presence: the model's own estimate, in 0 to 1, that the crop holds a face.
    """

    points_px: Float32Array = field(repr=False)
    presence: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Head rotation in degrees. Yaw > 0: the face turns to the viewer's right.
    Pitch > 0: the face looks up. Roll > 0: the head leans clockwise for the viewer."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


class Rejection(StrEnum):
    """Why a face was not searched. Only counts of these leave the pipeline (P1)."""

    TOO_FAR = "too_far"
    TURNED_AWAY = "turned_away"
    OUTSIDE_ZONE = "outside_zone"
    CUT_OFF = "cut_off"
    TOO_SMALL = "too_small"
    NOT_A_FACE = "not_a_face"
    EXTREME_POSE = "extreme_pose"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    OCCLUDED = "occluded"


@dataclass(frozen=True, slots=True)
class Quality:
    """What the quality gate measured on one face.

    interocular_px: distance of the eye centres in the frame.
    sharpness:      fine detail of the aligned crop, relative to its contrast.
    brightness:     mean luma of the aligned crop, 0 to 255.
    contrast:       standard deviation of the same.
    score:          0 to 1, orders the frames of one tracklet; not a probability.
    """

    interocular_px: float
    sharpness: float
    brightness: float
    contrast: float
    pose: Pose
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One embedding to search with: shape (dim,), float32, comparable (`core/embed.py`). Lives in
    memory only."""

    embedding: Float32Array = field(repr=False)
    quality: Quality
    time_s: float
    origin: FrameOrigin


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One enrolled reference: shape (dim,), float32, comparable (`core/embed.py`)."""

    template_id: str
    embedding: Float32Array = field(repr=False)


@dataclass(frozen=True, slots=True)
class PrivacyNotice:
    """The text the person agreed to. text_sha256: hex digest of its UTF-8 bytes."""

    notice_id: str
    language: str
    text_sha256: str


@dataclass(frozen=True, slots=True)
class Controller:
    """Who answers for the data (a pii_controller of ISO/IEC TS 27560)."""

    party_id: str
    name: str
    address: str
    contact: str


class LawfulBasis(StrEnum):
    EXPLICIT_CONSENT = "explicit_consent"
    LEGAL_REPRESENTATIVE = "legal_representative"


class CollectionMethod(StrEnum):
    """How the frames came about; those of a browser passed through the hands that held it."""

    LIVE_GUIDED_CAPTURE = "live_guided_capture"
    LIVE_GUIDED_BROWSER_CAPTURE = "live_guided_browser_capture"
    DEMO_REPLAY = "demo_replay"


class EventType(StrEnum):
    """What happened to the consent (ISO/IEC TS 27560 event_type)."""

    GIVEN = "given"
    WITHDRAWN = "withdrawn"


class ConsentState(StrEnum):
    """Where the consent stands now (ISO/IEC TS 27560 event_state)."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """ISO/IEC TS 27560 consent record with Familiar's additions (DESIGN section 8).

    retention_s and validity_duration_s are seconds from `event_time`.
    revocation_sha256 is the digest of the revocation code, which only the person holds.
    """

    schema_version: str
    record_id: str
    pii_principal_id: str
    privacy_notice: PrivacyNotice
    purpose: Purpose
    pii_information: tuple[str, ...]
    pii_controllers: tuple[Controller, ...]
    storage_locations: tuple[str, ...]
    retention_s: int
    jurisdiction: str
    withdrawal_method: str
    event_time: datetime
    validity_duration_s: int
    event_type: EventType
    event_state: ConsentState
    lawful_basis: LawfulBasis
    collection_method: CollectionMethod
    model_sha256: str
    template_ids: tuple[str, ...]
    revocation_sha256: str
    demo: bool
    erasure_confirmed_generation: int | None


@dataclass(frozen=True, slots=True)
class SignedConsent:
    """A consent record with its station's Ed25519 signature over the canonical bytes.

    station_id: hex SHA-256 of the station's raw public key.
    """

    record: ConsentRecord
    station_id: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """One person in the gallery: who they are to the wearer, and what they agreed to.

    name and relation are resolved on the device's display only (P9).
    """

    name: str = field(repr=False)
    relation: str = field(repr=False)
    consent: SignedConsent
    templates: tuple[Template, ...] = field(repr=False)

    @property
    def person_id(self) -> str:
        return self.consent.record.pii_principal_id


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a threshold was calibrated for.

    threshold:    smallest comparison score that may count as a match.
    target_fpir:  share of strangers' searches that may return anyone.
    max_templates: largest number of comparisons in one search for which it holds.
    """

    threshold: float
    target_fpir: float
    max_templates: int
    model_sha256: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One enrolled person, with the best comparison score (-1 to 1) of their templates."""

    person_id: str
    similarity: float


class Outcome(StrEnum):
    """What is known of a tracklet."""

    UNDECIDED = "undecided"
    NOBODY = "nobody"
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class Decision:
    """The open-set decision over one tracklet.

    candidate:       the best person, whatever the outcome; None if there was none. Only a
                     MATCH may leave the pipeline: anything else is a stranger's business.
    agreeing_frames: frames in which that candidate won on their own.
    """

    outcome: Outcome
    candidate: Candidate | None = field(repr=False)
    agreeing_frames: int
    frames: int


class ClockState(StrEnum):
    """Whether the wall clock can be trusted to judge expiry."""

    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"


@dataclass(frozen=True, slots=True)
class Alert:
    """A decided match, as it leaves the device (P8, P9): no image, embedding, name or place.

    alert_id: UUIDv7; removes duplicates after redelivery.
    boot_id:  names one run of the program; `sequence` counts its alerts from 1.
    """

    alert_id: str
    site: str
    device: str
    purpose: Purpose
    subject_ref: str
    consent_record_id: str
    score: float
    threshold: float
    target_fpir: float
    model_id: str
    gallery_generation: int
    tracklet_frames: int
    tracklet_s: float
    time: datetime
    expiry_time: datetime
    sequence: int
    clock_state: ClockState
    boot_id: str
    demo: bool


@dataclass(frozen=True, slots=True)
class Departure:
    """Somebody of whom there were alerts has left, so that what was stored of them can go (P3)."""

    departure_id: str
    site: str
    device: str
    subject_ref: str
    time: datetime
    expiry_time: datetime


class Direction(StrEnum):
    LEFT = "left"
    AHEAD = "ahead"
    RIGHT = "right"


class Touch(StrEnum):
    """What a tap tells the wearer.

    RECOGNISED: somebody enrolled is there.
    UNSURE:     somebody enrolled is probably there: look, or ask.
    """

    RECOGNISED = "recognised"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class HudLine:
    """One recognised person as the wearer sees them. Never leaves the device.

    unsure: the score is close above the threshold; the display says "probably".
    """

    name: str
    relation: str
    direction: Direction
    unsure: bool


@dataclass(frozen=True, slots=True)
class HudView:
    """Everything a display may show at one moment.

    status: short words on camera, gallery and sound, e.g. "camera lost"; empty if all is well.
    fault:  nobody can be recognised until what the status says is put right.
    """

    lines: tuple[HudLine, ...]
    status: str
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something to say.

    pan:   where it sounds: -1 left to 1 right.
    chime: a signal of its own sounds before it: somebody who is known, but who is not certain.
    """

    text: str = field(repr=False)
    pan: float = 0.0
    chime: bool = False
