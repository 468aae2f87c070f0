"""Brilliant Labs' Frame glasses as the wearer's display, over Bluetooth LE.

Text goes to glasses that the wearer has paired, over a link that the kernel calls encrypted, and
not otherwise: a name on the air would be anybody's (P9). Only the display is used. The glasses'
camera has no light that this device could drive and read back (P7).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import Final, Protocol

from edge_app.adapters.bluetooth import is_bonded, require_encrypted
from edge_app.core.present import phrases
from edge_app.errors import ConfigError, DeliveryError
from edge_app.records import Direction, HudView

_log = logging.getLogger(__name__)

COLUMNS: Final = 24
ROWS: Final = 6
BEAT_S: Final = 2.0
"""How often the glasses hear from us; they go dark after six seconds without."""

_APP: Final = "familiar_hud"
_ARROWS: Final = {Direction.LEFT: "<", Direction.AHEAD: "^", Direction.RIGHT: ">"}
_BEGIN, _MORE, _END = b"\x01", b"\x02", b"\x03"
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_CLOSES_S: Final = 10.0


class Glasses(Protocol):
    """The part of the maker's `BrilliantBle` that is used, and whom it is connected to."""

    @property
    def address(self) -> str: ...

    async def connect(self, name: str) -> object: ...
    async def disconnect(self) -> None: ...
    async def send_break_signal(self) -> None: ...
    async def upload_file_from_string(self, content: str, frame_file_path: str) -> None: ...
    async def send_lua(self, string: str, *, await_print: bool) -> object: ...
    async def send_data(self, data: bytearray) -> None: ...
    def max_data_payload(self) -> int: ...


def open_glasses() -> Glasses:
    """The maker's client. Raises ConfigError if it is not installed."""
    try:
        from brilliant_ble import BrilliantBle  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            "Frame glasses need an extra: pip install 'familiar-edge[frame]'"
        ) from error

    class Client(BrilliantBle):  # type: ignore[misc] # it ships no types
        @property
        def address(self) -> str:
            return str(self._connected_client().address)

    glasses: Glasses = Client()
    return glasses


class FrameDisplay:
    """Shows views on the glasses from a thread of its own; the newest replaces what waits.

    A link that is lost is looked for again, and told of once: it must not stop the alerts.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        language: str,
        glasses: Callable[[], Glasses] = open_glasses,
        bonded: Callable[[str], bool] = is_bonded,
        require_private: Callable[[str], None] = require_encrypted,
    ) -> None:
        """name: as the glasses call themselves, "Frame 4F"; address: of those that were paired.

        Raises:
            ConfigError: the glasses are not paired with this machine, something is not installed,
                or there is no such language.
        """
        phrases(language)
        if not bonded(address):
            raise ConfigError(
                f"the glasses {address} are not paired with this machine; pair them: "
                f"bluetoothctl, then `scan on`, `pair {address}`, `trust {address}`"
            )
        self._name = name
        self._address = address
        self._language = language
        self._glasses = glasses()
        self._require_private = require_private
        self._text = ""
        self._is_told = False
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="glasses", daemon=True)
        self._thread.start()

    def show(self, view: HudView) -> None:
        """Show it soon; never waits."""
        text = "\n".join(frame_lines(view, self._language))
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(self._set, text)

    def close(self) -> None:
        """Leave them dark, so that no name stays on them."""
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join(_CLOSES_S)

    def _set(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._changed.set()

    def _end(self) -> None:
        self._closing.set()
        self._changed.set()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._keep_connected())
        finally:
            self._loop.close()

    async def _keep_connected(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                await self._connect()
                pause_s = _FIRST_PAUSE_S
                await self._serve()
            except Exception as error:  # noqa: BLE001 - the maker's client raises bare ones
                if not self._is_told:
                    _log.warning("glasses: %s; they are looked for again", error)
                self._is_told = True
            finally:
                with suppress(Exception):
                    await self._glasses.disconnect()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _connect(self) -> None:
        """Up to our program running on them. Nothing of anybody is sent before the check."""
        await self._glasses.connect(self._name)
        if self._glasses.address != self._address:
            raise DeliveryError(f"other glasses call themselves {self._name}, too")
        self._require_private(self._address)
        await self._glasses.send_break_signal()
        app = files("edge_app.adapters.displays").joinpath("frame_app.lua").read_text("utf-8")
        await self._glasses.upload_file_from_string(app, f"{_APP}.lua")
        await self._glasses.send_lua(f"require('{_APP}')", await_print=True)
        if self._is_told:
            _log.info("glasses: they are back")
        self._is_told = False

    async def _serve(self) -> None:
        """Send what changes, and a sign of life in between; dark at the end."""
        sent = None
        while not self._closing.is_set():
            self._changed.clear()
            text = self._text
            # A link that was made anew beneath us may be another one.
            self._require_private(self._address)
            if text == sent:
                await self._glasses.send_data(bytearray(_BEGIN))
            else:
                await self._send(text)
                sent = text
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT_S)
        await self._send("")

    async def _send(self, text: str) -> None:
        room = self._glasses.max_data_payload() - 1
        if room < 1:
            raise DeliveryError("the link to the glasses carries too little")
        data = text.encode("ascii")
        for at in range(0, len(data), room):
            kind = _BEGIN if at == 0 else _MORE
            await self._glasses.send_data(bytearray(kind + data[at : at + room]))
        if not data:
            await self._glasses.send_data(bytearray(_BEGIN))
        await self._glasses.send_data(bytearray(_END))


def frame_lines(view: HudView, language: str) -> tuple[str, ...]:
    """What the glasses show, at most `ROWS` lines of `COLUMNS` letters that their font has (ASCII).

    The status comes last, and is never left out.
    """
    words = phrases(language)
    lines = []
    for line in view.lines:
        # "Probably" comes first: what is cut off is the end of a long name.
        name = words.probably.format(name=line.name) if line.unsure else line.name
        lines.append(_fit(f"{_ARROWS[line.direction]} {name}"))
        if line.relation:
            lines.append(_fit(f"  {line.relation}"))
    status = [_fit(view.status)] if view.status else []
    return (*lines[: ROWS - len(status)], *status)


def _fit(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in letters)
    return shown if len(shown) <= COLUMNS else shown[: COLUMNS - 1] + "~"
