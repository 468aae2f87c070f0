"""What a button's and a switch's contacts mean. Metal bounces for milliseconds; people do not."""

from __future__ import annotations


class Press:
    """Turns the level of a button's contact, looked at often, into presses.

    A press is a contact that was steadily open and is then steadily closed, each for `settle_s`.
    Whoever holds the button down presses once. One that is held at the start was not pressed.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._closed = True
        self._otherwise_since_s: float | None = None

    def feel(self, closed: bool, now_s: float) -> bool:
        """Takes note of the contact's level; True where that makes a press."""
        if closed is self._closed:
            self._otherwise_since_s = None
            return False
        if self._otherwise_since_s is None:
            self._otherwise_since_s = now_s
        if now_s - self._otherwise_since_s < self._settle_s:
            return False
        self._closed, self._otherwise_since_s = closed, None
        return closed


class Cover:
    """Whether the privacy switch covers the camera, from the level of its contact.

    It covers at the first open contact, and uncovers once the contact was closed for `settle_s`
    without a break. The first look has no bounce to wait for.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._closed_since_s: float | None = float("-inf")

    def feel(self, closed: bool, now_s: float) -> bool:
        """Takes note of the contact's level; True while it covers the camera."""
        if not closed:
            self._closed_since_s = None
            return True
        if self._closed_since_s is None:
            self._closed_since_s = now_s
        return now_s - self._closed_since_s < self._settle_s
