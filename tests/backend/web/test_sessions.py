from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edge_app.adapters.clock import ManualClock
from edge_app.backend.roles import Role
from edge_app.backend.web.sessions import Sessions, SignedIn

ANN = SignedIn("ann", Role.CARER, "stamp")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def sessions(clock: ManualClock) -> Sessions:
    return Sessions(clock, longest_s=1_000, idle_s=100)


def test_a_session_is_found_by_its_name_alone(sessions: Sessions) -> None:
    name = sessions.begin(ANN)
    found = sessions.find(name)
    assert found is not None
    assert found.person is ANN
    assert len(name) >= 43
    assert name not in repr(found)
    assert found.token not in repr(found)
    assert found.token != name
    for other in ("", name[:-1], name + "A", name.swapcase(), found.token):
        assert sessions.find(other) is None
    assert sessions.begin(ANN) != name


def test_who_does_nothing_is_signed_out(sessions: Sessions, clock: ManualClock) -> None:
    name = sessions.begin(ANN)
    for _ in range(5):
        clock.advance(100)
        assert sessions.find(name) is not None
    clock.advance(101)
    assert sessions.find(name) is None


def test_everybody_is_signed_out_in_the_end(sessions: Sessions, clock: ManualClock) -> None:
    name = sessions.begin(ANN)
    found = sessions.find(name)
    assert found is not None
    sessions.open_stream(found)
    clock.advance(950)
    assert sessions.left_s(found) == 50
    assert sessions.find(name) is found
    clock.advance(51)
    assert sessions.find(name) is None
    assert sessions.left_s(found) == 0


def test_who_watches_is_not_idle(sessions: Sessions, clock: ManualClock) -> None:
    name = sessions.begin(ANN)
    found = sessions.find(name)
    assert found is not None
    sessions.open_stream(found)
    clock.advance(500)
    sessions.begin(ANN)
    assert sessions.find(name) is found
    sessions.close_stream(found)
    clock.advance(99)
    sessions.begin(ANN)
    clock.advance(2)
    assert sessions.find(name) is None


def test_streams_are_few(sessions: Sessions) -> None:
    found = sessions.find(sessions.begin(ANN))
    assert found is not None
    for _ in range(4):
        assert sessions.has_room(found)
        sessions.open_stream(found)
    assert not sessions.has_room(found)
    sessions.close_stream(found)
    assert sessions.has_room(found)


def test_whoever_signed_out_is_out_and_nobody_else(sessions: Sessions) -> None:
    one, two = sessions.begin(ANN), sessions.begin(ANN)
    sessions.end(one)
    sessions.end(one)
    sessions.end("nobody's")
    assert sessions.find(one) is None
    assert sessions.find(two) is not None


def test_sessions_take_no_more_room_than_they_may(
    sessions: Sessions, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.backend.web.sessions._MOST", 10)
    kept = sessions.begin(ANN)
    for _ in range(50):
        clock.advance(1)
        sessions.begin(ANN)
        assert sessions.find(kept) is not None
    assert len(sessions._sessions) == 10
