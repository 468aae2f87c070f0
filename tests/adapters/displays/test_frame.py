"""Frame glasses: our program for them in a real Lua, behind an imitation of the maker's client.

No glasses were at hand. The imitation has one packet's room, loses its link when told to, and draws
what the program draws.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa import LuaRuntime

from edge_app.adapters.bluetooth import encrypted, is_bonded, require_encrypted
from edge_app.adapters.displays import frame
from edge_app.adapters.displays.frame import (
    COLUMNS,
    ROWS,
    FrameDisplay,
    frame_lines,
    open_glasses,
)
from edge_app.errors import ConfigError, DeliveryError
from edge_app.records import Direction, HudLine, HudView

ADDRESS = "C0:FF:EE:00:00:01"
ANNA = HudLine("Anna", "sister", Direction.LEFT, unsure=False)
NOBODY = HudView((), "")
HOSTILE = "\"]]\\'\n--\0%s$(x)"

PRELUDE = """
local app, drawn, show, now = ...
frame = {
  time = {utc = function() return now() end},
  sleep = function(_) coroutine.yield() end,
  bluetooth = {receive_callback = function(f) receive = f end},
  display = {text = function(text, x, y) drawn(text, x, y) end, show = function() show() end},
}
print = function() end
running = coroutine.create(load(app))
resume = function() return coroutine.resume(running) end
"""


class ImitatedGlasses:
    """The maker's client, with the glasses behind it."""

    def __init__(self, *, address: str = ADDRESS, room: int = 20) -> None:
        self.address = address
        self.screen: list[str] = []
        self.sent = b""
        self.now_s = 0.0
        self.connects = 0
        self.faults: list[Exception] = []
        self._room = room
        self._drawing: list[tuple[int, str]] = []
        self._files: dict[str, str] = {}
        self._lua: Any = None

    async def connect(self, name: str) -> str:
        self.connects += 1
        if self.faults:
            raise self.faults.pop()
        return name

    async def disconnect(self) -> None:
        pass

    async def send_break_signal(self) -> None:
        self._lua = None

    async def upload_file_from_string(self, content: str, frame_file_path: str) -> None:
        assert content.isascii()
        self._files[frame_file_path] = content

    async def send_lua(self, string: str, *, await_print: bool) -> str:
        assert string == "require('familiar_hud')"
        assert await_print
        self._lua = LuaRuntime(encoding=None)
        start = self._lua.eval(b"function(text, ...) return load(text)(...) end")
        start(PRELUDE.encode(), self._files["familiar_hud.lua"].encode(), self._text, self._show,
              lambda: self.now_s)  # fmt: skip
        self.pass_s(0)
        return "ready"

    async def send_data(self, data: bytearray) -> None:
        if self.faults:
            raise self.faults.pop()
        assert 0 < len(data) <= self.max_data_payload()
        self.sent += bytes(data)
        self._lua.globals().receive(bytes(data))
        self.pass_s(0)

    def max_data_payload(self) -> int:
        return self._room

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        for _ in range(2):
            done = self._lua.globals().resume()
            assert done is True or done[0] is True, done

    def _text(self, text: bytes, x: int, y: int) -> None:
        assert 1 <= x <= 640
        assert 1 <= y <= 400
        self._drawing.append((y, text.decode("ascii")))

    def _show(self) -> None:
        self.screen = [text for _, text in self._drawing if text.strip()]
        self._drawing.clear()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "BEAT_S", 0.02)
    monkeypatch.setattr(frame, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(frame, "_LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def glasses() -> ImitatedGlasses:
    return ImitatedGlasses()


def displayed(glasses: ImitatedGlasses, **changes: Any) -> FrameDisplay:
    settings = {"bonded": lambda _: True, "require_private": lambda _: None, **changes}
    return FrameDisplay("Frame 4F", ADDRESS, language="en", glasses=lambda: glasses, **settings)


@pytest.fixture
def display(glasses: ImitatedGlasses) -> Iterator[FrameDisplay]:
    opened = displayed(glasses)
    yield opened
    opened.close()


def until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_who_is_there_is_shown_and_who_left_is_not(
    glasses: ImitatedGlasses, display: FrameDisplay
) -> None:
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.screen == ["< Anna", "  sister"])
    display.show(HudView((), "camera lost", fault=True))
    until(lambda: glasses.screen == ["camera lost"])
    display.show(NOBODY)
    until(lambda: glasses.screen == [])


def test_a_view_that_stays_is_sent_once_and_kept_by_signs_of_life(
    glasses: ImitatedGlasses, display: FrameDisplay
) -> None:
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.sent.endswith(b"\x01" * 3))
    assert glasses.sent.count(b"Anna") == 1
    assert glasses.screen == ["< Anna", "  sister"]


