"""The gallery of a running device: it follows the store, the fleet's lease and the clock."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Final

from edge_app.adapters.gallery_store import CLOCK_TOLERANCE, FleetState
from edge_app.adapters.keys import stations_state
from edge_app.app import Home, open_gallery
from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.core.health import Condition
from edge_app.ports import Clock
from edge_app.records import ClockState

_DAY_S: Final = 86_400


class FollowedGallery:
    """One gallery, swapped between two frames. For one thread; it builds in another.

    current: everybody of this device, whether or not they may be matched now; see `usable`.
    lease:   until when the fleet's word holds; None without a fleet.
    departed: the tombstones of whoever left.
    fleet:   what the store holds of the fleet's; None without one.
    """

    def __init__(self, config: Config, home: Home, model_sha256: str, clock: Clock) -> None:
        """Raises GalleryError, KeyFileError, CalibrationError or StorageError."""
        self._config = config
        self._home = home
        self._model_sha256 = model_sha256
        self._clock = clock
        self._store = home.store()
        self._purged_s = float("-inf")
        self._purge_if_due()
        self._membership = home.membership()
        self._store_seen = self._store_state()
        self.current, self._barred = self._open()
        self.departed: AbstractSet[str] = self._barred
        self._nobody = Gallery.empty(
            purpose=config.purpose,
            model_sha256=model_sha256,
            calibration=self.current.calibration,
        )
        self.lease: datetime | None = None
        self.fleet: FleetState | None = None
        self._lease_seen: object = None
        self._latest = clock.now()
        self._follow_lease()
        self._loader = ThreadPoolExecutor(1, "gallery")
        self._loading: Future[tuple[Gallery, frozenset[str]]] | None = None

    def close(self) -> None:
        self._loader.shutdown()

    def usable(self, now: datetime) -> Gallery:
        """Whoever may be matched at this time: nobody while the clock or the lease forbids it."""
        return self.current if self.condition(now) is Condition.RUNNING else self._nobody

    def condition(self, now: datetime) -> Condition:
        """RUNNING, or what the clock says against matching at all.

        A clock that goes back would bring expired consents and leases to life again.
        """
        self._latest = max(self._latest, now)
        if now < self._latest - CLOCK_TOLERANCE:
            return Condition.CLOCK_WRONG
        return Condition.RUNNING if self._lease_holds(now) else Condition.GALLERY_TOO_OLD

    def follow(self) -> None:
        """Notices enrolments, revocations, generations and leases that another process made.

        Who left is masked at once, also while a gallery is being built, which happens beside the
        frames.
        """
        self._purge_if_due()
        self._follow_lease()
        seen = self._store_state()
        if seen == self._store_seen:
            return
        self._mask_departed()
        if self._loading is None:
            self._store_seen = seen
            self._loading = self._loader.submit(self._open)

    def take_over(self) -> None:
        """Swaps the gallery, between two frames, once the next one is built."""
        if self._loading is not None and self._loading.done():
            loading, self._loading = self._loading, None
            self.current, self._barred = loading.result()
            self._mask_departed()

    def _open(self) -> tuple[Gallery, frozenset[str]]:
        """The gallery, and the tombstones that it leaves out for certain."""
        barred = self._store.tombstones()
        return open_gallery(self._config, self._home, self._model_sha256, self._clock), barred

    def _mask_departed(self) -> None:
        """Hides whoever left since the gallery was read from the store."""
        self.departed = self._store.tombstones()
        newly = self.departed - self._barred
        if newly:
            self.current = self.current.without_departed(newly)

    def _lease_holds(self, now: datetime) -> bool:
        """Whether this device heard of its fleet lately enough; always, if it has none."""
        return self.fleet is None if self.lease is None else now < self.lease

    def _follow_lease(self) -> None:
        seen = self._membership.fingerprint()
        if seen != self._lease_seen:
            self._lease_seen = seen
            self.lease = self._membership.lease()
            self.fleet = self._store.fleet_floor()

    def _store_state(self) -> object:
        return self._store.fingerprint(), stations_state(self._home.folder)

    def _purge_if_due(self) -> None:
        """Erases daily whose retention ended, if the clock is right: what it erases is gone."""
        now_s = self._clock.monotonic_s()
        if now_s - self._purged_s > _DAY_S and self._clock.state() is ClockState.SYNCHRONISED:
            self._purged_s = now_s
            self._store.purge(now=self._clock.now())
