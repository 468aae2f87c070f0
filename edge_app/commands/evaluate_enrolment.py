"""`familiar evaluate enrolment`: how many pictures, which warnings, which gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.commands.console import err
from edge_app.config import Config, make_config
from edge_app.core.quality import QualityLimits
from edge_app.evaluation import enrolment
from edge_app.evaluation.enrolment_report import figures, write_report
from edge_app.evaluation.faces import FaceReader, ReadingRules
from edge_app.pipeline import Pipeline


def enrolment_command(
    images: Annotated[Path, typer.Option(help="Folder of pictures.", metavar="DIR")],
    json_out: Annotated[
        Path, typer.Option("--json", help="Write the result here.", metavar="FILE")
    ],
    exclude: Annotated[
        Path | None, typer.Option(help="CSV of pictures to leave out.", metavar="CSV")
    ] = None,
    count: Annotated[
        list[int] | None,
        typer.Option(help="Pictures per person; may be given several times; default: 1 2 3 5."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="fold, left, right, same; for --fold.", metavar="CSV")
    ] = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(help="Only people of this fold; may be given several times."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
    ] = None,
    embedder: Annotated[str, typer.Option(help="int8, as shipped, or float to compare.")] = "int8",
) -> None:
    """Enrolment: what more pictures gain, and what its warnings and gates cost."""
    config = make_config({"embedder": f"mobilefacenet_{embedder}"})
    result = enrolment.run(
        _reader(config),
        images=images,
        exclude=exclude,
        pairs=pairs,
        folds=fold or (),
        counts=count or (1, 2, 3, 5),
        gates=_gates(config),
        relative_similarity=config.enrolment.relative_similarity,
        same_similarity=config.enrolment.same_similarity,
        json_out=json_out,
    )
    table = Table("measure", "figure", "95 % interval, sample", box=None)
    for figure in figures(result):
        table.add_row(figure.label, figure.value, figure.note)
    err.print(table)
    if report is not None:
        write_report(result, report)
        err.print(f"Look at {report}.", markup=False)


def _gates(config: Config) -> dict[str, QualityLimits]:
    """The configured gates, and stricter ones. How large the faces are in these pictures says
    nothing of a camera's, so the limit of size is the device's throughout."""
    size_px = config.quality.min_interocular_px
    enrolling = replace(config.enrolment_quality, min_interocular_px=size_px)
    return {
        "device": config.quality,
        "enrolment": enrolling,
        "stricter": replace(enrolling, max_yaw_deg=25.0, max_pitch_deg=20.0, min_sharpness=0.1),
    }


def _reader(config: Config) -> FaceReader:
    models = load_models(config)
    rules = ReadingRules(
        scan=config.scan,
        max_detection_overlap=config.look.max_detection_overlap,
        min_presence=config.quality.min_presence,
    )
    pipeline = Pipeline(make_rules(config), models, NullStopwatch())
    return FaceReader(pipeline, models.embedder, rules)
