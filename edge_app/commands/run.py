"""`familiar run`: watch, recognise, show, and report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from edge_app.adapters.cameras.reopening import ReopeningCamera
from edge_app.adapters.cameras.replay import ReplayCamera
from edge_app.adapters.cameras.timed import TimedReplay
from edge_app.adapters.displays.demo_png import DemoPngDisplay
from edge_app.adapters.displays.terminal import TerminalDisplay
from edge_app.adapters.haptic import NullHaptic
from edge_app.adapters.service_manager import ServiceManager
from edge_app.adapters.sinks import JsonLinesSink
from edge_app.app import listening_button, make_camera, make_haptic
from edge_app.commands.console import Session, Source, bars, count, err, sources, write_json
from edge_app.config import Config
from edge_app.device import Device, Outputs, RunSummary, stop_on_signals
from edge_app.errors import DeliveryError
from edge_app.ports import Display, FrameSource
from edge_app.records import FrameOrigin, Rejection
from edge_app.wearer import listen_to_taps, make_display, make_fonts, make_speaker, page_address


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


class Pace(StrEnum):
    FAST = "fast"
    REALTIME = "realtime"


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

    While it runs, the configured button or `kill -USR1` asks "who is this?".
    """
    session: Session = context.obj
    config = session.config
    specs = sources(config, source, demo=demo)
    origin = FrameOrigin.REPLAY if demo else FrameOrigin.LIVE
    stop = Event()
    lossless = demo and pace is Pace.FAST
    camera = make_camera(
        config,
        specs,
        still_s=config.replay.still_s,
        realtime=pace is Pace.REALTIME,
        clock=session.clock,
        stop=stop,
        waits_covered=True,
    )
    display = _display(session, origin, hud_png, output)
    # Where the terminal is the display, its one line is taken.
    with bars(quiet=not demo or isinstance(display, TerminalDisplay)) as show:
        device = Device(
            config,
            session.home,
            source=_timed(camera, partial(show, "Playing")),
            lossless=lossless,
            outputs=Outputs(
                display=display,
                speaker=make_speaker(config),
                sinks=(JsonLinesSink(sys.stdout),) if output is Output.JSON else (),
                broker_url=config.mqtt.broker if broker_url is None else broker_url,
                haptic=NullHaptic() if demo else make_haptic(config, session.clock),
            ),
            clock=session.clock,
            stop=stop,
            manager=ServiceManager(os.environ.get("NOTIFY_SOCKET")),
        )
        if not demo:
            listen_to_taps(config, display, device.ask)
        button = nullcontext() if demo else listening_button(config, session.clock, device.ask)
        with stop_on_signals(stop, device.ask), button:
            result = device.run()
    if summary is not None:
        write_json(summary, asdict(result))
    _print_summary(result)
    why = _why_nobody(result, config, lossless=lossless)
    if why:
        err.print(why, markup=False, soft_wrap=True)
    if result.pending_alerts and result.broker not in {"", "connected"}:
        wait = "alert waits" if result.pending_alerts == 1 else "alerts wait"
        raise DeliveryError(
            f"{result.pending_alerts} {wait} in the outbox: {result.broker}, and run again"
        )


def _timed(camera: ReplayCamera | ReopeningCamera, come: Callable[[int, int], None]) -> FrameSource:
    return TimedReplay(camera, come) if isinstance(camera, ReplayCamera) else camera


def _display(
    session: Session, origin: FrameOrigin, hud_png: Path | None, output: Output
) -> Display:
    config, home = session.config, session.home
    if hud_png is not None:
        fonts, language = make_fonts(config), config.hud.language
        return DemoPngDisplay(hud_png, origin=origin, fonts=fonts, language=language)
    display = make_display(config, home, origin, terminal_is_free=output is Output.TEXT)
    if config.hud.display == "web" and sys.stderr.isatty():  # the address is a secret: no journal
        err.print(f"The wearer's page: {page_address(config, home).url}", soft_wrap=True)
    return display


def _print_summary(result: RunSummary) -> None:
    reasons = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in result.rejections.items())
    err.print(
        f"{result.frames} frames in {result.seconds:.1f} s ({result.fps:.1f} per second, "
        f"{result.dropped} dropped, {result.undecodable} undecodable), "
        f"{result.p50_ms:.1f} ms each, 95 % below {result.p95_ms:.1f} ms",
        soft_wrap=True,
    )
    err.print(
        f"{count(result.alerts, 'alert')} ({result.pending_alerts} not delivered yet), "
        f"{count(result.faces_embedded, 'search', 'searches')}; "
        f"not searched: {reasons or 'nothing'}",
        soft_wrap=True,
    )


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
    # What is no face says nothing about the faces, unless there was nothing else.
    reasons = [r for r in result.rejections if r != Rejection.NOT_A_FACE] or [*result.rejections]
    if not result.faces_embedded and len(reasons) == 1:
        (reason,) = reasons
        said, remedy = reason.replace("_", " "), _REMEDIES[Rejection(reason)]
        return f"Nobody was recognised: every face was rejected as {said}; {remedy}."
    if not lossless and result.fps * gap_s < 1:
        return f"Nobody was recognised: {rule}; {result.fps:g} frames per second are too few."
    if 0 < result.faces_embedded < needed:
        return f"Nobody was recognised: {rule}; there were {result.faces_embedded}."
    return ""
