import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.adapters import gallery_store
from edge_app.adapters.exact_index import ExactIndex
from edge_app.adapters.gallery_store import GalleryStore, StoredGallery
from edge_app.core.consent import ConsentFault, sign
from edge_app.core.gallery import build_gallery
from edge_app.core.match import match
from edge_app.core.revocation import new_code, revocation_sha256, spoken_code
from edge_app.errors import (
    ConsentError,
    EnrolmentError,
    GalleryError,
    KeyFileError,
    StorageError,
)
from edge_app.records import Enrolment, Purpose
from tests.people import CALIBRATION, DIM, NOW, USE, enrolment, faces, gallery_of, probe, record

KEY = b"k" * 32
FACES = faces(60)
CODE = new_code(b"revocation-code")
ADA = enrolment(1, FACES[:3], revocation_sha256=revocation_sha256(CODE))
BEN = enrolment(2, FACES[3:5])
CAT = enrolment(3, FACES[5:6])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store"


@pytest.fixture
def store(folder: Path) -> GalleryStore:
    return opened(folder)


def opened(folder: Path, key: bytes = KEY) -> GalleryStore:
    return GalleryStore(folder, key, withdrawn=withdrawn(folder))


def withdrawn(folder: Path) -> Path:
    return folder.parent / "withdrawn"


def add(store: GalleryStore, *people: Enrolment) -> None:
    for person in people:
        store.add(person, USE, calibration=CALIBRATION, now=NOW)


def load(store: GalleryStore) -> StoredGallery:
    return store.load(USE, now=NOW)


def ids(store: GalleryStore) -> list[str]:
    return [person.person_id for person in load(store).admission.people]


def keep_copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.parent / name))


# ----------------------------------------------------------------------- empty, one, many


def test_absent_store_is_empty_and_stays_absent(store: GalleryStore, folder: Path) -> None:
    stored = load(store)
    assert stored.generation == 0
    assert len(stored.admission.people) == 0
    assert stored.matrix.shape == (0, 0)
    assert not folder.exists()


def test_one_person_comes_back_whole(store: GalleryStore) -> None:
    add(store, ADA)
    stored = load(store)
    (member,) = stored.admission.people
    assert (member.name, member.relation, member.demo) == (ADA.name, ADA.relation, False)
    assert member.record_id == ADA.consent.record.record_id
    (person,) = store.everyone()
    assert (person.name, person.relation, person.consent) == (ADA.name, ADA.relation, ADA.consent)
    assert [t.template_id for t in person.templates] == [t.template_id for t in ADA.templates]
    assert np.array_equal(stored.matrix, FACES[:3])
    assert stored.generation == 1
    assert stored.locked
    assert not stored.matrix.flags.writeable


def test_the_first_person_brings_the_calibration_and_the_next_leave_it(
    store: GalleryStore,
) -> None:
    assert load(store).calibration is None
    add(store, ADA)
    assert load(store).calibration == CALIBRATION
    other = replace(CALIBRATION, threshold=0.5)
    store.add(BEN, USE, calibration=other, now=NOW)
    assert load(store).calibration == CALIBRATION
    for person in (ADA, BEN):
        store.remove(person.person_id)
    assert load(store).calibration == CALIBRATION


def test_a_new_calibration_is_another_generation(store: GalleryStore) -> None:
    add(store, ADA)
    seen = store.fingerprint()
    store.calibrate(replace(CALIBRATION, threshold=0.5))
    stored = load(store)
    assert stored.calibration == replace(CALIBRATION, threshold=0.5)
    assert stored.generation == 2
    assert [person.person_id for person in stored.admission.people] == [ADA.person_id]
    assert store.fingerprint() != seen
    store.calibrate(replace(CALIBRATION, threshold=0.5))
    assert load(store).generation == 2


def test_an_empty_store_can_be_calibrated(store: GalleryStore) -> None:
    store.calibrate(CALIBRATION)
    assert load(store).calibration == CALIBRATION
    assert ids(store) == []
    add(store, ADA)
    assert ids(store) == [ADA.person_id]


