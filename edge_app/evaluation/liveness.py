"""`familiar evaluate liveness`: which attacks the liveness challenge lets through, and which people
it refuses.

Words as in ISO/IEC 30107-3: APCER is the share of attack presentations of one kind that were
taken for bona fide ones, BPCER the share of bona fide presentations that were refused.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from edge_app.core.liveness import Ask, View, draw_turns, observe, relief_between
from edge_app.errors import ConfigError
from edge_app.evaluation.attacks import Clip, Kind, Portrait, portrait
from edge_app.evaluation.faces import FaceReader, with_progress
from edge_app.evaluation.files import identity_of, list_pictures, read_picture, write_json
from edge_app.evaluation.measures import Interval

Present = Callable[[Clip, Sequence[Ask]], bool]
"""Lets a station's liveness challenge of these turns see a clip: whether it is passed."""

TARGET_APCER: Final = 0.01
TARGET_BPCER: Final = 0.05

BEYOND_REACH: Final = frozenset({Kind.STEERED_SCREEN})
"""Attacks that a challenge which is heard by the attacker cannot refuse; measured all the same."""

LIMITS: Final = (
    "All clips are composed. The attacks are not those of ISO/IEC 30107-3: nobody made a print, a "
    "screen or a mask and held it before a camera, and there may be kinds that nobody thought of. "
    "The heads that turn for real are composed too, from stills and FaceMesh's depth. Real are "
    "only the pictures of one person that are compared with each other."
)

_TAIL: Final = 0.025
_TURNS: Final = 4
_CLIP_S: Final = 200.0
_FRONTAL_DEG: Final = 6.0
_LEVEL_DEG: Final = (-15.0, 5.0)
"""Pitch of portraits that look straight; -5 is the mean of people. A head composed from a picture
that looks down already could not be nodded."""

_TURNED_DEG: Final = (18.0, 45.0)
_PAIRS: Final = 4
"""Pairs of pictures that a real person's relief is the mean of, as of four turns."""

_PICTURES: Final = 8


@dataclass(frozen=True, slots=True)
class Rate:
    """wrong: how many of the presented clips were judged wrongly."""

    presented: int
    wrong: int
    rate: float
    ci95: Interval

    @classmethod
    def of(cls, wrong: Sequence[bool]) -> Rate:
        errors = sum(wrong)
        interval = clopper_pearson(errors, len(wrong))
        return cls(len(wrong), errors, errors / max(len(wrong), 1), interval)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one kind of clip. halves: of every second person, first the even ones."""

    kind: Kind
    all: Rate
    halves: tuple[Rate, Rate]

    @classmethod
    def of(cls, kind: Kind, wrong: Sequence[bool]) -> Errors:
        return cls(kind, Rate.of(wrong), (Rate.of(wrong[::2]), Rate.of(wrong[1::2])))


@dataclass(frozen=True, slots=True)
class RealPeople:
    """Relief between pictures of one person that face differently; each person is their mean.

    refused: those whose mean is below the configured limit.
    """

    people: int
    pairs: int
    relief_percentiles: tuple[float, float, float]
    refused: Rate


@dataclass(frozen=True, slots=True)
class LivenessResult:
    """luck: how likely a recording of another challenge is the one asked for."""

    people: int
    seed: int
    turns: int
    luck: float
    attacks: tuple[Errors, ...]
    bona_fide: Errors
    real_people: RealPeople | None

    @property
    def worst(self) -> Errors:
        """The attack within reach that passes most often."""
        return max(
            (e for e in self.attacks if e.kind not in BEYOND_REACH), key=lambda e: e.all.rate
        )

    @property
    def met(self) -> bool:
        return self.worst.all.rate <= TARGET_APCER and self.bona_fide.all.rate <= TARGET_BPCER

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result."""
        real = self.real_people
        return {
            "measure": "liveness",
            "protocol": "every person once per kind of clip, before the station's own capture; "
            "exact binomial (Clopper-Pearson) intervals; halves: every second person",
            "limits": LIMITS,
            "people": self.people,
            "seed": self.seed,
            "turns": self.turns,
            "luck": self.luck,
            "worst_apcer": self.worst.all.rate,
            "worst_apcer_ci95": self.worst.all.ci95,
            "bpcer": self.bona_fide.all.rate,
            "bpcer_ci95": self.bona_fide.all.ci95,
            "target_apcer": TARGET_APCER,
            "target_bpcer": TARGET_BPCER,
            "attacks": {
                errors.kind: {
                    **asdict(errors.all),
                    "halves": [asdict(half) for half in errors.halves],
                    "has_target": errors.kind not in BEYOND_REACH,
                }
                for errors in self.attacks
            },
            "bona_fide": {
                **asdict(self.bona_fide.all),
                "halves": [asdict(half) for half in self.bona_fide.halves],
            },
            "real_people": None if real is None else asdict(real),
        }


