"""`familiar enrol`: one person, who is present and agrees."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.progress import Progress

from edge_app.commands.console import (
    AsJson,
    Session,
    Source,
    err,
    in_a_terminal,
    out,
    print_json,
    sources,
)
from edge_app.commands.console import progress as progress_bar
from edge_app.core.liveness import Ask
from edge_app.enrol import (
    Applicant,
    EnrolmentResult,
    check_applicant,
    consent_notice,
    enrol_person,
)
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.receipt import receipt_text
from edge_app.enrolment.receipt_file import receipt_json, require_writable, write_receipt
from edge_app.enrolment.station import FleetKeeping
from edge_app.enrolment.words import Hint, StationWords, station_words
from edge_app.errors import EnrolmentError
from edge_app.records import LawfulBasis, Purpose

Name = Annotated[str, typer.Option(help="As the display shall show it.")]
AgreedPurpose = Annotated[
    Purpose,
    typer.Option(help=f"What the person agrees to: {', '.join(Purpose)}.", metavar="PURPOSE"),
]
Relation = Annotated[str, typer.Option(help="To the wearer, e.g. colleague.")]
Representative = Annotated[
    bool,
    typer.Option(
        "--representative", help="A legal representative consents; purpose care only.", metavar=""
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Of notice, hints and receipt: en, de or fr; default: the display's."),
]
ReceiptFile = Annotated[
    Path | None,
    typer.Option(
        "--receipt",
        help="Write the receipt there too, as .pdf, .html or .txt, to print or to hand over. It "
        "holds the code: delete it afterwards.",
        metavar="FILE",
    ),
]


def enrol(
    context: typer.Context,
    name: Name,
    purpose: AgreedPurpose,
    relation: Relation = "",
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
    representative: Representative = False,
    language: Language = None,
    receipt: ReceiptFile = None,
    as_json: AsJson = False,
) -> None:
    """Enrol one person, who is present and agrees.

    They read the consent notice, agree, turn their head as asked, and take home a receipt with
    the code that lets them leave at any time.
    """
    session: Session = context.obj
    result = enrol_with(
        session,
        name=name,
        relation=relation,
        purpose=purpose,
        source=source,
        demo=demo,
        representative=representative,
        language=language,
        receipt=receipt,
        as_json=as_json,
    )
    if not as_json:
        out.print(f"Enrolled as {result.person_id}.")


def enrol_with(
    session: Session,
    *,
    name: str,
    relation: str,
    purpose: Purpose,
    source: list[str] | None,
    demo: bool,
    representative: bool,
    language: str | None,
    receipt: Path | None,
    as_json: bool,
    keeping: FleetKeeping | None = None,
) -> EnrolmentResult:
    """Notice, agreement, capture, receipt. keeping: see `enrol.enrol_person`."""
    config = session.config
    specs = sources(config, source, demo=demo)
    basis = LawfulBasis.LEGAL_REPRESENTATIVE if representative else LawfulBasis.EXPLICIT_CONSENT
    applicant = Applicant(name, relation, purpose, basis)
    check_applicant(config, applicant)
    if receipt is not None:
        require_writable(receipt, name)
    language = language or config.hud.language
    words = station_words(language)
    fleet = "" if keeping is None else keeping.fleet
    notice = consent_notice(config, purpose, language, fleet)
    if not demo:
        _require_agreement(notice.text, words)
    with progress_bar(quiet=as_json) as progress, ExitStack() as undo:

        def hand_over(result: EnrolmentResult) -> None:
            progress.stop()
            if receipt is not None:
                write_receipt(result.receipt, receipt)
                undo.callback(receipt.unlink, missing_ok=True)  # unless they are stored, too
            _print_enrolment(result, as_json=as_json)

        result = enrol_person(
            config,
            session.home,
            applicant,
            notice,
            sources=specs,
            demo=demo,
            guide=ConsoleGuide(progress, words),
            clock=session.clock,
            stop=Event(),
            hand_over=hand_over,
            keeping=keeping,
        )
        undo.pop_all()
        return result


def _print_enrolment(result: EnrolmentResult, *, as_json: bool) -> None:
    """Raises DeliveryError unless all of it was written."""
    if as_json:
        print_json(
            {
                "person_id": result.person_id,
                "report": asdict(result.report),
                "receipt": receipt_json(result.receipt),
            }
        )
    else:
        out.print(receipt_text(result.receipt), markup=False, soft_wrap=True)
        for line in result.report.lines():
            out.print(f"- {line}", markup=False)
    sys.stdout.flush()  # nobody is stored whose receipt stays in a buffer


class ConsoleGuide:
    """A `Guide` that writes to the terminal what the person shall do.

    On a terminal the present ask stays in view, with the latest hint beside it; elsewhere
    each is a line.
    """

    def __init__(self, progress: Progress, words: StationWords) -> None:
        self._progress = progress
        self._words = words
        self._task = progress.add_task("looking for good frames", total=None)
        self._asked = ""
        self._hinted = ""

    def ask(self, ask: Ask | Facing) -> None:
        self._asked, self._hinted = self._words.asks[ask], ""
        self._say(self._asked)

    def hint(self, hint: Hint) -> None:
        text = self._words.hints[hint]
        if text != self._hinted:
            self._hinted = text
            self._say(text)

    def progress(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def _say(self, text: str) -> None:
        if self._progress.disable:
            err.print(text, markup=False)
        beside = f" ({self._hinted})" if self._hinted else ""
        self._progress.update(self._task, description=self._asked + beside)


def _require_agreement(notice: str, words: StationWords) -> None:
    if not in_a_terminal():
        raise EnrolmentError(
            "consent is given by the person, who is present; run this in a terminal"
        )
    out.print(notice, markup=False, soft_wrap=True)
    try:
        answer = typer.prompt(words.agree.format(yes=words.yes))
        agreed = answer.strip().lower() == words.yes
    except typer.Abort:  # Ctrl-C and the end of the input are answers too
        agreed = False
    if not agreed:
        raise EnrolmentError("no consent was given; nothing was stored")
