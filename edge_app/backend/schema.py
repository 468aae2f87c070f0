"""The tables of the backend's database. SQLite and PostgreSQL both understand these statements.

Whoever is deleted is deleted with everything that hangs on them: what is known of an encounter is
in its row, and nothing else names one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FORMAT: Final = 2

_SEEN: Final = (
    "ALTER TABLE encounter ADD COLUMN acknowledged_by TEXT",
    "ALTER TABLE encounter ADD COLUMN acknowledged_ms BIGINT",
    "CREATE INDEX encounter_newest ON encounter (received_ms)",
)
_PAGE: Final = (
    # What devices say of themselves: their newest word of each kind, as it came.
    """
    CREATE TABLE device_state (
      site TEXT NOT NULL,
      device TEXT NOT NULL,
      kind TEXT NOT NULL,
      payload TEXT NOT NULL,
      received_ms BIGINT NOT NULL,
      PRIMARY KEY (site, device, kind)
    )
    """,
    # Which instances have the broker, and when they last said so.
    """
    CREATE TABLE collecting (
      instance TEXT PRIMARY KEY,
      alive_ms BIGINT NOT NULL
    )
    """,
    # password: as Argon2 writes it.
    """
    CREATE TABLE account (
      name TEXT PRIMARY KEY,
      role TEXT NOT NULL,
      password TEXT NOT NULL,
      made_ms BIGINT NOT NULL
    )
    """,
    # Who did what, never to whom (P3): it outlives those who left. digest: of this and all before.
    """
    CREATE TABLE audit (
      number BIGINT PRIMARY KEY,
      time_ms BIGINT NOT NULL,
      who TEXT NOT NULL,
      role TEXT NOT NULL,
      action TEXT NOT NULL,
      detail TEXT NOT NULL,
      digest TEXT NOT NULL
    )
    """,
)

_ENCOUNTERS: Final = (
    """
    CREATE TABLE encounter (
      site TEXT NOT NULL,
      device TEXT NOT NULL,
      alert_id TEXT NOT NULL,
      purpose TEXT NOT NULL,
      subject_ref TEXT NOT NULL,
      consent_record_id TEXT NOT NULL,
      score DOUBLE PRECISION NOT NULL,
      threshold DOUBLE PRECISION NOT NULL,
      target_fpir DOUBLE PRECISION NOT NULL,
      model_id TEXT NOT NULL,
      gallery_generation BIGINT NOT NULL,
      tracklet_frames BIGINT NOT NULL,
      tracklet_s DOUBLE PRECISION NOT NULL,
      time_ms BIGINT NOT NULL,
      expiry_ms BIGINT NOT NULL,
      received_ms BIGINT NOT NULL,
      sequence BIGINT NOT NULL,
      clock_state TEXT NOT NULL,
      boot_id TEXT NOT NULL,
      demo BOOLEAN NOT NULL,
      PRIMARY KEY (site, device, alert_id)
    )
    """,
    "CREATE INDEX encounter_subject ON encounter (subject_ref)",
    "CREATE INDEX encounter_age ON encounter (purpose, received_ms)",
    # Who left, until the last of their alerts has expired on its way.
    """
    CREATE TABLE departed (
      subject_ref TEXT PRIMARY KEY,
      until_ms BIGINT NOT NULL
    )
    """,
)

UPDATES: Final[Mapping[int, tuple[str, ...]]] = {1: (*_SEEN, *_PAGE)}
"""What makes the next format of a format."""

SCHEMA: Final = (*_ENCOUNTERS, *UPDATES[1])
"""What makes the present one of nothing."""
