"""Which comparison score is high enough, for this many people and this FPIR? (P8)

Strangers' scores above a high threshold u follow a generalised Pareto distribution
(Pickands 1975), so the false match rate of one comparison at a threshold t >= u is

    FMR(t) = tail_fraction * (1 + shape * (t - u) / scale) ** (-1 / shape)

and a search among N templates returns a stranger with FPIR(t) = 1 - (1 - FMR(t)) ** N. That
takes comparisons for independent, which errs to the safe side: templates of one person are
alike, and so fail together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

import numpy as np

from edge_app.errors import CalibrationError
from edge_app.records import Calibration, Float32Array

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

MIN_EXCEEDANCES: Final = 100
_EXPONENTIAL: Final = 1e-9  # a shape closer to 0 than this is its limit, the exponential tail
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ImpostorTail:
    """The upper tail of strangers' comparison scores (cosines) for one embedder.

    u:             score where the tail begins.
    tail_fraction: share of comparisons that score above u.
    shape, scale:  of the generalised Pareto distribution of (score - u).
    comparisons:   how many comparisons the tail was fitted on.
    data:          which images they came from, in words.
    """

    model_sha256: str
    u: float
    tail_fraction: float
    shape: float
    scale: float
    comparisons: int
    data: str

    def __post_init__(self) -> None:
        """Refuse numbers that describe no tail."""
        sound = (
            all(map(math.isfinite, (self.u, self.tail_fraction, self.shape, self.scale)))
            and 0 <= self.u < 1
            and 0 < self.tail_fraction <= 1
            and 0 < self.scale <= 1
            and self.comparisons > 0
        )
        if not sound:
            raise CalibrationError(
                "the impostor tail holds impossible numbers; measure it again with the evaluation"
            )


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
    excess = (threshold - tail.u) / tail.scale
    if abs(tail.shape) < _EXPONENTIAL:
        return tail.tail_fraction * math.exp(-excess)
    base = 1 + tail.shape * excess
    return tail.tail_fraction * math.pow(base, -1 / tail.shape) if base > 0 else 0.0


def fpir_at(tail: ImpostorTail, threshold: float, comparisons: int) -> float:
    """Share of strangers' searches among `comparisons` templates that return anyone.

    Raises:
        CalibrationError: the threshold lies below the tail.
    """
    fmr = fmr_at(tail, threshold)
    return 1.0 if fmr >= 1 else -math.expm1(comparisons * math.log1p(-fmr))


def threshold_for(tail: ImpostorTail, target_fpir: float, comparisons: int) -> Calibration:
    """The lowest threshold that meets an FPIR at so many comparisons in one search.

    Raises:
        CalibrationError: the target is not a share between 0 and 1, asks for a rate too rare
            for the data (`MAX_EXTRAPOLATION`), or for a threshold above `MAX_THRESHOLD`.
    """
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
    threshold = _threshold_at(tail, fmr)
    if threshold > MAX_THRESHOLD:
        raise CalibrationError(
            f"an FPIR of {target_fpir:g} among {comparisons} templates needs a threshold of "
            f"{threshold:.3f}, above which nobody is recognised; raise target_fpir or enrol fewer"
        )
    return Calibration(threshold, target_fpir, comparisons, tail.model_sha256)


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


def _threshold_at(tail: ImpostorTail, fmr: float) -> float:
    """Where the tail falls to this FMR; its beginning if the FMR is higher than that."""
    ratio = min(1.0, fmr / tail.tail_fraction)
    if abs(tail.shape) < _EXPONENTIAL:
        return tail.u - tail.scale * math.log(ratio)
    return tail.u + tail.scale / tail.shape * (math.pow(ratio, -tail.shape) - 1)


def require_holds(calibration: Calibration, *, comparisons: int, model_sha256: str) -> None:
    """Pass if the calibration holds for this embedder and so many comparisons in one search.

    Raises:
        CalibrationError: it does not; the device must not start with it.
    """
    if calibration.model_sha256 != model_sha256:
        raise CalibrationError(
            f"the threshold was calibrated for model {calibration.model_sha256[:12]}, and the "
            f"device runs {model_sha256[:12]}; calibrate again for this model"
        )
    if comparisons > calibration.max_templates:
        raise CalibrationError(
            f"the gallery compares with {comparisons} templates, and the threshold of "
            f"{calibration.threshold:.3f} holds an FPIR of {calibration.target_fpir:g} for at "
            f"most {calibration.max_templates}; calibrate for this size or enrol fewer"
        )


def fit_tail(scores: Float32Array, *, u: float, model_sha256: str, data: str) -> ImpostorTail:
    """Fit the tail to strangers' comparison scores, shape (n,), by weighted moments.

    Probability-weighted moments (Hosking and Wallis 1987, equations 4.1 and 4.2) beat maximum
    likelihood at these sizes. Where their estimate would rule out a score that was seen, the
    end of the tail moves out to that score (Dupuis and Tsao 1998).

    Raises:
        CalibrationError: fewer than `MIN_EXCEEDANCES` scores lie above u, or they do not vary.
    """
    excess = np.sort(np.asarray(scores[scores > u], dtype=np.float64)) - float(u)
    if excess.size < MIN_EXCEEDANCES or excess[0] == excess[-1]:
        raise CalibrationError(
            f"{excess.size} of {scores.size} scores lie above {u:.3f}, too few for a tail "
            f"({MIN_EXCEEDANCES} different ones at least); lower u or compare more images"
        )
    survival = 1 - (np.arange(1, excess.size + 1) - 0.35) / excess.size
    mean, weighted = float(excess.mean()), float((survival * excess).mean())
    shape = 2 - mean / (mean - 2 * weighted)
    scale = 2 * mean * weighted / (mean - 2 * weighted)
    shape = max(shape, -scale / float(excess[-1]))
    return ImpostorTail(
        model_sha256, float(u), excess.size / scores.size, shape, scale, scores.size, data
    )


def encode_tails(tails: Sequence[ImpostorTail]) -> str:
    """`impostor_tail.json`: one entry per embedder."""
    content = {"format": _FORMAT, "tails": [asdict(tail) for tail in tails]}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def decode_tails(text: str) -> tuple[ImpostorTail, ...]:
    """Read what `encode_tails` wrote.

    Raises:
        CalibrationError: anything else.
    """
    try:
        content = json.loads(text)
        if content.keys() != {"format", "tails"} or content["format"] != _FORMAT:
            raise ValueError("unknown format")
        return tuple(_tail(entry) for entry in content["tails"])
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CalibrationError(
            "the impostor tail file is malformed; write it again with the evaluation"
        ) from error


def _tail(entry: dict[str, object]) -> ImpostorTail:
    kinds = {"model_sha256": str, "data": str, "comparisons": int}
    if entry.keys() != {field.name for field in fields(ImpostorTail)}:
        raise ValueError("unknown or missing keys")
    if any(type(value) is not kinds.get(name, float) for name, value in entry.items()):
        raise TypeError("a value of another type")
    return ImpostorTail(**entry)  # type: ignore[arg-type]  # the types were compared above


def tail_for(tails: Sequence[ImpostorTail], model_sha256: str) -> ImpostorTail:
    """The tail that was measured with this embedder.

    Raises:
        CalibrationError: there is none.
    """
    for tail in tails:
        if tail.model_sha256 == model_sha256:
            return tail
    raise CalibrationError(
        f"no impostor tail was measured for model {model_sha256[:12]}; run the evaluation with it"
    )
