"""What each role may see and do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What somebody is here for."""

    CARER = "carer"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Right(StrEnum):
    """What a role may see or do."""

    ENCOUNTERS = "encounters"
    ACKNOWLEDGE = "acknowledge"
    PEOPLE = "people"
    DEVICES = "devices"
    ERASURE = "erasure"
    AUDIT = "audit"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.CARER: frozenset({Right.ENCOUNTERS, Right.ACKNOWLEDGE}),
    Role.OPERATOR: frozenset(
        {Right.ENCOUNTERS, Right.ACKNOWLEDGE, Right.PEOPLE, Right.DEVICES, Right.ERASURE}
    ),
    # Who watches the watchers sees what they did, and nobody's encounters.
    Role.AUDITOR: frozenset({Right.ERASURE, Right.AUDIT}),
}
