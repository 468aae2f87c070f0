"""From a sighting to an alert."""

from __future__ import annotations

import secrets
from datetime import timedelta
from itertools import count

from edge_app.adapters.events import new_alert_id
from edge_app.adapters.keys import site_key, store_key, subject_ref
from edge_app.app import Home
from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.pipeline import Models, Sighting
from edge_app.ports import Clock
from edge_app.records import Alert


class AlertMaker:
    """Turns sightings into alerts: pseudonym, threshold and proof of consent, nothing more (P9)."""

    def __init__(self, config: Config, home: Home, models: Models, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.model_id = f"{models.embedder.name}@{models.embedder.sha256[:12]}"
        self._site_key = site_key(store_key(home.keys))
        # One run of the program: with the sequence, it orders a device's alerts.
        self._boot_id = secrets.token_hex(16)
        self._sequence = count(1)

    def alert(self, sighting: Sighting, gallery: Gallery) -> Alert | None:
        """The alert, or None if the person left the gallery since the frame."""
        person = gallery.member(sighting.candidate.person_id)
        if person is None:
            return None
        now = self._clock.now()
        config, calibration = self._config, gallery.calibration
        return Alert(
            alert_id=new_alert_id(int(now.timestamp() * 1000), secrets.token_bytes(10)),
            site=config.site,
            device=config.device,
            purpose=config.purpose,
            subject_ref=subject_ref(self._site_key, config.site, person.person_id),
            consent_record_id=person.record_id,
            score=round(sighting.candidate.similarity, 4),
            threshold=round(calibration.threshold, 4),
            target_fpir=calibration.target_fpir,
            model_id=self.model_id,
            gallery_generation=gallery.generation,
            tracklet_frames=sighting.tracklet_frames,
            tracklet_s=round(sighting.tracklet_s, 3),
            time=now,
            expiry_time=now + timedelta(seconds=config.mqtt.alert_expiry_s),
            sequence=next(self._sequence),
            clock_state=self._clock.state(),
            boot_id=self._boot_id,
            demo=person.demo,
        )
