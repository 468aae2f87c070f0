"""The retained states of a device as they go over the wire. None holds anything personal."""

from __future__ import annotations

import json
from datetime import datetime

from edge_app.records import Purpose


def gallery_state(
    *,
    generation: int | None,
    lease_until: datetime | None,
    target_fpir: float,
    model_id: str,
    purpose: Purpose,
) -> bytes:
    """What gallery a device matches with. Not how many people are in it, nor when one leaves.

    generation:  of the fleet's publication that is installed; None without a fleet. The device's
                 own count of changes is not told: it grows when somebody leaves.
    lease_until: aware, UTC; matching stops then. None without a fleet.
    """
    return json.dumps(
        {
            "generation": generation,
            "lease_until": f"{lease_until:%Y-%m-%dT%H:%M:%SZ}" if lease_until else None,
            "target_fpir": target_fpir,
            "model_id": model_id,
            "purpose": purpose.value,
        }
    ).encode()
