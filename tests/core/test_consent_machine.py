"""Consent as a machine: whatever happens in whatever order, nothing makes an ended one usable."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_app.core.consent import (
    ConsentEvent,
    ConsentFault,
    IntendedUse,
    check,
    sign,
    standing,
    tombstone_ids,
    transition,
)
from edge_app.records import (
    ConsentRecord,
    ConsentState,
    Enrolment,
    EventType,
    LawfulBasis,
    Purpose,
)
from tests.people import NOW, STATION, USE, admitted, enrolment, faces

DAY_S = 86_400
FACE = faces(1)
ENDED = {ConsentState.WITHDRAWN, ConsentState.EXPIRED, ConsentState.ERASED}


class ConsentMachine(RuleBasedStateMachine):
    """One consent: its forms (every one that a station ever signed), the tombstones, the clock."""

    @initialize(validity_days=st.integers(1, 30), retention_days=st.integers(1, 30))
    def give(self, validity_days: int, retention_days: int) -> None:
        given = enrolment(
            1,
            FACE,
            event_time=NOW,
            validity_duration_s=validity_days * DAY_S,
            retention_s=retention_days * DAY_S,
        )
        self.forms = [given]
        self.now = NOW
        self.tombstones: frozenset[str] = frozenset()
        self.ended: set[int] = set()
        self.lifetime = timedelta(days=min(validity_days, retention_days))

    @property
    def newest(self) -> ConsentRecord:
        return self.forms[-1].consent.record

    def fault(self, form: Enrolment) -> ConsentFault | None:
        """Why this form may not be used; the verdicts over records and over columns agree."""
        fault = check(form, USE, tombstones=self.tombstones, now=self.now)
        admission = admitted([form], tombstones=self.tombstones, now=self.now)
        assert admission.left_out == ({} if fault is None else {fault: 1})
        assert len(admission.people) == (fault is None)
        return fault

    @rule(event=st.sampled_from(ConsentEvent))
    def write_down(self, event: ConsentEvent) -> None:
        """The station signs the record anew, with what happened."""
        record = self.newest
        state = transition(standing(record, self.now), event)
        assert state in ENDED
        withdrawn = event is ConsentEvent.WITHDRAW or record.event_type is EventType.WITHDRAWN
        signed = sign(
            replace(
                record,
                event_state=state,
                event_type=EventType.WITHDRAWN if withdrawn else EventType.GIVEN,
                erasure_confirmed_generation=7 if state is ConsentState.ERASED else None,
            ),
            STATION,
        )
        self.forms.append(replace(self.forms[-1], consent=signed))

    @precondition(lambda self: self.newest.event_type is EventType.WITHDRAWN)
    @rule()
    def contradict(self) -> None:
        """A careless station signs "withdrawn" and "active" at once; the worse of them counts."""
        signed = sign(replace(self.newest, event_state=ConsentState.ACTIVE), STATION)
        self.forms.append(replace(self.forms[-1], consent=signed))
        assert standing(self.newest, self.now) in ENDED

    @rule(which=st.sampled_from(["the code", "the record", "both"]))
    def leave(self, which: str) -> None:
        of_code = {self.newest.revocation_sha256}
        both = tombstone_ids(self.newest)
        digests = {"the code": of_code, "the record": both - of_code, "both": both}[which]
        self.tombstones |= digests

    @rule(hours=st.integers(1, 15 * 24))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @invariant()
    def what_ended_stays_ended(self) -> None:
        over = bool(self.tombstones) or self.now >= NOW + self.lifetime
        for number, form in enumerate(self.forms):
            record, fault = form.consent.record, self.fault(form)
            if fault is None:
                assert number not in self.ended
                assert not over
                assert standing(record, self.now) is ConsentState.ACTIVE
                assert record.event_type is EventType.GIVEN
            else:
                self.ended.add(number)


TestConsentMachine = ConsentMachine.TestCase
TestConsentMachine.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("basis", list(LawfulBasis))
def test_a_representative_consents_to_care_only(purpose: Purpose, basis: LawfulBasis) -> None:
    person = enrolment(1, FACE, purpose=purpose, lawful_basis=basis)
    use = IntendedUse(purpose, USE.model_sha256, USE.trusted_stations)
    fault = check(person, use, tombstones=frozenset(), now=NOW)
    represented = basis is LawfulBasis.LEGAL_REPRESENTATIVE
    allowed = not represented or purpose is Purpose.CARE
    assert fault is (None if allowed else ConsentFault.BASIS_NOT_ALLOWED)
    assert len(admitted([person], use).people) == allowed
