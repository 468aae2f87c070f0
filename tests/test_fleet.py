"""A fleet from the operator's folder to the device: who comes in, who leaves, and what moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

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
from edge_app.records import Purpose
from edge_app.station import deliver
from tests.fleets import CLOCK, CONFIG, FLEET, Fleet, code_of, names, person, served


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
    from edge_app.adapters.keys import trust_stations
    from edge_app.app import first_calibration, intended_use
    from edge_app.core.consent import station_id
    from tests.fleets import MODEL
    from tests.people import STATION_KEY

    home = fleet.device("own")
    trust_stations(home.folder, {station_id(STATION_KEY): STATION_KEY})
    use = intended_use(CONFIG, home, MODEL)
    home.store().add(person(9), use, calibration=first_calibration(CONFIG, MODEL), now=CLOCK.now())
    fleet.publish()
    with pytest.raises(GalleryError, match="a gallery of its own"):
        fleet.sync(home, url)
    assert names(CONFIG, home) == {"Name 9"}


def test_nobody_enrols_into_a_fleets_gallery_on_the_device(fleet: Fleet, url: str) -> None:
    from edge_app.app import first_calibration, intended_use
    from tests.fleets import MODEL

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
        deliver(demo, fleet=fleet.operator.folder / "fleet.json", inbox=fleet.operator.inbox)


def test_the_publisher_takes_no_demo_enrolment_either(fleet: Fleet) -> None:
    from edge_app.core.keyring import seal_for
    from edge_app.core.person import pack_person

    key = bytes.fromhex(fleet.operator.fleet().operator_key)
    sealed = seal_for(key, pack_person(person(1, demo=True)), fleet=FLEET)
    (fleet.operator.inbox / "a.enrolment").write_bytes(sealed)
    published = fleet.publish()
    assert published.people == 0
    assert "never published" in published.refused[0].why


def test_a_consent_for_another_purpose_is_not_sealed(fleet: Fleet) -> None:
    with pytest.raises(EnrolmentError, match="--purpose assist"):
        fleet.enrol([person(1, purpose=Purpose.CARE)])


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
    from edge_app.sync import sync

    assert sync(CONFIG, gate, url=url, root=root, clock=CLOCK).people == 1


def test_the_root_is_not_changed_with_one_key_only(fleet: Fleet) -> None:
    for name in ("root-2", "root-3"):
        fleet.operator.drop_key(name)
    with pytest.raises(KeyFileError, match=r"root-2\.key is not here"):
        rotate_root(fleet.operator, CLOCK)
