"""The station's page as a web service: every path, and what it takes.

    /                      the languages
    /en/                   enrol, look at my record, leave now
    /en/begin              POST: a visit begins; its cookie is the only thing that names it
    /en/notice ... /done   a page for each step of the visit (visit.py); another step's page leads
                           to the present one
    /en/record, /en/leave  with the code on a receipt; without a visit

Every POST comes from a page of this station (guard.py), and those of a visit bring its token
besides. No request is logged, no answer is kept by the browser.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge_app.adapters.web.forms import read_body, read_form
from edge_app.adapters.web.guard import Guard
from edge_app.adapters.web.render import Pages, page_words, shared_files
from edge_app.enrolment.admission import Admission
from edge_app.enrolment.consent_notice import Notice, languages
from edge_app.enrolment.receipt import Receipt, notice_paragraphs
from edge_app.enrolment.receipt_page import qr_svg, receipt_page
from edge_app.enrolment.station import require_basis, require_presentable
from edge_app.enrolment.visit import Agreed, Step, StepError
from edge_app.enrolment.visits import (
    Guidance,
    Standing,
    StationBusyError,
    UnknownVisitError,
    Visits,
)
from edge_app.enrolment.words import station_words
from edge_app.errors import ConsentError, EdgeAppError, EnrolmentError
from edge_app.records import Controller, LawfulBasis, Purpose

_log = logging.getLogger(__name__)

FOLDER: Final = Path(str(files("edge_app.enrolment.web")))

_SWEEP_S: Final = 1.0
_PAGES: Final = {
    Step.NOTICE: "notice",
    Step.READY: "capture",
    Step.CAPTURING: "capture",
    Step.SUMMARY: "summary",
    Step.RECEIPT: "receipt",
    Step.STORING: "receipt",
    Step.DONE: "done",
    Step.GONE: "gone",
}
_NUMBERS: Final = {"notice": 1, "capture": 2, "summary": 3, "receipt": 4}


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one person. fault: why they are not recognised, or empty; json: a copy."""

    facts: tuple[tuple[str, str], ...] = field(repr=False)
    relation: str = field(repr=False)
    fault: str
    json: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Doors:
    """What the page asks of the station behind it.

    notice: in a language.
    record: of a code's holder, in a language; None if nobody has it.
    leave:  with a code; returns the names of what is to be said of it, see [leave] of the words.
    """

    notice: Callable[[str], Notice]
    record: Callable[[str, str], Record | None]
    leave: Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Setting:
    """How this station stands.

    own_camera: the station's camera looks, not the browser's.
    fleet:      whose devices get the people; empty if this home keeps them.
    admission:  admits each person, where others than those before the station reach its page.
    idle_s:     as in `VisitLimits`, for the page to warn.
    """

    purpose: Purpose
    controller: Controller
    language: str
    demo: bool
    own_camera: bool
    fleet: str
    admission: Admission | None
    tls: bool
    names: Collection[str]
    idle_s: float
    max_jpeg_bytes: int


def make_service(visits: Visits, doors: Doors, setting: Setting) -> ASGIApp:
    """The service. Raises ConfigError if what renders its pages is not installed."""
    site = _Site(visits, doors, setting)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(visits))
        try:
            yield
        finally:
            sweeper.cancel()
            await run_in_threadpool(visits.close)

    gets: dict[str, _Handler] = {
        "": site.start,
        "visit": site.page,
        "record": site.record_form,
        "leave": site.leave_form,
        "picture": site.picture,
        "receipt.pdf": site.receipt_pdf,
        **dict.fromkeys(sorted(set(_PAGES.values())), site.page),
    }
    posts: dict[str, _Handler] = {
        "begin": site.begin,
        "agree": site.agree,
        "start": site.start_capture,
        "look": site.look,
        "show": site.show_code,
        "finish": site.finish,
        "stop": site.stop,
        "stay": site.stay,
        "record": site.record,
        "leave": site.leave,
    }
    return Guard(
        Starlette(
            routes=[
                Route("/", site.languages),
                shared_files(),
                Mount("/static", StaticFiles(directory=FOLDER / "static")),
                *(Route(f"/{{language}}/{path}", _spoken(of)) for path, of in gets.items()),
                *(
                    Route(f"/{{language}}/{path}", _spoken(of), methods=["POST"])
                    for path, of in posts.items()
                ),
            ],
            lifespan=lifespan,
        ),
        names=setting.names,
        tls=setting.tls,
        camera=True,
    )


_Handler = Callable[[Request, str], Awaitable[Response]]


def _spoken(of: _Handler) -> Callable[[Request], Awaitable[Response]]:
    """Answers in a known language; what the visit does not allow leads to where it is."""

    async def answer(request: Request) -> Response:
        language = request.path_params["language"]
        if language not in languages():
            raise HTTPException(404)
        try:
            return await of(request, language)
        except UnknownVisitError:
            return _go(language, "gone")
        except StepError:
            return _go(language, "visit")

    return answer


