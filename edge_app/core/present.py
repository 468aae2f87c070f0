"""What the wearer reads and hears about recognised people."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge_app.core.health import Condition
from edge_app.core.steady import Shown
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView, Utterance


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language. `probably` takes {name}, `more` takes {count}, `lease_ends` {hours}.

    said_*: for the ear; the others must fit a small display.
    """

    directions: dict[Direction, str]
    probably: str
    probably_mark: str
    more: str
    nobody: str
    camera_lost: str
    camera_covered: str
    camera_uncovered: str
    nobody_enrolled: str
    too_dark: str
    gallery_too_old: str
    clock_wrong: str
    lease_ends: str
    no_sound: str
    known: str
    display_lost: str
    said_camera_lost: str
    said_camera_back: str
    said_gallery_too_old: str
    said_clock_wrong: str
    said_not_sure: str


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
        nobody_enrolled="nobody enrolled here",
        too_dark="too dark to see",
        gallery_too_old="gallery old, go online",
        clock_wrong="clock went back",
        lease_ends="go online: {hours} h left",
        no_sound="no sound",
        known="someone you know",
        display_lost="no connection to the device",
        said_camera_lost="The camera is lost. I cannot see anybody.",
        said_camera_back="The camera is back.",
        said_gallery_too_old="I recognise nobody until the device was online.",
        said_clock_wrong="The clock is wrong. I recognise nobody until it is right.",
        said_not_sure="Someone you know, not sure who.",
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
        nobody_enrolled="hier niemand erfasst",
        too_dark="zu dunkel",
        gallery_too_old="veraltet, online gehen",
        clock_wrong="Uhr ging zurück",
        lease_ends="online gehen in {hours} h",
        no_sound="kein Ton",
        known="bekannte Person",
        display_lost="keine Verbindung zum Gerät",
        said_camera_lost="Die Kamera fehlt. Ich sehe niemanden.",
        said_camera_back="Die Kamera ist wieder da.",
        said_gallery_too_old="Ich erkenne niemanden, bis das Gerät online war.",
        said_clock_wrong="Die Uhr geht falsch. Ich erkenne niemanden, bis sie stimmt.",
        said_not_sure="Jemand Bekanntes, nicht sicher, wer.",
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
        nobody_enrolled="personne d'inscrit ici",
        too_dark="trop sombre",
        gallery_too_old="périmé, se connecter",
        clock_wrong="horloge reculée",
        lease_ends="connecter sous {hours} h",
        no_sound="pas de son",
        known="une connaissance",
        display_lost="pas de liaison avec l'appareil",
        said_camera_lost="La caméra est perdue. Je ne vois personne.",
        said_camera_back="La caméra est de retour.",
        said_gallery_too_old="Je ne reconnais personne tant que l'appareil n'est pas connecté.",
        said_clock_wrong="L'horloge est fausse. Je ne reconnais personne tant qu'elle l'est.",
        said_not_sure="Quelqu'un de connu, sans savoir qui.",
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


def hud_view(people: Sequence[Shown], *, fault: str, hint: str, language: str) -> HudView:
    """Return what a display may show: the people who have a line, in their order.

    fault: why nobody can be recognised, and what to do; empty if somebody can.
    hint:  what is worth knowing otherwise; told where there is no fault, and nobody without a line.

    Raises:
        ConfigError: there is no such language.
    """
    lines = tuple(person.line for person in people if person.has_line)
    hidden = len(people) - len(lines)
    more = phrases(language).more.format(count=hidden) if hidden else ""
    return HudView(lines, fault or more or hint, fault=bool(fault))


def utterances(
    people: Sequence[Shown], language: str, *, stereo_width: float, latin: bool
) -> tuple[Utterance, ...]:
    """Return what to say of each person, from where they are; a chime before who is "probably".

    stereo_width: how far to the side, 0 to 1: all the way would be lost on a deaf ear.
    latin:        the voice reads Latin letters only; it says the relation for other names.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    return tuple(
        Utterance(
            spoken_text([_sayable(person.line, words) if latin else person.line], language),
            pan=stereo_width * min(max(2 * person.x - 1, -1.0), 1.0),
            chime=person.line.unsure,
        )
        for person in people
    )


def fault_words(condition: Condition, language: str) -> str:
    """Return what a display says of a device that recognises nobody; empty if it does.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    return {
        Condition.RUNNING: "",
        Condition.CAMERA_COVERED: words.camera_covered,
        Condition.CAMERA_LOST: words.camera_lost,
        Condition.CLOCK_WRONG: words.clock_wrong,
        Condition.GALLERY_TOO_OLD: words.gallery_too_old,
    }[condition]


def spoken_fault(status: str, language: str) -> str:
    """Return a display's words for a fault as a sentence for the ear; others as they are.

    Raises:
        ConfigError: there is no such language.
    """
    words = phrases(language)
    sentences = {
        words.camera_lost: words.said_camera_lost,
        words.gallery_too_old: words.said_gallery_too_old,
        words.clock_wrong: words.said_clock_wrong,
    }
    return sentences.get(status, status)


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


def _who(line: HudLine, words: Phrases) -> str:
    return words.probably.format(name=line.name) if line.unsure else line.name


def _where(line: HudLine, words: Phrases) -> str:
    return words.directions[line.direction]


def _sayable(line: HudLine, words: Phrases) -> HudLine:
    """The same person as a voice for Latin letters can name them."""
    if _is_latin(line.name):
        return line if _is_latin(line.relation) else replace(line, relation="")
    name = line.relation if _is_latin(line.relation) else words.known
    return replace(line, name=name, relation="")


def _is_latin(text: str) -> bool:
    """Whether at least half of the letters are, of those there are; False without any."""
    letters = [unicodedata.name(char, "") for char in text if char.isalpha()]
    return 0 < len(letters) <= 2 * sum(name.startswith("LATIN") for name in letters)
