"""Why a capture makes no enrolment, for pages that say it in the person's own language."""

from __future__ import annotations

from enum import StrEnum

from edge_app.errors import EnrolmentError


class Refusal(StrEnum):
    """The value names the words for it."""

    LIVENESS = "liveness"
    SEVERAL_FACES = "several_faces"
    NO_FACE = "no_face"
    NOT_GOOD_ENOUGH = "not_good_enough"
    NOT_ONE_PERSON = "not_one_person"
    ENROLLED_ALREADY = "enrolled_already"
    CAMERA = "camera"
    STATION = "station"
    IDLE = "idle"


class CaptureRefusedError(EnrolmentError):
    """The frames of a capture do not do; nothing was stored, and trying again may help."""

    def __init__(self, why: Refusal, message: str) -> None:
        super().__init__(message)
        self.why = why
