"""Every error that Familiar raises on purpose.

One root, one branch per side that failed, and each message says what to do next.
The command line prints the message of an `EdgeAppError` as one line and exits with
its `exit_status`; any other exception is a defect in Familiar and keeps its traceback.
"""

from enum import StrEnum


class EdgeAppError(Exception):
    """Root of the errors that have a remedy."""

    exit_status = 1


class ConfigError(EdgeAppError):
    """The configuration or the command line asks for something that cannot be."""

    exit_status = 2


class ModelError(EdgeAppError):
    """A model file is missing, altered, or not of the shape its manifest states."""

    exit_status = 3


class CameraError(EdgeAppError):
    """A frame source cannot be opened, or stays away longer than allowed."""

    exit_status = 4


class MediaError(CameraError):
    """A picture or a video that was given by name cannot be read."""


class IndicatorError(EdgeAppError):
    """The wearer's indicator cannot be driven, so the camera must stay closed (P7)."""

    exit_status = 5


class GalleryError(EdgeAppError):
    """The gallery cannot be read, is not authentic, or is not for this device."""

    exit_status = 6


class KeyFileError(GalleryError):
    """A key is missing, malformed, or is not the one the store was written with."""


class ConsentError(GalleryError):
    """A consent record is not valid for the use that was asked for (P2)."""


class CalibrationError(GalleryError):
    """The gallery and its threshold cannot meet the configured FPIR (P8)."""


class EnrolmentError(EdgeAppError):
    """A person could not be enrolled; nothing was stored."""

    exit_status = 7


class DeliveryError(EdgeAppError):
    """The broker refused, or an alert could not be stored for delivery."""

    exit_status = 8


class StorageError(EdgeAppError):
    """A file could not be written; what was there before is still there."""

    exit_status = 9


class PinError(EdgeAppError):
    """A button, a switch or a motor on the header's pins cannot be reached."""

    exit_status = 10


class SignInFault(StrEnum):
    """Why somebody was not let in.

    REFUSED:     the identity provider, or whoever signed in there, said no.
    NO_ROLE:     they are known there and have no role here.
    UNREACHABLE: the provider does not answer.
    BROKEN:      what it says does not hold.
    """

    REFUSED = "refused"
    NO_ROLE = "no_role"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"


class SignInError(EdgeAppError):
    """Nobody was signed in by the identity provider."""

    def __init__(self, fault: SignInFault, text: str) -> None:
        """text: one line, of nobody."""
        super().__init__(text)
        self.fault = fault
