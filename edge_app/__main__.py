"""The command line: arguments -> configuration -> application."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edge_app import __version__, evaluate
from edge_app.adapters.cameras import SourceSpec, parse_source
from edge_app.adapters.clock import SystemClock
from edge_app.adapters.displays import DemoPngDisplay, FontSet, NullDisplay, TerminalDisplay
from edge_app.adapters.mqtt import MATCHES_OF_ALL_DEVICES, listen
from edge_app.adapters.output import take_over_standard_streams
from edge_app.adapters.sinks import JsonLinesSink
from edge_app.adapters.speech import EspeakSpeaker, NullSpeaker
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.app import (
    Home,
    broker,
    index_factory,
    link_settings,
    load_models,
    make_camera,
    protect_memory,
)
from edge_app.app import make_rules as rules_of
from edge_app.config import Config, load_config
from edge_app.core.liveness import Ask
from edge_app.device import Device, Outputs, RunSummary, stop_on_signals
from edge_app.doctor import Health, examine
from edge_app.enrol import (
    Applicant,
    EnrolmentResult,
    check_applicant,
    consent_notice,
    enrol_person,
)
from edge_app.errors import (
    ConfigError,
    DeliveryError,
    EdgeAppError,
    EnrolmentError,
    StorageError,
)
from edge_app.evaluation.bench import BenchReport, run_bench
from edge_app.people import Person, export_person, list_people
from edge_app.pipeline import Pipeline
from edge_app.ports import Display, Speaker
from edge_app.records import FrameOrigin, LawfulBasis, Purpose, Rejection

app = typer.Typer(
    name="familiar",
    help=(
        "Recognises the people who asked to be recognised, and nobody else.\n\n"
        "A first day: `familiar doctor`, then `familiar enrol --name Anna --purpose assist`, "
        "then `familiar run`. Without a camera: `make demo`."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
people_app = typer.Typer(
    help="The people in this home's gallery: list, export, remove.", no_args_is_help=True
)
app.add_typer(people_app, name="people")
app.add_typer(evaluate.app, name="evaluate")

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

Source = Annotated[
    list[str] | None,
    typer.Option(
        help="A camera (0, /dev/video0, an MJPEG address, picamera2), or with --demo a picture, "
        "a folder of pictures or a video. May be given several times.",
        metavar="PATH",
    ),
]
# A flag takes no value, so its help names none: metavar "".
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.", metavar="")]


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


class Pace(StrEnum):
    FAST = "fast"
    REALTIME = "realtime"


@dataclass(frozen=True, slots=True)
class Session:
    """What the options before the command said."""

    config: Config
    home: Home
    clock: SystemClock


def _show_version(wanted: bool) -> None:
    if wanted:
        _out.print(f"familiar {__version__}")
        raise typer.Exit


def _folder(named: str) -> Path:
    if not named:
        raise ConfigError("--home names no folder; give one, or leave --home away")
    return Path(named)


def _default_home() -> Path:
    named = os.environ.get("FAMILIAR_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "familiar"


@app.callback()
def start(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this device's state; default $FAMILIAR_HOME, else "
            "~/.local/share/familiar.",
            metavar="DIR",
            parser=_folder,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file; default config.toml in the home, if there.", metavar="FILE"),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="The gallery's key, if it is not kept in the home.", metavar="FILE"),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log what happens inside; never names.", metavar=""),
    ] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print it.", metavar=""
        ),
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="familiar: %(levelname)s %(name)s: %(message)s",
    )
    folder = home or _default_home()
    beside = folder / "config.toml"
    loaded = load_config(config or (beside if beside.is_file() else None))
    context.obj = Session(loaded, Home(folder, key_file), SystemClock())


# -------------------------------------------------------------------------------- enrol


@app.command()
def enrol(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="As the display shall show it.")],
    purpose: Annotated[Purpose, typer.Option(help="What the person agrees to.")],
    relation: Annotated[str, typer.Option(help="To the wearer, e.g. colleague.")] = "",
    source: Source = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="From pictures, for trying out: compared with replayed frames only, never with "
            "a camera's.",
            metavar="",
        ),
    ] = False,
    representative: Annotated[
        bool,
        typer.Option(
            "--representative",
            help="A legal representative consents; purpose care only.",
            metavar="",
        ),
    ] = False,
    language: Annotated[str, typer.Option(help="Of the consent notice.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Enrol one person, who is present and agrees.

    They read the consent notice, agree, turn their head as asked, and take home a receipt with
    the code that lets them leave at any time.
    """
    session: Session = context.obj
    config = session.config
    specs = _sources(config, source, demo=demo)
    basis = LawfulBasis.LEGAL_REPRESENTATIVE if representative else LawfulBasis.EXPLICIT_CONSENT
    applicant = Applicant(name, relation, purpose, basis)
    check_applicant(config, applicant)
    notice = consent_notice(config, purpose, language)
    if not demo:
        _require_agreement(notice.text)
    with _progress(quiet=as_json) as progress:

        def hand_over(result: EnrolmentResult) -> None:
            progress.stop()
            _print_enrolment(result, as_json=as_json)

        result = enrol_person(
            config,
            session.home,
            applicant,
            notice,
            sources=specs,
            demo=demo,
            guide=ConsoleGuide(progress),
            clock=session.clock,
            stop=Event(),
            hand_over=hand_over,
        )
    if not as_json:
        _out.print(f"Enrolled as {result.person_id}.")


