"""`familiar evaluate video`: the whole program over composed encounters."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table

from edge_app.app import embedder_sha256, impostor_tail, load_models, make_rules
from edge_app.commands.console import err
from edge_app.config import Config, make_config
from edge_app.core.calibrate import threshold_for
from edge_app.core.consent import IntendedUse, station_id
from edge_app.enrolment.consent_notice import notice_for
from edge_app.enrolment.station import Agreement, EnrolmentLimits, enrol
from edge_app.evaluation import video
from edge_app.evaluation.encounters import MAX_LOOKS
from edge_app.evaluation.faces import ReadingRules
from edge_app.evaluation.measures import Calibrate
from edge_app.evaluation.report import figures, write_report
from edge_app.pipeline import Models, Rules
from edge_app.records import Controller, Enrolment, LawfulBasis, Probe

_VALID_DAYS = 1


def video_command(
    images: Annotated[Path, typer.Option(help="Folder of pictures.", metavar="DIR")],
    json_out: Annotated[
        Path, typer.Option("--json", help="Write the result here.", metavar="FILE")
    ],
    exclude: Annotated[
        Path | None, typer.Option(help="CSV of pictures to leave out.", metavar="CSV")
    ] = None,
    enrol_images: Annotated[int, typer.Option(min=1, help="Pictures enrolled per person.")] = 3,
    looks: Annotated[
        int, typer.Option(min=1, help="Pictures of one encounter, at most.")
    ] = MAX_LOOKS,
    seed: Annotated[int, typer.Option(help="The same seed plays the same encounters.")] = 1,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE.html")
    ] = None,
    show_images: Annotated[
        bool,
        typer.Option("--show-images", help="Put the worst pictures into the page, not names only."),
    ] = False,
    embedder: Annotated[str, typer.Option(help="int8, as shipped, or float to compare.")] = "int8",
) -> None:
    """Encounters in front of the whole program: who is named, and is it anybody we know?"""
    config = make_config({"embedder": f"mobilefacenet_{embedder}"})
    station = Station.of(config)
    result = video.run(
        load=partial(_load, config),
        reading=ReadingRules(
            scan=config.scan,
            max_detection_overlap=config.look.max_detection_overlap,
            min_presence=config.quality.min_presence,
        ),
        use=station.use,
        enrol=station.enrol,
        calibrate=calibrator(config),
        images=images,
        exclude=exclude,
        enrol_images=enrol_images,
        max_looks=looks,
        seed=seed,
        json_out=json_out,
    )
    table = Table("measure", "figure", "95 % interval, sample", box=None)
    for figure in figures(result):
        table.add_row(figure.label, figure.value, figure.note)
    err.print(table)
    if report is not None:
        write_report(result, report, pictures=images if show_images else None)
        err.print(f"Look at {report}.", markup=False)


def calibrator(config: Config) -> Calibrate:
    """The threshold that a device of this configuration has for a gallery of some size.

    Raises CalibrationError if none was measured for its embedder.
    """
    tail = impostor_tail(embedder_sha256(config))
    target, least = config.match.target_fpir, config.match.least_gallery
    return lambda comparisons: threshold_for(tail, target, max(comparisons, least))


def _load(config: Config) -> tuple[Rules, Models]:
    return make_rules(config), load_models(config)


@dataclass(frozen=True, slots=True)
class Station:
    """Enrols demo people with a key that ends with this run."""

    use: IntendedUse
    key: Ed25519PrivateKey
    agreement: Agreement
    limits: EnrolmentLimits

    @classmethod
    def of(cls, config: Config) -> Station:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        model_sha256 = embedder_sha256(config)
        controller = Controller("evaluation", "evaluation", "-", "-")
        notice = notice_for(
            config.purpose,
            "en",
            controller=controller,
            jurisdiction="-",
            valid_days=_VALID_DAYS,
            kept_days=_VALID_DAYS,
            fleet="",
        )
        lifetime_s = int(timedelta(days=_VALID_DAYS).total_seconds())
        return cls(
            IntendedUse(config.purpose, model_sha256, {station_id(public): public}),
            key,
            Agreement(
                notice=notice,
                lawful_basis=LawfulBasis.EXPLICIT_CONSENT,
                controller=controller,
                jurisdiction="-",
                storage_locations=("the memory of one evaluation",),
                validity_s=lifetime_s,
                retention_s=lifetime_s,
            ),
            EnrolmentLimits(
                min_frames=config.enrolment.min_frames,
                max_frames=config.enrolment.max_frames,
                min_similarity=config.enrolment.min_similarity,
                duplicate_similarity=config.enrolment.duplicate_similarity,
                relative_similarity=config.enrolment.relative_similarity,
                same_similarity=config.enrolment.same_similarity,
            ),
        )

    def enrol(self, name: str, probes: Sequence[Probe], enrolled: Sequence[Enrolment]) -> Enrolment:
        """A demo enrolment of these probes. Raises EnrolmentError."""
        return enrol(
            probes,
            name=name,
            relation="",
            agreement=self.agreement,
            demo=True,
            limits=self.limits,
            enrolled=enrolled,
            model_sha256=self.use.model_sha256,
            station=self.key,
            now=video.NOW,
            entropy=secrets.token_bytes,
        ).enrolment
