"""Error rates, thresholds and their intervals: pure functions of comparison scores.

Words as in ISO/IEC 19795-1: genuine and mated scores compare a person with themselves,
impostor and non-mated scores with others. A comparison matches when its score is equal to or
above the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_app.records import Calibration

Float64Array = NDArray[np.float64]
Interval = tuple[float, float]

Calibrate = Callable[[int], Calibration]
"""The device's threshold for so many comparisons in a search. Raises CalibrationError."""

NO_SCORE: Final = -2.0
"""Below any cosine: the score where a face was not found, or another person came first."""

RESAMPLES: Final = 2000
"""Bootstrap resamples: the 95 % bounds then vary by about 2 % of the interval's width."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it costs.

    false_match_rate: the largest share of impostor scores that was allowed to match.
    miss_rate:        share of genuine scores below the threshold.
    """

    false_match_rate: float
    threshold: float
    miss_rate: float


def allowed(count: int, rate: float) -> int:
    """How many of `count` may match at a rate: 7 of 700 at 0.01, whatever floats make of it."""
    return math.floor(count * rate + 1e-9)


def threshold_at(impostor: Float64Array, rate: float) -> float:
    """The lowest threshold that at most a share `rate` (0 to below 1) of the scores reach.

    Raises ValueError when there are no scores.
    """
    if impostor.size == 0:
        raise ValueError("a threshold needs impostor scores")
    falling = np.sort(impostor)[::-1]
    return max(-1.0, float(np.nextafter(falling[allowed(falling.size, rate)], np.inf)))


def operating_point(genuine: Float64Array, impostor: Float64Array, rate: float) -> OperatingPoint:
    """The threshold for a false match rate, and the share of genuine scores it misses.

    Raises ValueError when either has no scores.
    """
    if genuine.size == 0:
        raise ValueError("a miss rate needs genuine scores")
    threshold = threshold_at(impostor, rate)
    return OperatingPoint(rate, threshold, float(np.mean(genuine < threshold)))


def bootstrap_miss_rates(
    genuine: Float64Array,
    genuine_person: NDArray[np.int64],
    impostor: Float64Array,
    rates: Float64Array,
    *,
    resamples: int,
    seed: int,
) -> Float64Array:
    """The miss rates at `rates` in bootstrap resamples of people: shape (resamples, rates).

    genuine_person: shape of genuine, whose score each is, numbered 0 to people - 1: all
    scores of one person are drawn together, because they fail together. Each impostor score
    belongs to a person of its own. The threshold is set anew in each resample.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(genuine)
    rising, person = genuine[order], genuine_person[order]
    people = int(genuine_person.max()) + 1
    falling = np.sort(impostor)[::-1]
    passes = np.array([allowed(falling.size, rate) for rate in rates])
    result = np.empty((resamples, rates.size))
    for i in range(resamples):
        drawn = np.bincount(random.integers(0, falling.size, falling.size), minlength=falling.size)
        # The first impostor score that may no longer match; genuine ones must be above it.
        limits = falling[np.searchsorted(np.cumsum(drawn), passes, side="right")]
        weights = np.bincount(random.integers(0, people, people), minlength=people)[person]
        below = np.concatenate(([0], np.cumsum(weights)))
        missed = below[np.searchsorted(rising, limits, side="right")]
        result[i] = missed / max(int(below[-1]), 1)
    return result


def percentile_interval(values: Float64Array) -> Interval:
    """The middle 95 % of bootstrap values (percentile method)."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def best_threshold(scores: Float64Array, same: NDArray[np.bool_]) -> float:
    """The threshold with the most right decisions, half-way between two scores.

    Of several equally good ones the highest: a false match is worse than a miss.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    gain = np.concatenate(([0], np.cumsum(np.where(same[order], 1, -1))))
    # Equal scores cannot be separated: only the last of a run is a place for a threshold.
    splits = np.concatenate(([True], falling[1:] != falling[:-1], [True]))
    best = int(np.argmax(np.where(splits, gain, -scores.size - 1)))
    above = falling[best - 1] if best > 0 else falling[0] + 1.0
    below = falling[best] if best < falling.size else falling[-1] - 1.0
    # Two scores may lie so close that their mean is the lower one: it must not match.
    middle = float((above + below) / 2)
    return middle if middle > below else float(above)


def cross_validated_accuracy(
    scores: Float64Array, same: NDArray[np.bool_], fold: NDArray[np.int64]
) -> float:
    """Mean over folds of the share of right decisions, at a threshold from the other folds.

    Source: LFW's protocol for view 2 (Huang et al. 2007). Needs two folds or more.
    """
    accuracies = []
    for tested in np.unique(fold):
        inside = fold == tested
        threshold = best_threshold(scores[~inside], same[~inside])
        accuracies.append(np.mean((scores[inside] >= threshold) == same[inside]))
    return float(np.mean(accuracies))


def bootstrap_accuracy(
    scores: Float64Array,
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> Iterator[float]:
    """`cross_validated_accuracy` in resamples of the pairs within each fold, one by one."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    for _ in range(resamples):
        drawn = np.concatenate([random.choice(own, own.size) for own in members])
        yield cross_validated_accuracy(scores[drawn], same[drawn], fold[drawn])


def wilson_interval(hits: int, trials: int) -> Interval:
    """95 % interval of a share (Wilson 1927); unlike a bootstrap's it is not empty at 0 or 1.

    Takes trials for independent.
    """
    if trials == 0:
        return 0.0, 1.0
    z2 = 1.959964**2
    share = hits / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def poisson_interval(count: int) -> Interval:
    """95 % interval of an expected number when `count` were seen (Garwood 1936), by bisection."""
    low = 0.0 if count == 0 else _poisson_mean(count - 1, 0.975)
    return low, _poisson_mean(count, 0.025)


def _poisson_mean(count: int, probability: float) -> float:
    """The mean at which `count` or fewer have this probability."""
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(60):
        middle = (low + high) / 2
        terms = (
            math.exp(k * math.log(middle) - middle - math.lgamma(k + 1)) for k in range(count + 1)
        )
        low, high = (middle, high) if sum(terms) > probability else (low, middle)
    return (low + high) / 2
