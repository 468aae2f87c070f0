"""`familiar evaluate liveness`: attacks and people before the enrolment station's own capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.commands.console import err
from edge_app.config import Config, make_config
from edge_app.core.liveness import Ask, LivenessRule
from edge_app.enrolment.capture import Capture, PoseRule
from edge_app.errors import EnrolmentError
from edge_app.evaluation import liveness
from edge_app.evaluation.attacks import Clip
from edge_app.evaluation.faces import FaceReader, ReadingRules
from edge_app.evaluation.liveness_report import figures, write_report
from edge_app.pipeline import Pipeline
from edge_app.records import Float32Array, ImageBgr


def liveness_command(
    images: Annotated[Path, typer.Option(help="Folder of pictures.", metavar="DIR")],
    json_out: Annotated[
        Path, typer.Option("--json", help="Write the result here.", metavar="FILE")
    ],
    people: Annotated[int, typer.Option(min=1, help="How many, each once per kind.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed composes the same clips.")] = 1,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
    ] = None,
) -> None:
    """Liveness at enrolment: which attacks pass, which people are refused."""
    config = make_config({})
    models = load_models(config)
    rules = make_rules(config)
    result = liveness.run(
        FaceReader(
            Pipeline(rules, models, NullStopwatch()),
            models.embedder,
            ReadingRules(
                scan=config.scan,
                max_detection_overlap=config.look.max_detection_overlap,
                min_presence=config.quality.min_presence,
            ),
        ),
        Station(_WithoutEmbedding(rules, models, NullStopwatch()), config),
        images=images,
        people=people,
        seed=seed,
        min_relief=config.enrolment.min_relief,
        json_out=json_out,
    )
    table = Table("measure", "figure", "95 % interval, sample", box=None)
    for figure in figures(result):
        table.add_row(figure.label, figure.value, figure.note)
    err.print(table)
    err.print(liveness.LIMITS, markup=False)
    if report is not None:
        write_report(result, report)
        err.print(f"Look at {report}.", markup=False)


class _WithoutEmbedding(Pipeline):
    """Liveness does not depend on who it is."""

    def embed(self, face: ImageBgr) -> Float32Array:
        del face
        return np.ones(1, np.float32)


class Station:
    """The enrolment station's capture, asked for its liveness challenge only."""

    def __init__(self, reader: Pipeline, config: Config) -> None:
        self._reader = reader
        self._config = config

    def __call__(self, clip: Clip, turns: Sequence[Ask]) -> bool:
        """Whether the clip passes."""
        config = self._config
        enrolment = config.enrolment
        # Composed faces are small, and how good they are is not asked here.
        anything = replace(
            config.enrolment_quality,
            min_interocular_px=0.0,
            max_yaw_deg=180.0,
            max_pitch_deg=180.0,
            min_sharpness=0.0,
            min_brightness=0.0,
            max_brightness=255.0,
            min_contrast=0.0,
        )
        capture = Capture(
            self._reader,
            anything,
            clip,
            detector=config.scan.tile_detector,
            max_overlap=config.look.max_detection_overlap,
        )
        rule = LivenessRule(
            turn_deg=enrolment.turn_deg,
            straight_deg=enrolment.straight_deg,
            step_timeout_s=enrolment.step_timeout_s,
            max_lost_s=enrolment.max_lost_s,
            min_relief=enrolment.min_relief,
        )
        try:
            capture.live(clip, rule, turns, PoseRule(frames_per_pose=0, timeout_s=0.0))
        except EnrolmentError:
            return False
        return True