async def _sweep(visits: Visits) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        await run_in_threadpool(visits.sweep)


class _Site:
    """A method for each path. Waiting is done in threads: another capture must not stand still."""

    def __init__(self, visits: Visits, doors: Doors, setting: Setting) -> None:
        self._visits = visits
        self._doors = doors
        self._setting = setting
        self._cookie = "__Host-visit" if setting.tls else "visit"
        self._pages = Pages(
            FOLDER,
            extra="station",
            setting=setting,
            languages=[(code, page_words(FOLDER, code)["language"]) for code in languages()],
            numbers=_NUMBERS,
        )

    # ------------------------------------------------------------------- without a visit

    async def languages(self, _: Request) -> Response:
        return self._page("languages", self._setting.language)

    async def start(self, _: Request, language: str) -> Response:
        return self._page("start", language, fault="")

    async def begin(self, request: Request, language: str) -> Response:
        form, setting = await read_form(request), self._setting
        if setting.admission is not None and not setting.admission.admits(
            form.get("admission", "")
        ):
            return self._page("start", language, status=403, fault="admission_wrong")
        try:
            name = self._visits.begin(language, before=self._name(request))
        except StationBusyError:
            return self._page("start", language, status=503, fault="busy")
        answer = _go(language, "notice")
        answer.set_cookie(
            self._cookie, name, path="/", secure=setting.tls, httponly=True, samesite="strict"
        )
        return answer

    async def record_form(self, _: Request, language: str) -> Response:
        return self._page("record", language, fault="", found=None, asked=False)

    async def record(self, request: Request, language: str) -> Response:
        form = await read_form(request)
        try:
            found = await run_in_threadpool(self._doors.record, form.get("code", ""), language)
        except ConsentError:
            return self._page("record", language, status=400, fault="code", found=None, asked=False)
        except EdgeAppError as error:
            _log.error("%s", error)
            return self._page(
                "record", language, status=503, fault="failed", found=None, asked=False
            )
        if found is not None and "download" in form:
            name = {"Content-Disposition": 'attachment; filename="familiar-record.json"'}
            return Response(found.json, media_type="application/json", headers=name)
        return self._page("record", language, fault="", found=found, asked=True)

    async def leave_form(self, _: Request, language: str) -> Response:
        return self._page("leave", language, fault="", said=())

    async def leave(self, request: Request, language: str) -> Response:
        form = await read_form(request)
        try:
            said = await run_in_threadpool(self._doors.leave, form.get("code", ""))
        except ConsentError:
            return self._page("leave", language, status=400, fault="code", said=())
        except EdgeAppError as error:
            _log.error("%s", error)
            return self._page("leave", language, status=503, fault="failed", said=())
        return self._page("leave", language, fault="", said=said)

    # ---------------------------------------------------------------------- of one visit

    async def page(self, request: Request, language: str) -> Response:
        """The page of the visit's present step, under its own name and language only."""
        asked = request.url.path.rpartition("/")[2]
        try:
            standing = self._standing(request)
        except UnknownVisitError:
            if asked != "gone":
                raise
            return self._page("gone", language, refusal=None)
        visit = standing.visit
        if (visit.language, _PAGES[visit.step]) != (language, asked):
            return _go(visit.language, _PAGES[visit.step])
        return self._step(standing)

    async def agree(self, request: Request, language: str) -> Response:
        form, standing = await self._visit_form(request)
        agreed, faults = _agreed(form, self._setting.purpose)
        if agreed is None:
            return self._step(standing, status=400, form=form, faults=faults)
        self._visits.agree(self._name(request), agreed)
        return _go(language, "capture")

    async def start_capture(self, request: Request, language: str) -> Response:
        del language
        self._require_token(request.headers.get("x-token", ""), self._standing(request))
        try:
            await run_in_threadpool(self._visits.start, self._name(request))
        except StationBusyError:
            return Response(status_code=409)
        return Response(status_code=204)

    async def look(self, request: Request, language: str) -> Response:
        """One more picture of the browser's camera, or none; what to tell the person comes back."""
        name = self._name(request)
        self._require_token(request.headers.get("x-token", ""), self._visits.peek(name))
        jpeg = await read_body(request, self._setting.max_jpeg_bytes)
        guidance = await run_in_threadpool(self._visits.look, name, jpeg)
        if guidance.step is not Step.CAPTURING:
            return JSONResponse({"go": f"/{language}/{_PAGES[guidance.step]}"})
        return JSONResponse(_said(guidance, language))

    async def picture(self, request: Request, language: str) -> Response:
        del language
        jpeg = await run_in_threadpool(self._visits.picture, self._name(request))
        if jpeg is None:
            return RedirectResponse("/static/nothing.svg", 303)
        return Response(jpeg, media_type="image/jpeg")

    async def show_code(self, request: Request, language: str) -> Response:
        await self._visit_form(request)
        self._visits.show_code(self._name(request))
        return _go(language, "receipt")

    async def finish(self, request: Request, language: str) -> Response:
        form, standing = await self._visit_form(request)
        if form.get("have") != "yes":
            return self._step(standing, status=400, faults=("have",))
        await run_in_threadpool(self._visits.finish, self._name(request))
        return _go(language, "done")

    async def stop(self, request: Request, language: str) -> Response:
        await self._visit_form(request)
        await run_in_threadpool(self._visits.stop, self._name(request))
        return _go(language, "gone")

    async def stay(self, request: Request, language: str) -> Response:
        del language
        self._require_token(request.headers.get("x-token", ""), self._standing(request))
        return Response(status_code=204)

    async def receipt_pdf(self, request: Request, language: str) -> Response:
        del language
        # 20 MB of memory that only whoever prints shall pay for.
        from edge_app.enrolment.receipt_pdf import receipt_pdf  # noqa: PLC0415 - see above

        receipt = self._receipt(request)
        try:
            content, kind = await run_in_threadpool(receipt_pdf, receipt), "application/pdf"
        except EnrolmentError:  # no font here has the letters of this name; browsers do
            content, kind = receipt_page(receipt).encode(), "text/html"
        ending = kind.partition("/")[2]
        name = {"Content-Disposition": f'attachment; filename="familiar-receipt.{ending}"'}
        return Response(content, media_type=kind, headers=name)

    # ------------------------------------------------------------------------- in common

    def _name(self, request: Request) -> str:
        return request.cookies.get(self._cookie, "")

    def _standing(self, request: Request) -> Standing:
        return self._visits.standing(self._name(request))

    def _receipt(self, request: Request) -> Receipt:
        standing = self._standing(request)
        if standing.receipt is None or standing.visit.step is not Step.RECEIPT:
            raise StepError("the receipt is shown after the summary, until the visit ends")
        return standing.receipt

    async def _visit_form(self, request: Request) -> tuple[dict[str, str], Standing]:
        """A form of this visit's own pages. Raises UnknownVisitError, or answers 403."""
        form, standing = await read_form(request), self._standing(request)
        self._require_token(form.get("token", ""), standing)
        return form, standing

    def _require_token(self, token: str, standing: Standing) -> None:
        if not secrets.compare_digest(token.encode(), standing.token.encode()):
            raise HTTPException(403, "Go back to the station's page and try again.")

    def _step(
        self,
        standing: Standing,
        *,
        status: int = 200,
        form: dict[str, str] | None = None,
        faults: Collection[str] = (),
    ) -> Response:
        visit, receipt = standing.visit, standing.receipt
        shown: dict[str, object] = {}
        if visit.step is Step.NOTICE:
            shown["notice"] = notice_paragraphs(self._doors.notice(visit.language).text)
        if receipt is not None:
            shown["qr"] = qr_svg(receipt)
            shown["notice"] = notice_paragraphs(receipt.notice)
        if visit.agreed is not None:
            shown["relation"] = visit.agreed.relation
        return self._page(
            _PAGES[visit.step],
            visit.language,
            status=status,
            token=standing.token,
            form=form or {},
            faults=faults,
            receipt=receipt,
            report=standing.report,
            refusal=visit.refusal,
            **shown,
        )

    def _page(self, page: str, language: str, *, status: int = 200, **shown: object) -> Response:
        return HTMLResponse(self._pages.render(page, language, **shown), status)


