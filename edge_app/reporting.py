"""How a running device is: told over MQTT, and read by Prometheus. Nothing of anybody (P1)."""

from __future__ import annotations

from collections.abc import Callable

from edge_app import __version__
from edge_app.adapters.board import read_memory_mb, read_temperature_c, read_throttled
from edge_app.adapters.home_assistant import discovery_payload, discovery_topic
from edge_app.adapters.mailbox import Mailbox
from edge_app.adapters.mqtt import MqttPublisher, Topics
from edge_app.adapters.mqtt.states import gallery_state, health_state
from edge_app.adapters.outbox import Outbox
from edge_app.config import Config
from edge_app.core.health import NO_PACE, Condition, FramePace, Health, HealthPeriod, Reading
from edge_app.following import FollowedGallery
from edge_app.pipeline import State
from edge_app.ports import Clock, FrameSource


class Reporter:
    """Puts together what the parts of a device know of themselves.

    frames: worked through since the start.
    """

    def __init__(
        self,
        config: Config,
        *,
        model_id: str,
        gallery: FollowedGallery,
        source: FrameSource,
        mailbox: Mailbox,
        state: State,
        clock: Clock,
        condition: Callable[[], Condition],
    ) -> None:
        self._config = config
        self._topics = Topics(config.site, config.device)
        self._model_id = model_id
        self._gallery = gallery
        self._source = source
        self._mailbox = mailbox
        self._state = state
        self._clock = clock
        self._condition = condition
        self._period = HealthPeriod(config.mqtt.health_interval_s)
        self.frames = 0

    def worked(self, took_s: float) -> None:
        """Takes note of a frame that was worked through."""
        self.frames += 1
        self._period.worked(took_s)

    def introduce(self, publisher: MqttPublisher) -> None:
        """Names the device to Home Assistant, if that is wanted."""
        settings = self._config.home_assistant
        if settings.discovery:
            topic = discovery_topic(self._topics, settings.prefix)
            publisher.set_state(topic, discovery_payload(self._topics, version=__version__))

    def tell(self, publisher: MqttPublisher, outbox: Outbox) -> None:
        """Sets the retained states; the health only when it is due."""
        publisher.set_state(self._topics.gallery, self._gallery_state())
        condition, now_s = self._condition(), self._clock.monotonic_s()
        if self._period.due(condition, now_s):
            health = self._health(condition, self._period.close(condition, now_s), outbox)
            publisher.set_state(self._topics.health, health_state(health))

    def reading(self, outbox: Outbox) -> Reading:
        """For the metrics, from any thread."""
        return Reading(
            health=self._health(self._condition(), NO_PACE, outbox),
            frames=self.frames,
            undecodable_frames=self._source.undecodable,
            rejections=self._state.rejections.copy(),
            lease_until=self._gallery.lease,
        )

    def _health(self, condition: Condition, pace: FramePace, outbox: Outbox) -> Health:
        counts = outbox.counts()
        return Health(
            condition=condition,
            pace=pace,
            dropped_frames=self._mailbox.dropped,
            effort=self._state.effort,
            pending_alerts=counts.pending,
            expired_alerts=counts.expired,
            forced_out_alerts=counts.forced_out,
            clock_state=self._clock.state(),
            temperature_c=read_temperature_c(),
            throttled=read_throttled(),
            memory_mb=read_memory_mb(),
            version=__version__,
        )

    def _gallery_state(self) -> bytes:
        fleet = self._gallery.fleet
        return gallery_state(
            generation=fleet.generation if fleet else None,
            lease_until=self._gallery.lease,
            target_fpir=self._gallery.current.calibration.target_fpir,
            model_id=self._model_id,
            purpose=self._config.purpose,
        )
