from edge_app.core.revocation import spoken_code
from edge_app.enrolment.receipt import receipt_text
from edge_app.records import FrameOrigin, LawfulBasis, Purpose
from tests.enrolment.test_station import agreement, enrolled, looks_of, probes


def test_receipt_says_what_was_agreed_and_how_to_leave() -> None:
    result = enrolled(probes(looks_of(1, 3)))
    text = receipt_text(result, agreement().notice, leave_command="familiar leave CODE")
    for part in (
        "Name:           Ada",
        "Given on:       2026-03-01 12:00 UTC",
        "Holds until:    2027-03-01 12:00 UTC",
        "Erased by:      2027-03-02 12:00 UTC",
        "Basis:          your explicit consent",
        "face templates (1)",
        result.enrolment.consent.record.record_id,
        "familiar leave CODE",
        "complain to your data protection authority",
        agreement().notice.text.splitlines()[0],
    ):
        assert part in text
    assert text.count(spoken_code(result.revocation_code)) == 1
    assert "Demo" not in text


def test_receipt_of_a_demo_and_of_a_representative_say_so() -> None:
    demo = enrolled(probes(looks_of(1, 1), FrameOrigin.REPLAY), demo=True)
    assert "compared with replayed pictures only" in receipt_text(
        demo, agreement().notice, leave_command="x"
    )
    terms = agreement(Purpose.CARE, lawful_basis=LawfulBasis.LEGAL_REPRESENTATIVE)
    represented = enrolled(probes(looks_of(1, 3)), agreement=terms)
    assert "your legal representative" in receipt_text(represented, terms.notice, leave_command="x")
