"""When the wearer wants nothing said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

from edge_app.errors import ConfigError

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begin` to before `end` by the wall clock, every day; across midnight if need be."""

    begin: time
    end: time

    def hold(self, local: datetime) -> bool:
        """Whether they hold at a local time."""
        now = local.time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


def quiet_hours(text: str) -> QuietHours | None:
    """Return the hours in a text such as "22:00-07:00"; None if it is empty.

    Raises:
        ConfigError: it is another text, or they end when they begin.
    """
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ConfigError(f'quiet hours {text!r} are none; write e.g. "22:00-07:00"')
    begin_h, begin_min, end_h, end_min = map(int, match.groups())
    hours = QuietHours(time(begin_h, begin_min), time(end_h, end_min))
    if hours.begin == hours.end:
        raise ConfigError(
            f"quiet hours {text!r} end when they begin; for silence at all hours, set no speech"
        )
    return hours
