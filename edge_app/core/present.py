"""What the wearer reads and hears about recognised people."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView


@dataclass(frozen=True, slots=True)
class PresentSettings:
    """How recognised people are put into words.

    unsure_margin: similarity above the threshold below which a person is "probably".
    ahead_share:   middle part of the frame's width that counts as ahead, in 0 to 1.
    max_people:    most people shown at once; the displays are drawn for 3.
    """

    unsure_margin: float
    ahead_share: float
    max_people: int


@dataclass(frozen=True, slots=True)
class RecognisedFace:
    """One tracklet with a decided match, as of one frame.

    centre_x_px: centre of the face's box in that frame.
    similarity:  the decision's comparison score (cosine).
    """

    person_id: str
    name: str = field(repr=False)
    relation: str = field(repr=False)
    centre_x_px: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language. `probably` takes {name}, `more` takes {count}."""

    directions: dict[Direction, str]
    probably: str
    probably_mark: str
    more: str
    nobody: str
    camera_lost: str
    camera_covered: str
    camera_uncovered: str
    gallery_too_old: str
    clock_wrong: str


_LANGUAGES: Final = {
    "en": Phrases(
        directions={
            Direction.LEFT: "on your left",
            Direction.AHEAD: "ahead",
            Direction.RIGHT: "on your right",
        },
        probably="Probably {name}",
        probably_mark="probably",
        more="+{count} more",
        nobody="nobody recognised",
        camera_lost="camera lost",
        camera_covered="camera covered",
        camera_uncovered="camera on",
        gallery_too_old="gallery old, go online",
        clock_wrong="clock went back",
    ),
    "de": Phrases(
        directions={
            Direction.LEFT: "links",
            Direction.AHEAD: "vor Ihnen",
            Direction.RIGHT: "rechts",
        },
        probably="Wahrscheinlich {name}",
        probably_mark="wahrscheinlich",
        more="+{count} weitere",
        nobody="niemand erkannt",
        camera_lost="Kamera fehlt",
        camera_covered="Kamera verdeckt",
        camera_uncovered="Kamera an",
        gallery_too_old="veraltet, online gehen",
        clock_wrong="Uhr ging zurück",
    ),
    "fr": Phrases(
        directions={
            Direction.LEFT: "à gauche",
            Direction.AHEAD: "devant vous",
            Direction.RIGHT: "à droite",
        },
        probably="Probablement {name}",
        probably_mark="probablement",
        more="+{count} de plus",
        nobody="personne n'est reconnu",
        camera_lost="caméra perdue",
        camera_covered="caméra couverte",
        camera_uncovered="caméra activée",
        gallery_too_old="périmé, se connecter",
        clock_wrong="horloge reculée",
    ),
}


def phrases(language: str) -> Phrases:
    """Return the words of a language, e.g. "en".

    Raises:
        ConfigError: there is no such language.
    """
    try:
        return _LANGUAGES[language]
    except KeyError:
        known = ", ".join(sorted(_LANGUAGES))
        raise ConfigError(f"there is no language {language!r}; choose one of: {known}") from None


def hud_view(
    faces: Sequence[RecognisedFace],
    *,
    frame_width_px: int,
    threshold: float,
    status: str,
    language: str,
    settings: PresentSettings,
) -> HudView:
    """Return what a display may show: each person once, from left to right.

    A person with two tracklets is shown where the score is higher. Of more than
    `max_people`, those with the highest scores stay, and an empty status says how many more.

    frame_width_px: 1 or more.
    threshold:      the gallery's; every score is at or above it.

    Raises:
        ConfigError: there is no such language.
    """
    best: dict[str, RecognisedFace] = {}
    for face in sorted(faces, key=lambda face: (-face.similarity, face.centre_x_px)):
        best.setdefault(face.person_id, face)
    shown = list(best.values())[: settings.max_people]
    shown.sort(key=lambda face: (face.centre_x_px, face.person_id))
    hidden = len(best) - len(shown)
    more = phrases(language).more.format(count=hidden) if hidden else ""
    return HudView(
        lines=tuple(
            HudLine(
                name=clean_text(face.name),
                relation=clean_text(face.relation),
                direction=direction(face.centre_x_px / frame_width_px, settings.ahead_share),
                unsure=face.similarity < threshold + settings.unsure_margin,
            )
            for face in shown
        ),
        status=status or more,
    )


def spoken_text(lines: Sequence[HudLine], language: str) -> str:
    """Return a sentence for each person: "Anna, colleague, on your left."; empty for nobody.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    return " ".join(
        ", ".join(part for part in (_who(line, words), line.relation, _where(line, words)) if part)
        + "."
        for line in lines
    )


def direction(x: float, ahead_share: float) -> Direction:
    """Return where a face is, from its centre's x relative to the frame's width, 0 to 1."""
    if abs(x - 0.5) <= ahead_share / 2:
        return Direction.AHEAD
    return Direction.LEFT if x < 0.5 else Direction.RIGHT


def clean_text(text: str) -> str:
    """Return the text in NFC on one line, without control, format and unassigned characters.

    A name is typed in by somebody: terminal escapes and direction overrides must not reach a
    display.
    """
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(char for char in spaced if unicodedata.category(char)[0] != "C")


def _who(line: HudLine, words: Phrases) -> str:
    return words.probably.format(name=line.name) if line.unsure else line.name


def _where(line: HudLine, words: Phrases) -> str:
    return words.directions[line.direction]