def _go(language: str, page: str) -> RedirectResponse:
    return RedirectResponse(f"/{language}/{page}", 303)


def _agreed(form: dict[str, str], purpose: Purpose) -> tuple[Agreed | None, tuple[str, ...]]:
    """Who agreed; or the names of the fields where something is missing."""
    name, relation = form.get("name", "").strip(), form.get("relation", "").strip()
    faults = []
    if _refuses(lambda: require_presentable(name, "")):
        faults.append("name")
    if _refuses(lambda: require_presentable("-", relation)):
        faults.append("relation")
    basis = LawfulBasis.EXPLICIT_CONSENT
    if purpose is Purpose.CARE:
        try:
            basis = LawfulBasis(form.get("basis", ""))
            require_basis(basis, purpose)
        except (ValueError, EnrolmentError):
            faults.append("basis")
    faults += [box for box in ("read", "agree") if form.get(box) != "yes"]
    return (None if faults else Agreed(name, relation, basis)), tuple(faults)


def _refuses(check: Callable[[], None]) -> bool:
    try:
        check()
    except EnrolmentError:
        return True
    return False


def _said(guidance: Guidance, language: str) -> dict[str, object]:
    words = station_words(language)
    return {
        "turn": "" if guidance.ask is None else guidance.ask.value,
        "ask": "" if guidance.ask is None else words.asks[guidance.ask],
        "hint": "" if guidance.hint is None else words.hints[guidance.hint],
        "done": guidance.done,
        "total": guidance.total,
    }
