"""What a station says to the person before the camera, in every language that notices have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_app.core.liveness import Ask
from edge_app.enrolment.poses import Facing
from edge_app.errors import EnrolmentError


class Hint(StrEnum):
    """What would make the next frame better; the value is the English for it."""

    LOOK_HERE = "look towards the camera"
    ONE_PERSON = "one person only, please"
    COME_CLOSER = "come closer"
    HOLD_STILL = "hold still, in even light"
    NOT_SO_FAR = "not quite so far"
    MORE_LIGHT = "more light on the face, please"
    LESS_LIGHT = "less light on the face, please"
    UNCOVER = "uncover eyes, mouth and chin"


@dataclass(frozen=True, slots=True)
class StationWords:
    """One language. yes: what is typed to agree; agree takes it as {yes}."""

    asks: Mapping[Ask | Facing, str]
    hints: Mapping[Hint, str]
    agree: str
    yes: str


_WORDS: Final[Mapping[str, StationWords]] = {
    "en": StationWords(
        asks={
            Ask.STRAIGHT: "Look straight at the camera",
            Ask.LEFT: "Turn your head to your left",
            Ask.RIGHT: "Turn your head to your right",
            Ask.UP: "Look up",
            Facing.DOWN: "Look down",
        },
        hints={hint: hint.value for hint in Hint},
        agree='If you agree, type "{yes}"',
        yes="yes",
    ),
    "de": StationWords(
        asks={
            Ask.STRAIGHT: "Schauen Sie gerade in die Kamera",
            Ask.LEFT: "Drehen Sie den Kopf nach links",
            Ask.RIGHT: "Drehen Sie den Kopf nach rechts",
            Ask.UP: "Schauen Sie nach oben",
            Facing.DOWN: "Schauen Sie nach unten",
        },
        hints={
            Hint.LOOK_HERE: "schauen Sie zur Kamera",
            Hint.ONE_PERSON: "bitte nur eine Person",
            Hint.COME_CLOSER: "kommen Sie näher",
            Hint.HOLD_STILL: "halten Sie still, in gleichmäßigem Licht",
            Hint.NOT_SO_FAR: "nicht ganz so weit",
            Hint.MORE_LIGHT: "bitte mehr Licht auf das Gesicht",
            Hint.LESS_LIGHT: "bitte weniger Licht auf das Gesicht",
            Hint.UNCOVER: "Augen, Mund und Kinn bitte frei machen",
        },
        agree='Wenn Sie einwilligen, schreiben Sie "{yes}"',
        yes="ja",
    ),
    "fr": StationWords(
        asks={
            Ask.STRAIGHT: "Regardez la caméra bien en face",
            Ask.LEFT: "Tournez la tête vers votre gauche",
            Ask.RIGHT: "Tournez la tête vers votre droite",
            Ask.UP: "Regardez vers le haut",
            Facing.DOWN: "Regardez vers le bas",
        },
        hints={
            Hint.LOOK_HERE: "regardez vers la caméra",
            Hint.ONE_PERSON: "une seule personne, s'il vous plaît",
            Hint.COME_CLOSER: "approchez-vous",
            Hint.HOLD_STILL: "ne bougez pas, dans une lumière égale",
            Hint.NOT_SO_FAR: "un peu moins loin",
            Hint.MORE_LIGHT: "plus de lumière sur le visage, s'il vous plaît",
            Hint.LESS_LIGHT: "moins de lumière sur le visage, s'il vous plaît",
            Hint.UNCOVER: "dégagez les yeux, la bouche et le menton",
        },
        agree="Si vous êtes d'accord, écrivez « {yes} »",
        yes="oui",
    ),
}


def station_words(language: str) -> StationWords:
    """The words of a language, e.g. "en".

    Raises:
        EnrolmentError: there is no such language.
    """
    try:
        return _WORDS[language]
    except KeyError:
        known = ", ".join(sorted(_WORDS))
        raise EnrolmentError(
            f"the station does not speak {language!r}; choose one of: {known}"
        ) from None
