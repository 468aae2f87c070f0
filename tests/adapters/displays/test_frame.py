"""Names on Brilliant Labs' Frame: over the maker's SDK, on imitated glasses (tests/glasses.py)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import lupa.lua54
import pytest
from bleak.backends.bluezdbus import client, manager
from dbus_fast.aio import MessageBus
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.adapters import bluetooth
from edge_app.adapters.displays import frame
from edge_app.adapters.displays.frame import FrameDisplay, require_glasses
from edge_app.adapters.displays.frame_text import Colour, Row, legible, lost_row, rows, width_px
from edge_app.errors import ConfigError
from edge_app.records import Direction, HudLine, HudView
from tests.glasses import ADDRESS, MTU, Glasses

ANNA = HudView((HudLine("Anna Canary", "colleague", Direction.LEFT, unsure=True),), "no sound")
BERT = HudView((HudLine("Bert", "", Direction.RIGHT, unsure=False),), "")
NOBODY = HudView((), "")


@pytest.fixture
def glasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Glasses]:
    with Glasses(tmp_path) as worn, let_go_of(monkeypatch):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", worn.bus_address)
        monkeypatch.setattr(bluetooth, "_links", worn.links)
        monkeypatch.setattr(frame, "_FIRST_WAIT_S", 0.02)
        monkeypatch.setattr(frame, "_SCAN_S", 0.3)
        monkeypatch.setattr(frame, "_BEAT_S", 0.1)
        monkeypatch.setattr(frame, "_ANSWER_S", 0.3)
        yield worn


@contextmanager
def let_go_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """bleak keeps its connection to the bus until the process ends; a test does not."""
    made: list[MessageBus] = []

    class Kept(MessageBus):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    for module in (manager, client):
        monkeypatch.setattr(module, "MessageBus", Kept)
    yield
    for bus in made:
        if bus._sock is not None:
            bus._sock.close()


def soon(holds: Callable[[], object]) -> None:
    """Wait until it holds; ten seconds are for machines that are busy."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to hold")


def over_the_air(worn: Glasses) -> bytes:
    return b"".join(worn.lua.received)


def texts(worn: Glasses) -> list[str]:
    return [text for text, *_ in worn.lua.shown]


def display() -> FrameDisplay:
    return FrameDisplay(ADDRESS, language="en")


# ------------------------------------------------------------------ over an encrypted link


def test_a_view_is_shown_and_taken_away_at_the_end(glasses: Glasses) -> None:
    shown = display()
    shown.show(ANNA)
    soon(lambda: glasses.lua.shown)
    assert glasses.lua.shown == [
        ("< Anna Canary", 1, 119, "YELLOW"),
        ("probably · colleague", 1, 171, "YELLOW"),
        ("no sound", 238, 350, "WHITE"),
    ]
    shown.close()
    glasses.lua.now_s += 7
    time.sleep(0.1)
    assert glasses.lua.shown == []
    assert glasses.connected == ""


def test_what_has_not_changed_is_not_drawn_again(glasses: Glasses) -> None:
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.lua.shown)
        drawn, said = glasses.lua.shows, len(glasses.lua.received)
        shown.show(ANNA)
        soon(lambda: len(glasses.lua.received) > said + 3)
        assert glasses.lua.received[said:] == [b"\x01b"] * (len(glasses.lua.received) - said)
        assert glasses.lua.shows == drawn


def test_show_never_waits_and_the_newest_view_wins(glasses: Glasses) -> None:
    with closing(display()) as shown:
        for _ in range(500):
            shown.show(ANNA)
        shown.show(BERT)
        soon(lambda: texts(glasses) == ["Bert >"])


def test_a_tap_asks(glasses: Glasses) -> None:
    asked = threading.Event()
    with closing(display()) as shown:
        shown.listen(asked.set)
        soon(lambda: glasses.lua.running)
        glasses.lua.tap()
        assert asked.wait(10)


def test_the_glasses_come_back_with_the_view_of_now(glasses: Glasses) -> None:
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.lua.shown)
        glasses.drop()
        shown.show(BERT)
        soon(lambda: not glasses.connected)
        glasses.in_reach = True
        soon(lambda: texts(glasses) == ["Bert >"])