def test_it_is_dark_when_it_ends(glasses: ImitatedGlasses, display: FrameDisplay) -> None:
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.screen)
    display.close()
    assert glasses.screen == []
    display.show(HudView((ANNA,), ""))
    display.close()
    assert glasses.screen == []


def test_glasses_that_hear_nothing_go_dark_by_themselves(glasses: ImitatedGlasses) -> None:
    display = displayed(glasses)
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.screen)
    display.close()
    asyncio.run(glasses.send_data(bytearray(b"\x01< Anna")))
    asyncio.run(glasses.send_data(bytearray(b"\x03")))
    assert glasses.screen == ["< Anna"]
    glasses.pass_s(6)
    assert glasses.screen == ["< Anna"]
    glasses.pass_s(0.1)
    assert glasses.screen == []


def test_a_link_that_is_lost_is_found_again_and_told_of_once(
    glasses: ImitatedGlasses, display: FrameDisplay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.screen)
    glasses.faults = [OSError(f"gone {number}") for number in range(5)]
    glasses.screen = []
    until(lambda: glasses.screen == ["< Anna", "  sister"])
    assert glasses.connects >= 5
    said = [record.getMessage() for record in caplog.records]
    assert said == ["glasses: gone 4; they are looked for again", "glasses: they are back"]
    assert all("Anna" not in line for line in said)


def test_nothing_is_said_before_the_link_is_known_to_be_private(
    glasses: ImitatedGlasses, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(address: str) -> None:
        assert address == ADDRESS
        raise DeliveryError("the link to the glasses is not encrypted")

    display = displayed(glasses, require_private=refuse)
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.connects > 3)
    display.close()
    assert glasses.sent == b""
    assert "not encrypted" in caplog.text


def test_a_link_that_is_private_no_more_is_used_no_more(glasses: ImitatedGlasses) -> None:
    private = [True]

    def require(_: str) -> None:
        if not private[0]:
            raise DeliveryError("the link to the glasses is not encrypted")

    display = displayed(glasses, require_private=require)
    until(lambda: glasses.sent)
    private[0] = False
    display.show(HudView((ANNA,), ""))
    connects = glasses.connects
    until(lambda: glasses.connects > connects + 2)
    assert b"Anna" not in glasses.sent
    display.close()


def test_other_glasses_of_the_same_name_are_told_nothing() -> None:
    glasses = ImitatedGlasses(address="C0:FF:EE:00:00:02")
    display = displayed(glasses)
    display.show(HudView((ANNA,), ""))
    until(lambda: glasses.connects > 3)
    display.close()
    assert glasses.sent == b""


def test_glasses_that_were_never_paired_are_refused(glasses: ImitatedGlasses) -> None:
    with pytest.raises(ConfigError, match=f"pair {ADDRESS}"):
        displayed(glasses, bonded=lambda _: False)
    assert glasses.connects == 0


@pytest.mark.parametrize("room", [2, 3, 7, 20, 240])
def test_long_texts_go_in_pieces(room: int) -> None:
    glasses = ImitatedGlasses(room=room)
    display = displayed(glasses)
    lines = tuple(HudLine("x" * 64, "y" * 64, Direction.RIGHT, unsure=True) for _ in range(3))
    view = HudView(lines, "lease ends in 3 h")
    display.show(view)
    until(lambda: glasses.screen == [line for line in frame_lines(view, "en") if line.strip()])
    display.close()


# --- what is written on them ---------------------------------------------------------------------


def test_a_doubt_is_never_cut_off() -> None:
    (line, _) = frame_lines(
        HudView((HudLine("Maximiliana Theodora Example", "", Direction.AHEAD, unsure=True),), "!"),
        "en",
    )
    assert line == "^ Probably Maximiliana ~"
    assert len(line) == COLUMNS


