"""A real PostgreSQL, reached over a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

_USER = "postgres"  # of the system: PostgreSQL does not run as root


def _program(name: str) -> str:
    # Debian puts them where nobody has a path to them.
    versions = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *versions]))
    if found is None:
        pytest.fail("PostgreSQL is missing: run `sudo apt install postgresql`")
    return found


@contextmanager
def postgresql() -> Iterator[str]:
    """Its address, until the end of the context."""
    user = _USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        subprocess.run(
            (_program("initdb"), "-D", data, "-U", "familiar", "-A", "trust", "-N", "-E", "UTF8"),
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        control = (_program("pg_ctl"), "-D", data, "-w")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        subprocess.run(
            (*control, "start", "-l", f"{folder}/log", "-o", options),
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        try:
            yield f"postgresql://familiar@/postgres?host={folder}"
        finally:
            subprocess.run(
                (*control, "stop", "-m", "fast"),
                check=True, capture_output=True, user=user, cwd=folder,
            )  # fmt: skip


def emptied(address: str) -> str:
    """The same database without any tables."""
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("DROP SCHEMA public CASCADE")
        database.execute("CREATE SCHEMA public")
    return address
