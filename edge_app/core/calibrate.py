"""Which comparison score is high enough, for this many people and this FPIR? (P8)

Strangers' scores above a high threshold u follow a generalised Pareto distribution
(Pickands 1975), so the false match rate of one comparison at a threshold t >= u is

    FMR(t) = tail_fraction * (1 + shape * (t - u) / scale) ** (-1 / shape)

and a search among N templates returns a stranger with FPIR(t) = 1 - (1 - FMR(t)) ** N. That
takes comparisons for independent, which errs to the safe side: a picture that resembles many
people resembles them at once, and so raises one false alarm where N would count several.

How far the fit would move on other people is known from bootstrap resamples of people, which
travel with the tail. A device takes the threshold that `CONFIDENCE` of them ask for at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import CalibrationError
from edge_app.records import Calibration

Float64Array = NDArray[np.float64]

CONFIDENCE: Final = 0.9
"""Share of the resamples whose threshold is at most the one used. On held-out people the best
estimate alone let 0.3 to 1.2 times the target pass, this one 0.04 to 0.6 (docs/adr/0009)."""

MAX_THRESHOLD: Final = 0.95
"""Two pictures of one person rarely score higher: such a threshold would match nobody."""

LEAST_PLAUSIBLE_THRESHOLD: Final = 0.35
"""The best of 597 strangers scores 0.45 in the median on LFW, and rarely below 0.35."""

MAX_EXTRAPOLATION: Final = 10.0
"""How far below 1 / comparisons an FMR may be read off the fitted tail.

Simulated with 500 to 5,000 scores above u and shapes of -0.2 to 0.05, the true rate at the
chosen threshold is within a factor of 4 of the wanted one at 1 / comparisons (95 %), of 9 to
19 a decade below, and of 35 to 116 two decades below, where it means nothing any more.
"""

MIN_EXCEEDANCES: Final = 25
"""Scores above u that a fit needs; Hosking and Wallis (1987) find weighted moments sound from
15 on. How uncertain so few leave it, the resamples tell."""

MIN_RESAMPLES: Final = 100
"""With fewer, the 95 % interval would be made of the two outermost ones."""

_INTERVAL: Final = (0.025, 0.975)
_EXPONENTIAL: Final = 1e-9  # a shape closer to 0 than this is its limit, the exponential tail
_FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class TailFit:
    """One fit of the tail.

    u:            score where the tail begins.
    scale, shape: of the generalised Pareto distribution of (score - u); shape >= 0: no score
                  is impossible.
    """

    u: float
    scale: float
    shape: float

    def __post_init__(self) -> None:
        """Refuse numbers that describe no tail."""
        sound = all(map(math.isfinite, astuple(self)))
        if not (sound and 0 <= self.u < 1 and 0 < self.scale <= 1 and 0 <= self.shape < 1):
            raise _impossible()


@dataclass(frozen=True, slots=True)
class ImpostorTail:
    """The upper tail of strangers' comparison scores for one embedder.

    best:          the fit to all people.
    resampled:     the fits to bootstrap resamples of people.
    tail_fraction: share of comparisons that score above u, the same in every fit.
    people, comparisons: how many the tail was fitted on.
    template_pictures: how many pictures a template averages.
    data:          which images they came from, in words.
    """

    model_sha256: str
    best: TailFit
    resampled: tuple[TailFit, ...] = field(repr=False)
    tail_fraction: float
    people: int
    comparisons: int
    template_pictures: int
    data: str

    def __post_init__(self) -> None:
        """Refuse numbers that describe no tail."""
        counts = (self.people, self.comparisons, self.template_pictures)
        enough = len(self.resampled) >= MIN_RESAMPLES
        if not (0 < self.tail_fraction <= 1 and min(counts) > 0 and enough):
            raise _impossible()

    @property
    def u(self) -> float:
        return self.best.u

    @property
    def scale(self) -> float:
        return self.best.scale

    @property
    def shape(self) -> float:
        return self.best.shape


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the middle 95 % of what resampling people makes of it."""

    best: float
    low: float
    high: float


