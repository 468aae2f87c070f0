"""P3: whoever left, or whose consent ended, is never usable again.

A machine calls a real store in any order: people come, leave with their code, are taken out by the
owner, run out of time, are purged, come again with the same signed record; older copies of the
folder are put back, also with a forged floor; the folder is moved away; the clock is set back.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_app.adapters.clock import ManualClock
from edge_app.adapters.keys import station_key
from edge_app.app import Home, embedder_sha256, first_calibration, intended_use, open_gallery
from edge_app.config import make_config
from edge_app.core.consent import sign
from edge_app.core.gallery import Gallery
from edge_app.core.revocation import ENTROPY_BYTES, new_code, revocation_sha256, spoken_code
from edge_app.errors import ConsentError, EnrolmentError, GalleryError
from edge_app.records import Enrolment, FrameOrigin, Template
from tests.people import faces, record

DAY_S = 86_400
CONFIG = make_config({"match": {"index": "exact"}})
MODEL_SHA256 = embedder_sha256(CONFIG)
CALIBRATION = first_calibration(CONFIG, MODEL_SHA256)
FACES = faces(200)


@dataclass(frozen=True, slots=True)
class Consent:
    """What was signed once, and what its person holds."""

    enrolment: Enrolment
    code: str
    ends: datetime
    erased: datetime


@dataclass(frozen=True, slots=True)
class Backup:
    folder: Path
    present: frozenset[int]


class StoreMachine(RuleBasedStateMachine):
    """`signed` is every consent ever; `present` is who is in the store; `ended` never shrinks."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.home = Home(self.root / "home", None)
        self.station = station_key(self.home.keys)
        self.use = intended_use(CONFIG, self.home, MODEL_SHA256)
        self.clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.signed: list[Consent] = []
        self.present: set[int] = set()
        self.ended: set[int] = set()
        self.backups: list[Backup] = []
        self.running: list[Gallery] = []

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    # ------------------------------------------------------------------- what can happen

    @rule(valid_days=st.integers(1, 5), kept_days=st.integers(1, 9), arrives=st.booleans())
    def agree(self, valid_days: int, kept_days: int, *, arrives: bool) -> None:
        """A consent is signed; its person may come into the gallery later, or never."""
        number = len(self.signed)
        code = new_code(number.to_bytes(ENTROPY_BYTES))
        embeddings = FACES[number : number + 1]
        given = record(
            number,
            embeddings,
            event_time=self.clock.now(),
            validity_duration_s=valid_days * DAY_S,
            retention_s=kept_days * DAY_S,
            model_sha256=MODEL_SHA256,
            revocation_sha256=revocation_sha256(code),
        )
        templates = (Template(given.template_ids[0], embeddings[0]),)
        self.signed.append(
            Consent(
                Enrolment(f"Name {number}", "friend", sign(given, self.station), templates),
                code,
                given.event_time + timedelta(days=min(valid_days, kept_days)),
                given.event_time + timedelta(days=kept_days),
            )
        )
        if arrives:
            self.add(number)

    @precondition(lambda self: self.signed)
    @rule(pick=st.integers(0, 199))
    def add(self, pick: int) -> None:
        """Somebody puts a signed record in, perhaps once more."""
        number = pick % len(self.signed)
        if number in self.ended:
            with pytest.raises(ConsentError, match=r"revoked|expired"):
                self.store_add(number)
        elif number in self.present:
            with pytest.raises(EnrolmentError):
                self.store_add(number)
        else:
            self.store_add(number)
            self.present = (self.present - self.departed()) | {number}

    @precondition(lambda self: self.signed)
    @rule(pick=st.integers(0, 199))
    def leave_with_the_code(self, pick: int) -> None:
        number = pick % len(self.signed)
        was_there = self.home.store().revoke(spoken_code(self.signed[number].code))
        assert was_there == (number in self.present)
        self.ended.add(number)
        self.present -= self.departed()

    @precondition(lambda self: self.signed)
    @rule(pick=st.integers(0, 199))
    def taken_out_by_the_owner(self, pick: int) -> None:
        number = pick % len(self.signed)
        if number in self.present:
            self.home.store().remove(f"person-{number}")
            self.ended.add(number)
            self.present -= self.departed()
        else:
            with pytest.raises(GalleryError, match="nobody here"):
                self.home.store().remove(f"person-{number}")

    @rule(hours=st.integers(1, 3 * 24))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * 3600)

    @rule()
    def purge(self) -> None:
        now = self.clock.now()
        outdated = {number for number in self.present if self.signed[number].erased <= now}
        assert self.home.store().purge(now=now) == len(outdated | self.departed())
        self.present -= outdated | self.departed()

    @rule()
    def back_up(self) -> None:
        if (self.home.folder / "store").exists():
            folder = self.root / f"backup-{len(self.backups)}"
            shutil.copytree(self.home.folder / "store", folder)
            self.backups.append(Backup(folder, frozenset(self.present)))

    @precondition(lambda self: self.backups)
    @rule(pick=st.integers(0, 99))
    def restore(self, pick: int) -> None:
        """An older copy is put back; it is refused, or holds nobody who left."""
        store, newest = self.home.folder / "store", self.root / "newest"
        there_was_one = store.exists()
        if there_was_one:
            store.rename(newest)
        shutil.copytree(self.backups[pick % len(self.backups)].folder, store)
        try:
            self.require_none_ended(self.opened())
        except GalleryError as error:
            assert "restore its newest copy" in str(error)  # noqa: PT017 - both ends are right
        shutil.rmtree(store)
        if there_was_one:
            newest.rename(store)

    @precondition(lambda self: self.backups)
    @rule(pick=st.integers(0, 99))
    def restore_with_a_forged_floor(self, pick: int) -> None:
        backup = self.backups[pick % len(self.backups)]
        self.move_the_gallery_away()
        shutil.copytree(backup.folder, self.home.folder / "store")
        (self.home.folder / "withdrawn" / "floor").write_bytes(b"0")
        self.present = set(backup.present)

    @rule()
    def move_the_gallery_away(self) -> None:
        shutil.rmtree(self.home.folder / "store", ignore_errors=True)
        self.present = set()

    @precondition(lambda self: self.signed)
    @rule(days=st.integers(1, 400), pick=st.integers(0, 199))
    def set_the_clock_back(self, days: int, pick: int) -> None:
        """No gallery opens then, and nobody who left comes in."""
        number = pick % len(self.signed)
        self.clock.advance(-days * DAY_S)
        with pytest.raises(GalleryError, match="set the clock"):
            self.opened()
        if number in self.ended - self.expired:
            with pytest.raises(ConsentError, match=r"revoked|not_yet_valid"):
                self.store_add(number)
        self.clock.advance(days * DAY_S)

    # ----------------------------------------------------------------- what must be true

    @invariant()
    def whoever_ended_is_not_usable(self) -> None:
        now = self.clock.now()
        self.ended |= {n for n, consent in enumerate(self.signed) if consent.ends <= now}
        gallery = self.opened()
        usable = {n for n in range(len(self.signed)) if self.usable(gallery, n)}
        assert usable == self.present - self.ended

        self.running = [*self.running[-7:], gallery]

    @invariant()
    def running_devices_use_nobody_who_ended(self) -> None:
        """A device keeps its gallery in memory, and masks whoever leaves."""
        tombstones = self.home.store().tombstones()
        for gallery in self.running:
            self.require_none_ended(gallery.without_departed(tombstones))

    # --------------------------------------------------------------------------- helpers

    @property
    def expired(self) -> set[int]:
        now = self.clock.now()
        return {number for number, consent in enumerate(self.signed) if consent.ends <= now}

    def departed(self) -> set[int]:
        """Who is to be erased at the next change, for they left."""
        tombstones = self.home.store().tombstones()
        of_codes = {revocation_sha256(self.signed[n].code): n for n in range(len(self.signed))}
        return {of_codes[digest] for digest in tombstones if digest in of_codes} & self.present

    def store_add(self, number: int) -> None:
        self.home.store().add(
            self.signed[number].enrolment,
            self.use,
            calibration=CALIBRATION,
            now=self.clock.now(),
        )

    def opened(self) -> Gallery:
        return open_gallery(CONFIG, self.home, MODEL_SHA256, self.clock)

    def usable(self, gallery: Gallery, number: int) -> bool:
        return gallery.is_usable(f"person-{number}", FrameOrigin.LIVE, self.clock.now())

    def require_none_ended(self, gallery: Gallery) -> None:
        assert not [number for number in self.ended if self.usable(gallery, number)]


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