def test_names_of_all_scripts_come_back(store: GalleryStore) -> None:
    person = replace(ADA, name='Zoë 陳 "O\'Neill" \\ 🙂', relation="")
    add(store, person)
    assert load(store).admission.people.member(0).name == person.name


def test_many_people_come_back_in_order_and_can_be_matched(store: GalleryStore) -> None:
    add(store, *(enrolment(n, FACES[n : n + 1], demo=n % 5 == 0) for n in range(20)))
    stored = load(store)
    gallery = build_gallery(
        stored.admission,
        stored.matrix,
        generation=stored.generation,
        calibration=CALIBRATION,
        index_factory=ExactIndex,
    )
    assert stored.generation == 20
    assert match(probe(FACES[7]), gallery, NOW, 1)[0].person_id == "person-7"
    assert match(probe(FACES[5]), gallery, NOW, 1)[0].similarity < 0.5


def test_files_are_private(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    store.revoke(CODE)
    files = sorted(path for path in folder.parent.rglob("*") if path.is_file())
    assert [str(path.relative_to(folder.parent)) for path in files] == [
        "store/gallery.sealed",
        "withdrawn/floor",
        "withdrawn/lock",
        "withdrawn/reserve",
        "withdrawn/tombstones",
    ]
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_store_reads_nothing_without_its_key(store: GalleryStore, folder: Path) -> None:
    """P6 at this boundary: names, ids and templates are nowhere in the clear."""
    add(store, ADA, BEN)
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() for path in files)
    record_ = ADA.consent.record
    for secret in ("Name 1", "friend", record_.record_id, record_.pii_principal_id):
        assert secret.encode() not in everything
    assert FACES[0].tobytes()[:16] not in everything


def test_same_content_is_never_encrypted_alike(tmp_path: Path) -> None:
    sizes: set[int] = set()
    contents: set[bytes] = set()
    for name in ("one", "two"):
        add(opened(tmp_path / name / "store"), ADA)
        content = (tmp_path / name / "store" / "gallery.sealed").read_bytes()
        sizes.add(len(content))
        contents.update(content[n : n + 16] for n in range(96, len(content) - 15))
    assert len(sizes) == 1
    assert len(contents) == 2 * (sizes.pop() - 96 - 15)


# ----------------------------------------------------------------------- consents at load


def test_load_leaves_out_whoever_may_not_be_used_and_never_fails_for_it(
    store: GalleryStore,
) -> None:
    add(store, ADA, BEN, CAT)
    later = NOW + timedelta(days=364)
    store.add(
        enrolment(4, FACES[6:7], event_time=later - timedelta(days=1)),
        USE,
        calibration=CALIBRATION,
        now=later,
    )
    stored = store.load(USE, now=later)
    assert [p.person_id for p in stored.admission.people] == ["person-4"]
    assert stored.admission.left_out == {ConsentFault.EXPIRED: 3}
    assert np.array_equal(stored.matrix, FACES[6:7])
    stored = store.load(replace(USE, purpose=Purpose.CARE), now=NOW)
    assert stored.admission.left_out == {ConsentFault.WRONG_PURPOSE: 4}
    assert stored.matrix.shape == (0, 0)
    stored = store.load(replace(USE, trusted_stations={}), now=NOW)
    assert stored.admission.left_out == {ConsentFault.UNKNOWN_STATION: 4}
    assert ids(store) == ["person-1", "person-2", "person-3"]


def test_add_stores_nothing_that_load_would_leave_out(store: GalleryStore, folder: Path) -> None:
    stranger = Ed25519PrivateKey.generate()
    unusable = [
        enrolment(1, FACES[:1], purpose=Purpose.CARE),
        enrolment(1, FACES[:1], validity_duration_s=60),
        replace(ADA, consent=sign(record(1, FACES[:3]), stranger)),
        replace(ADA, templates=BEN.templates),
    ]
    for person in unusable:
        with pytest.raises(ConsentError, match="would not be accepted"):
            add(store, person)
    assert not (folder / "gallery.sealed").exists()


def test_person_is_not_added_twice(store: GalleryStore) -> None:
    add(store, ADA)
    with pytest.raises(EnrolmentError, match="remove them first"):
        add(store, ADA)
    assert ids(store) == ["person-1"]


