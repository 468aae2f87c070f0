"""Finds the threshold for this home's gallery, and what is known of it; changes nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from edge_app.app import (
    Home,
    embedder_sha256,
    impostor_tail,
    intended_use,
    size_with_headroom,
)
from edge_app.config import BOUNDS, Config
from edge_app.core.calibrate import (
    ImpostorTail,
    require_holds,
    require_plausible,
    threshold_for,
)
from edge_app.core.gallery import comparisons_per_search
from edge_app.errors import ConfigError
from edge_app.evaluation.calibration_report import Outlook, outlook
from edge_app.ports import Clock
from edge_app.records import Calibration

SIZES = (100, 1_000, 10_000, 50_000)
"""Galleries to compare with: a home, a workplace, a venue, and the largest designed for."""


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """calibration: for this gallery, to be stored; before: the one it has now.

    templates: with how many a search compares today.
    outlooks:  of the size calibrated for, then of `SIZES`.
    """

    calibration: Calibration
    before: Calibration | None
    templates: int
    tail: ImpostorTail
    outlooks: tuple[Outlook, ...]


def calibrate(
    config: Config,
    home: Home,
    *,
    gallery: int | None,
    headroom: float | None,
    target_fpir: float | None,
    clock: Clock,
) -> CalibrationResult:
    """The calibration for a gallery of this home.

    gallery:     for how many templates; None: those enrolled, and head-room.
    headroom:    growth as a share of those; None: as configured.
    target_fpir: None: as configured.

    Raises:
        ConfigError: a number is out of bounds, or would keep the device from starting.
        CalibrationError: no threshold keeps the promise at this size, or the size is smaller
            than the gallery (P8).
        GalleryError: the store cannot be read.
    """
    target = _target(config, target_fpir)
    sha256 = embedder_sha256(config)
    stored = home.store().load(intended_use(config, home, sha256), now=clock.now())
    templates = comparisons_per_search(stored.admission.people)
    tail = impostor_tail(sha256)
    calibration = threshold_for(tail, target, _size(config, templates, gallery, headroom))
    require_plausible(calibration)
    require_holds(calibration, comparisons=templates, model_sha256=sha256)
    sizes = (calibration.max_templates, *SIZES)
    return CalibrationResult(
        calibration,
        stored.calibration,
        templates,
        tail,
        tuple(outlook(tail, calibration, size) for size in dict.fromkeys(sizes)),
    )


def _target(config: Config, stated: float | None) -> float:
    configured = config.match.target_fpir
    if stated is None:
        return configured
    low, _ = BOUNDS["match.target_fpir"]
    if not low <= stated <= configured:
        raise ConfigError(
            f"--target-fpir {stated:g} is not between {low:g} and match.target_fpir, "
            f"{configured:g}, above which no device starts; change the configuration for more"
        )
    return stated


def _size(config: Config, templates: int, gallery: int | None, headroom: float | None) -> int:
    if gallery is not None and headroom is not None:
        raise ConfigError("--gallery states the size with its head-room; leave --headroom away")
    if gallery is not None:
        return gallery
    return size_with_headroom(config, templates, headroom)
