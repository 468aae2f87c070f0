"""The targets of accuracy: what they are, what was measured, and which are missed.

The figures are those that the evaluations write as JSON, so that each can be measured again by
its own command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_app.errors import ConfigError
from edge_app.evaluation.files import write_json
from edge_app.evaluation.measures import Interval

Results = Mapping[str, Mapping[str, Any]]
"""What was measured: an evaluation's name to its JSON."""


@dataclass(frozen=True, slots=True)
class Target:
    """One measure and the figure it shall reach.

    name:     in words.
    result:   whose JSON it is in.
    keys:     the way to it there.
    limit:    what it shall reach, as a share or a count.
    at_least: True if more is better.
    interval: the way to its 95 % interval, empty where there is none.
    minus:    another figure to take off first: (result, keys).
    """

    name: str
    result: str
    keys: tuple[str, ...]
    limit: float
    at_least: bool
    interval: tuple[str, ...] = ()
    minus: tuple[str, tuple[str, ...]] | None = None


TOLERANCE: Final = 0.003
"""How much a share may fall behind its recorded one: processors round differently, and so a face
or two of a thousand fall to the other side."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what was measured of it: None where it was not."""

    target: Target
    measured: float | None
    ci95: Interval | None

    @property
    def met(self) -> bool | None:
        """Whether the figure itself reaches the target; its interval may say otherwise."""
        if self.measured is None:
            return None
        if self.target.at_least:
            return self.measured >= self.target.limit
        return self.measured <= self.target.limit


def _fnir(enrol_images: int, fpir: str, limit: float) -> Target:
    return Target(
        f"K={enrol_images}: FNIR at FPIR {float(fpir):.1%}",
        f"identification_{enrol_images}",
        ("fnir_at_fpir", fpir),
        limit,
        at_least=False,
        interval=("fnir_at_fpir_ci95", fpir),
    )


def _int8_loss(enrol_images: int, fpir: str) -> Target:
    keys = ("fnir_at_fpir", fpir)
    return Target(
        f"K={enrol_images}: int8 minus float at FPIR {float(fpir):.1%}",
        f"identification_{enrol_images}",
        keys,
        0.005,
        at_least=False,
        minus=(f"identification_{enrol_images}_float", keys),
    )


def _recall(width_px: int, limit: float) -> Target:
    return Target(
        f"scenes: recall at {width_px} px",
        "detection",
        ("recall_at_width_px", str(width_px), "recall"),
        limit,
        at_least=True,
        interval=("recall_at_width_px", str(width_px), "recall_ci95"),
    )


TARGETS: Final[tuple[Target, ...]] = (
    Target("verification accuracy", "verification", ("accuracy",), 0.995, True, ("accuracy_ci95",)),
    Target(
        "TAR at FAR 1e-3",
        "verification",
        ("tar_at_far_1e-3",),
        0.986,
        True,
        ("tar_at_far_1e-3_ci95",),
    ),
    _fnir(1, "0.01", 0.07),
    _fnir(1, "0.003", 0.10),
    _fnir(3, "0.01", 0.008),
    _fnir(3, "0.003", 0.015),
    *(_int8_loss(k, fpir) for k in (1, 3) for fpir in ("0.01", "0.003")),
    Target("undetected pictures", "verification", ("undetected",), 0, at_least=False),
    _recall(40, 0.95),
    _recall(60, 0.99),
    _recall(120, 0.998),
    Target(
        "scenes: false detections per frame",
        "detection",
        ("false_detections_per_frame",),
        1 / 200,
        False,
        ("false_detections_per_frame_ci95",),
    ),
    Target(
        "video: missed at 0.3 % false",
        "video",
        ("missed_at_false", "0.003"),
        0.005,
        False,
        ("missed_at_false_ci95", "0.003"),
    ),
    Target(
        "liveness: worst APCER of a kind",
        "liveness",
        ("worst_apcer",),
        0.01,
        False,
        ("worst_apcer_ci95",),
    ),
    Target("liveness: BPCER", "liveness", ("bpcer",), 0.05, False, ("bpcer_ci95",)),
)


def read_results(folder: Path) -> Results:
    """Every NAME.json in a folder, by NAME.

    Raises:
        ConfigError: there is none, or one is no JSON object.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ConfigError(f"{folder} holds no results; run `make accuracy`")
    return {file.stem: _object(file) for file in files}


def _object(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}; measure again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} is no result; measure again")
    return content


def judge(results: Results, targets: Sequence[Target] = TARGETS) -> tuple[Verdict, ...]:
    """Each target against what was measured. Results that are missing make open verdicts."""
    return tuple(_verdict(target, results) for target in targets)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict for programs; null where nothing was measured."""
    return {
        "measure": verdict.target.name,
        "limit": verdict.target.limit,
        "at_least": verdict.target.at_least,
        "measured": verdict.measured,
        "ci95": verdict.ci95,
        "met": verdict.met,
    }


def _verdict(target: Target, results: Results) -> Verdict:
    measured = _figure(results, target.result, target.keys)
    if target.minus is not None and measured is not None:
        other = _figure(results, *target.minus)
        measured = None if other is None else measured - other
    interval = _at(results.get(target.result), target.interval) if target.interval else None
    return Verdict(target, measured, None if interval is None else (interval[0], interval[1]))


def _figure(results: Results, result: str, keys: Sequence[str]) -> float | None:
    value = _at(results.get(result), keys)
    return None if value is None else float(value)


def _at(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if tree is None:
            return None
        tree = tree.get(key)
    return tree


def record(verdicts: Sequence[Verdict], file: Path) -> None:
    """Writes down what was measured, to hold later measurements against.

    Raises:
        StorageError: it cannot be written.
    """
    known = {v.target.name: v.measured for v in verdicts if v.measured is not None}
    write_json(file, dict(sorted(known.items())))


def fallen_behind(verdicts: Sequence[Verdict], file: Path) -> tuple[tuple[Verdict, float], ...]:
    """The figures that are worse than the recorded ones, with those.

    Raises:
        ConfigError: the record cannot be read.
    """
    recorded = _object(file)
    return tuple(
        (verdict, recorded[verdict.target.name])
        for verdict in verdicts
        if verdict.measured is not None
        and verdict.target.name in recorded
        and _loss(verdict.target, verdict.measured, recorded[verdict.target.name]) > TOLERANCE
    )


def _loss(target: Target, measured: float, recorded: float) -> float:
    return recorded - measured if target.at_least else measured - recorded
