"""The text a person reads before agreeing, in plain words, one file per language and purpose.

What is hashed into the consent record is the text as shown, with the names, addresses and
durations filled in: `notice_for` with the record's values gives the same text again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Final

from edge_app.errors import EnrolmentError
from edge_app.records import Controller, PrivacyNotice, Purpose

NOTICE_VERSION: Final = 3
"""Raised with every change of wording, so that a notice id names one text for ever."""

_KEPT_HERE: Final = {
    "en": "All of it is encrypted, and stays on this device.",
    "de": "Alles ist verschlüsselt und bleibt auf diesem Gerät.",
    "fr": "Tout est chiffré et reste sur cet appareil.",
}
_KEPT_BY_A_FLEET: Final = {
    "en": (
        "All of it is encrypted. $controller_name keeps it, and sends it to every device of the "
        'fleet "$fleet". To leave them all, present your code to $controller_name: the next '
        "gallery that is sent leaves you out. A device that you present it to forgets you at once."
    ),
    "de": (
        "Alles ist verschlüsselt. $controller_name bewahrt es auf und schickt es an jedes Gerät "
        'der Gruppe "$fleet". Um sie alle zu verlassen, zeigen Sie $controller_name Ihren Code: '
        "in der nächsten Galerie, die verschickt wird, fehlen Sie. Ein Gerät, dem Sie ihn zeigen, "
        "vergisst Sie sofort."
    ),
    "fr": (
        "Tout est chiffré. $controller_name le garde et l'envoie à chaque appareil du groupe "
        '"$fleet". Pour les quitter tous, présentez votre code à $controller_name : la prochaine '
        "galerie envoyée est sans vous. Un appareil à qui vous le présentez vous oublie aussitôt."
    ),
}

_STORED_HERE: Final = {
    "en": "this device, encrypted",
    "de": "dieses Gerät, verschlüsselt",
    "fr": "cet appareil, chiffré",
}
_STORED_BY_A_FLEET: Final = {
    "en": ('the operator of the fleet "$fleet", encrypted', "its devices, encrypted"),
    "de": ('der Betreiber der Gruppe "$fleet", verschlüsselt', "ihre Geräte, verschlüsselt"),
    "fr": ('l\'exploitant du groupe "$fleet", chiffré', "ses appareils, chiffré"),
}

_FOLDER: Final = files("edge_app.enrolment") / "notices"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as shown, and what the consent record says of it."""

    purpose: Purpose
    privacy_notice: PrivacyNotice
    text: str = field(repr=False)


def languages() -> tuple[str, ...]:
    """The languages that notices are written in, as BCP 47 tags."""
    return tuple(sorted(folder.name for folder in _FOLDER.iterdir() if folder.is_dir()))


def storage_locations(language: str, fleet: str) -> tuple[str, ...]:
    """Where the data are, as the consent record says it. fleet: as for `notice_for`."""
    if not fleet:
        return (_STORED_HERE[language],)
    return tuple(Template(text).substitute(fleet=fleet) for text in _STORED_BY_A_FLEET[language])


def notice_for(
    purpose: Purpose,
    language: str,
    *,
    controller: Controller,
    jurisdiction: str,
    valid_days: int,
    kept_days: int,
    fleet: str,
) -> Notice:
    """The notice for this purpose, filled in.

    valid_days: how long the consent holds; kept_days: when the data are erased at the latest.
    fleet:      whose devices get the data; empty if they stay on the one device.

    Raises:
        EnrolmentError: there is no notice in this language.
    """
    if language not in languages():
        raise EnrolmentError(
            f"there is no consent notice in {language!r}; choose one of: {', '.join(languages())}"
        )
    source = (_FOLDER / language / f"{purpose.value}.md").read_text(encoding="utf-8")
    kept_where = _KEPT_BY_A_FLEET[language] if fleet else _KEPT_HERE[language]
    text = Template(source.replace("$kept_where", kept_where)).substitute(
        fleet=fleet,
        controller_name=controller.name,
        controller_address=controller.address,
        controller_contact=controller.contact,
        jurisdiction=jurisdiction,
        valid_days=valid_days,
        kept_days=kept_days,
    )
    notice_id = f"familiar-{purpose.value}-{NOTICE_VERSION}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Notice(purpose, PrivacyNotice(notice_id, language, digest), text)
