"""What the kernel says of a board's heat and battery, and of this program's memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

from edge_app.core.governor import Pressure

_PI_THROTTLED: Final = "devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW: Final = 0b1111
"""Under-voltage, frequency capped, throttled, soft temperature limit: the present ones
(`vcgencmd get_throttled`, Raspberry Pi documentation); higher bits remember the past."""

_LOW_PERCENT: Final = 15

_PROCESSOR_ZONES: Final = ("cpu", "soc", "x86_pkg")
"""In the names of the thermal zones that measure a processor."""


def read_pressure(sys: Path = Path("/sys")) -> Pressure:
    """Heat and battery now. What the board does not say, or not in numbers, is no pressure."""
    return Pressure(throttled=read_throttled(sys) or False, battery_low=_battery_low(sys))


def read_throttled(sys: Path = Path("/sys")) -> bool | None:
    """Whether the board slowed its processor; None if nothing tells."""
    firmware = _number(sys / _PI_THROTTLED, base=16)
    cooling = [
        state
        for device in (sys / "class" / "thermal").glob("cooling_device*")
        if "cpu" in _text(device / "type").lower()
        and (state := _number(device / "cur_state")) is not None
    ]
    if firmware is None and not cooling:
        return None
    return bool((firmware or 0) & _PI_NOW) or any(state > 0 for state in cooling)


def read_temperature_c(sys: Path = Path("/sys")) -> float | None:
    """Of the processor, at its hottest zone; None if nothing tells."""
    thousandths = [
        value
        for zone in (sys / "class" / "thermal").glob("thermal_zone*")
        if any(name in _text(zone / "type").lower() for name in _PROCESSOR_ZONES)
        and (value := _number(zone / "temp")) is not None
    ]
    return round(max(thousandths) / 1000, 1) if thousandths else None


def read_memory_mb(proc: Path = Path("/proc")) -> float | None:
    """What this program holds of the memory (resident set, 10^6 bytes); None if nothing tells."""
    fields = _text(proc / "self" / "statm").split()
    if len(fields) < 2 or not fields[1].isdecimal():
        return None
    return round(int(fields[1]) * resource.getpagesize() / 1e6, 1)


def _battery_low(sys: Path) -> bool:
    return any(_is_low(supply) for supply in (sys / "class" / "power_supply").glob("*"))


def _is_low(supply: Path) -> bool:
    draining = _text(supply / "type") == "Battery" and _text(supply / "status") == "Discharging"
    percent = _number(supply / "capacity")
    return draining and percent is not None and percent <= _LOW_PERCENT


def _number(path: Path, *, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
