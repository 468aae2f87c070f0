"""The topics of `familiar/v1`; `deploy/asyncapi.yaml` describes what goes over each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edge_app.errors import ConfigError
from edge_app.records import NODE_NAME_PATTERN

REPLY_NAME_PATTERN: Final = "[a-z0-9-]{1,64}"
MATCHES_OF_ALL_DEVICES: Final = "familiar/v1/+/+/event/match"
DEPARTURES_OF_ALL_DEVICES: Final = "familiar/v1/+/+/event/departure"
STATES_OF_ALL_DEVICES: Final = "familiar/v1/+/+/state/+"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device. Raises ConfigError for a name that would break out of them."""

    site: str
    device: str

    def __post_init__(self) -> None:
        for what, name in (("site", self.site), ("device", self.device)):
            if not re.fullmatch(NODE_NAME_PATTERN, name):
                raise ConfigError(
                    f"{what} {name!r} cannot be part of a topic;"
                    " use 1 to 64 lower-case letters, digits and hyphens"
                )

    @property
    def root(self) -> str:
        """What all topics of the device begin with; the broker lets it use no other."""
        return f"familiar/v1/{self.site}/{self.device}"

    @property
    def match(self) -> str:
        """Alerts, never retained."""
        return f"{self.root}/event/match"

    @property
    def departure(self) -> str:
        """That somebody of whom there were alerts has left, never retained."""
        return f"{self.root}/event/departure"

    @property
    def availability(self) -> str:
        """`ONLINE` or `OFFLINE`, retained; the broker itself says the latter as our will."""
        return f"{self.root}/state/availability"

    @property
    def gallery(self) -> str:
        """What gallery the device matches with, retained."""
        return f"{self.root}/state/gallery"

    @property
    def health(self) -> str:
        """How the device is, retained."""
        return f"{self.root}/state/health"

    @property
    def commands(self) -> str:
        """Filter for both commands, `gallery_changed` and `request`."""
        return f"{self.root}/cmd/+"

    @property
    def gallery_changed(self) -> str:
        """A hint to look for a new gallery, retained. It carries no authority."""
        return f"{self.root}/cmd/gallery-changed"

    @property
    def request(self) -> str:
        """What the device is asked to do; it answers at the `reply` topic that is named there."""
        return f"{self.root}/cmd/request"

    def reply(self, name: str) -> str:
        """Where one asker gets its answers. name: fits `REPLY_NAME_PATTERN`."""
        return f"{self.root}/reply/{name}"

    @property
    def client_id(self) -> str:
        """The MQTT client id: the name in the device's certificate, which no other device has."""
        return f"{self.site}/{self.device}"
