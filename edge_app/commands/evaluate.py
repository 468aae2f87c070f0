"""`familiar evaluate`: accuracy as commands that anyone can run on their own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import load_models, make_rules
from edge_app.commands.console import err
from edge_app.commands.evaluate_enrolment import enrolment_command
from edge_app.commands.evaluate_liveness import liveness_command
from edge_app.commands.evaluate_targets import targets_command
from edge_app.commands.evaluate_video import calibrator, video_command
from edge_app.config import Config, make_config
from edge_app.evaluation import detection, identification, scenes, tail, verification
from edge_app.evaluation.faces import FaceReader, ReadingRules
from edge_app.evaluation.report import Result, figures, write_report
from edge_app.pipeline import Pipeline

app = typer.Typer(
    help=(
        "Measure accuracy, the device's own way, from raw pictures on. The pictures are only "
        "read; their files are named Name_NNNN.jpg, Name being the person."
    ),
    no_args_is_help=True,
)

Images = Annotated[Path, typer.Option(help="Folder of pictures.", metavar="DIR")]
JsonOut = Annotated[Path, typer.Option("--json", help="Write the result here.", metavar="FILE")]
Report = Annotated[
    Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
]
ShowImages = Annotated[
    bool,
    typer.Option("--show-images", help="Put the worst pictures into the page, not names only."),
]
Embedder = Annotated[str, typer.Option(help="int8, as shipped, or float to compare.")]
Exclude = Annotated[Path | None, typer.Option(help="CSV of pictures to leave out.", metavar="CSV")]


@app.command("verification")
def verification_command(
    images: Images,
    pairs: Annotated[Path, typer.Option(help="fold, left, right, same.", metavar="CSV")],
    json_out: JsonOut,
    report: Report = None,
    show_images: ShowImages = False,
    embedder: Embedder = "int8",
) -> None:
    """One to one: are these two pictures of the same person?"""
    result = verification.run(_reader(embedder), images=images, pairs=pairs, json_out=json_out)
    _tell(result, report, images if show_images else None)


@app.command("identification")
def identification_command(
    images: Images,
    json_out: JsonOut,
    exclude: Exclude = None,
    enrol_images: Annotated[int, typer.Option(min=1, help="Pictures enrolled per person.")] = 1,
    report: Report = None,
    show_images: ShowImages = False,
    embedder: Embedder = "int8",
) -> None:
    """One to many, in the open set: who is this, and is it anybody we know?"""
    result = identification.run(
        _reader(embedder),
        images=images,
        exclude=exclude,
        enrol_images=enrol_images,
        calibrate=calibrator(_config(embedder)),
        json_out=json_out,
    )
    _tell(result, report, images if show_images else None)


@app.command("make-scenes")
def make_scenes_command(
    images: Images,
    out: Annotated[Path, typer.Option(help="New folder for the scenes.", metavar="DIR")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same scenes.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 40,
) -> None:
    """Compose street-like 1080p scenes of 1 to 30 faces, and write down where they are."""
    made = scenes.run(_reader("int8"), images=images, out=out, seed=seed, count=count)
    err.print(f"{len(made)} scenes in {out}", markup=False)


@app.command("detection")
def detection_command(
    scenes_folder: Annotated[Path, typer.Option("--scenes", help="As made.", metavar="DIR")],
    truth: Annotated[Path, typer.Option(help="Where the faces are.", metavar="JSON")],
    json_out: JsonOut,
    report: Report = None,
) -> None:
    """Which faces of a still picture are found, by their width?"""
    result = detection.run(_reader("int8"), scenes=scenes_folder, truth=truth, json_out=json_out)
    _tell(result, report, None)


@app.command("tail")
def tail_command(
    images: Images,
    data: Annotated[str, typer.Option(help="Where the pictures come from, in words.")],
    json_out: JsonOut,
    exclude: Exclude = None,
    tails: Annotated[
        Path | None,
        typer.Option(
            help="Put the tail into this impostor_tail.json, in the place of this embedder's.",
            metavar="JSON",
        ),
    ] = None,
    report: Report = None,
    embedder: Embedder = "int8",
) -> None:
    """How high do strangers score? What thresholds are calibrated by."""
    result = tail.run(
        _reader(embedder),
        images=images,
        exclude=exclude,
        data=data,
        json_out=json_out,
        tails=tails,
    )
    _tell(result, report, None)


app.command("video")(video_command)
app.command("enrolment")(enrolment_command)
app.command("liveness")(liveness_command)
app.command("targets")(targets_command)


def _config(embedder: str) -> Config:
    return make_config({"embedder": f"mobilefacenet_{embedder}"})


def _reader(embedder: str) -> FaceReader:
    config = _config(embedder)
    models = load_models(config)
    rules = ReadingRules(
        scan=config.scan,
        max_detection_overlap=config.look.max_detection_overlap,
        min_presence=config.quality.min_presence,
    )
    pipeline = Pipeline(make_rules(config), models, NullStopwatch())
    return FaceReader(pipeline, models.embedder, rules)


def _tell(result: Result, report: Path | None, pictures: Path | None) -> None:
    table = Table("measure", "figure", "95 % interval, sample", box=None)
    for figure in figures(result):
        table.add_row(figure.label, figure.value, figure.note)
    err.print(table)
    if report is not None:
        write_report(result, report, pictures=pictures)
        err.print(f"Look at {report}.", markup=False)
