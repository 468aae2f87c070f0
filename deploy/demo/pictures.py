"""The demo's pictures: annotated frames of its own scene, and an overview without any face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_app.adapters.cameras.scene import SceneCamera
from edge_app.records import Box
from scene import DURATION_S, ENROLLED, FPS, WALKS, WALL, Walk, street_picture

_TILE = (640, 360)
_GREEN, _GREY, _INK, _PAPER = (60, 190, 110), (150, 150, 150), (30, 32, 36), (250, 250, 248)
_RED = (220, 70, 60)


def draw_contact_sheet(path: Path, camera: SceneCamera, summary: dict[str, Any]) -> None:
    """Six moments of the scene with everybody's box and what the device made of them."""
    moments_s = (1.9, 4.5, 6.0, 8.5, 12.5, 14.2)
    sheet = Image.new("RGB", (3 * _TILE[0] + 40, 2 * (_TILE[1] + 10) + 60), _PAPER)
    title = "Green: recognised, from the moment of the alert on. Grey: not enrolled, or not yet."
    ImageDraw.Draw(sheet).text((12, 16), title, _INK, ImageFont.load_default(24))
    for i, time_s in enumerate(moments_s):
        left, top = 10 + (i % 3) * (_TILE[0] + 10), 60 + (i // 3) * (_TILE[1] + 10)
        sheet.paste(_annotated(camera, time_s, summary), (left, top))
    sheet.save(path)


def _annotated(camera: SceneCamera, time_s: float, summary: dict[str, Any]) -> Image.Image:
    frame = camera.frame(round(time_s * FPS))
    picture = Image.fromarray(cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2RGB)).resize(_TILE)
    draw = ImageDraw.Draw(picture)
    scale = _TILE[0] / frame.width_px
    for truth in camera.truth(time_s):
        if truth.label != WALL:
            known = truth.label == ENROLLED and _recognised_by(time_s, summary)
            _draw_head(draw, truth.box_px, scale, recognised=known)
    draw.text((10, 8), f"{time_s:.1f} s", (255, 255, 255), ImageFont.load_default(20))
    return picture


def _draw_head(draw: ImageDraw.ImageDraw, box: Box, scale: float, *, recognised: bool) -> None:
    """A frame around the head, which is the upper middle of a cut-out, and a word below it."""
    colour, word = (_GREEN, "recognised") if recognised else (_GREY, "no name")
    x0, x1 = ((box.x0 + share * box.width) * scale for share in (0.28, 0.72))
    y0, y1 = ((box.y0 + share * box.height) * scale for share in (0.06, 0.6))
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=3)
    font = ImageFont.load_default(15)
    length = draw.textlength(word, font)
    left = (x0 + x1 - length) / 2
    draw.rectangle((left - 5, y1, left + length + 5, y1 + 19), fill=colour)
    draw.text((left, y1 + 1), word, _INK, font)


def _recognised_by(time_s: float, summary: dict[str, Any]) -> bool:
    """Whether the visit that is going on at `time_s` has had its alert."""
    for walk in WALKS:
        begin_s, end_s = walk.steps[0][0], walk.steps[-1][0]
        if walk.label == ENROLLED and begin_s <= time_s <= end_s:
            return any(begin_s <= t <= time_s for t in summary["alert_times_s"])
    return False


def draw_overview(path: Path, hud_folder: Path, summary: dict[str, Any]) -> None:
    """The whole scene as an animated PNG without any face: who was where, what the wearer's
    display showed meanwhile, and when an alert went out."""
    street = Image.fromarray(cv2.cvtColor(street_picture(), cv2.COLOR_BGR2RGB)).resize(_TILE)
    shots = _display_over_time(hud_folder, summary["alert_times_s"])
    moments_s = [number / _FRAMES_PER_S for number in range(round(DURATION_S * _FRAMES_PER_S))]
    busiest = _moment(_BUSIEST_S, street, shots, summary).quantize(_COLOURS)
    first, *others = (
        _moment(time_s, street, shots, summary).quantize(palette=busiest, dither=Image.Dither.NONE)
        for time_s in moments_s
    )
    still_ms = round(1000 / _FRAMES_PER_S)
    lasting_ms = [*[still_ms] * len(others), _LAST_MS]
    first.save(path, save_all=True, append_images=others, duration=lasting_ms, loop=0)


_FRAMES_PER_S, _LAST_MS = 5, 3000
_BUSIEST_S, _COLOURS = 12.0, 48
"""The moment whose colours all the others share, and how many."""

_SIZE = (1108, 620)
_DISPLAY = (384, 192)


