"""What the person takes home: what was agreed, their rights, and the code to leave with."""

from __future__ import annotations

from datetime import timedelta

from edge_app.core.revocation import spoken_code
from edge_app.enrolment.consent_notice import Notice
from edge_app.enrolment.station import Enrolled
from edge_app.records import ConsentRecord, LawfulBasis

_BASES = {
    LawfulBasis.EXPLICIT_CONSENT: "your explicit consent",
    LawfulBasis.LEGAL_REPRESENTATIVE: "the consent of your legal representative",
}


def receipt_text(enrolled: Enrolled, notice: Notice, *, leave_command: str) -> str:
    """The receipt as plain text. It holds the revocation code: show it once and keep no copy.

    leave_command: what to type on the device to leave, with CODE in place of the code.
    """
    person = enrolled.enrolment
    record = person.consent.record
    return "\n".join(
        (
            "RECEIPT OF CONSENT",
            "",
            *_facts(person.name, record),
            "",
            "YOUR REVOCATION CODE, SHOWN THIS ONCE",
            "",
            f"    {spoken_code(enrolled.revocation_code)}",
            "",
            "Whoever presents this code leaves at once and for ever, without giving a reason and",
            "without anybody's approval. Keep it in a safe place. Nobody can tell it to you again.",
            f"On the device:  {leave_command}",
            "",
            "YOUR RIGHTS",
            "",
            "You may see what is stored of you, get a copy of it, have it corrected, leave at any",
            "time, and complain to your data protection authority.",
            "",
            "WHAT YOU AGREED TO",
            "",
            notice.text.rstrip(),
            "",
        )
    )


def _facts(name: str, record: ConsentRecord) -> list[str]:
    ends = record.event_time + timedelta(seconds=record.validity_duration_s)
    erased = record.event_time + timedelta(seconds=record.retention_s)
    facts = {
        "Name": name,
        "Purpose": record.purpose.value.replace("_", " "),
        "Given on": f"{record.event_time:%Y-%m-%d %H:%M} UTC",
        "Holds until": f"{ends:%Y-%m-%d %H:%M} UTC",
        "Erased by": f"{erased:%Y-%m-%d %H:%M} UTC",
        "Basis": _BASES[record.lawful_basis],
        "Stored": f"{', '.join(record.pii_information)} ({len(record.template_ids)})",
        "Where": ", ".join(record.storage_locations),
        "Answers for it": "; ".join(f"{c.name}, {c.contact}" for c in record.pii_controllers),
        "Record": record.record_id,
        "Notice": f"{record.privacy_notice.notice_id} ({record.privacy_notice.language})",
    }
    if record.demo:
        facts["Demo"] = "made from pictures, compared with replayed pictures only"
    return [f"{label + ':':<16}{value}" for label, value in facts.items()]