def _print_enrolment(result: EnrolmentResult, *, as_json: bool) -> None:
    """Raises DeliveryError unless all of it was written."""
    if as_json:
        _print_json(
            {
                "person_id": result.person_id,
                "report": asdict(result.report),
                "receipt": result.receipt,
            }
        )
    else:
        _out.print(result.receipt, markup=False, soft_wrap=True)
        for line in result.report.lines():
            _out.print(f"- {line}", markup=False)
    sys.stdout.flush()  # nobody is stored whose receipt stays in a buffer


_ASKS = {
    Ask.STRAIGHT: "Look straight at the camera",
    Ask.LEFT: "Turn your head to your left",
    Ask.RIGHT: "Turn your head to your right",
    Ask.UP: "Look up",
}


class ConsoleGuide:
    """A `Guide` that writes to the terminal what the person shall do.

    On a terminal the present ask stays in view, with the latest hint beside it; elsewhere
    each is a line.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("looking for good frames", total=None)
        self._asked = ""
        self._hinted = ""

    def ask(self, ask: Ask) -> None:
        self._asked, self._hinted = _ASKS[ask], ""
        self._say(self._asked)

    def hint(self, text: str) -> None:
        if text != self._hinted:
            self._hinted = text
            self._say(text)

    def progress(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def _say(self, text: str) -> None:
        if self._progress.disable:
            _err.print(text, markup=False)
        beside = f" ({self._hinted})" if self._hinted else ""
        self._progress.update(self._task, description=self._asked + beside)


def _require_agreement(notice: str) -> None:
    if not _in_a_terminal():
        raise EnrolmentError(
            "consent is given by the person, who is present; run this in a terminal"
        )
    _out.print(notice, markup=False, soft_wrap=True)
    try:
        agreed = typer.prompt('If you agree, type "yes"').strip().lower() == "yes"
    except typer.Abort:  # Ctrl-C and the end of the input are answers too
        agreed = False
    if not agreed:
        raise EnrolmentError("no consent was given; nothing was stored")


def _in_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


# ------------------------------------------------------------------------------- people


@people_app.command("list")
def people_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Everyone in the gallery, and why some of them are not matched."""
    session: Session = context.obj
    people = list_people(session.config, session.home, session.clock)
    if as_json:
        _print_json([asdict(person) for person in people])
        return
    if not people:
        _out.print("Nobody is enrolled. Begin with `familiar enrol --help`.")
    elif _out.width < _TABLE_COLUMNS:
        _print_people_below_each_other(people)
    else:
        _print_people_table(people)


_TABLE_COLUMNS = 100
"""Width in characters from which the table of people fits."""


