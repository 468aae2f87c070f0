"""The retained states of a device as they go over the wire. None holds anything personal."""

from __future__ import annotations

import json
from datetime import datetime

from edge_app.core.health import Health
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


def health_state(health: Health) -> bytes:
    """How a device is."""
    return json.dumps(
        {
            "state": health.condition.value,
            "frames_per_s": health.pace.per_s,
            "frame_p95_ms": health.pace.p95_ms,
            "dropped_frames": health.dropped_frames,
            "effort": health.effort.words,
            "outbox": {
                "pending": health.pending_alerts,
                "expired": health.expired_alerts,
                "forced_out": health.forced_out_alerts,
            },
            "clock_state": health.clock_state.value,
            "temperature_c": health.temperature_c,
            "throttled": health.throttled,
            "memory_mb": health.memory_mb,
            "version": health.version,
        }
    ).encode()
