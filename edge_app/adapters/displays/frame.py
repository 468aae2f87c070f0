"""Brilliant Labs' Frame as the wearer's display, over Bluetooth LE, through the maker's SDK.

Names go over the air here. So they go to glasses that the wearer paired, over a link that the
kernel says is encrypted, asked before every packet; otherwise nothing is sent. The glasses run
`frame.lua`: text reaches it as data, never as code, and it takes the names away by itself when it
has not heard from the device for six seconds. A tap on the glasses asks "who is this?".
"""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from edge_app.adapters.bluetooth import (
    Peer,
    disconnect,
    paired_peer,
    peers,
    require_answer,
    require_encrypted,
)
from edge_app.adapters.displays.frame_text import Row, lost_row, rows
from edge_app.errors import ConfigError
from edge_app.records import HudView

if TYPE_CHECKING:
    from brilliant_ble import BrilliantBle

_log = logging.getLogger(__name__)

_SERVICE: Final = "7a230001-5475-a6a4-654c-8431f6ad49c4"
_BEAT_S: Final = 2.0
_ANSWER_S: Final = 1.5
_TRIES: Final = 2
_SCAN_S: Final = 10.0
_LINK_S: Final = 5.0
_SETUP_S: Final = 30.0
_CLOSE_S: Final = 3.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_ROW: Final = struct.Struct(">HHB")
_TAP, _DONE = b"t", b"k"


