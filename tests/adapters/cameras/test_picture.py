"""Stills and JPEGs: every kind that is normal, and every kind that is not."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_app.adapters.cameras.picture import (
    PictureLimits,
    decode_jpeg,
    fit,
    load_picture,
)
from edge_app.errors import MediaError

LIMITS = PictureLimits(min_side_px=64, max_pixels=1_000_000, fit_width_px=640, fit_height_px=360)
RED_BGR = (0, 0, 255)


def gradient(width_px: int, height_px: int) -> Image.Image:
    """Red at the top left, something else everywhere else."""
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    pixels = np.dstack([255 - rows * 255 // height_px, columns * 200 // width_px, rows * 0 + 60])
    pixels[: height_px // 4, : width_px // 4] = (255, 0, 0)
    return Image.fromarray(pixels.astype(np.uint8))


def jpeg(width_px: int = 320, height_px: int = 240) -> bytes:
    buffer = io.BytesIO()
    gradient(width_px, height_px).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG that states a size and holds no pixel."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 1000) + b"IDAT"


def refused(path: Path, limits: PictureLimits = LIMITS) -> str:
    with pytest.raises(MediaError) as caught:
        load_picture(path, limits)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
def test_the_usual_formats_become_bgr(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    gradient(320, 240).save(path)
    image = load_picture(path, LIMITS)
    assert (image.shape, image.dtype.name) == ((240, 320, 3), "uint8")
    assert np.allclose(image[20, 20], RED_BGR, atol=12)
    assert not image.flags.writeable


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(jpeg())
    assert load_picture(path, LIMITS).shape == (240, 320, 3)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_mode_becomes_bgr(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tif"
    gradient(320, 240).convert(mode).save(path)
    image = load_picture(path, LIMITS)
    assert (image.shape, image.dtype.name) == ((240, 320, 3), "uint8")
    expected = gradient(320, 240).convert("L") if mode in ("L", "LA") else None
    if expected is not None:
        assert np.allclose(image[..., 0], np.asarray(expected), atol=2)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), np.full((100, 100), 0x8040, np.uint16))
    assert np.unique(load_picture(path, LIMITS)).tolist() == [0x80]


def test_sixteen_bit_colour_keeps_its_colour(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), (0x1000, 0x8000, 0xF000), np.uint16))
    assert load_picture(path, LIMITS)[50, 50].tolist() == [0x10, 0x80, 0xF0]


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    path = tmp_path / "cut-out.png"
    Image.new("RGBA", (100, 100), (255, 0, 0, 0)).save(path)
    assert np.unique(load_picture(path, LIMITS)).tolist() == [255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phone_s_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    """The picture is stored turned as a camera would, and comes out upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = gradient(320, 240)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "phone.jpg"
    stored.save(path, quality=95, exif=exif)
    image = load_picture(path, LIMITS)
    assert image.shape == (240, 320, 3)
    assert np.allclose(image[20, 20], RED_BGR, atol=12)


def test_broken_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    gradient(320, 240).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_picture(path, LIMITS).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 360), (640, 360)), ((1000, 800), (450, 360)), ((900, 300), (640, 213))],
)
def test_large_pictures_are_scaled_down_to_fit(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(*size))
    image = load_picture(path, LIMITS)
    assert (image.shape[1], image.shape[0]) == expected
    assert np.allclose(image[10, 10], RED_BGR, atol=12)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_what_fits_is_untouched_and_what_does_not_keeps_its_proportions(
    width_px: int, height_px: int
) -> None:
    image = np.zeros((height_px, width_px, 3), np.uint8)
    fitted = fit(image, LIMITS)
    assert fitted.shape[1] <= LIMITS.fit_width_px
    assert fitted.shape[0] <= LIMITS.fit_height_px
    if width_px <= LIMITS.fit_width_px and height_px <= LIMITS.fit_height_px:
        assert fitted is image
    else:
        # Rounded by at most half a pixel on each side, and never below one.
        scale = min(LIMITS.fit_width_px / width_px, LIMITS.fit_height_px / height_px)
        assert abs(fitted.shape[1] - width_px * scale) <= 1
        assert abs(fitted.shape[0] - height_px * scale) <= 1


@pytest.mark.parametrize("size", [(1, 1), (63, 500), (500, 63)])
def test_a_tiny_picture_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "tiny.png"
    gradient(64, 64).resize(size).save(path)
    assert f"is {size[0]} x {size[1]} px; give one of at least 64 px" in refused(path)


@pytest.mark.parametrize("side_px", [1_001, 10_000, 12_000, 20_000, 1_000_000])
def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path, side_px: int) -> None:
    """The file holds no pixels at all: only its header can have been read."""
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(side_px, side_px))
    assert "more than 1 megapixels; scale it down first" in refused(path)


def test_a_real_picture_of_20000_px_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert "scale it down first" in refused(path)


def test_a_picture_at_the_limit_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1000, 1000)).save(path)
    assert load_picture(path, LIMITS).shape == (360, 360, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole = tmp_path / f"whole.{suffix}"
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(whole)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    message = refused(path)
    assert "damaged or cut off" in message or "is not a picture" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8\xff", b"hello\n" * 1000, bytes(5000), b"<svg/>", b"%!PS-Adobe", b"GIF89a"],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    assert "is not a picture or a video that can be read" in refused(path)


def test_a_missing_picture_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.jpg")


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.jpg"
    path.write_bytes(b"no")
    refused(path)


@given(st.data())
def test_a_damaged_picture_is_an_image_or_a_media_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(jpeg(80, 80))
    for _ in range(data.draw(st.integers(1, 20))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(damaged)
    try:
        image = load_picture(path, LIMITS)
    except MediaError:
        return
    assert (image.ndim, image.dtype.name) == (3, "uint8")


def test_a_live_jpeg_becomes_bgr() -> None:
    image = decode_jpeg(jpeg(), 1_000_000)
    assert image is not None
    assert (image.shape, image.dtype.name) == ((240, 320, 3), "uint8")
    assert np.allclose(image[20, 20], RED_BGR, atol=12)


def test_a_grey_live_jpeg_becomes_bgr() -> None:
    buffer = io.BytesIO()
    gradient(320, 240).convert("L").save(buffer, "JPEG")
    image = decode_jpeg(buffer.getvalue(), 1_000_000)
    assert image is not None
    assert image.shape == (240, 320, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"no picture",
        jpeg()[:-400],
        jpeg()[: len(jpeg()) // 2],
        png_header(100, 100),
        jpeg(1001, 1000),
    ],
    ids=["empty", "start", "text", "cut at the end", "cut half-way", "png", "too large"],
)
def test_a_live_picture_that_cannot_be_decoded_is_none(data: bytes) -> None:
    assert decode_jpeg(data, 1_000_000) is None


def test_a_live_header_that_promises_too_much_is_not_decoded() -> None:
    data = bytearray(jpeg())
    frame_header = data.index(b"\xff\xc0")
    data[frame_header + 5 : frame_header + 9] = struct.pack(">HH", 65_000, 65_000)
    assert decode_jpeg(bytes(data), 50_000_000) is None