def _print_people_table(people: Sequence[Person]) -> None:
    table = Table(box=None)
    # Ids, dates and states are read to act on: they are never shortened.
    table.add_column("id", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("relation", overflow="fold")
    table.add_column("templates", justify="right", no_wrap=True)
    table.add_column("valid until", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for person in people:
        table.add_row(
            person.person_id,
            Text(person.name),
            Text(person.relation),
            str(person.templates),
            _until(person),
            _state(person),
        )
    _out.print(table)


def _print_people_below_each_other(people: Sequence[Person]) -> None:
    for person in people:
        facts = {
            "name": person.name,
            "relation": person.relation,
            "templates": str(person.templates),
            "valid until": _until(person),
            "state": _state(person),
        }
        _out.print(person.person_id, soft_wrap=True)
        for label, value in facts.items():
            if value:
                _out.print(f"  {label + ':':<13}{value}", markup=False, soft_wrap=True)


def _until(person: Person) -> str:
    return f"{person.valid_until:%Y-%m-%d}" if person.valid_until else ""


def _state(person: Person) -> str:
    return person.fault.replace("_", " ") or ("demo" if person.demo else "active")


@people_app.command("export")
def people_export(context: typer.Context, person_id: str) -> None:
    """Print what is stored of one person, for that person."""
    session: Session = context.obj
    record = export_person(session.config, session.home, person_id, session.clock)
    _out.print(record, markup=False, soft_wrap=True)


@people_app.command("remove")
def people_remove(context: typer.Context, person_id: str) -> None:
    """Take a person out for ever; a running device stops matching them within a second."""
    session: Session = context.obj
    session.home.store().remove(person_id)
    _out.print(f"{person_id} is removed, and stays out.")


@app.command()
def revoke(
    context: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(
            help="Of your receipt. Leave it away to be asked for it, which keeps it out of the "
            "shell's history; - reads it from standard input."
        ),
    ] = None,
) -> None:
    """Leave, with the revocation code of your receipt. Nobody has to approve."""
    session: Session = context.obj
    if session.home.store().revoke(_revocation_code(code)):
        _out.print("You have left this gallery. Your templates are erased, and stay erased.")
    else:
        _out.print("Nobody with this code is in this gallery, and nobody with it can come in.")


def _revocation_code(given: str | None) -> str:
    if given == "-":
        return sys.stdin.buffer.readline().decode(errors="replace").strip() if sys.stdin else ""
    if given is not None:
        return given
    if not _in_a_terminal():
        raise ConfigError("no code is given; run `familiar revoke -` with it on standard input")
    return str(typer.prompt("Revocation code", hide_input=True))


# ---------------------------------------------------------------------------------- run


@app.command()
def run(
    context: typer.Context,
    source: Source = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Replay files against demo templates.", metavar="")
    ] = False,
    broker_url: Annotated[
        str | None,
        typer.Option(
            "--broker",
            help="mqtt://host:1883 or mqtts://user@host:8883; default as configured; none: alerts "
            "wait in the outbox.",
            metavar="URL",
        ),
    ] = None,
    output: Annotated[
        Output, typer.Option(help="json: one CloudEvent per alert on standard output.")
    ] = Output.TEXT,
    pace: Annotated[
        Pace,
        typer.Option(help="Replays: as fast as possible without dropping, or in their own time."),
    ] = Pace.FAST,
    summary: Annotated[
        Path | None, typer.Option(help="Write counts and times here at the end.", metavar="FILE")
    ] = None,
    hud_png: Annotated[
        Path | None,
        typer.Option(help="Replays: save what the display shows here.", metavar="DIR"),
    ] = None,
) -> None:
    """Watch, recognise, show, and report, until Ctrl-C or the end of the replay.

    While it runs, `kill -USR1` asks "who is this?".
    """
    session: Session = context.obj
    config = session.config
    specs = _sources(config, source, demo=demo)
    origin = FrameOrigin.REPLAY if demo else FrameOrigin.LIVE
    stop = Event()
    lossless = demo and pace is Pace.FAST
    device = Device(
        config,
        session.home,
        source=make_camera(
            config,
            specs,
            still_s=config.replay.still_s,
            realtime=pace is Pace.REALTIME,
            clock=session.clock,
            stop=stop,
        ),
        lossless=lossless,
        outputs=Outputs(
            display=_display(config, origin, hud_png, output),
            speaker=_speaker(config),
            sinks=(JsonLinesSink(sys.stdout),) if output is Output.JSON else (),
            broker_url=config.mqtt.broker if broker_url is None else broker_url,
        ),
        clock=session.clock,
        stop=stop,
    )
    with stop_on_signals(stop, device.ask):
        result = device.run()
    if summary is not None:
        _write_json(summary, asdict(result))
    _print_summary(result)
    why = _why_nobody(result, config, lossless=lossless)
    if why:
        _err.print(why, markup=False, soft_wrap=True)
    if result.pending_alerts and result.broker not in {"", "connected"}:
        wait = "alert waits" if result.pending_alerts == 1 else "alerts wait"
        raise DeliveryError(
            f"{result.pending_alerts} {wait} in the outbox: {result.broker}, and run again"
        )


