"""What is read of a board, from folders made like the kernel's."""

from pathlib import Path

import pytest

from edge_app.adapters.board import (
    read_memory_mb,
    read_pressure,
    read_temperature_c,
    read_throttled,
)
from edge_app.core.governor import Pressure


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content + "\n")


def test_a_board_that_says_nothing(tmp_path: Path) -> None:
    assert read_pressure(tmp_path) == Pressure()
    assert read_throttled(tmp_path) is None
    assert read_temperature_c(tmp_path) is None
    assert read_memory_mb(tmp_path) is None
    assert isinstance(read_pressure(), Pressure)


@pytest.mark.parametrize(
    ("word", "throttled"),
    [("0", False), ("4", True), ("50005", True), ("50000", False), ("8", True), ("no", False)],
)
def test_a_raspberry_pi_says_it_in_bits(tmp_path: Path, word: str, throttled: bool) -> None:
    write(tmp_path / "devices/platform/soc/soc:firmware", get_throttled=word)
    assert read_pressure(tmp_path).throttled is throttled


@pytest.mark.parametrize(
    ("kind", "state", "throttled"),
    [("cpufreq-cpu0", "0", False), ("cpufreq-cpu0", "2", True), ("Processor", "3", False),
     ("pwm-fan", "3", False), ("cpufreq-cpu0", "", False)],
)  # fmt: skip
def test_a_processor_that_is_held_back(
    tmp_path: Path, kind: str, state: str, throttled: bool
) -> None:
    write(tmp_path / "class/thermal/cooling_device0", type=kind, cur_state=state)
    assert read_pressure(tmp_path).throttled is throttled


@pytest.mark.parametrize(
    ("kind", "status", "capacity", "low"),
    [("Battery", "Discharging", "15", True), ("Battery", "Discharging", "16", False),
     ("Battery", "Charging", "3", False), ("Mains", "Discharging", "3", False),
     ("Battery", "Discharging", "", False)],
)  # fmt: skip
def test_a_battery_that_runs_out(
    tmp_path: Path, kind: str, status: str, capacity: str, low: bool
) -> None:
    supplies = tmp_path / "class/power_supply"
    write(supplies / "AC", type="Mains", online="0")
    write(supplies / "BAT0", type=kind, status=status, capacity=capacity)
    assert read_pressure(tmp_path).battery_low is low


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "class/power_supply/BAT0"
    folder.mkdir(parents=True)
    (folder / "type").write_bytes(b"\xff\xfe")
    assert read_pressure(tmp_path) == Pressure()


def test_a_board_that_tells_it_is_not_throttled(tmp_path: Path) -> None:
    write(tmp_path / "class/thermal/cooling_device0", type="pwm-fan", cur_state="1")
    assert read_throttled(tmp_path) is None
    write(tmp_path / "class/thermal/cooling_device1", type="cpufreq-cpu0", cur_state="0")
    assert read_throttled(tmp_path) is False


def test_the_temperature_is_of_the_hottest_part_of_the_processor(tmp_path: Path) -> None:
    zones = tmp_path / "class/thermal"
    write(zones / "thermal_zone0", type="battery", temp="99000")
    assert read_temperature_c(tmp_path) is None
    write(zones / "thermal_zone1", type="cpu-thermal", temp="61349")
    write(zones / "thermal_zone2", type="soc-thermal", temp="-2000")
    write(zones / "thermal_zone3", type="x86_pkg_temp", temp="hot")
    assert read_temperature_c(tmp_path) == 61.3


@pytest.mark.parametrize("text", ["", "12", "a b c", "1 -2 3", "1 2.5"])
def test_memory_that_is_not_told(tmp_path: Path, text: str) -> None:
    write(tmp_path / "self", statm=text)
    assert read_memory_mb(tmp_path) is None


def test_the_memory_of_this_program() -> None:
    before = read_memory_mb()
    held = bytearray(b"x" * 50_000_000)
    after = read_memory_mb()
    assert before is not None
    assert after is not None
    assert len(held) * 0.9e-6 < after - before < len(held) * 1.5e-6
