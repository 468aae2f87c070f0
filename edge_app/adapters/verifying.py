"""Checks a fleet's shards in processes of their own.

A consent takes 0.1 ms to check, and 50,000 of them are most of an installation. Threads do not
share that work: what is around the check holds the interpreter's lock. A process is worth its
start from some dozens of shards on.

Shards, keys and people go through socket pairs, and never touch a disk (P5).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Final, Self, TypeVar

from edge_app.adapters.shards import open_people
from edge_app.core.roster import Register, register
from edge_app.errors import EdgeAppError, GalleryError
from edge_app.records import Float32Array

T = TypeVar("T")

WORTH_PROCESSES: Final = 64
"""Shards from which on processes are started: they take half a second to come up."""

_ENDED_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A shard's file and what opens it. stations: id -> raw Ed25519 public key."""

    data: bytes = field(repr=False)
    fleet: str
    number: int
    key: bytes = field(repr=False)
    stations: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """matrix: the templates, shape (n, dim), float32. text: as `person.pack_people` wrote it."""

    people: Register
    matrix: Float32Array = field(repr=False)
    text: bytes = field(repr=False)


def check(job: Job) -> Checked:
    """Open a shard and check every signature in it.

    Raises:
        GalleryError: altered, for another place, another key's, or there is no sealed memory.
    """
    shown, matrix = open_people(job.data, fleet=job.fleet, number=job.number, key=job.key)
    people = register(shown.people, job.stations, shown.messages)
    return Checked(people, matrix, shown.text)


class Verifiers:
    """As many at work as there are cores; in processes if that is worth it."""

    def __init__(self, shards: int) -> None:
        """shards: how many there will be to check."""
        cores = os.cpu_count() or 1
        self._processes = cores > 1 and shards >= WORTH_PROCESSES
        self._pool = ThreadPoolExecutor(cores if self._processes else 1, "verify")
        self._own = threading.local()
        self._started = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._started.close()

    def check(self, job: Job, then: Callable[[Checked], T]) -> Future[T]:
        """What `then` makes of a checked shard, beside the others; see `check`."""
        ask = self._ask if self._processes else check
        return self._pool.submit(lambda: then(ask(job)))

    def _ask(self, job: Job) -> Checked:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._start()
        try:
            connection.send(job)
            answer = connection.recv()
        except (OSError, EOFError) as error:
            raise GalleryError(
                "a process that checks the gallery ended; free some memory, and sync again"
            ) from error
        if isinstance(answer, EdgeAppError):
            raise answer
        checked: Checked = answer
        return checked

    def _start(self) -> Connection:
        here, there = Pipe()
        command = (sys.executable, "-c", f"from {__name__} import main; main()")
        process = subprocess.Popen(  # noqa: S603 - this module
            (*command, str(there.fileno())),
            pass_fds=(there.fileno(),),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        there.close()
        self._started.callback(_end, process, here)
        return here


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()  # nobody asks any more
    try:
        process.wait(_ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """A process: answers jobs until nobody asks any more."""
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(check(job))
        except EdgeAppError as error:
            connection.send(error)