def _sources(config: Config, named: Sequence[str] | None, *, demo: bool) -> list[SourceSpec]:
    """The sources that were named, or the configured camera. Raises ConfigError, CameraError."""
    specs = [parse_source(text) for text in named or [config.camera.source]]
    if demo and any(spec.is_live for spec in specs):
        raise ConfigError("--demo replays files: name them with --source, or leave --demo away")
    if not demo and not all(spec.is_live for spec in specs):
        raise ConfigError(
            "a file is replayed in demo mode only, and compared with demo templates only; "
            "add --demo"
        )
    return specs


def _display(config: Config, origin: FrameOrigin, hud_png: Path | None, output: Output) -> Display:
    language = config.hud.language
    if hud_png is not None:
        return DemoPngDisplay(hud_png, origin=origin, fonts=FontSet(None), language=language)
    chosen = config.hud.display
    wanted = sys.stderr.isatty() and output is Output.TEXT if chosen == "auto" else chosen != "none"
    return (
        TerminalDisplay(sys.stderr, origin=origin, language=language) if wanted else NullDisplay()
    )


def _speaker(config: Config) -> Speaker:
    if not config.hud.speech:
        return NullSpeaker()
    return EspeakSpeaker(command=("espeak-ng", "-v", config.hud.language), timeout_s=10.0)


