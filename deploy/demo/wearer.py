"""Draw every state of every display of the wearer into one picture for each: build/wearer/."""

from __future__ import annotations

import io
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page, sync_playwright

from edge_app.adapters.displays.colour import draw_colour
from edge_app.adapters.displays.fonts import FontSet
from edge_app.adapters.displays.oled import draw_view
from edge_app.adapters.displays.web import PageAddress, WebDisplay
from edge_app.core.present import phrases
from edge_app.records import Direction, HudLine, HudView

LEFT, AHEAD, RIGHT = Direction
_COLUMNS: Final = 4
_GAP_PX: Final = 12
_CAPTION_PX: Final = 26
_LANGUAGES: Final = ("en", "de", "fr")
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


def draw_page(address: PageAddress, folder: Path) -> None:
    """The page in a browser, as glasses with 640 x 400 pixels show it."""
    program = shutil.which("chromium")
    if program is None:
        print("the page is not drawn: chromium is missing (Debian: apt install chromium)")
        return
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for language in _LANGUAGES:
            display = WebDisplay(address, language=language)
            page = browser.new_page(viewport={"width": 640, "height": 400})
            page.goto(address.url)

            def shot(view: HudView, page: Page = page, display: WebDisplay = display) -> Any:
                display.show(view)
                page.wait_for_timeout(400)
                return Image.open(io.BytesIO(page.screenshot())).resize((384, 240))

            views = states(language)
            sheet(folder / f"page-{language}.png", views, shot)
            display.close()
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"page-lost-{language}.png")
            page.close()
        browser.close()


def main() -> int:
    folder = Path("build/wearer")
    folder.mkdir(parents=True, exist_ok=True)
    faces = {"plain": FontSet()}
    if _WIDE_FACE.exists():
        faces["wide"] = FontSet(_WIDE_FACE)
    for language in _LANGUAGES:
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
    draw_page(PageAddress("127.0.0.1", "", 8471, secrets.token_hex(16), None, None), folder)
    print(f"written to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
