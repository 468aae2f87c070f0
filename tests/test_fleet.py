"""A fleet from the operator's folder to the device: who comes in, who leaves, and what moves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_app.adapters.keys import trust_stations
from edge_app.app import first_calibration, intended_use
from edge_app.core.consent import station_id
from edge_app.core.keyring import seal_for
from edge_app.core.person import pack_person
from edge_app.core.roster import register
from edge_app.errors import (
    ConfigError,
    EnrolmentError,
    GalleryError,
    KeyFileError,
)
from edge_app.operate import (
    add_device,
    init,
    remove_device,
    remove_station,
    renew,
    rotate_root,
    status,
)
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.repository import ROOT_KEYS
from edge_app.records import Purpose
from edge_app.station import deliver, keeping
from edge_app.sync import sync
from tests.fleets import CLOCK, CONFIG, FLEET, MODEL, Fleet, code_of, names, person, served
from tests.people import STATION_KEY, USE, faces


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    with served(fleet.operator.repository) as address:
        yield address


def test_nobody_is_a_gallery_too(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    assert fleet.publish().generation == 1
    result = fleet.sync(gate, url)
    assert (result.generation, result.people, result.changed) == (1, 0, True)
    assert names(CONFIG, gate) == set()


def test_whoever_enrols_at_a_station_is_known_at_every_device(fleet: Fleet, url: str) -> None:
    gates = [fleet.device("gate-1"), fleet.device("gate-2")]
    fleet.enrol([person(1), person(2)])
    published = fleet.publish()
    assert (published.people, published.added, published.devices) == (2, 2, 2)
    for gate in gates:
        assert fleet.sync(gate, url).people == 2
        assert names(CONFIG, gate) == {"Name 1", "Name 2"}


def test_publishing_tells_how_far_it_has_come(fleet: Fleet) -> None:
    fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    told: dict[str, list[tuple[int, int]]] = {}
    fleet.publish(progress=lambda what, done, of: told.setdefault(what, []).append((done, of)))
    assert told["Reading the inbox"] == [(1, 2), (2, 2)]
    assert told["Wrapping keys"][-1] == (1, 1)
    done, of = told["Writing shards"][-1]
    assert done == of


def test_every_command_may_be_repeated(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    first = fleet.publish()
    assert not init(fleet.operator, FLEET, Purpose.ASSIST, CLOCK)
    assert not add_device(fleet.operator, gate.folder / "device.json")[1]
    second = fleet.publish()
    assert (second.generation, second.changed, second.people) == (first.generation, False, 1)
    assert fleet.sync(gate, url).changed
    again = fleet.sync(gate, url)
    assert not again.changed
    assert again.fetched_bytes < 1_000  # the timestamp only


def test_a_folder_is_of_one_fleet(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="name another folder"):
        init(fleet.operator, "another", Purpose.ASSIST, CLOCK)
    with pytest.raises(ConfigError, match=r"fleet\.json"):
        status(OperatorFolder(fleet.folder / "empty"), CLOCK)


def test_only_changed_shards_move(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(n) for n in range(300)])
    whole = fleet.publish()
    assert whole.shards == whole.changed_shards == 4
    fleet.sync(gate, url)
    fleet.leave(7)
    after = fleet.publish()
    assert (after.left, after.changed_shards) == (1, 1)
    assert fleet.sync(gate, url).fetched_bytes < 0.4 * whole.bundle_bytes
    assert names(CONFIG, gate) == {f"Name {n}" for n in range(300)} - {"Name 7"}


# ----------------------------------------------------------------------------- who leaves


def test_the_code_alone_takes_a_person_out(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    fleet.sync(gate, url)
    fleet.leave(1)
    assert fleet.publish().left == 1
    assert fleet.sync(gate, url).tombstones == 1
    assert names(CONFIG, gate) == {"Name 2"}
    assert status(fleet.operator, CLOCK).left == 1


def test_whoever_left_cannot_be_published_again(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.leave(1)
    fleet.publish()
    fleet.enrol([person(1)])  # the same signed record
    published = fleet.publish()
    assert published.people == 0
    assert "revoked" in published.refused[0].why
    fleet.sync(gate, url)
    assert names(CONFIG, gate) == set()


def test_leaving_at_the_device_outlives_every_later_sync(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1), person(2)])
    fleet.publish()
    fleet.sync(gate, url)
    assert gate.store().revoke(code_of(1))
    assert names(CONFIG, gate) == {"Name 2"}
    fleet.enrol([person(3)])  # the operator has not heard of it, and publishes them again
    fleet.publish()
    fleet.sync(gate, url)
    assert names(CONFIG, gate) == {"Name 2", "Name 3"}
    # Not only masked: what came in again was not stored.
    stored = gate.store().load(intended_use(CONFIG, gate, MODEL), now=CLOCK.now())
    assert stored.admission.left_out == {}


def test_a_code_that_is_none_is_set_aside(fleet: Fleet) -> None:
    (fleet.operator.inbox / "x.revocation").write_text("not a code")
    published = fleet.publish()
    assert published.refused[0].file == "x.revocation"
    assert (fleet.operator.refused / "x.revocation.why").exists()


def test_a_station_that_is_removed_takes_its_people_along(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    fleet.sync(gate, url)
    remove_station(fleet.operator, "glasses")
    assert fleet.publish().left == 1
    fleet.sync(gate, url)
    assert names(CONFIG, gate) == set()


def test_whose_retention_ended_is_left_out(fleet: Fleet) -> None:
    soon = timedelta(days=1, hours=1) // timedelta(seconds=1)
    fleet.enrol([person(1, retention_s=soon), person(2)])
    assert fleet.publish().people == 2
    assert fleet.publish(shift=timedelta(hours=2)).people == 1


# ------------------------------------------------------------------------------ who reads


def test_a_device_that_is_not_added_is_told_what_to_do(fleet: Fleet, url: str) -> None:
    stranger = fleet.device("stranger", added=False)
    fleet.publish()
    with pytest.raises(KeyFileError, match=r"give .*device\.json to the operator"):
        fleet.sync(stranger, url)


def test_a_removed_device_reads_nothing_published_later(fleet: Fleet, url: str) -> None:
    kept, lost = fleet.device("kept"), fleet.device("lost")
    fleet.enrol([person(n) for n in range(3)])
    before = fleet.publish()
    fleet.sync(lost, url)
    remove_device(fleet.operator, "lost")
    after = fleet.publish()
    assert after.changed_shards == after.shards  # every shard under a new key
    assert (before.devices, after.devices) == (2, 1)
    with pytest.raises(KeyFileError, match="does not know this device"):
        fleet.sync(lost, url)
    assert fleet.sync(kept, url).people == 3


def test_a_home_with_people_of_its_own_joins_no_fleet(fleet: Fleet, url: str) -> None:

    home = fleet.device("own")
    trust_stations(home.folder, {station_id(STATION_KEY): STATION_KEY})
    use = intended_use(CONFIG, home, MODEL)
    home.store().add(person(9), use, calibration=first_calibration(CONFIG, MODEL), now=CLOCK.now())
    fleet.publish()
    with pytest.raises(GalleryError, match="a gallery of its own"):
        fleet.sync(home, url)
    assert names(CONFIG, home) == {"Name 9"}


def test_nobody_enrols_into_a_fleets_gallery_on_the_device(fleet: Fleet, url: str) -> None:

    gate = fleet.device("gate")
    fleet.publish()
    fleet.sync(gate, url)
    use = intended_use(CONFIG, gate, MODEL)
    with pytest.raises(EnrolmentError, match="station enrol"):
        gate.store().add(
            person(1), use, calibration=first_calibration(CONFIG, MODEL), now=CLOCK.now()
        )


# ----------------------------------------------------------------------------- what comes in


def test_a_demo_enrolment_never_leaves_the_station(fleet: Fleet) -> None:
    demo = person(1, demo=True)
    with pytest.raises(EnrolmentError, match="enrol live"):
        deliver(demo, fleet.operator.fleet(), inbox=fleet.operator.inbox)


def test_the_publisher_takes_no_demo_enrolment_either(fleet: Fleet) -> None:

    key = bytes.fromhex(fleet.operator.fleet().operator_key)
    sealed = seal_for(key, pack_person(person(1, demo=True)), fleet=FLEET)
    (fleet.operator.inbox / "a.enrolment").write_bytes(sealed)
    published = fleet.publish()
    assert published.people == 0
    assert "never published" in published.refused[0].why


def test_a_fleet_of_another_purpose_is_refused_before_anybody_is_asked(fleet: Fleet) -> None:
    file = fleet.operator.folder / "fleet.json"
    with pytest.raises(EnrolmentError, match="--purpose assist"):
        keeping(file, Purpose.CARE, inbox=fleet.operator.inbox)
    assert keeping(file, Purpose.ASSIST, inbox=fleet.operator.inbox).fleet == FLEET


def test_the_publisher_takes_no_consent_for_another_purpose(fleet: Fleet) -> None:
    fleet.enrol([person(1, purpose=Purpose.CARE)])
    assert "wrong_purpose" in fleet.publish().refused[0].why


def test_a_device_installs_no_demo_enrolment(fleet: Fleet) -> None:
    """P4: not even a signed gallery brings photographs before a camera."""
    gate, people = fleet.device("gate"), [person(1, demo=True)]
    with pytest.raises(GalleryError, match="never published"):
        gate.store().stage("", register(people, USE.trusted_stations), faces(1), b"")
    assert not list(gate.folder.rglob("blocks"))


def test_no_file_of_a_fleet_tells_a_face_or_a_name(fleet: Fleet, url: str) -> None:
    """P5, P6: inbox, operator, repository, and what a device fetched and keeps."""
    gate, someone = fleet.device("gate"), person(1)
    secrets = [someone.name.encode(), someone.templates[0].embedding.tobytes()]
    fleet.enrol([someone])
    assert_absent(fleet.folder, secrets)
    fleet.publish()
    fleet.sync(gate, url)
    assert_absent(fleet.folder, secrets)
    assert names(CONFIG, gate) == {someone.name}


def assert_absent(folder: Path, secrets: list[bytes]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert not any(secret[:64] in content for secret in secrets), path


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 500])
def test_a_damaged_enrolment_is_set_aside_with_its_reason(fleet: Fleet, damage: bytes) -> None:
    (fleet.operator.inbox / "a.enrolment").write_bytes(damage)
    published = fleet.publish()
    assert [refused.file for refused in published.refused] == ["a.enrolment"]
    assert (fleet.operator.refused / "a.enrolment").read_bytes() == damage


def test_a_station_that_was_never_added_enrols_nobody(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    remove_station(fleet.operator, "glasses")
    fleet.enrol([person(1)])
    assert "unknown_station" in fleet.publish().refused[0].why


def test_publishing_cut_off_before_it_was_served_is_completed(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(1)])
    fleet.publish()
    # As after a kill between the book and the repository's new names.
    fleet.operator.write_book(replace(fleet.operator.read_book(), served=False))
    assert fleet.publish().changed
    assert fleet.sync(gate, url).people == 1


# -------------------------------------------------------------------------------- freshness


def test_a_gallery_is_fresh_for_a_day_and_renewed(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.publish()
    first = fleet.sync(gate, url).lease_until
    assert timedelta(hours=23) < first - datetime.now(UTC) <= timedelta(hours=24)
    until = renew(fleet.operator, CLOCK)
    assert fleet.sync(gate, url).lease_until == until >= first


def test_root_keys_change_and_devices_follow(fleet: Fleet, url: str) -> None:
    gate, root = fleet.device("gate"), fleet.root
    fleet.publish()
    fleet.sync(gate, url)
    rotate_root(fleet.operator, CLOCK)
    fleet.enrol([person(1)])
    fleet.publish()
    assert fleet.root != root
    assert sync(CONFIG, gate, url=url, root=root, clock=CLOCK).people == 1


def test_a_change_of_root_keys_that_was_cut_off_is_taken_up(fleet: Fleet, url: str) -> None:
    gate, root = fleet.device("gate"), fleet.root
    fleet.publish()
    # Killed after the new root was served, before the new keys took their places.
    old = fleet.operator.require_signing_keys(ROOT_KEYS)
    rotate_root(fleet.operator, CLOCK)
    new = fleet.operator.require_signing_keys(ROOT_KEYS)
    for name in ROOT_KEYS:
        fleet.operator.replace_key(f"{name}.next", new[name].private_bytes_raw())
        fleet.operator.replace_key(name, old[name].private_bytes_raw())
    rotate_root(fleet.operator, CLOCK)
    found = fleet.operator.require_signing_keys(ROOT_KEYS)
    assert all(found[n].private_bytes_raw() == new[n].private_bytes_raw() for n in ROOT_KEYS)
    rotate_root(fleet.operator, CLOCK)  # and the next change is signed by what devices trust
    fleet.publish()
    assert sync(CONFIG, gate, url=url, root=root, clock=CLOCK).generation == 1


def test_root_keys_that_devices_do_not_trust_change_nothing(fleet: Fleet) -> None:
    before = sorted((fleet.operator.repository / "metadata").iterdir())
    for name in ROOT_KEYS:
        fleet.operator.replace_key(name, Ed25519PrivateKey.generate().private_bytes_raw())
    with pytest.raises(KeyFileError, match="not those that devices trust"):
        rotate_root(fleet.operator, CLOCK)
    assert sorted((fleet.operator.repository / "metadata").iterdir()) == before


def test_what_waits_is_counted(fleet: Fleet) -> None:
    assert status(fleet.operator, CLOCK).waiting == 0
    fleet.enrol([person(1)])
    fleet.leave(2)
    assert status(fleet.operator, CLOCK).waiting == 2
    fleet.publish()
    assert status(fleet.operator, CLOCK).waiting == 0


def test_two_syncs_at_once_take_turns(fleet: Fleet, url: str) -> None:
    gate = fleet.device("gate")
    fleet.enrol([person(n) for n in range(5)])
    fleet.publish()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fleet.sync(gate, url), range(8)))
    assert sorted(result.changed for result in results) == [False] * 7 + [True]


def test_the_root_is_not_changed_with_one_key_only(fleet: Fleet) -> None:
    for name in ("root-2", "root-3"):
        fleet.operator.drop_key(name)
    with pytest.raises(KeyFileError, match=r"root-2\.key is not here"):
        rotate_root(fleet.operator, CLOCK)