def _impossible() -> CalibrationError:
    return CalibrationError(
        "the impostor tail holds impossible numbers; measure it again with `familiar evaluate tail`"
    )


# ------------------------------------------------------------------------- what a tail says


def fmr_at(tail: ImpostorTail, threshold: float) -> float:
    """Share of single comparisons with a stranger that score `threshold` or more.

    Raises:
        CalibrationError: the threshold lies below the tail, where nothing is known.
    """
    if threshold < tail.u:
        raise CalibrationError(
            f"a threshold of {threshold:.3f} lies below the measured tail, which begins at "
            f"{tail.u:.3f}; choose a higher threshold or measure a tail that begins lower"
        )
    return float(_fmrs(tail, (tail.best,), threshold)[0])


def fpir_at(tail: ImpostorTail, threshold: float, comparisons: int) -> float:
    """Share of strangers' searches among `comparisons` templates that return anyone.

    Raises:
        CalibrationError: the threshold lies below the tail.
    """
    return float(_fpirs(np.array([fmr_at(tail, threshold)]), comparisons)[0])


def fpir_estimate(tail: ImpostorTail, threshold: float, comparisons: int) -> Estimate:
    """`fpir_at` with its interval.

    Raises:
        CalibrationError: the threshold lies below the tail.
    """
    resampled = _fpirs(_fmrs(tail, tail.resampled, threshold), comparisons)
    return _estimate(fpir_at(tail, threshold, comparisons), resampled)


def threshold_estimate(tail: ImpostorTail, target_fpir: float, comparisons: int) -> Estimate:
    """The lowest threshold that meets an FPIR at so many comparisons, with its interval.

    Raises:
        CalibrationError: as `threshold_for`, but for `MAX_THRESHOLD`.
    """
    fmr = _wanted_fmr(tail, target_fpir, comparisons)
    best = float(_thresholds(tail, (tail.best,), fmr)[0])
    return _estimate(best, _thresholds(tail, tail.resampled, fmr))


def threshold_for(tail: ImpostorTail, target_fpir: float, comparisons: int) -> Calibration:
    """The threshold for an FPIR at so many comparisons in one search: see `CONFIDENCE`.

    Raises:
        CalibrationError: the target is not a share between 0 and 1, asks for a rate too rare
            for the data (`MAX_EXTRAPOLATION`), or for a threshold above `MAX_THRESHOLD`.
    """
    fmr = _wanted_fmr(tail, target_fpir, comparisons)
    threshold = float(np.quantile(_thresholds(tail, tail.resampled, fmr), CONFIDENCE))
    if threshold > MAX_THRESHOLD:
        raise CalibrationError(
            f"an FPIR of {target_fpir:g} among {comparisons} templates needs a threshold of "
            f"{threshold:.3f}, above which nobody is recognised; raise target_fpir or enrol fewer"
        )
    return Calibration(threshold, target_fpir, comparisons, tail.model_sha256)


def _wanted_fmr(tail: ImpostorTail, target_fpir: float, comparisons: int) -> float:
    if not 0 < target_fpir < 1 or comparisons < 1:
        raise CalibrationError(
            f"an FPIR of {target_fpir} at {comparisons} comparisons cannot be calibrated for; "
            "set target_fpir between 0 and 1"
        )
    fmr = -math.expm1(math.log1p(-target_fpir) / comparisons)
    rarest = 1 / (MAX_EXTRAPOLATION * tail.comparisons)
    if fmr < rarest:
        raise CalibrationError(
            f"an FPIR of {target_fpir:g} among {comparisons} templates needs a false match rate "
            f"of {fmr:.1e}, and {tail.comparisons} measured comparisons support {rarest:.1e} at "
            "best; raise target_fpir, enrol fewer, or measure the tail on more images"
        )
    return fmr