def _print_summary(result: RunSummary) -> None:
    reasons = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in result.rejections.items())
    _err.print(
        f"{result.frames} frames in {result.seconds:.1f} s ({result.fps:.1f} per second, "
        f"{result.dropped} dropped, {result.undecodable} undecodable), "
        f"{result.p50_ms:.1f} ms each, 95 % below {result.p95_ms:.1f} ms",
        soft_wrap=True,
    )
    _err.print(
        f"{_count(result.alerts, 'alert')} ({result.pending_alerts} not delivered yet), "
        f"{_count(result.faces_embedded, 'search', 'searches')}; "
        f"not searched: {reasons or 'nothing'}",
        soft_wrap=True,
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


_REMEDIES = {
    Rejection.TOO_FAR: "come closer, or see attention.max_distance_m",
    Rejection.TURNED_AWAY: "face the camera",
    Rejection.OUTSIDE_ZONE: "the marked zone, attention.zone, is elsewhere",
    Rejection.CUT_OFF: "bring the whole face into the picture",
    Rejection.TOO_SMALL: "come closer, or use a picture of more pixels",
    Rejection.NOT_A_FACE: "what was detected is no face",
    Rejection.EXTREME_POSE: "face the camera",
    Rejection.BLURRED: "hold still, or focus the camera",
    Rejection.TOO_DARK: "more light on the face",
    Rejection.TOO_BRIGHT: "less light on the face",
    Rejection.OCCLUDED: "uncover eyes, mouth and chin",
}


def _why_nobody(result: RunSummary, config: Config, *, lossless: bool) -> str:
    """Why a run without alerts could not have had one; empty if that cannot be told."""
    needed, gap_s = config.decision.min_agreeing_frames, config.tracking.max_lost_s
    rule = f"a name needs {needed} looks at a face, none more than {gap_s:g} s after the last"
    if result.alerts or not result.frames:
        return ""
    if not result.faces_detected:
        return "Nobody was recognised: no face was found in any frame."
    if not result.faces_embedded and len(result.rejections) == 1:
        (reason,) = result.rejections
        said, remedy = reason.replace("_", " "), _REMEDIES[Rejection(reason)]
        return f"Nobody was recognised: every face was rejected as {said}; {remedy}."
    if not lossless and result.fps * gap_s < 1:
        return f"Nobody was recognised: {rule}; {result.fps:g} frames per second are too few."
    if 0 < result.faces_embedded < needed:
        return f"Nobody was recognised: {rule}; there were {result.faces_embedded}."
    return ""


# ------------------------------------------------------------------------------- others


@app.command("listen")
def listen_command(
    context: typer.Context,
    broker_url: Annotated[str, typer.Option("--broker", help="Where to listen.", metavar="URL")],
    count: Annotated[int | None, typer.Option(help="End after so many events.")] = None,
    timeout: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
) -> None:
    """Print match events from the broker as JSON lines, each once."""
    session: Session = context.obj
    address, tls = broker(session.config, broker_url)
    lines = listen(
        address,
        tls=tls,
        topic_filter=MATCHES_OF_ALL_DEVICES,
        client_id=f"familiar-listen-{os.getpid()}",
        link=link_settings(session.config),
        count=count,
        timeout_s=timeout,
        on_ready=lambda: _err.print("listening"),
    )
    for line in lines:
        print(line, flush=True)  # noqa: T201 - the command's output


@app.command()
def doctor(
    context: typer.Context,
    camera: Annotated[
        str | None, typer.Option(help="Default: the configured one.", metavar="SOURCE")
    ] = None,
    broker_url: Annotated[
        str | None, typer.Option("--broker", help="Default: the configured one.", metavar="URL")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every part, one line each, and say what to do. Exit status 1 on a fault."""
    session: Session = context.obj
    findings = []
    for finding in examine(
        session.config,
        session.home,
        camera=camera or session.config.camera.source,
        broker_url=session.config.mqtt.broker if broker_url is None else broker_url,
        clock=session.clock,
    ):
        findings.append(finding)
        if not as_json:
            colour = _HEALTH_COLOURS[finding.health]
            _out.print(f"[{colour}]{finding.health:<9}[/]", end="")
            line = _visible(f"{finding.part}: {finding.detail}")
            _out.print(line, markup=False, soft_wrap=True)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    if any(finding.health is Health.FAULT for finding in findings):
        raise typer.Exit(1)


_HEALTH_COLOURS = {
    Health.WELL: "green",
    Health.WARNING: "yellow",
    Health.FAULT: "bold red",
    Health.NOT_USED: "dim",
}


@app.command()
def bench(
    context: typer.Context,
    calls: Annotated[int, typer.Option(min=5, help="Timed calls of each stage.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Time every stage on this machine. Needs no camera and no faces."""
    config: Config = context.obj.config
    with _progress(quiet=as_json) as progress:
        task = progress.add_task("", total=None)
        report = run_bench(
            Pipeline(rules_of(config), load_models(config), NullStopwatch()),
            config.scan,
            index_factory(config),
            model_threads=config.model_threads,
            calls=calls,
            on_stage=lambda stage: progress.update(task, description=stage),
        )
    if as_json:
        _print_json(asdict(report))
    else:
        _print_bench(report)


def _print_bench(report: BenchReport) -> None:
    here = report.machine
    table = Table("stage", "p50 ms", "p95 ms", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in report.stages:
        table.add_row(figure.stage, f"{figure.p50_ms:.2f}", f"{figure.p95_ms:.2f}")
    _out.print(table)
    _out.print(
        f"first frame with one face, 50,000 templates: {report.first_frame_ms:.1f} ms; largest "
        f"memory {report.peak_rss_mb:.0f} MB; {_count(report.model_threads, 'model thread')}",
        soft_wrap=True,
    )
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    _out.print(
        f"{here.cores} x {here.cpu}, {here.architecture}, governor {here.governor}, "
        f"Python {here.python}, {packages}",
        soft_wrap=True,
    )


# ------------------------------------------------------------------------------- shared


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=8),  # the longest ask with its hint still fits into 80 columns
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=_err,
        transient=True,
        redirect_stdout=False,
        disable=quiet or not _err.is_terminal,
    )


def _print_json(value: Any) -> None:
    _out.print(json.dumps(value, indent=2, default=str), markup=False, soft_wrap=True)


def _write_json(path: Path, value: Any) -> None:
    try:
        path.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; name another file") from error


def _visible(text: str) -> str:
    """The text with control characters escaped: what a user typed may hold some."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def main() -> None:
    """Runs the command line; an `EdgeAppError` is one line and its exit status."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # "who is this?" is early, not deadly
    os.umask(0o077)
    protect_memory()
    try:
        take_over_standard_streams()
        try:
            app(prog_name="familiar")
        finally:
            sys.stdout.flush()
    except EdgeAppError as error:
        _err.print(f"familiar: {_visible(str(error))}", markup=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
