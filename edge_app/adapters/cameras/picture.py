"""Pictures from files and streams: checked before they are decoded.

Nothing here trusts its input. The size is read from the header alone and refused before a
pixel is decoded, and a picture that is cut off is an error, never a half-grey picture.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import cv2
import numpy as np
from PIL import Image, ImageOps

from edge_app.errors import MediaError
from edge_app.records import ImageBgr

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What a picture may be, and what becomes of it.

    min_side_px:   smallest width and height in pixels; less cannot show a face to search for.
    max_pixels:    largest width times height that is decoded; bounds memory (3 bytes each,
                   about three times over while decoding).
    fit_width_px:  larger pictures are scaled down to fit into this width and the height below,
    fit_height_px: the proportions kept; pixels, a camera frame's.
    """

    min_side_px: int
    max_pixels: int
    fit_width_px: int
    fit_height_px: int


def load_picture(path: Path, limits: PictureLimits) -> ImageBgr:
    """The picture upright (EXIF), as read-only BGR, scaled down to fit; shape (height, width, 3).

    Transparent parts become white; 16-bit grey is reduced to 8. Raises MediaError.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"{quoted(path)} cannot be opened: {error.strerror}") from error
    with file:
        try:
            with _opened(file, _FORMATS) as picture:
                check_size(quoted(path), picture.width, picture.height, limits)
                image = _upright_bgr(picture)
        except _NotAPictureError as error:
            raise MediaError(
                f"{quoted(path)} is not a picture or a video that can be read; pictures may be "
                "JPEG, PNG, WebP, BMP or TIFF, videos AVI, MP4, MOV, MKV, WebM or MPEG"
            ) from error
        except _TooLargeError as error:
            raise MediaError(_too_large(quoted(path), "far", limits.max_pixels)) from error
        except _DamagedError as error:
            raise MediaError(
                f"{quoted(path)} is damaged or cut off; copy it again from where it came"
            ) from error
    image = fit(image, limits)
    image.setflags(write=False)
    return image


def decode_jpeg(data: bytes, max_pixels: int) -> ImageBgr | None:
    """A live camera's picture, shape (height, width, 3); None if it is damaged or too large."""
    try:
        with _opened(io.BytesIO(data), ("JPEG",)) as picture:
            if picture.width * picture.height > max_pixels:
                return None
        # Three times as fast as Pillow, and as strict on pictures that are cut off.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (_NotAPictureError, _TooLargeError, cv2.error):
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def check_size(name: str, width_px: int, height_px: int, limits: PictureLimits) -> None:
    """Raises MediaError on a picture or video of a size outside the limits."""
    if width_px * height_px > limits.max_pixels:
        raise MediaError(_too_large(name, f"{width_px} x {height_px} px,", limits.max_pixels))
    if min(width_px, height_px) < limits.min_side_px:
        raise MediaError(
            f"{name} is {width_px} x {height_px} px; give one of at least "
            f"{limits.min_side_px} px on each side"
        )


def fit(image: ImageBgr, limits: PictureLimits) -> ImageBgr:
    """The image, scaled down if it is larger than the limits' frame."""
    height_px, width_px = image.shape[:2]
    scale = min(limits.fit_width_px / width_px, limits.fit_height_px / height_px)
    if scale >= 1.0:
        return image
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def worth_logging(undecodable: int) -> bool:
    """True for the 1st, 2nd, 4th, 8th ...: a camera that sends rubbish must not fill the log."""
    return undecodable.bit_count() == 1


def quoted(path: Path) -> str:
    """The path for a one-line message, whatever characters it holds."""
    return repr(str(path))


class _NotAPictureError(Exception):
    pass


class _TooLargeError(Exception):
    pass


class _DamagedError(Exception):
    pass


@contextmanager
def _opened(file: BinaryIO, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """The picture with its header read, and Pillow kept from writing warnings to stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = Image.open(file, formats=formats)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _TooLargeError from error
        except Exception as error:
            # Hostile headers raise what Pillow does not document, such as SyntaxError.
            raise _NotAPictureError from error
        with picture:
            yield picture


def _upright_bgr(picture: Image.Image) -> ImageBgr:
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        rgb = np.asarray(_eight_bit(picture).convert("RGB"))
    except Exception as error:
        # As above: the pixels are no kinder than the header.
        raise _DamagedError from error
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), dtype=np.uint8)


def _eight_bit(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA"))
    return picture


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return f"{name} is {size} more than {max_pixels / 1e6:g} megapixels; scale it down first"
