"""What an enrolment station hands to its operator: itself, and people."""

from __future__ import annotations

import secrets
from pathlib import Path

from edge_app.adapters.durable import exclusive, write_durably
from edge_app.adapters.keys import station_key
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.consent import station_id
from edge_app.core.keyring import seal_for
from edge_app.core.manifest import StationKey, identity_json
from edge_app.core.person import pack_person
from edge_app.enrolment.station import FleetKeeping
from edge_app.errors import EnrolmentError
from edge_app.publisher.folder import ENROLMENT_SUFFIX, Fleet, read_fleet
from edge_app.records import Enrolment, Purpose

STATION_FILE = "station.json"


def introduce_station(config: Config, home: Home) -> tuple[Path, str]:
    """Write the station's public file; returns it and the station's id.

    Raises KeyFileError, StorageError.
    """
    public = station_key(home.keys).public_key().public_bytes_raw()
    path = home.folder / STATION_FILE
    with exclusive(home.folder):
        write_durably(path, identity_json(StationKey(config.device, public.hex())))
    return path, station_id(public)


def keeping(fleet: Path, purpose: Purpose, *, inbox: Path) -> FleetKeeping:
    """Hands people over to a fleet's operator: sealed to that operator's key, into the inbox.

    fleet: the operator's `fleet.json`.

    Raises:
        ConfigError: not a fleet's file.
        EnrolmentError: the fleet is for another purpose than `purpose`.
    """
    public = read_fleet(fleet)
    if purpose is not public.purpose:
        raise EnrolmentError(
            f'the fleet "{public.fleet}" is for {public.purpose}, and this consent for '
            f"{purpose}; enrol with --purpose {public.purpose}"
        )
    return FleetKeeping(public.fleet, lambda person: deliver(person, public, inbox=inbox))


def deliver(person: Enrolment, fleet: Fleet, *, inbox: Path) -> Path:
    """Seal a signed enrolment to a fleet's operator and put it into the inbox.

    Raises:
        EnrolmentError: a demo enrolment (P4).
        StorageError: the inbox cannot be written.
    """
    if person.consent.record.demo:
        raise EnrolmentError("demo enrolments stay on the device they were made on; enrol live")
    sealed = seal_for(bytes.fromhex(fleet.operator_key), pack_person(person), fleet=fleet.fleet)
    # A name of its own, so that the inbox tells nothing of the person.
    path = inbox / f"{secrets.token_hex(16)}{ENROLMENT_SUFFIX}"
    with exclusive(inbox):
        write_durably(path, sealed)
    return path
