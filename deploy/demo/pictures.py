"""The demo's pictures: annotated frames of its own scene, and an overview without any face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_app.adapters.cameras.scene import SceneCamera
from edge_app.records import Box
from scene import DURATION_S, ENROLLED, FPS, WALKS, WALL

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
    """The wearer's display, and who was in view when: a picture without faces."""
    width, height = 1200, 680
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    shots = sorted(hud_folder.glob("*.png"), key=_ink_px)
    for i, (shot, title) in enumerate(
        ((shots[-1], "The wearer's display: someone who enrolled"), (shots[0], "Strangers only"))
    ):
        draw.text((40 + i * 608, 24), title, _INK, ImageFont.load_default(24))
        with Image.open(shot) as hud:
            panel = hud.convert("RGB").resize((512, 256), Image.Resampling.NEAREST)
        picture.paste(panel, (40 + i * 608, 66))
    title = "Who was in view, and when an alert went out"
    draw.text((40, 360), title, _INK, ImageFont.load_default(24))
    labels = list(dict.fromkeys(walk.label for walk in WALKS))
    labels.sort(key=lambda label: label != ENROLLED)
    left, right = 190, width - 40

    def x(time_s: float) -> float:
        return left + (right - left) * time_s / DURATION_S

    for row, label in enumerate(labels):
        y = 430 + row * 52
        draw.text((40, y + 4), label, _INK, ImageFont.load_default(20))
        for walk in WALKS:
            if walk.label == label:
                colour = _GREEN if label == ENROLLED else _GREY
                span = (x(walk.steps[0][0]), y, x(walk.steps[-1][0]), y + 30)
                draw.rounded_rectangle(span, 6, fill=colour)
    bottom = 430 + len(labels) * 52
    for time_s in summary["alert_times_s"]:
        at = x(time_s)
        draw.line((at, 420, at, bottom), fill=_RED, width=3)
        draw.text((at + 6, bottom - 18), "alert", _RED, ImageFont.load_default(18))
    for second in range(0, int(DURATION_S) + 1, 2):
        draw.text((x(second) - 8, bottom + 8), f"{second} s", _INK, ImageFont.load_default(16))
    picture.save(path)


def _ink_px(shot: Path) -> int:
    """How much of a display is lit."""
    with Image.open(shot) as hud:
        return int(np.count_nonzero(np.asarray(hud.convert("L"))))
