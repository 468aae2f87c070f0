"""Drawing beside the frames."""

from __future__ import annotations

import threading

from edge_app.adapters.displays.beside import BesideDisplay
from edge_app.records import HudView

VIEWS = [HudView((), str(number)) for number in range(5)]


class Slow:
    """A display that draws when it is let."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.shown: list[HudView] = []
        self.closed = 0

    def show(self, view: HudView) -> None:
        self.shown.append(view)
        self.began.release()
        assert self.may_end.acquire(timeout=30)

    def close(self) -> None:
        self.closed += 1


def test_the_newest_view_replaces_the_one_that_waits() -> None:
    slow = Slow()
    display = BesideDisplay(slow)
    display.show(VIEWS[0])
    assert slow.began.acquire(timeout=30)
    for view in VIEWS[1:]:
        display.show(view)  # the first is still being drawn: this must not wait
    slow.may_end.release(2)
    assert slow.began.acquire(timeout=30)
    display.close()
    assert slow.shown == [VIEWS[0], VIEWS[-1]]


def test_closing_shows_nothing_more_and_closes_the_display_once() -> None:
    slow = Slow()
    display = BesideDisplay(slow)
    display.show(VIEWS[0])
    assert slow.began.acquire(timeout=30)
    display.show(VIEWS[1])
    threading.Timer(0.05, slow.may_end.release).start()
    display.close()
    display.close()
    display.show(VIEWS[2])
    assert slow.shown == [VIEWS[0]]
    assert slow.closed == 1


def test_closing_without_anything_shown() -> None:
    slow = Slow()
    BesideDisplay(slow).close()
    assert slow.closed == 1