def clopper_pearson(hits: int, trials: int) -> Interval:
    """Exact 95 % interval of a share (Clopper and Pearson, 1934), by bisection."""
    if trials == 0:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else 1 - _share_where(trials - hits, trials)
    high = 1.0 if hits == trials else _share_where(hits, trials)
    return low, high


def _share_where(hits: int, trials: int) -> float:
    """The share at which `hits` or fewer of `trials` have a probability of 2.5 %."""
    k = np.arange(hits + 1)
    ways = np.concatenate(([0.0], np.cumsum(np.log((trials - k[:-1]) / k[1:]))))
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2
        likely = np.exp(ways + k * math.log(share) + (trials - k) * math.log1p(-share)).sum()
        low, high = (share, high) if likely > _TAIL else (low, share)
    return (low + high) / 2


def luck(turns: int) -> float:
    """How likely two challenges of `turns` turns are the same: see `draw_turns`."""
    return 1 / (4.0**turns - 2 * 2.0**turns)


def present_all(
    present: Present, portraits: Sequence[Portrait], kinds: Sequence[Kind], seed: int
) -> dict[Kind, list[bool]]:
    """Whether each portrait's clip of each kind passed, in order."""
    passed: dict[Kind, list[bool]] = {kind: [] for kind in kinds}
    plan = [(kind, i) for i in range(len(portraits)) for kind in kinds]
    for kind, i in with_progress(plan, "Presenting clips"):
        lots = np.random.default_rng((seed, i, list(Kind).index(kind)))
        clip = Clip(kind, portraits[i], int(lots.integers(2**31)), turns=_TURNS, seconds=_CLIP_S)
        turns = draw_turns(Random(int(lots.integers(2**31))), _TURNS)  # noqa: S311 - no secret
        passed[kind].append(present(clip, turns))
    return passed


def real_people(people: Sequence[Sequence[View]], min_relief: float) -> RealPeople | None:
    """How solid real heads look, from several views of each; None if nobody has enough."""
    means, pairs = [], 0
    for views in people:
        reliefs = [
            relief_between(rest, turned)
            for rest in views
            if abs(rest.pose.yaw_deg) < _FRONTAL_DEG
            for turned in views
            if _TURNED_DEG[0] < abs(turned.pose.yaw_deg - rest.pose.yaw_deg) < _TURNED_DEG[1]
        ]
        if len(reliefs) >= _PAIRS:
            pairs += len(reliefs)
            means.append(float(np.mean(reliefs)))
    if not means:
        return None
    low, middle, high = np.percentile(means, (5, 50, 95))
    return RealPeople(
        people=len(means),
        pairs=pairs,
        relief_percentiles=(float(low), float(middle), float(high)),
        refused=Rate.of([mean < min_relief for mean in means]),
    )


def run(
    reader: FaceReader,
    present: Present,
    *,
    images: Path,
    people: int,
    seed: int,
    min_relief: float,
    json_out: Path,
) -> LivenessResult:
    """Composes the clips, presents them, measures, writes the JSON.

    people: how many, each of whom gives one portrait that looks straight.

    Raises:
        ConfigError: nobody in the folder looks straight.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    by_person: dict[str, list[str]] = defaultdict(list)
    for name in list_pictures(images):
        by_person[identity_of(name)].append(name)
    order = np.random.default_rng(seed).permutation(sorted(by_person)).tolist()
    portraits: list[Portrait] = []
    views: list[list[View]] = []
    for who in with_progress(order, "Reading faces"):
        several = len(by_person[who]) > _PAIRS
        if len(portraits) >= people and not several:
            continue
        seen = _look(reader, images, by_person[who][: _PICTURES if several else 1])
        straight = [of for of, view in seen if _is_straight(view)]
        if straight and len(portraits) < people:
            portraits.append(straight[0])
        views.append([view for _, view in seen])
    if not portraits:
        raise ConfigError(f"nobody in {images} looks straight; name a folder of portraits")
    passed = present_all(present, portraits, list(Kind), seed)
    result = LivenessResult(
        people=len(portraits),
        seed=seed,
        turns=_TURNS,
        luck=luck(_TURNS),
        attacks=tuple(
            Errors.of(kind, accepted) for kind, accepted in passed.items() if kind is not Kind.HEAD
        ),
        bona_fide=Errors.of(Kind.HEAD, [not accepted for accepted in passed[Kind.HEAD]]),
        real_people=real_people(views, min_relief),
    )
    write_json(json_out, result.to_json())
    return result


def _is_straight(view: View) -> bool:
    lowest_deg, highest_deg = _LEVEL_DEG
    level = lowest_deg < view.pose.pitch_deg < highest_deg
    return level and abs(view.pose.yaw_deg) < _FRONTAL_DEG


def _look(reader: FaceReader, folder: Path, names: Sequence[str]) -> list[tuple[Portrait, View]]:
    """The portraits in pictures; those without a face are left out."""
    found = []
    for name in names:
        image = read_picture(folder / name)
        reading = None if image is None else reader.portrait(image)
        if image is not None and reading is not None:
            found.append((portrait(image, reading.mesh), observe(image, reading.mesh)))
    return found
