"""A display that is drawn beside the frames."""

from __future__ import annotations

import threading

from edge_app.ports import Display
from edge_app.records import HudView


class BesideDisplay:
    """Draws on another display in a thread of its own, so that a slow bus never holds up a frame.

    One view may wait while another is drawn. A newer one replaces it.
    """

    def __init__(self, display: Display) -> None:
        """display: it handles its own failures; closed with this one."""
        self._display = display
        self._next: HudView | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self._thread.start()

    def show(self, view: HudView) -> None:
        """Draw soon, in place of what has not been begun."""
        with self._changed:
            self._next = view
            self._changed.notify()

    def close(self) -> None:
        """Finish what is being drawn, then close the display."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._display.close()

    def _run(self) -> None:
        while (view := self._take()) is not None:
            self._display.show(view)

    def _take(self) -> HudView | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closing)
            view, self._next = self._next, None
            return None if self._closing else view
