"""Draw every state of every display of the wearer into one picture for each: build/wearer/."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from edge_app.adapters.displays.colour import draw_colour
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import draw_view
from edge_app.core.present import phrases
from edge_app.records import Direction, HudLine, HudView

LEFT, AHEAD, RIGHT = Direction
_COLUMNS: Final = 4
_GAP_PX: Final = 12
_CAPTION_PX: Final = 26
_WIDE_FACE: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


def states(language: str) -> dict[str, HudView]:
    """Every state there is, by its caption."""
    words = phrases(language)
    anna = HudLine("Anna", "colleague", LEFT, unsure=False)
    bo = HudLine("Bo", "neighbour", AHEAD, unsure=True)
    long = HudLine("Maximilian-Alexander von Hohenstein", "physiotherapist", RIGHT, unsure=False)
    return {
        "nobody": HudView((), ""),
        "one, on the left": HudView((anna,), ""),
        "one, no relation": HudView((HudLine("Zoë", "", AHEAD, unsure=False),), ""),
        "probably": HudView((bo,), ""),
        "probably, on the right": HudView((HudLine("Bo", "", RIGHT, unsure=True),), ""),
        "a long name": HudView((long,), ""),
        "a very long one, probably": HudView(
            (HudLine("Wolfgang Amadeus Theophilus Chrysostomus Mozart", "son", LEFT, True),), ""
        ),
        "two": HudView((anna, bo), ""),
        "three": HudView((anna, bo, long), ""),
        "and more": HudView((anna, bo, long), words.more.format(count=2)),
        "camera lost": HudView((), words.camera_lost, fault=True),
        "gallery too old": HudView((), words.gallery_too_old, fault=True),
        "clock wrong": HudView((), words.clock_wrong, fault=True),
        "lease ends": HudView((anna,), words.lease_ends.format(hours=3)),
        "no sound": HudView((bo,), words.no_sound),
        "Arabic": HudView((HudLine("محمد علي", "friend", LEFT, unsure=False),), ""),
        "Hebrew": HudView((HudLine("שרה לוי", "", RIGHT, unsure=True),), ""),
        "Cyrillic": HudView((HudLine("Жанна Петрова", "teacher", AHEAD, unsure=False),), ""),
        "Chinese": HudView((HudLine("李小龙", "teacher", LEFT, unsure=False),), ""),
        "an emoji": HudView((HudLine("Mia \U0001f33b", "niece", LEFT, unsure=False),), ""),
    }


def sheet(path: Path, views: dict[str, HudView], draw: Callable[[HudView], Image.Image]) -> None:
    """All views side by side, each below its caption."""
    pictures = {caption: draw(view).convert("RGB") for caption, view in views.items()}
    width, height = next(iter(pictures.values())).size
    step_x, step_y = width + _GAP_PX, height + _GAP_PX + _CAPTION_PX
    rows = -(-len(pictures) // _COLUMNS)
    image = Image.new("RGB", (_COLUMNS * step_x + _GAP_PX, rows * step_y + _GAP_PX), (70, 70, 70))
    canvas = ImageDraw.Draw(image)
    for i, (caption, picture) in enumerate(pictures.items()):
        x, y = _GAP_PX + i % _COLUMNS * step_x, _GAP_PX + i // _COLUMNS * step_y
        canvas.text((x, y), caption, (255, 255, 255), ImageFont.load_default(18))
        image.paste(picture, (x, y + _CAPTION_PX))
    image.save(path)


def main() -> int:
    folder = Path("build/wearer")
    folder.mkdir(parents=True, exist_ok=True)
    faces = {"plain": FontSet()}
    if _WIDE_FACE.exists():
        faces["wide"] = FontSet(_WIDE_FACE)
    for language in ("en", "de", "fr"):
        views = states(language)
        for name, fonts in faces.items():
            sheet(
                folder / f"oled-{name}-{language}.png",
                views,
                lambda view, fonts=fonts, language=language: (  # type: ignore[misc]
                    draw_view(view, fonts, language).resize((384, 192), Image.Resampling.NEAREST)
                ),
            )
            sheet(
                folder / f"colour-{name}-{language}.png",
                views,
                lambda view, fonts=fonts, language=language: (  # type: ignore[misc]
                    draw_colour(view, (640, 400), fonts, language).resize((384, 240))
                ),
            )
    print(f"written to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
