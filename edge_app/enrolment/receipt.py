"""What the person takes home: what was agreed, their rights, and the code to leave with.

The content is put together once; `receipt_page.py` and `receipt_pdf.py` show it in other forms. A
receipt holds the revocation code: it is shown once, and nobody keeps a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from edge_app.core.revocation import spoken_code
from edge_app.core.text import clean_text
from edge_app.enrolment.consent_notice import Notice
from edge_app.enrolment.station import PII_INFORMATION, Enrolled
from edge_app.records import ConsentRecord, Enrolment, LawfulBasis, Purpose


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt, in one language.

    facts:         (label, value), in order.
    code:          the revocation code in groups of four.
    leaving:       what the code does, in sentences.
    leave_command: what to type on the device to leave; leave_elsewhere: how else, or empty.
    notice:        the notice as it was shown and hashed.
    """

    language: str
    title: str
    facts: tuple[tuple[str, str], ...] = field(repr=False)
    code_title: str
    code: str = field(repr=False)
    leaving: str
    leave_label: str
    leave_command: str
    leave_elsewhere: str
    rights_title: str
    rights: str
    notice_title: str
    notice: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Words:
    """One language. Labels are those of `_facts`, in its order."""

    title: str
    labels: tuple[str, ...]
    purposes: Mapping[Purpose, str]
    bases: Mapping[LawfulBasis, str]
    stored: Mapping[str, str]
    demo: tuple[str, str]
    code_title: str
    leaving: str
    leave_label: str
    from_anywhere: str
    rights_title: str
    rights: str
    notice_title: str


_LEAVE_COMMAND: Final = "familiar revoke"
_WORDS: Final[Mapping[str, _Words]] = {
    "en": _Words(
        title="Receipt of consent",
        labels=(
            "Name",
            "Purpose",
            "Given on",
            "Holds until",
            "Erased by",
            "Basis",
            "Stored",
            "Where",
            "Answers for it",
            "Record",
            "Notice",
        ),
        purposes={
            Purpose.ASSIST: "assist",
            Purpose.ENTRY: "entry",
            Purpose.CARE: "care",
            Purpose.SELF_EXCLUSION: "self-exclusion",
        },
        bases={
            LawfulBasis.EXPLICIT_CONSENT: "your explicit consent",
            LawfulBasis.LEGAL_REPRESENTATIVE: "the consent of your legal representative",
        },
        stored={item: item for item in PII_INFORMATION},
        demo=("Demo", "made from pictures, compared with replayed pictures only"),
        code_title="Your revocation code, shown this once",
        leaving=(
            "Whoever presents this code leaves at once and for ever, without giving a reason and "
            "without anybody's approval. Keep it in a safe place. Nobody can tell it to you again."
        ),
        leave_label="On the device",
        from_anywhere="(or from anywhere, with --url and the operator's address)",
        rights_title="Your rights",
        rights=(
            "You may see what is stored of you, get a copy of it, have it corrected, leave at any "
            "time, and complain to your data protection authority."
        ),
        notice_title="What you agreed to",
    ),
    "de": _Words(
        title="Beleg über die Einwilligung",
        labels=(
            "Name",
            "Zweck",
            "Erteilt am",
            "Gilt bis",
            "Spätestens gelöscht",
            "Grundlage",
            "Gespeichert",
            "Wo",
            "Verantwortlich",
            "Nachweis",
            "Hinweis",
        ),
        purposes={
            Purpose.ASSIST: "Hilfe beim Erkennen",
            Purpose.ENTRY: "Eingang",
            Purpose.CARE: "Pflege",
            Purpose.SELF_EXCLUSION: "Selbstsperre",
        },
        bases={
            LawfulBasis.EXPLICIT_CONSENT: "Ihre ausdrückliche Einwilligung",
            LawfulBasis.LEGAL_REPRESENTATIVE: "die Einwilligung Ihrer gesetzlichen Vertretung",
        },
        stored=dict(zip(PII_INFORMATION, ("Name", "Beziehung", "Gesichtsvorlagen"), strict=True)),
        demo=("Probe", "aus Bildern gemacht, wird nur mit abgespielten Bildern verglichen"),
        code_title="Ihr Code zum Gehen, nur dieses eine Mal gezeigt",
        leaving=(
            "Wer diesen Code vorzeigt, wird sofort und für immer gelöscht, ohne einen Grund zu "
            "nennen und ohne dass jemand zustimmen muss. Bewahren Sie ihn gut auf. Niemand kann "
            "ihn Ihnen noch einmal sagen."
        ),
        leave_label="Am Gerät",
        from_anywhere="(oder von überall, mit --url und der Adresse des Betreibers)",
        rights_title="Ihre Rechte",
        rights=(
            "Sie dürfen sehen, was von Ihnen gespeichert ist, eine Kopie bekommen, es berichtigen "
            "lassen, jederzeit gehen und sich bei Ihrer Datenschutzbehörde beschweren."
        ),
        notice_title="Worin Sie eingewilligt haben",
    ),
    "fr": _Words(
        title="Reçu de votre accord",
        labels=(
            "Nom",
            "But",
            "Donné le",
            "Valable jusqu'au",
            "Effacé au plus tard",
            "Fondement",
            "Gardé",
            "Où",
            "Responsable",
            "Enregistrement",
            "Notice",
        ),
        purposes={
            Purpose.ASSIST: "aide à reconnaître",
            Purpose.ENTRY: "entrée",
            Purpose.CARE: "soins",
            Purpose.SELF_EXCLUSION: "auto-exclusion",
        },
        bases={
            LawfulBasis.EXPLICIT_CONSENT: "votre accord exprès",
            LawfulBasis.LEGAL_REPRESENTATIVE: "l'accord de la personne qui vous représente",
        },
        stored=dict(zip(PII_INFORMATION, ("nom", "lien", "modèles de visage"), strict=True)),
        demo=("Essai", "fait à partir d'images, comparé seulement à des images rejouées"),
        code_title="Votre code pour partir, montré cette seule fois",
        leaving=(
            "Qui présente ce code est effacé aussitôt et pour toujours, sans donner de raison et "
            "sans l'accord de personne. Gardez-le en lieu sûr. Personne ne peut vous le redire."
        ),
        leave_label="Sur l'appareil",
        from_anywhere="(ou de partout, avec --url et l'adresse de l'exploitant)",
        rights_title="Vos droits",
        rights=(
            "Vous pouvez voir ce qui est gardé de vous, en recevoir une copie, le faire corriger, "
            "partir à tout moment, et vous plaindre à l'autorité de protection des données."
        ),
        notice_title="Ce que vous avez accepté",
    ),
}


