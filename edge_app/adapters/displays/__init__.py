"""Displays for the wearer. Names are resolved here only (P9)."""

from __future__ import annotations

from edge_app.records import HudView


class NullDisplay:
    """Shows nothing."""

    def show(self, view: HudView) -> None:
        """Ignore the view."""

    def close(self) -> None:
        """Do nothing."""