def test_glasses_that_answer_nothing_are_connected_anew(glasses: Glasses) -> None:
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.lua.shown)
        glasses.lua.deaf = True
        soon(lambda: not glasses.connected)
        glasses.lua.deaf = False
        shown.show(BERT)
        soon(lambda: texts(glasses) == ["Bert >"])


def test_the_glasses_take_the_names_away_when_the_device_is_silent(
    glasses: Glasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "_BEAT_S", 60)
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.lua.shown)
        glasses.lua.now_s += 5
        said = glasses.lua.shows
        time.sleep(0.1)
        assert glasses.lua.shows == said
        glasses.lua.now_s += 2
        soon(lambda: texts(glasses) == ["no connection to the device"])


def test_a_link_that_somebody_left_open_is_made_anew(glasses: Glasses) -> None:
    glasses.connected = ADDRESS  # a device that was killed leaves it so
    with closing(display()) as shown:
        shown.show(BERT)
        soon(lambda: glasses.lua.shown)
        assert glasses.connects == 1


def test_glasses_out_of_reach_are_told_of_once(
    glasses: Glasses, caplog: pytest.LogCaptureFixture
) -> None:
    glasses.in_reach = False
    with closing(display()):
        soon(lambda: "No matching device found" in caplog.text)
        time.sleep(0.8)
    assert caplog.text.count("the glasses show nothing") == 1


# ------------------------------------------------------------------ nothing in the clear


def test_nothing_is_sent_over_a_link_in_the_clear(
    glasses: Glasses, caplog: pytest.LogCaptureFixture
) -> None:
    glasses.encrypted = False
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.connects > 1)
    assert glasses.lua.received == []
    assert "not encrypted" in caplog.text
    assert caplog.text.count("the glasses show nothing") == 1
    assert "Anna" not in caplog.text


def test_a_link_that_loses_its_encryption_carries_no_further_name(glasses: Glasses) -> None:
    with closing(display()) as shown:
        shown.show(BERT)
        soon(lambda: glasses.lua.shown)
        glasses.encrypted = False
        shown.show(ANNA)
        soon(lambda: glasses.connects > 1)
    assert b"Anna" not in over_the_air(glasses)


def test_others_of_the_same_name_get_nothing(
    glasses: Glasses, caplog: pytest.LogCaptureFixture
) -> None:
    glasses.twin = True
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.connects > 1)
    assert glasses.lua.received == []
    assert "other glasses" in caplog.text


def test_a_pairing_that_is_removed_ends_it(
    glasses: Glasses, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(display()) as shown:
        shown.show(BERT)
        soon(lambda: glasses.lua.shown)
        glasses.paired = False
        glasses.drop()
        glasses.in_reach = True
        soon(lambda: "not paired" in caplog.text)
        shown.show(ANNA)
    assert b"Anna" not in over_the_air(glasses)


def test_names_reach_no_log_at_any_level(
    glasses: Glasses, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with closing(display()) as shown:
        shown.show(ANNA)
        soon(lambda: glasses.lua.shown)
    assert "Canary" not in caplog.text


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"paired": False}, f"pair {ADDRESS}"),
        ({"paired": None}, "not paired"),
        ({"adapter": False}, "no Bluetooth adapter"),
        ({"encrypted": None}, "the kernel does not say"),
    ],
)
def test_what_cannot_be_known_is_refused(
    glasses: Glasses, broken: dict[str, bool | None], message: str
) -> None:
    for name, value in broken.items():
        setattr(glasses, name, value)
    with pytest.raises(ConfigError, match=message):
        display()


def test_no_bluez_no_address_no_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(ConfigError, match="BlueZ does not answer"):
        require_glasses(ADDRESS)
    with pytest.raises(ConfigError, match=r"hud\.frame\.address is empty"):
        require_glasses("")
    monkeypatch.setattr(frame, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"familiar-edge\[frame\]"):
        require_glasses(ADDRESS)


# ------------------------------------------------------------------ text


