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
from edge_app.core.manifest import StationKey
from edge_app.core.person import pack_person
from edge_app.errors import EnrolmentError
from edge_app.publisher.folder import public_json, read_fleet
from edge_app.publisher.publish import ENROLMENT_SUFFIX
from edge_app.records import Enrolment

STATION_FILE = "station.json"


def introduce_station(config: Config, home: Home) -> tuple[Path, str]:
    """Write the station's public file; returns it and the station's id.

    Raises KeyFileError, StorageError.
    """
    public = station_key(home.keys).public_key().public_bytes_raw()
    path = home.folder / STATION_FILE
    with exclusive(home.folder):
        write_durably(path, public_json(StationKey(config.device, public.hex())))
    return path, station_id(public)


def deliver(person: Enrolment, *, fleet: Path, inbox: Path) -> Path:
    """Seal a signed enrolment to the fleet's operator and put it into the inbox.

    Raises:
        ConfigError: not a fleet's file.
        EnrolmentError: a demo enrolment (P4), or one for another purpose than the fleet's.
        StorageError: the inbox cannot be written.
    """
    public, record = read_fleet(fleet), person.consent.record
    if record.demo:
        raise EnrolmentError("demo enrolments stay on the device they were made on; enrol live")
    if record.purpose is not public.purpose:
        raise EnrolmentError(
            f'the fleet "{public.fleet}" is for {public.purpose}, and this consent for '
            f"{record.purpose}; enrol with --purpose {public.purpose}"
        )
    sealed = seal_for(bytes.fromhex(public.operator_key), pack_person(person), fleet=public.fleet)
    # A name of its own, so that the inbox tells nothing of the person.
    path = inbox / f"{secrets.token_hex(16)}{ENROLMENT_SUFFIX}"
    with exclusive(inbox):
        write_durably(path, sealed)
    return path
