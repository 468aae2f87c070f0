"""The letters a display has, and what of a name it can show."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import ImageFont, features

from edge_app.core.present import Phrases
from edge_app.errors import ConfigError
from edge_app.records import HudLine

_log = logging.getLogger(__name__)

# Latin letters that Unicode does not decompose into a base letter and a mark.
_FOLDED: Final = str.maketrans(
    {
        "ß": "ss", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o",
        "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Ð": "D", "ð": "d", "Þ": "Th", "þ": "th",
        "\u0131": "i", "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-",
    }
)  # fmt: skip

_SHAPES: Final = features.check("raqm") and features.check("fribidi")
"""Whether letters are joined, and written from right to left: Pillow asks the system's fribidi."""


class FontSet:
    """Typefaces in any size, tried in order for each text; Pillow's own is the last.

    A letter that none of them has is never drawn as a box.
    """

    def __init__(self, *paths: Path) -> None:
        """paths: TrueType or OpenType files; Pillow's own face holds plain Latin only.

        Raises:
            ConfigError: a file is no font.
        """
        self._faces = [*map(_Face, paths), _Face(None)]
        self._best = lru_cache(maxsize=1024)(self._choose)
        self._complained = False

    def legible(self, text: str) -> str:
        """Return what can be shown of a text, on one line.

        A letter without a glyph becomes its base letter (é: e, ø: o); if there is none, it is
        left out. Empty if less than half of the letters remain: half a name is another's. Empty,
        too, if the letters have to be joined or turned around, and nothing here can do that.
        """
        shown = self._best(text)[0]
        if not _SHAPES and _is_shaped(text):
            self._complain("install the system's fribidi: `sudo apt install libfribidi0`")
            return ""
        if 2 * _letters(shown) < _letters(text):
            self._complain(
                "install a font that has them, e.g. `sudo apt install fonts-noto-cjk`, and name "
                "its file in hud.fonts"
            )
            return ""
        return shown

    def who(self, line: HudLine, words: Phrases) -> tuple[str, str]:
        """Return a person's name and relation as they can be read.

        A name that cannot be shown is not guessed at by transliteration: the relation takes its
        place, or else words for somebody who is known.
        """
        name, relation = self.legible(line.name), self.legible(line.relation)
        if name:
            return name, relation
        return relation or self.legible(words.known), ""

    def fit(
        self, text: str, sizes_px: Sequence[int], width_px: float, *, mode: str = "L"
    ) -> tuple[str, ImageFont.FreeTypeFont]:
        """Return the text in the largest size that fits; cut with an ellipsis at the smallest.

        text:     as `legible` returned it.
        sizes_px: at least one, falling.
        mode:     the picture's; "1" has no half tones.
        """
        shown, face = self._best(text)
        for size_px in sizes_px:
            font = face.at(size_px)
            if font.getlength(shown, mode=mode) <= width_px:
                return shown, font
        while shown and font.getlength(shown + face.ellipsis, mode=mode) > width_px:
            mark = unicodedata.combining(shown[-1])
            shown = shown[:-1]
            while mark and shown:  # a letter goes with its marks
                mark = unicodedata.combining(shown[-1])
                shown = shown[:-1]
        return shown.rstrip() + face.ellipsis, font

    def fit_two(
        self, text: str, sizes_px: Sequence[int], width_px: float, *, mode: str = "L"
    ) -> tuple[list[str], ImageFont.FreeTypeFont]:
        """Return the text on one line or two, in the largest size that fits."""
        words = text.split()
        splits = [[" ".join(words[:i]), " ".join(words[i:])] for i in range(1, len(words))]
        ways = [[text], *sorted(splits, key=lambda lines: max(map(len, lines)))[:1]]
        fitted = [[self.fit(line, sizes_px, width_px, mode=mode) for line in way] for way in ways]
        best = max(fitted, key=lambda way: min(font.size for _, font in way))
        smallest = min(best, key=lambda line: line[1].size)[1]
        return [shown for shown, _ in best], smallest

    def _choose(self, text: str) -> tuple[str, _Face]:
        """The first face that shows the most letters as they are, else those it can fold."""
        text = " ".join(text.split())
        best = max(self._faces, key=lambda face: (face.count(text), _letters(face.legible(text))))
        return best.legible(text), best

    def _complain(self, remedy: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("a name has letters that the display cannot draw; %s", remedy)


class _Face:
    """One typeface. path: None is Pillow's own."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.at = lru_cache(maxsize=64)(self._load)
        self._probe = self.at(16)
        self._missing = self._glyph("\uffff")
        self._shows = lru_cache(maxsize=4096)(lambda char: self._glyph(char) != self._missing)
        self.ellipsis = "…" if self._shows("…") else "..."

    def count(self, text: str) -> int:
        """How many letters of the text have a glyph."""
        return sum(char.isalnum() and self._shows(char) for char in text)

    def legible(self, text: str) -> str:
        return " ".join("".join(map(self._legible_char, text)).split())

    def _legible_char(self, char: str) -> str:
        if char.isspace() or self._shows(char):
            return char
        decomposed = unicodedata.normalize("NFKD", char.translate(_FOLDED))
        base = "".join(part for part in decomposed if not unicodedata.combining(part))
        return base if all(part.isspace() or self._shows(part) for part in base) else ""

    def _glyph(self, char: str) -> tuple[tuple[int, int], bytes]:
        mask = self._probe.getmask(char, mode="1")
        return mask.size, bytes(mask)

    def _load(self, size_px: int) -> ImageFont.FreeTypeFont:
        if self._path is None:
            font = ImageFont.load_default(size_px)
            if not isinstance(font, ImageFont.FreeTypeFont):
                raise ConfigError("Pillow has no FreeType; install Pillow's wheel from PyPI")
            return font
        try:
            return ImageFont.truetype(self._path, size_px)
        except OSError as error:
            raise ConfigError(
                f"{self._path} is not a font that can be read; install one, e.g."
                " `sudo apt install fonts-noto-cjk`, and name its file in hud.fonts"
            ) from error


def _letters(text: str) -> int:
    return sum(char.isalnum() for char in text)


def _is_shaped(text: str) -> bool:
    """Whether it runs from right to left, or has vowels that stand around their letter."""
    return any(
        unicodedata.bidirectional(char) in {"R", "AL"} or unicodedata.category(char) == "Mc"
        for char in text
    )
