"""Hours in which nothing is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edge_app.core.quiet import quiet_hours
from edge_app.errors import ConfigError


def test_no_hours() -> None:
    assert quiet_hours("") is None


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [
        ("13:00-14:30", ["13:00", "14:29"], ["12:59", "14:30", "00:00"]),
        ("22:00-07:00", ["22:00", "23:59", "00:00", "06:59"], ["07:00", "12:00", "21:59"]),
        ("00:00-23:59", ["00:00", "23:58"], ["23:59"]),
        ("23:59-00:00", ["23:59"], ["00:00", "23:58"]),
    ],
)
def test_when_they_hold(hours: str, quiet: list[str], loud: list[str]) -> None:
    held = quiet_hours(hours)
    assert held is not None
    at = {
        text: datetime.fromisoformat(f"2026-03-29T{text}").replace(tzinfo=UTC)
        for text in quiet + loud
    }
    assert [text for text, local in at.items() if held.hold(local)] == quiet


@pytest.mark.parametrize(
    "text",
    [
        "22-7",
        "24:00-07:00",
        "22:60-07:00",
        "22:00-07:00 ",
        "9:00-10:00",
        "22:00-22:00",
        "٢٢:00-07:00",
    ],
)
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ConfigError):
        quiet_hours(text)