def test_the_status_is_there_however_many_are() -> None:
    assert frame_lines(HudView((ANNA,) * 9, "camera lost"), "en")[-1] == "camera lost"
    assert len(frame_lines(HudView((ANNA,) * 9, "camera lost"), "en")) == ROWS


@given(
    st.lists(
        st.builds(HudLine, st.text(max_size=80), st.text(max_size=80), st.sampled_from(Direction),
                  unsure=st.booleans()), max_size=5),
    st.text(max_size=80) | st.just(HOSTILE), st.sampled_from(["en", "de", "fr"]),
)  # fmt: skip
def test_whatever_names_are_made_of_the_glasses_get_text(
    lines: list[HudLine], status: str, language: str
) -> None:
    shown = frame_lines(HudView(tuple(lines), status), language)
    assert len(shown) <= ROWS
    assert all(len(line) <= COLUMNS and line.isascii() and line.isprintable() for line in shown)


def test_letters_that_the_font_lacks_are_told_as_such() -> None:
    zoe = HudLine("Zoë Łuk 李", "", Direction.LEFT, unsure=False)
    (line,) = frame_lines(HudView((zoe,), ""), "en")
    assert line == "< Zoe ?uk ?"


# --- what the machine says of the link ----------------------------------------------------------


def told(*connections: tuple[str, int, int]) -> bytes:
    """As the kernel lists connections: (address, kind, link mode)."""
    found = struct.pack("=HH", 0, len(connections))
    for address, kind, mode in connections:
        raw = bytes.fromhex(address.replace(":", ""))[::-1]
        found += struct.pack("=H6sBBHI", 1, raw, kind, 1, 1, mode)
    return found


@pytest.mark.parametrize(
    ("connections", "is_encrypted"),
    [
        ((), False),
        (((ADDRESS, 0x80, 0x5),), True),
        (((ADDRESS, 0x80, 0x1),), False),
        (((ADDRESS, 0x01, 0x4),), False),
        ((("C0:FF:EE:00:00:02", 0x80, 0x4),), False),
        ((("C0:FF:EE:00:00:02", 0x80, 0x4), (ADDRESS, 0x80, 0x0)), False),
        ((("C0:FF:EE:00:00:02", 0x80, 0x0), (ADDRESS, 0x80, 0x4)), True),
    ],
)
def test_what_the_kernel_calls_encrypted(
    connections: tuple[tuple[str, int, int], ...], is_encrypted: bool
) -> None:
    assert encrypted(told(*connections), ADDRESS) is is_encrypted


def test_where_the_kernel_says_nothing_nothing_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr("edge_app.adapters.bluetooth.socket.socket", none)
    with pytest.raises(DeliveryError, match="kernel tells nothing"):
        require_encrypted(ADDRESS)


@pytest.mark.parametrize(
    ("told_by_bluez", "bonded"),
    [
        ("Device C0\n\tPaired: yes\n\tBonded: yes\n", True),
        ("Device C0\n\tPaired: yes\n", True),  # of BlueZ before 5.65
        ("Device C0\n\tPaired: yes\n\tBonded: no\n", False),
        ("Device C0\n\tPaired: no\n", False),
        ("Device C0\n\tName: Paired: yes\n", False),
        ("Device C0:FF:EE:00:00:01 not available\n", False), ("", False),
    ],
)  # fmt: skip
def test_what_bluez_says_of_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told_by_bluez: str, bonded: bool
) -> None:
    program = tmp_path / "bluetoothctl"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{told_by_bluez}E\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert is_bonded(ADDRESS) is bonded


def test_without_bluez_nothing_is_bonded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="package bluez"):
        is_bonded(ADDRESS)


@pytest.mark.parametrize("address", ["", "x", "c0:ff:ee:00:00:01", ADDRESS + ":00", "--help"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError, match="no Bluetooth address"):
        is_bonded(address)


def test_the_makers_client_is_what_we_use() -> None:
    async def look() -> None:
        glasses = open_glasses()
        with pytest.raises(Exception, match="Not connected"):
            _ = glasses.address
        with suppress(Exception):
            await glasses.disconnect()

    asyncio.run(look())
