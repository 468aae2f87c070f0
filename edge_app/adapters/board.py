"""What the kernel says of a board's heat and battery."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_app.core.governor import Pressure

_PI_THROTTLED: Final = "devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW: Final = 0b1111
"""Under-voltage, frequency capped, throttled, soft temperature limit: the present ones
(`vcgencmd get_throttled`, Raspberry Pi documentation); higher bits remember the past."""

_LOW_PERCENT: Final = 15


def read_pressure(sys: Path = Path("/sys")) -> Pressure:
    """Heat and battery now. What the board does not say, or not in numbers, is no pressure."""
    return Pressure(throttled=_throttled(sys), battery_low=_battery_low(sys))


def _throttled(sys: Path) -> bool:
    firmware = _number(sys / _PI_THROTTLED, base=16)
    if firmware is not None and firmware & _PI_NOW:
        return True
    cooling = (sys / "class" / "thermal").glob("cooling_device*")
    return any(
        "cpu" in _text(device / "type").lower() and (_number(device / "cur_state") or 0) > 0
        for device in cooling
    )


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