class FrameDisplay:
    """Sends views in a thread of its own; `show` never waits, and the newest view wins."""

    def __init__(self, address: str, *, language: str) -> None:
        """address: of glasses that are paired, e.g. "C0:FF:EE:00:00:01".

        Raises:
            ConfigError: the SDK is not installed, the glasses are not paired, that cannot be told,
                or there is no such language.
        """
        self._lost = lost_row(language)
        require_glasses(address)
        self._address = address
        self._language = language
        self._on_tap: Callable[[], None] = _ignore
        self._view = HudView((), "")
        self._complaint = ""
        self._closing = False
        self._linked = False
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._changed = asyncio.Event()
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._serve, name="frame", daemon=True)
        self._thread.start()

    def listen(self, on_tap: Callable[[], None]) -> None:
        """Call back at each tap on the glasses, from this display's thread."""
        self._on_tap = on_tap

    def show(self, view: HudView) -> None:
        """Send the view, at once or when the glasses are back."""
        self._view = view
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    def close(self) -> None:
        """Take the names off the glasses, and let go of them."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join()

    def _serve(self) -> None:
        with self._runner, suppress(asyncio.CancelledError):
            self._runner.run(self._ended())

    async def _ended(self) -> None:
        await self._task

    def _end(self) -> None:
        self._closing = True
        if self._linked:
            self._changed.set()
            self._loop.call_later(_CLOSE_S, self._task.cancel)
        else:
            self._task.cancel()

    async def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._closing:
            try:
                async with self._link() as link:
                    wait_s = _FIRST_WAIT_S
                    await self._follow(link)
            except ConfigError as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001 - the SDK raises Exception itself
                fault = str(error) or type(error).__name__
                self._complain(f"they are not reached ({fault}); are they on, and near?")
            if not self._closing:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[_Link]:
        peer = await paired_peer(self._address)
        link = _Link(peer, on_tap=self._tapped, on_end=self._changed.set)
        try:
            async with asyncio.timeout(_SETUP_S):
                await link.open(self._lost)
            self._complaint = ""
            self._linked = True
            yield link
        finally:
            self._linked = False
            await link.close()

    async def _follow(self, link: _Link) -> None:
        """Send what changes, and in between a sign of life."""
        shown: tuple[Row, ...] | None = None
        while True:
            self._changed.clear()
            if self._closing:
                await link.leave()
                return
            wanted = rows(self._view, self._language)
            if wanted == shown:
                await link.beat()
            else:
                await link.draw(wanted)
                shown = wanted
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _BEAT_S)

    def _tapped(self) -> None:
        self._on_tap()

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            _log.warning("the glasses show nothing: %s", reason)
        self._complaint = reason


def require_glasses(address: str) -> None:
    """Raise ConfigError unless there is the SDK, an adapter, and glasses paired by this address."""
    if not address:
        raise ConfigError(
            "hud.frame.address is empty; pair the glasses, and name the address that "
            "`bluetoothctl devices Paired` shows"
        )
    _require_sdk()
    peer = asyncio.run(paired_peer(address))
    require_answer(peer)


class _Link:
    """One connection to the glasses, from pairing checked to the end."""

    def __init__(
        self, peer: Peer, *, on_tap: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self._peer = peer
        self._on_tap = on_tap
        self._on_end = on_end
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._sdk: BrilliantBle = _sdk()

    async def open(self, lost: Row) -> None:
        """Connect, and start the program there. Raises ConfigError, or what the SDK raises."""
        if self._peer.connected:  # the SDK finds only glasses that advertise
            await disconnect(self._peer)
        await self._sdk.connect(
            name=self._peer.name,
            timeout=_SCAN_S,
            connect_timeout=_LINK_S,
            data_response_handler=self._heard,
            disconnect_handler=self._on_end,
        )
        await self._require_theirs()
        await self._start()
        await self._say(b"l" + _packed(lost))

    async def close(self) -> None:
        with suppress(Exception):  # the SDK raises Exception itself; the link is given up anyway
            async with asyncio.timeout(_CLOSE_S):
                await self._sdk.disconnect()

    async def draw(self, wanted: tuple[Row, ...]) -> None:
        """Show these lines in place of all others. The glasses change once, when all are there."""
        for row in wanted:
            await self._say(b"r" + _packed(row))
        await self._say(b"d")

    async def beat(self) -> None:
        """Keep what is shown: the glasses take it away when they hear nothing."""
        await self._say(b"b")

    async def leave(self) -> None:
        """Leave them dark, without a word of a lost link."""
        await self._say(b"q")

    async def _require_theirs(self) -> None:
        """The SDK connects by name; hold that these are the paired glasses, and no others."""
        linked = [p for p in await peers() if p.connected and _SERVICE in p.services]
        if [p.address for p in linked] != [self._peer.address] or not linked[0].paired:
            raise ConfigError("other glasses of the same name answered; take them out of reach")

    async def _start(self) -> None:
        """End what runs there, and run frame.lua: a line at a time, as the radio's packets are."""
        require_encrypted(self._peer)
        await self._sdk.send_break_signal()
        await self._sdk.drain_print_channel()
        program = (files(__package__) / "frame.lua").read_text(encoding="ascii")
        for line in program.splitlines():
            require_encrypted(self._peer)
            await self._sdk.send_lua(f"{line} print(1)", await_print=True)
        await self._sdk.send_lua("run()")

    async def _say(self, message: bytes) -> None:
        """Send data and wait for its answer; a message that a tap displaced is sent again."""
        for _ in range(_TRIES):
            while not self._answers.empty():  # to a message that was given up
                self._answers.get_nowait()
            require_encrypted(self._peer)
            await self._sdk.send_data(bytearray(message))
            with suppress(TimeoutError):
                answer = await asyncio.wait_for(self._answers.get(), _ANSWER_S)
                if answer == _DONE:
                    return
                raise ConnectionError("the glasses could not do it")
        raise ConnectionError("the glasses do not answer")

    def _heard(self, data: memoryview) -> None:
        said = bytes(data)
        if said == _TAP:
            self._on_tap()
        else:
            self._answers.put_nowait(said)


def _packed(row: Row) -> bytes:
    return _ROW.pack(row.x_px, row.y_px, row.colour) + row.text.encode()


def _require_sdk() -> None:
    if find_spec("brilliant_ble") is None:  # it is imported in the display's own thread
        raise ConfigError("the glasses' SDK is not installed; `pip install 'familiar-edge[frame]'`")
    # At DEBUG they write every packet, and with it names, to the log.
    for name in ("bleak", "dbus_fast"):
        logging.getLogger(name).setLevel(logging.INFO)


def _sdk() -> BrilliantBle:
    from brilliant_ble import BrilliantBle  # noqa: PLC0415 - the extra `frame`

    return BrilliantBle()


def _ignore() -> None:
    pass