def _display_over_time(hud_folder: Path, alerts_s: list[float]) -> list[tuple[float, Image.Image]]:
    """What the display showed, and from when on: the first name came with the first alert."""
    shots = [(shot.stat().st_mtime, Image.open(shot)) for shot in sorted(hud_folder.glob("*.png"))]
    first = next((when for when, image in shots if _ink_px(image)), 0.0)
    begin = alerts_s[0] if alerts_s else 0.0
    blank = Image.new("1", _DISPLAY)
    return [
        (float("-inf"), blank),
        *((when - first + begin, image.resize(_DISPLAY)) for when, image in shots),
    ]


def _moment(
    time_s: float,
    street: Image.Image,
    shots: list[tuple[float, Image.Image]],
    summary: dict[str, Any],
) -> Image.Image:
    picture = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(picture)
    heading = ImageFont.load_default(22)
    draw.text((20, 14), "Before the camera", _INK, heading)
    draw.text((690, 14), "On the wearer's display", _INK, heading)
    scene = street.copy()
    for walk in sorted(WALKS, key=lambda walk: walk.steps[-1][3]):
        _draw_walker(ImageDraw.Draw(scene), walk, time_s, summary)
    picture.paste(scene, (20, 50))
    display = [image for begin_s, image in shots if begin_s <= time_s][-1]
    picture.paste(display.convert("RGB"), (690, 50))
    draw.text((690, 262), "On MQTT", _INK, heading)
    told = zip(summary["alert_times_s"], summary["subjects"], summary["scores"], strict=False)
    lines = [
        f"{at_s:4.1f} s  {subject[:8]}…  score {score:.2f}, from {summary['threshold']:.2f}"
        for at_s, subject, score in told
        if at_s <= time_s
    ]
    draw.multiline_text((690, 298), "\n".join(lines), _INK, ImageFont.load_default(16), spacing=8)
    _draw_time_line(draw, time_s, summary["alert_times_s"])
    return picture


def _draw_walker(
    draw: ImageDraw.ImageDraw, walk: Walk, time_s: float, summary: dict[str, Any]
) -> None:
    """Head and shoulders, without a face; green once the enrolled person is recognised."""
    (begin_s, *begin), (end_s, *end) = walk.steps
    if not begin_s <= time_s <= end_s:
        return
    share = (time_s - begin_s) / (end_s - begin_s)
    scale = _TILE[0] / 1920
    x, y, face = (scale * (a + share * (b - a)) for a, b in zip(begin, end, strict=True))
    known = walk.label == ENROLLED and _recognised_by(time_s, summary)
    colour = _GREEN if known else _GREY
    draw.rounded_rectangle(
        (x - 1.3 * face, y + 0.95 * face, x + 1.3 * face, _TILE[1]), face, fill=colour
    )
    draw.ellipse((x - 0.62 * face, y - 0.8 * face, x + 0.62 * face, y + 0.8 * face), fill=colour)
    if known:
        font = ImageFont.load_default(15)
        draw.text(
            (x - draw.textlength("recognised", font) / 2, y + 1.4 * face), "recognised", _INK, font
        )


def _draw_time_line(draw: ImageDraw.ImageDraw, now_s: float, alerts_s: list[float]) -> None:
    labels = list(dict.fromkeys(walk.label for walk in WALKS))
    labels.sort(key=lambda label: label != ENROLLED)
    left, right, top = 150, _SIZE[0] - 30, 436

    def x(time_s: float) -> float:
        return left + (right - left) * time_s / DURATION_S

    for row, label in enumerate(labels):
        y = top + row * 44
        draw.text((20, y + 3), label, _INK, ImageFont.load_default(18))
        for walk in WALKS:
            if walk.label == label:
                colour = _GREEN if label == ENROLLED else _GREY
                span = (x(walk.steps[0][0]), y, x(walk.steps[-1][0]), y + 26)
                draw.rounded_rectangle(span, 6, fill=colour)
    bottom = top + len(labels) * 44
    for time_s in alerts_s:
        if time_s <= now_s:
            draw.line((x(time_s), top - 8, x(time_s), bottom), fill=_RED, width=3)
            draw.text((x(time_s) + 6, bottom - 16), "alert", _RED, ImageFont.load_default(16))
    draw.line((x(now_s), top - 8, x(now_s), bottom), fill=_INK, width=1)
    for second in range(0, int(DURATION_S) + 1, 2):
        draw.text((x(second) - 8, bottom + 8), f"{second} s", _INK, ImageFont.load_default(15))


def _ink_px(image: Image.Image) -> int:
    """How much of a display is lit."""
    return int(np.count_nonzero(np.asarray(image.convert("L"))))