def _fmrs(tail: ImpostorTail, fits: Iterable[TailFit], threshold: float) -> Float64Array:
    """The FMR by each fit; by one that begins above the threshold, what it has at least."""
    u, scale, shape = _columns(fits)
    excess = np.maximum(threshold - u, 0) / scale
    heavy = np.maximum(shape, _EXPONENTIAL)
    share = np.where(
        shape > _EXPONENTIAL, np.power(1 + shape * excess, -1 / heavy), np.exp(-excess)
    )
    return np.asarray(tail.tail_fraction * share)


def _fpirs(fmrs: Float64Array, comparisons: int) -> Float64Array:
    certain = fmrs >= 1
    return np.where(certain, 1.0, -np.expm1(comparisons * np.log1p(-np.where(certain, 0, fmrs))))


def _thresholds(tail: ImpostorTail, fits: Iterable[TailFit], fmr: float) -> Float64Array:
    """Where each fit falls to this FMR; its beginning if the FMR is higher than that."""
    u, scale, shape = _columns(fits)
    decay = -math.log(min(1.0, fmr / tail.tail_fraction))
    heavy = np.maximum(shape, _EXPONENTIAL)
    factor = np.where(shape > _EXPONENTIAL, np.expm1(decay * shape) / heavy, decay)
    return np.asarray(u + scale * factor)


def _columns(fits: Iterable[TailFit]) -> Float64Array:
    return np.array([astuple(fit) for fit in fits], dtype=np.float64).T


def _estimate(best: float, resampled: Float64Array) -> Estimate:
    low, high = np.quantile(resampled, _INTERVAL)
    return Estimate(best, float(low), float(high))


# ------------------------------------------------------------------- does a threshold hold?


def require_plausible(calibration: Calibration) -> None:
    """Pass if the threshold is one that the shipped embedders could need.

    Raises:
        CalibrationError: it is lower, so the measured tail was altered or is another model's.
    """
    if calibration.threshold < LEAST_PLAUSIBLE_THRESHOLD:
        raise CalibrationError(
            f"the measured tail asks for a threshold of {calibration.threshold:.3f}, at which "
            "strangers match every day: models/calibration/impostor_tail.json is not the one "
            "that was shipped; reinstall Familiar"
        )


def require_meets(calibration: Calibration, target_fpir: float) -> None:
    """Pass if the calibration is for this FPIR or a lower one.

    Raises:
        CalibrationError: it allows more; the device must not start with it.
    """
    if calibration.target_fpir > target_fpir:
        raise CalibrationError(
            f"the gallery's threshold of {calibration.threshold:.3f} holds an FPIR of "
            f"{calibration.target_fpir:g}, and match.target_fpir is {target_fpir:g}; run "
            "`familiar calibrate`"
        )


def require_holds(calibration: Calibration, *, comparisons: int, model_sha256: str) -> None:
    """Pass if the calibration holds for this embedder and so many comparisons in one search.

    Raises:
        CalibrationError: it does not; the device must not start with it.
    """
    if calibration.model_sha256 != model_sha256:
        raise CalibrationError(
            f"the gallery's threshold was calibrated for model {calibration.model_sha256[:12]}, "
            f"and the device runs {model_sha256[:12]}; run `familiar calibrate`"
        )
    if comparisons > calibration.max_templates:
        raise CalibrationError(
            f"a search of the gallery compares with {comparisons} templates, and its threshold "
            f"of {calibration.threshold:.3f} holds an FPIR of {calibration.target_fpir:g} for at "
            f"most {calibration.max_templates}; run `familiar calibrate`"
        )


# ---------------------------------------------------------------------------------- fitting