def test_templates_of_another_length_are_refused(store: GalleryStore) -> None:
    add(store, ADA)
    with pytest.raises(EnrolmentError, match="another embedder"):
        add(store, enrolment(2, faces(1, dim=128)))
    assert ids(store) == ["person-1"]


def test_26th_demo_template_is_refused(store: GalleryStore) -> None:
    add(store, enrolment(0, FACES[30:60]))
    for n in range(1, 6):
        add(store, enrolment(n, FACES[n * 5 : n * 5 + 5], demo=True))
    with pytest.raises(EnrolmentError, match="at most 25 demo templates"):
        add(store, enrolment(6, FACES[:1], demo=True))
    assert len(ids(store)) == 6


# ---------------------------------------------------------------------- leaving for good


def test_holder_of_the_code_leaves_at_once(store: GalleryStore) -> None:
    add(store, ADA, BEN)
    assert store.revoke(f" {spoken_code(CODE).lower()} ")
    stored = load(store)
    assert [p.person_id for p in stored.admission.people] == ["person-2"]
    assert stored.admission.left_out == {}
    assert stored.generation == 3
    assert np.array_equal(stored.matrix, FACES[3:5])


def test_revoking_again_changes_nothing(store: GalleryStore) -> None:
    add(store, ADA)
    assert store.revoke(CODE)
    assert not store.revoke(CODE)
    assert load(store).generation == 2


