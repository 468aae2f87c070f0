"""A fleet to try things on: operator, stations, devices, and a static web server between them."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn

from edge_app.adapters.clock import SystemClock
from edge_app.app import Home, embedder_sha256
from edge_app.config import Config, make_config
from edge_app.core.revocation import new_code, revocation_sha256
from edge_app.operate import add_device, add_station, init, publish_gallery
from edge_app.ports import Clock
from edge_app.publisher.folder import OperatorFolder
from edge_app.publisher.publish import Publication
from edge_app.publisher.service import make_service, note_revocation
from edge_app.records import ClockState, Enrolment, Purpose
from edge_app.station import deliver, introduce_station
from edge_app.sync import SyncResult, introduce, sync
from tests.people import enrolment, faces

FLEET = "harbour"
CONFIG = make_config({})
MODEL = embedder_sha256(CONFIG)


class ShiftedClock(SystemClock):
    """The machine's clock, moved. TUF itself always reads the machine's."""

    def __init__(self, shift: timedelta = timedelta()) -> None:
        super().__init__()
        self.shift = shift

    def now(self) -> datetime:
        return super().now() + self.shift

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


CLOCK = ShiftedClock()


def code_of(number: int) -> str:
    """The revocation code of `person(number)`."""
    return new_code(number.to_bytes(15))


def person(number: int, **changes: Any) -> Enrolment:
    """Somebody who enrolled yesterday at the station of `tests.people`, for a year."""
    stated = {
        "event_time": datetime.now(UTC).replace(microsecond=0) - timedelta(days=1),
        "purpose": Purpose.ASSIST,
        "model_sha256": MODEL,
        "revocation_sha256": revocation_sha256(code_of(number)),
        **changes,
    }
    return enrolment(number, faces(1, seed=number), **stated)


class Fleet:
    """In one folder: the operator's, the station's home, and devices' homes."""

    def __init__(self, folder: Path, config: Config = CONFIG, name: str = FLEET) -> None:
        self.folder = folder
        self.config = config
        self.operator = OperatorFolder(folder / "operator")
        init(self.operator, name, config.purpose, CLOCK)
        self.station = Home(folder / "station", None)
        _trusted_key(self.station)
        file, _ = introduce_station(config, self.station)
        add_station(self.operator, file)

    @property
    def root(self) -> bytes:
        return (self.operator.folder / "root.json").read_bytes()

    def device(self, name: str, *, added: bool = True) -> Home:
        home = Home(self.folder / name, None)
        file, _ = introduce(make_config({"device": name}), home)
        if added:
            add_device(self.operator, file)
        return home

    def enrol(self, people: Sequence[Enrolment]) -> None:
        for someone in people:
            deliver(someone, self.operator.fleet(), inbox=self.operator.inbox)

    def leave(self, number: int) -> None:
        note_revocation(self.operator.inbox, code_of(number))

    def publish(
        self,
        shift: timedelta = timedelta(),
        progress: Callable[[str, int, int], None] = lambda _what, _done, _of: None,
    ) -> Publication:
        return publish_gallery(self.config, self.operator, ShiftedClock(shift), progress)

    def sync(
        self, home: Home, url: str, *, clock: SystemClock = CLOCK, config: Config | None = None
    ) -> SyncResult:
        return sync(config or self.config, home, url=url, root=self.root, clock=clock)


def _trusted_key(home: Home) -> None:
    """Lets the station sign with the key of `tests.people`."""
    from tests.people import STATION

    keys = home.folder / "keys"
    keys.mkdir(parents=True, mode=0o700)
    key = keys / "station.key"
    key.touch(mode=0o600)
    key.write_bytes(STATION.private_bytes_raw())


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A device that was killed hangs up."""


@contextmanager
def served(
    folder: Path, handler: type[http.server.BaseHTTPRequestHandler] = _Quiet
) -> Iterator[str]:
    """The address of a web server for these files."""
    make: Any = handler
    if issubclass(handler, http.server.SimpleHTTPRequestHandler):
        make = functools.partial(handler, directory=str(folder))
    with _Server(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def service(operator: OperatorFolder, clock: Clock = CLOCK, port: int = 0) -> Iterator[str]:
    """The address of an operator's whole service. port: 0 for any."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    settings = uvicorn.Config(make_service(operator, clock), log_level="error", access_log=False)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def names(config: Config, home: Home) -> set[str]:
    """Who may be recognised at this home now."""
    from edge_app.app import open_gallery

    gallery = open_gallery(config, home, MODEL, CLOCK)
    return {p.name for p in gallery.live.people if gallery.member(p.person_id)}


def snapshot(home: Home) -> dict[str, bytes]:
    """What is installed: every file of the gallery, and of who left."""
    folders = (home.folder / "store", home.folder / "withdrawn")
    return {
        str(path.relative_to(home.folder)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