def fit_tail(
    falling: Float64Array,
    weights: NDArray[np.int64],
    *,
    comparisons: int,
    tail_fraction: float,
) -> TailFit:
    """Fit the highest share `tail_fraction` of strangers' scores by weighted moments.

    falling: the highest scores, shape (n,), in falling order, at least that share of all.
    weights: shape (n,): how often each counts. comparisons: the weight of all scores, of which
    the others need not be given.

    Probability-weighted moments (Hosking and Wallis 1987, equations 4.1 and 4.2) beat maximum
    likelihood at these sizes. A fit with shape < 0 says that no stranger ever scores above some
    end. On LFW it predicts up to twice too few false positives in galleries of other people:
    the rare alike ones, small children above all, are missing from the part it was fitted on.
    So the exponential tail of the same mean (shape 0) takes its place.

    Raises:
        CalibrationError: fewer than `MIN_EXCEEDANCES` scores are in the tail, or they do not
            vary.
    """
    counted = weights > 0
    falling, weights = falling[counted], weights[counted]
    ranks = np.cumsum(weights)
    count = int(np.searchsorted(ranks, tail_fraction * comparisons, side="right"))
    u = float(falling[count]) if count < falling.size else math.nan
    excess, weight = falling[:count] - u, weights[:count].astype(np.float64)
    total = float(weight.sum())
    if math.isnan(u) or total < MIN_EXCEEDANCES or excess[0] == excess[-1]:
        raise CalibrationError(
            f"{total:.0f} of {comparisons} comparisons make a tail, and {MIN_EXCEEDANCES} "
            "different ones are needed; compare more images"
        )
    # The mean rank of a score's `weight` copies, counted from the highest.
    survival = (ranks[:count] - (weight - 1) / 2 - 0.65) / total
    mean = float(weight @ excess) / total
    weighted = float(weight @ (survival * excess)) / total
    shape = 2 - mean / (mean - 2 * weighted)
    if shape <= 0:
        return TailFit(u, mean, 0.0)
    return TailFit(u, 2 * mean * weighted / (mean - 2 * weighted), shape)


# --------------------------------------------------------------------- impostor_tail.json


def encode_tails(tails: Mapping[str, ImpostorTail]) -> str:
    """`impostor_tail.json`: one tail per embedder, by the embedder's name."""
    entries = [f"{json.dumps(name)}: {json.dumps(_to_json(tail))}" for name, tail in tails.items()]
    return f'{{"format": {_FORMAT}, "tails": {{\n' + ",\n".join(entries) + "\n}}\n"


def _to_json(tail: ImpostorTail) -> dict[str, Any]:
    return {
        "model_sha256": tail.model_sha256,
        "data": tail.data,
        "people": tail.people,
        "comparisons": tail.comparisons,
        "template_pictures": tail.template_pictures,
        "tail_fraction": tail.tail_fraction,
        "best": astuple(tail.best),
        "resampled": [astuple(fit) for fit in tail.resampled],
    }


def decode_tails(text: str) -> dict[str, ImpostorTail]:
    """Read what `encode_tails` wrote.

    Raises:
        CalibrationError: anything else.
    """
    try:
        content = json.loads(text)
        if content.keys() != {"format", "tails"} or content["format"] != _FORMAT:
            raise ValueError("unknown format")
        return {name: _from_json(entry) for name, entry in content["tails"].items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CalibrationError(
            "the impostor tail file is malformed; write it again with `familiar evaluate tail`"
        ) from error


def _from_json(entry: dict[str, Any]) -> ImpostorTail:
    kinds = {
        "model_sha256": str, "data": str, "people": int, "comparisons": int,
        "template_pictures": int, "tail_fraction": float, "best": list, "resampled": list,
    }  # fmt: skip
    if {name: type(value) for name, value in entry.items()} != kinds:
        raise TypeError("unknown or missing keys, or a value of another type")
    resampled = tuple(_fit(numbers) for numbers in entry["resampled"])
    return ImpostorTail(**{**entry, "best": _fit(entry["best"]), "resampled": resampled})


def _fit(numbers: list[Any]) -> TailFit:
    if [type(number) for number in numbers] != [float, float, float]:
        raise TypeError("a fit is three numbers")
    return TailFit(*numbers)


def tail_for(tails: Mapping[str, ImpostorTail], model_sha256: str) -> ImpostorTail:
    """The tail that was measured with this embedder.

    Raises:
        CalibrationError: there is none.
    """
    for tail in tails.values():
        if tail.model_sha256 == model_sha256:
            return tail
    raise CalibrationError(
        f"no impostor tail was measured for model {model_sha256[:12]}; run "
        "`familiar evaluate tail` with it"
    )