def test_mistyped_code_revokes_nobody(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    for wrong in ("", CODE[:-1], CODE[1] + CODE[0] + CODE[2:-1] + "Z"):
        with pytest.raises(ConsentError, match="type it again"):
            store.revoke(wrong)
    assert ids(store) == ["person-1"]
    assert not (withdrawn(folder) / "tombstones").exists()


def test_code_presented_before_its_person_arrives_bars_them(store: GalleryStore) -> None:
    assert not store.revoke(CODE)
    with pytest.raises(ConsentError, match="revoked"):
        add(store, ADA)


def test_removed_person_is_gone(store: GalleryStore) -> None:
    add(store, ADA, BEN)
    store.remove("person-2")
    assert ids(store) == ["person-1"]
    with pytest.raises(GalleryError, match="nobody here has the id person-2"):
        store.remove("person-2")


def test_last_person_can_leave(store: GalleryStore) -> None:
    add(store, ADA)
    store.remove("person-1")
    assert ids(store) == []
    add(store, BEN)
    assert ids(store) == ["person-2"]


@pytest.mark.parametrize("leave", [lambda s: s.revoke(CODE), lambda s: s.remove("person-1")])
def test_restored_older_gallery_does_not_bring_the_person_back(
    store: GalleryStore, folder: Path, leave: Callable[[GalleryStore], object]
) -> None:
    """P3: every older generation is put back in turn, alone and with a forged floor."""
    older = []
    for person in (ADA, BEN, CAT):
        add(store, person)
        older.append(keep_copy(folder, f"backup-{person.person_id}"))
    leave(store)
    after = keep_copy(withdrawn(folder), "after")
    for backup in older:
        shutil.copytree(after, withdrawn(folder), dirs_exist_ok=True)
        shutil.copytree(backup, folder, dirs_exist_ok=True)
        with pytest.raises(GalleryError, match="restore its newest copy"):
            load(store)
        (withdrawn(folder) / "floor").write_bytes(b"0")
        stored = load(store)
        assert "person-1" not in [p.person_id for p in stored.admission.people]
        assert stored.admission.left_out == {ConsentFault.REVOKED: 1}
        with pytest.raises(ConsentError, match="revoked"):
            add(store, ADA)
        store.purge(now=NOW)
        assert load(store).admission.left_out == {}


def test_lost_tombstone_file_comes_back_from_the_gallery(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    older = keep_copy(folder, "older")
    store.revoke(CODE)
    add(store, BEN)
    (withdrawn(folder) / "tombstones").unlink()
    with pytest.raises(ConsentError, match="revoked"):
        add(store, ADA)
    add(store, CAT)
    shutil.copytree(older, folder, dirs_exist_ok=True)
    (withdrawn(folder) / "floor").write_bytes(b"0")
    assert ids(store) == []


def test_revocation_stands_even_if_the_gallery_cannot_be_read(
    store: GalleryStore, folder: Path
) -> None:
    add(store, ADA)
    good = (folder / "gallery.sealed").read_bytes()
    (folder / "gallery.sealed").write_bytes(good[:-1])
    with pytest.raises(GalleryError):
        store.revoke(CODE)
    (folder / "gallery.sealed").write_bytes(good)
    assert ids(store) == []


def test_purge_erases_what_may_not_be_kept(store: GalleryStore, folder: Path) -> None:
    short = enrolment(4, FACES[6:7], retention_s=30 * 86_400)
    add(store, ADA, short)
    assert store.purge(now=NOW) == 0
    assert load(store).generation == 2
    assert store.purge(now=NOW + timedelta(days=29)) == 1
    assert load(store).generation == 3
    assert ids(store) == ["person-1"]


def test_purge_of_an_absent_store_writes_nothing(store: GalleryStore, folder: Path) -> None:
    assert store.purge(now=NOW) == 0
    assert not (folder / "gallery.sealed").exists()


def test_fingerprint_changes_with_every_change_and_only_then(store: GalleryStore) -> None:
    seen = [store.fingerprint()]
    for change in (
        lambda: add(store, ADA),
        lambda: add(store, BEN),
        lambda: store.remove("person-2"),
        lambda: store.revoke(CODE),
        lambda: store.revoke(new_code(bytes(15))),
    ):
        change()
        load(store)
        assert store.fingerprint() not in seen
        seen.append(store.fingerprint())
    load(store)
    store.purge(now=NOW)
    assert store.fingerprint() == seen[-1]


# ------------------------------------------------------------------- damage and wrong keys


def test_wrong_key_is_told_from_damage(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    other = opened(folder, b"l" * 32)
    for use in (
        lambda: load(other),
        lambda: add(other, BEN),
        lambda: other.remove("person-1"),
    ):
        with pytest.raises(KeyFileError, match="the key does not open this gallery"):
            use()
    assert ids(store) == ["person-1"]


@pytest.fixture
def small(folder: Path) -> list[Path]:
    """The index and the one block of a store of one person with one tiny template."""
    opened(folder).add(enrolment(1, faces(1, dim=8)), USE, calibration=CALIBRATION, now=NOW)
    (block,) = (folder / "blocks").iterdir()
    return [folder / "gallery.sealed", block]


def read_all(folder: Path) -> None:
    """What a device matches with, and the records."""
    load(opened(folder))
    assert [p.person_id for p in opened(folder).everyone()] == ["person-1"]


def test_flipping_a_bit_of_any_byte_is_noticed(folder: Path, small: list[Path]) -> None:
    read_all(folder)
    for file in small:
        whole = file.read_bytes()
        for position in range(len(whole)):
            altered = bytearray(whole)
            altered[position] ^= 1 << position % 8
            file.write_bytes(altered)
            with pytest.raises(GalleryError):
                read_all(folder)
        file.write_bytes(whole)


def test_cutting_off_at_any_byte_is_noticed(folder: Path, small: list[Path]) -> None:
    for file in small:
        whole = file.read_bytes()
        for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
            file.write_bytes(content)
            with pytest.raises(GalleryError):
                load(opened(folder))
        file.write_bytes(whole)


@pytest.mark.parametrize(("number", "end"), [(0, 68), (1, 44), (1, 48), (1, 52), (1, 68), (1, 84)])
@pytest.mark.parametrize("value", [0, 2, 15, 16, 2**31, 2**32 - 1])
def test_hostile_lengths_reserve_no_memory(
    folder: Path, small: list[Path], number: int, end: int, value: int
) -> None:
    altered = bytearray(small[number].read_bytes())
    altered[end - 4 : end] = value.to_bytes(4, "little")
    small[number].write_bytes(altered)
    with pytest.raises(GalleryError):
        load(opened(folder))


def test_a_block_does_not_take_the_place_of_another(store: GalleryStore, folder: Path) -> None:
    """Not an older one of the same people either: same sizes, same key."""
    add(store, ADA)
    (old,) = (folder / "blocks").iterdir()
    kept = old.read_bytes()
    store.remove("person-1")
    add(store, enrolment(4, FACES[10:13]))
    (new,) = (folder / "blocks").iterdir()
    new.write_bytes(kept)
    with pytest.raises(GalleryError, match="altered"):
        load(store)


def test_segments_of_two_blocks_do_not_mix(store: GalleryStore, folder: Path) -> None:
    """Templates of the older block under the people of the newer: same sizes, same key."""
    add(store, ADA)
    (old,) = (folder / "blocks").iterdir()
    kept = old.read_bytes()
    store.remove("person-1")
    add(store, enrolment(4, FACES[10:13]))
    (new,) = (folder / "blocks").iterdir()
    content, size_bytes = new.read_bytes(), 3 * DIM * 4 + 16
    columns_bytes = int.from_bytes(content[64:68], "little")
    begin = 100 + columns_bytes
    new.write_bytes(
        content[:begin] + kept[begin : begin + size_bytes] + content[begin + size_bytes :]
    )
    with pytest.raises(GalleryError, match="altered"):
        load(store)


def test_a_missing_block_is_told(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    for block in (folder / "blocks").iterdir():
        block.unlink()
    with pytest.raises(GalleryError, match="is gone"):
        load(store)


def test_who_left_leaves_no_block_behind(store: GalleryStore, folder: Path) -> None:
    add(store, ADA, BEN)
    before = set((folder / "blocks").iterdir())
    assert len(before) == 1
    store.remove("person-2")
    after = set((folder / "blocks").iterdir())
    assert len(after) == 1
    assert not before & after
    store.remove("person-1")
    assert not list((folder / "blocks").iterdir())


def test_only_the_block_of_whoever_changed_is_written(
    store: GalleryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_store, "PEOPLE_PER_BLOCK", 2)
    add(store, *(enrolment(n, FACES[n : n + 1]) for n in range(7)))
    before = set((folder / "blocks").iterdir())
    assert len(before) == 4
    store.remove("person-3")
    after = set((folder / "blocks").iterdir())
    assert (len(after), len(before & after)) == (4, 3)
    assert ids(store) == [f"person-{n}" for n in (0, 1, 2, 4, 5, 6)]
    assert np.array_equal(load(store).matrix, FACES[[0, 1, 2, 4, 5, 6]])


@pytest.mark.parametrize("content", [b"", b"x", b"\n", b"-1", b"1.5", b"1\n"])
def test_damaged_floor_is_refused(store: GalleryStore, folder: Path, content: bytes) -> None:
    add(store, ADA)
    (withdrawn(folder) / "floor").write_bytes(content)
    with pytest.raises(GalleryError, match="cannot read"):
        load(store)


def test_vanished_gallery_is_not_taken_for_an_empty_one(store: GalleryStore, folder: Path) -> None:
    add(store, ADA)
    (folder / "gallery.sealed").unlink()
    with pytest.raises(GalleryError, match="is gone"):
        add(store, BEN)


def test_unreadable_gallery_is_reported(store: GalleryStore, folder: Path) -> None:
    (folder / "gallery.sealed").mkdir(parents=True)
    with pytest.raises(GalleryError, match="cannot read"):
        load(store)


# ------------------------------------------------------- full disks, kills, two processes


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_disk_that_fills_up_at_any_step_leaves_the_old_gallery(
    store: GalleryStore, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    add(store, ADA)
    real = getattr(os, failing)
    files = 2  # the gallery and its floor
    for step in range(files):
        left = iter(range(step))

        def fail(descriptor: int, *rest: object) -> object:
            if next(left, None) is None:  # noqa: B023 - called within this turn
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(os, failing, fail)
            with pytest.raises(StorageError, match="the disk is full; free some space"):
                add(store, BEN)
        assert ids(store) == ["person-1"]
        assert load(store).generation == 1
        assert not list(folder.parent.rglob("*.new"))
    add(store, BEN)
    assert ids(store) == ["person-1", "person-2"]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from tests.adapters.test_gallery_store import BEN, CODE, opened
from tests.people import CALIBRATION, NOW, USE

def die_after(calls):
    steps = iter(range(calls))
    def counted(real):
        def call(*args, **kwargs):
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("open", "write", "fsync", "replace", "close", "truncate"):
        setattr(os, name, counted(getattr(os, name)))

original = Path(sys.argv[1])
for step in range(300):
    folder = shutil.copytree(original, original.parent / f"step-{step:03}")
    child = os.fork()
    if child == 0:
        die_after(step)
        store = opened(folder / "store")
        store.add(BEN, USE, calibration=CALIBRATION, now=NOW)
        store.revoke(CODE)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
"""


def test_kill_at_any_step_leaves_a_state_that_was_meant(tmp_path: Path) -> None:
    """Add one person and revoke another; killed one system call later each time."""
    original = tmp_path / "original"
    add(opened(original / "store"), ADA)
    subprocess.run([sys.executable, "-c", KILLED, original], check=True)
    states = []
    for home in sorted(tmp_path.glob("step-*")):
        store = opened(home / "store")
        states.append(ids(store))
        store.purge(now=NOW)
        assert ids(store) == states[-1]
        assert load(store).admission.left_out == {}
        add(store, CAT)
        assert ids(store) == [*states[-1], "person-3"]
        assert not list(home.rglob("*.new"))
    meant = [["person-1"], ["person-1", "person-2"], ["person-2"]]
    assert states == sorted(states, key=meant.index)
    assert [state for state in meant if state in states] == meant
    assert len(states) > 20


def test_two_writers_lose_no_update(store: GalleryStore, folder: Path) -> None:
    def work(numbers: range) -> None:
        own = opened(folder)
        for n in numbers:
            add(own, enrolment(n, FACES[n : n + 1]))

    threads = [threading.Thread(target=work, args=(range(n, n + 8),)) for n in (0, 8, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(store)) == sorted(f"person-{n}" for n in range(24))
    assert load(store).generation == 24


def test_reader_beside_a_writer_always_sees_a_whole_gallery(
    store: GalleryStore, folder: Path
) -> None:
    add(store, ADA)
    over = threading.Event()
    sizes: list[int] = []

    def read() -> None:
        own = opened(folder)
        while not over.is_set():
            sizes.append(len(ids(own)))

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(10, 25):
        add(store, enrolment(n, FACES[n : n + 1]))
    over.set()
    thread.join()
    assert sizes == sorted(sizes)


def test_content_of_another_version_is_refused_with_a_remedy(
    store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, ADA)
    for content in ("[]", "{}", '{"people": [{}], "tombstones": []}', '{"people": []}'):
        with monkeypatch.context() as patched:
            patched.setattr(json, "loads", lambda _, c=content: json.JSONDecoder().decode(c))
            with pytest.raises(GalleryError, match="another version"):
                load(store)


@pytest.mark.parametrize("number", [0, 1, 3, 255])
def test_another_format_is_refused_with_a_remedy_and_left_alone(
    store: GalleryStore, folder: Path, number: int
) -> None:
    """What a program finds that was rolled back. Only the first bytes of a format are certain."""
    add(store, ADA)
    path = folder / "gallery.sealed"
    written = path.read_bytes()
    for content in (written[:7] + bytes([number]) + written[8:], b"FAMGAL\0" + bytes([number])):
        path.write_bytes(content)
        with pytest.raises(GalleryError, match=f"format {number}, not 2; install that version"):
            load(store)
        assert path.read_bytes() == content
    path.write_bytes(written)
    assert ids(store) == ["person-1"]


def test_gallery_from_the_store_equals_one_built_without(store: GalleryStore) -> None:
    add(store, ADA, BEN, CAT)
    stored = load(store)
    built = build_gallery(
        stored.admission,
        stored.matrix,
        generation=1,
        calibration=CALIBRATION,
        index_factory=ExactIndex,
    )
    plain = gallery_of([ADA, BEN, CAT])
    for embedding in FACES[:10]:
        found, expected = (match(probe(embedding), g, NOW, 3) for g in (built, plain))
        assert [c.person_id for c in found] == [c.person_id for c in expected]