def view(name: str, **changes: str) -> HudView:
    line = HudLine(name, changes.get("relation", ""), Direction.AHEAD, unsure=False)
    return HudView((line,), changes.get("status", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Anna", "Anna"),
        ("Zoë Łukasz Þór ŒŽ", "Zoë Łukasz Þór ŒŽ"),
        ("Dvořák", "Dvorák"),
        ("Đorđe", "Dorde"),
        ("Anna\n\t\0\x1bAnna", "Anna Anna"),
        ("O\u2019Neill", "O'Neill"),
        ("Nguyễn", "Nguyen"),
        ("Анна", ""),
        ("田中", ""),
        ("", ""),
    ],
)
def test_letters_that_the_font_has(text: str, shown: str) -> None:
    assert legible(text) == shown


def test_a_name_in_other_letters_gives_its_place_to_the_relation() -> None:
    assert [row.text for row in rows(view("Анна", relation="sister"), "en")] == ["^ sister"]
    assert [row.text for row in rows(view("Анна"), "en")] == ["^ someone you know"]


def test_three_people_at_most_and_nobody() -> None:
    line = HudLine("Anna", "friend", Direction.AHEAD, unsure=False)
    placed = rows(HudView((line,) * 9, "no sound"), "en")
    assert len(placed) == 7
    assert rows(NOBODY, "en") == ()
    assert rows(HudView((), "camera lost", fault=True), "en")[0].colour is Colour.RED


@given(
    st.lists(
        st.builds(HudLine, st.text(max_size=64), st.text(max_size=64), st.sampled_from(Direction),
                  st.booleans()),
        max_size=3,
    ),
    st.text(max_size=64),
    st.sampled_from(["en", "de", "fr"]),
)  # fmt: skip
@settings(deadline=None)
def test_whatever_is_shown_fits_the_glasses_and_a_packet(
    lines: list[HudLine], status: str, language: str
) -> None:
    for row in rows(HudView(tuple(lines), status), language):
        assert row.text == legible(row.text)
        assert row.x_px >= 1
        assert row.x_px + width_px(row.text) <= 640
        assert 1 <= row.y_px <= 400 - 48
        assert len(frame._packed(row)) + 2 <= MTU - 4


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    st.integers(1, 640),
    st.integers(1, 352),
    st.sampled_from(Colour),
)
@settings(deadline=None)
def test_the_glasses_program_sees_exactly_the_text(
    text: str, x_px: int, y_px: int, colour: Colour
) -> None:
    """Quotes, line breaks, Lua, NUL: text is data there, and is never run."""
    lua, drawn = program()
    lua.globals()[b"hear"](b"r" + frame._packed(Row(text, x_px, y_px, colour)))
    lua.globals()[b"hear"](b"d")
    assert (text.encode(), x_px, y_px, colour.name.encode()) in drawn


@given(st.binary(max_size=250))
@settings(deadline=None)
def test_the_glasses_program_outlives_any_message(message: bytes) -> None:
    lua, _ = program()
    lua.globals()[b"hear"](message)
    lua.globals()[b"step"]()


def program() -> tuple[lupa.lua54.LuaRuntime, list[tuple[bytes, int, int, bytes]]]:
    """frame.lua, with glasses that note what is drawn."""
    lua = lupa.lua54.LuaRuntime(encoding=None, register_eval=False)
    drawn: list[tuple[bytes, int, int, bytes]] = []
    lua.globals()[b"note"] = lambda *what: drawn.append(what)
    lua.execute(
        b"frame = {display = {text = function(s, x, y, o) note(s, x, y, o.color) end,"
        b" show = function() end}, bluetooth = {send = function() end,"
        b" receive_callback = function() end}, imu = {tap_callback = function() end},"
        b" time = {utc = function() return 0 end}, sleep = function() end}"
    )
    lua.execute(lines().encode())
    return lua, drawn


def lines() -> str:
    return (files("edge_app.adapters.displays") / "frame.lua").read_text(encoding="ascii")


def test_each_line_of_the_program_fits_a_packet() -> None:
    assert max(len(f"{line} print(1)") for line in lines().splitlines()) <= MTU - 3


def test_the_glasses_have_words_for_a_lost_link_in_every_language() -> None:
    for language in ("en", "de", "fr"):
        assert not lost_row(language).text.endswith("...")
