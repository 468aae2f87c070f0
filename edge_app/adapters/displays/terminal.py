"""The wearer's display as one line of a terminal."""

from __future__ import annotations

import logging
from typing import TextIO

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from edge_app.core.present import phrases, spoken_text
from edge_app.errors import ConfigError
from edge_app.records import FrameOrigin, HudView

_log = logging.getLogger(__name__)


class TerminalDisplay:
    """One line that is written over on a terminal; a line per change elsewhere."""

    def __init__(self, stream: TextIO, *, origin: FrameOrigin, language: str) -> None:
        """stream: usually `sys.stderr`; it stays open.

        Raises:
            ConfigError: the stream is no terminal and the frames are live: the names would
                stay in a file or in the journal; or there is no such language.
        """
        if origin is FrameOrigin.LIVE and not stream.isatty():
            raise ConfigError(
                "the terminal display would write names to a file; run it in a terminal,"
                " or choose another display"
            )
        self._stream = stream
        self._language = language
        self._words = phrases(language)
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._last: HudView | None = None
        self._failed = False

    def show(self, view: HudView) -> None:
        """Show the view if it has changed."""
        if view == self._last:
            return
        self._last = view
        try:
            if self._console.is_terminal:
                self._overwrite(self._styled(view))
            else:
                self._stream.write(self._encodable(self._plain(view)) + "\n")
                self._stream.flush()
        except (OSError, ValueError) as error:
            if not self._failed:
                _log.warning("terminal cannot be written (%s); run again in another", error)
            self._failed = True

    def close(self) -> None:
        """Wipe the line from a terminal, so that no name stays on it."""
        if self._console.is_terminal and not self._failed:
            self._overwrite(Text())

    def _overwrite(self, text: Text) -> None:
        self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        text.truncate(self._console.width - 1, overflow="ellipsis")
        self._console.print(text, end="", soft_wrap=True)
        self._stream.flush()

    def _styled(self, view: HudView) -> Text:
        text = Text()
        for line in view.lines:
            style = "bold yellow" if line.unsure else "bold green"
            text.append(self._encodable(spoken_text([line], self._language)) + "  ", style=style)
        if not view.lines:
            text.append(self._words.nobody + "  ", style="dim")
        text.append(self._encodable(view.status), style="bold red")
        return text

    def _plain(self, view: HudView) -> str:
        people = spoken_text(view.lines, self._language) or self._words.nobody
        return f"{people} ({view.status})" if view.status else people

    def _encodable(self, text: str) -> str:
        """Put "?" for letters that a terminal in another encoding cannot take."""
        encoding = self._console.encoding
        return text.encode(encoding, errors="replace").decode(encoding)
