from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.databases import emptied, postgresql


@pytest.fixture(scope="session")
def postgresql_address() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Where an empty store goes, as `backend.database` says it."""
    if request.param == "sqlite":
        return ""
    return emptied(request.getfixturevalue("postgresql_address"))