def receipt_for(enrolled: Enrolled, notice: Notice, *, from_anywhere: bool) -> Receipt:
    """The receipt, in the notice's language.

    from_anywhere: whether an operator takes the code as well as the device.
    """
    person, words = enrolled.enrolment, _WORDS[notice.privacy_notice.language]
    return Receipt(
        language=notice.privacy_notice.language,
        title=words.title,
        facts=_facts(clean_text(person.name), person.consent.record, words),
        code_title=words.code_title,
        code=spoken_code(enrolled.revocation_code),
        leaving=words.leaving,
        leave_label=words.leave_label,
        leave_command=_LEAVE_COMMAND,
        leave_elsewhere=words.from_anywhere if from_anywhere else "",
        rights_title=words.rights_title,
        rights=words.rights,
        notice_title=words.notice_title,
        notice=notice.text,
    )


def record_facts(person: Enrolment, language: str) -> tuple[tuple[str, str], ...]:
    """What is kept of a person as (label, value), as on the receipt, in a language of notices."""
    return _facts(clean_text(person.name), person.consent.record, _WORDS[language])


def receipt_text(receipt: Receipt) -> str:
    """The receipt for a terminal."""
    width = max(len(label) for label, _ in receipt.facts) + 2
    return "\n".join(
        (
            receipt.title.upper(),
            "",
            *(f"{label + ':':<{width}}{value}" for label, value in receipt.facts),
            "",
            receipt.code_title.upper(),
            "",
            f"    {receipt.code}",
            "",
            receipt.leaving,
            f"{receipt.leave_label}:  {receipt.leave_command}  {receipt.leave_elsewhere}".rstrip(),
            "",
            receipt.rights_title.upper(),
            "",
            receipt.rights,
            "",
            receipt.notice_title.upper(),
            "",
            receipt.notice.rstrip(),
            "",
        )
    )


def notice_paragraphs(notice: str) -> tuple[tuple[str, str], ...]:
    """Each paragraph of a notice as (what stands out, the rest), without its marks.

    What stands out is the title, or a paragraph's first words; or nothing.
    """
    return tuple(map(_paragraph, notice.strip().split("\n\n")))


def _paragraph(block: str) -> tuple[str, str]:
    text = " ".join(block.split())
    if text.startswith("# "):
        return text.removeprefix("# "), ""
    lead, mark, rest = text.removeprefix("**").partition("**")
    return (lead, rest.strip()) if mark and text.startswith("**") else ("", text)


def _facts(name: str, record: ConsentRecord, words: _Words) -> tuple[tuple[str, str], ...]:
    ends = record.event_time + timedelta(seconds=record.validity_duration_s)
    erased = record.event_time + timedelta(seconds=record.retention_s)
    stored = ", ".join(words.stored[item] for item in record.pii_information)
    values = (
        name,
        words.purposes[record.purpose],
        f"{record.event_time:%Y-%m-%d %H:%M} UTC",
        f"{ends:%Y-%m-%d %H:%M} UTC",
        f"{erased:%Y-%m-%d %H:%M} UTC",
        words.bases[record.lawful_basis],
        f"{stored} ({len(record.template_ids)})",
        ", ".join(record.storage_locations),
        "; ".join(f"{c.name}, {c.contact}" for c in record.pii_controllers),
        record.record_id,
        f"{record.privacy_notice.notice_id} ({record.privacy_notice.language})",
    )
    facts = tuple(zip(words.labels, values, strict=True))
    return (*facts, words.demo) if record.demo else facts
