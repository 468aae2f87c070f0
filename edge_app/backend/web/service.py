"""The page for operators and carers as a web service: every path, and who may take it.

    /                       the sign-in page, or where the role begins
    /en/sign-in, /sign-out  with a local account
    /en/provider            to the identity provider, which sends back to /signed-in
    /en/encounters          as they come; /en/live is their stream of server-sent events
    /en/acknowledge         POST: somebody has seen to an encounter
    /en/people              consents: their states, and which end soon
    /en/devices             generation, lease and health
    /en/erasures            who left, and which devices said that they erased; /en/proof/DIGEST
    /en/audit               who did what

Every look at something is in the audit trail before it is answered. Every POST comes from a page of
this service (guard.py) with its session's token. No request is logged, no answer is kept by the
browser.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge_app.adapters.web.forms import read_form
from edge_app.adapters.web.guard import Guard
from edge_app.adapters.web.render import Pages, page_words, shared_files
from edge_app.backend.accounts import Accounts, Throttle
from edge_app.backend.audit import Action, newest_entries, note
from edge_app.backend.database import Database, Execute
from edge_app.backend.oidc import Begun, OidcClient
from edge_app.backend.roles import RIGHTS, Right
from edge_app.backend.states import device_states
from edge_app.backend.store import Encounter, acknowledge
from edge_app.backend.web.live import Live, View, change, key
from edge_app.backend.web.sessions import Session, Sessions, SignedIn
from edge_app.backend.web.shown import Shown
from edge_app.errors import EdgeAppError, SignInError, SignInFault, StorageError
from edge_app.ports import Clock
from edge_app.records import NODE_NAME_PATTERN

FOLDER: Final = Path(str(files("edge_app.backend.web")))
LANGUAGES: Final = ("en", "de", "fr")

_log = logging.getLogger(__name__)

_BEAT_S: Final = 3.0
_BEGUN_S: Final = 600
_PLACES: Final[Mapping[str, Right]] = {
    "encounters": Right.ENCOUNTERS,
    "people": Right.PEOPLE,
    "devices": Right.DEVICES,
    "erasures": Right.ERASURE,
    "audit": Right.AUDIT,
}
"""The pages by what they need, in their order; a role begins at the first that it may see."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How the page stands.

    names:    by which browsers may ask.
    overview: of the fleet, as the operator writes it; None: not told of.
    longest_s, idle_s: as of `Sessions`.
    """

    names: Collection[str]
    tls: bool
    language: str
    overview: Path | None
    longest_s: float
    idle_s: float


def make_service(
    database: Database, live: Live, oidc: OidcClient | None, setting: Setting, clock: Clock
) -> ASGIApp:
    """The service. Raises ConfigError if what renders its pages is not installed."""
    site = _Site(database, live, oidc, setting, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(live.look())
        try:
            yield
        finally:
            looking.cancel()

    gets: dict[str, _Handler] = {
        "sign-in": site.sign_in_form,
        "provider": site.to_provider,
        "encounters": site.behind(Right.ENCOUNTERS, site.encounters),
        "live": site.behind(Right.ENCOUNTERS, site.stream),
        "people": site.behind(Right.PEOPLE, site.people),
        "devices": site.behind(Right.DEVICES, site.devices),
        "erasures": site.behind(Right.ERASURE, site.erasures),
        "proof/{digest}": site.behind(Right.ERASURE, site.proof),
        "audit": site.behind(Right.AUDIT, site.audit),
    }
    posts: dict[str, _Handler] = {
        "sign-in": site.sign_in,
        "sign-out": site.sign_out,
        "acknowledge": site.behind(Right.ACKNOWLEDGE, site.acknowledge),
    }
    return Guard(
        Starlette(
            routes=[
                Route("/", _answering(site.start, setting.language)),
                Route("/signed-in", _answering(site.from_provider, setting.language)),
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
    )


_Endpoint = Callable[[Request], Awaitable[Response]]
_Handler = Callable[[Request, str], Awaitable[Response]]
_Inside = Callable[[Request, str, Session], Awaitable[Response]]


def _spoken(of: _Handler) -> _Endpoint:
    """Answers in a known language; what cannot be done now says so and no more."""

    async def answer(request: Request) -> Response:
        language = request.path_params["language"]
        if language not in LANGUAGES:
            raise HTTPException(404)
        return await _answering(lambda asked: of(asked, language), language)(request)

    return answer


def _answering(of: _Endpoint, language: str) -> _Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await of(request)
        except EdgeAppError as error:
            _log.error("backend: %s", error)
            text = page_words(FOLDER, language)["errors"]["failed"]
            return Response(text, 503, media_type="text/plain")

    return answer


class _Site:
    """A method for each path. What waits is done in threads."""

    def __init__(
        self,
        database: Database,
        live: Live,
        oidc: OidcClient | None,
        setting: Setting,
        clock: Clock,
    ) -> None:
        self._database = database
        self._live = live
        self._oidc = oidc
        self._setting = setting
        self._clock = clock
        self._accounts = Accounts(database)
        self._throttle = Throttle(clock)
        self._sessions = Sessions(clock, longest_s=setting.longest_s, idle_s=setting.idle_s)
        self._shown = Shown(setting.overview)
        self._seal = Fernet(Fernet.generate_key())
        prefix = "__Host-" if setting.tls else ""
        self._cookie, self._begun_cookie = f"{prefix}session", f"{prefix}begun"
        self._pages = Pages(
            FOLDER,
            extra="backend",
            languages=[(code, page_words(FOLDER, code)["language"]) for code in LANGUAGES],
            places=_PLACES,
            has_provider=oidc is not None,
        )

    # ------------------------------------------------------------------------- signing in

    async def start(self, request: Request) -> Response:
        session = await self._session(request)
        if session is None:
            return _go(self._setting.language, "sign-in")
        return _go(self._setting.language, _first_place(session))

    async def sign_in_form(self, request: Request, language: str) -> Response:
        session = await self._session(request)
        if session is not None:
            return _go(language, _first_place(session))
        return self._page("sign_in", language, fault="", wait_s=0)

    async def sign_in(self, request: Request, language: str) -> Response:
        form = await read_form(request)
        name, password = form.get("name", ""), form.get("password", "")
        address, account = _neighbourhood(request), None
        wait_s = self._throttle.wait_s(name, address)
        if wait_s == 0:
            account, wait_s = await run_in_threadpool(
                self._throttle.verify, self._accounts, name, password, address
            )
        if wait_s > 0:
            return self._page("sign_in", language, status=429, fault="wait", wait_s=int(wait_s) + 1)
        if account is None:
            answer = self._page("sign_in", language, status=403, fault="wrong", wait_s=0)
            # After the answer, which takes as long for names that nobody has.
            answer.background = BackgroundTask(self._note_refused, name)
            return answer
        person = SignedIn(account.name, account.role, account.stamp)
        await self._note(person.who, person.role, Action.SIGNED_IN)
        return self._let_in(request, person, _go(language, _first_right(RIGHTS[person.role])))

    async def to_provider(self, request: Request, language: str) -> Response:
        if self._oidc is None:
            raise HTTPException(404)
        scheme = "https" if self._setting.tls else "http"
        back = f"{scheme}://{request.headers['host']}/signed-in"
        try:
            begun = await run_in_threadpool(self._oidc.begin, back)
        except SignInError as error:
            return self._refuse(error, language)
        answer = RedirectResponse(begun.url, 303)
        # Sealed into the browser: nothing is kept here for whoever begins and does not come back.
        sealed = self._seal.encrypt(json.dumps([language, asdict(begun)]).encode()).decode()
        # Lax: the way back begins at the provider.
        answer.set_cookie(
            self._begun_cookie, sealed, max_age=_BEGUN_S, path="/",
            secure=self._setting.tls, httponly=True, samesite="lax",
        )  # fmt: skip
        return answer

    async def from_provider(self, request: Request) -> Response:
        try:
            sealed = request.cookies.get(self._begun_cookie, "")
            language, begun = json.loads(self._seal.decrypt(sealed, ttl=_BEGUN_S))
        except InvalidToken:
            return _go(self._setting.language, "sign-in")
        if self._oidc is None:
            raise HTTPException(404)
        answered = dict(request.query_params)
        try:
            person = await run_in_threadpool(self._oidc.finish, Begun(**begun), answered)
        except SignInError as error:
            if error.fault is SignInFault.NO_ROLE:
                await self._note("", "", Action.SIGN_IN_REFUSED)
            return self._refuse(error, language)
        signed_in = SignedIn(person.name, person.role)
        await self._note(signed_in.who, signed_in.role, Action.SIGNED_IN)
        # Not a redirect: on one that another site began, browsers keep the strict cookie back.
        to = f"/{language}/{_first_right(RIGHTS[person.role])}"
        answer = self._let_in(request, signed_in, self._page("welcome", language, to=to))
        answer.delete_cookie(self._begun_cookie, path="/")
        return answer

    async def sign_out(self, request: Request, language: str) -> Response:
        session = await self._session(request)
        if session is not None:
            await self._require_token(request, session)
            await self._note(session.person.who, session.person.role, Action.SIGNED_OUT)
            self._sessions.end(self._name(request))
        answer = _go(language, "sign-in")
        answer.delete_cookie(self._cookie, path="/")
        return answer

    # -------------------------------------------------------------------------- signed in

    def behind(self, right: Right, of: _Inside) -> _Handler:
        """What takes a right: others are led to the sign-in page, or refused."""

        async def answer(request: Request, language: str) -> Response:
            session = await self._session(request)
            if session is None:
                if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
                    return _go(language, "sign-in")
                return Response(status_code=401)
            if right not in RIGHTS[session.person.role]:
                return self._inside("refused", language, session, status=403)
            return await of(request, language, session)

        return answer

    async def encounters(self, request: Request, language: str, session: Session) -> Response:
        del request
        await self._looked(session, Action.LOOKED_AT_ENCOUNTERS)
        view = await self._live.now()
        return self._inside(
            "encounters", language, session, view=view, key=key, problem=self._problem(view)
        )

    async def stream(self, request: Request, language: str, session: Session) -> Response:
        if not self._sessions.has_room(session):
            return Response(status_code=429)
        return StreamingResponse(
            self._events(self._name(request), session, language),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def acknowledge(self, request: Request, language: str, session: Session) -> Response:
        form = await read_form(request)
        self._require(form.get("token", ""), session)
        site, device, alert_id = (form.get(part, "") for part in ("site", "device", "alert_id"))
        if not all(re.fullmatch(NODE_NAME_PATTERN, part) for part in (site, device, alert_id)):
            raise HTTPException(400)
        who, now = session.person.who, self._clock.now()

        def work() -> bool:
            with self._database.writing() as execute:
                done = acknowledge(execute, site, device, alert_id, who=who, now=now)
                if done:
                    self._note_in(execute, session, Action.ACKNOWLEDGED, f"{site}/{device}")
                return done

        await run_in_threadpool(work)
        return _go(language, "encounters")

    async def people(self, request: Request, language: str, session: Session) -> Response:
        await self._looked(session, Action.LOOKED_AT_PEOPLE)
        now = self._clock.now()
        asked = request.query_params
        found = await run_in_threadpool(
            self._shown.people, asked.get("state", ""), asked.get("record", ""), _number(asked), now
        )
        return self._inside("people", language, session, found=found)

    async def devices(self, request: Request, language: str, session: Session) -> Response:
        await self._looked(session, Action.LOOKED_AT_DEVICES)
        now, asked = self._clock.now(), request.query_params

        def read() -> object:
            with self._database.reading() as execute:
                states = device_states(execute)
            return self._shown.devices(states, _number(asked), _number(asked, "member"), now)

        found = await run_in_threadpool(read)
        return self._inside("devices", language, session, found=found)

    async def erasures(self, request: Request, language: str, session: Session) -> Response:
        await self._looked(session, Action.LOOKED_AT_ERASURES)
        now = self._clock.now()
        found = await run_in_threadpool(
            self._shown.erasures, request.query_params.get("digest", ""),
            _number(request.query_params), now,
        )  # fmt: skip
        return self._inside("erasures", language, session, found=found)

    async def proof(self, request: Request, language: str, session: Session) -> Response:
        del language
        proof = await run_in_threadpool(self._shown.proof, request.path_params["digest"])
        if proof is None:
            raise HTTPException(404)
        await self._looked(session, Action.TOOK_PROOF)
        name = {"Content-Disposition": 'attachment; filename="familiar-proof-of-erasure.json"'}
        return Response(proof, media_type="application/json", headers=name)

    async def audit(self, request: Request, language: str, session: Session) -> Response:
        await self._looked(session, Action.LOOKED_AT_AUDIT)
        before = _number(request.query_params, "before")

        def read() -> object:
            with self._database.reading() as execute:
                return newest_entries(execute, 100, before=before or None)

        entries = await run_in_threadpool(read)
        return self._inside("audit", language, session, entries=entries)

    # ------------------------------------------------------------------------- live events

    async def _events(self, name: str, session: Session, language: str) -> AsyncIterator[str]:
        """Server-sent events until the session ends: `order` (keys), `encounter` (HTML), `gone`
        (a key), `beat` (what is wrong with the collecting, or nothing), `end`."""
        told: dict[str, Encounter] = {}
        # Counted here: what is not begun has no end.
        self._sessions.open_stream(session)
        try:
            yield "retry: 2000\n\n"
            view = await self._live.begin()
            try:
                while self._sessions.find(name) is session and await self._holds(session):
                    step = change(told, view)
                    # Oldest first, so that each is put above those before it.
                    for encounter in reversed(step.changed):
                        html = self._fragment(encounter, language, session)
                        yield _event("encounter", {"key": key(encounter), "html": html})
                    for gone in step.gone:
                        yield _event("gone", {"key": gone})
                    told = {key(encounter): encounter for encounter in view.encounters}
                    yield _event("beat", self._beat(view, step.order, session))
                    view = await self._live.next(view, _BEAT_S)
                yield _event("end", {})
            finally:
                await self._live.end()
        finally:
            self._sessions.close_stream(session)

    def _beat(self, view: View, order: Collection[str], session: Session) -> dict[str, object]:
        return {
            "order": list(order),
            "problem": self._problem(view),
            "left_s": int(self._sessions.left_s(session)),
        }

    def _problem(self, view: View) -> str:
        """The name of what keeps encounters from being seen, see [problems] of the words."""
        if view.is_fault:
            return "database"
        if view.collecting is None:
            return "never"
        if (self._clock.now() - view.collecting).total_seconds() > SILENT_S:
            return "silent"
        return ""

    def _fragment(self, encounter: Encounter, language: str, session: Session) -> str:
        return self._pages.render(
            "encounter",
            language,
            encounter=encounter,
            key=key,
            session=session,
            rights=RIGHTS[session.person.role],
        )

    # -------------------------------------------------------------------------- in common

    def _name(self, request: Request) -> str:
        return request.cookies.get(self._cookie, "")

    async def _session(self, request: Request) -> Session | None:
        session = self._sessions.find(self._name(request))
        if session is not None and not await self._holds(session):
            self._sessions.end(self._name(request))
            return None
        return session

    async def _holds(self, session: Session) -> bool:
        """Whether the account still is what it was: removed, it is signed out at once."""
        if not session.person.stamp:
            return True
        try:
            account = await run_in_threadpool(self._accounts.find, session.person.who)
        except StorageError:
            return True  # nothing can be read, then, of which the page tells
        return account is not None and account.stamp == session.person.stamp

    async def _require_token(self, request: Request, session: Session) -> None:
        form = await read_form(request)
        self._require(form.get("token", ""), session)

    def _require(self, token: str, session: Session) -> None:
        if not secrets.compare_digest(token.encode(), session.token.encode()):
            raise HTTPException(403, "Go back to the page and try again.")

    async def _looked(self, session: Session, action: Action) -> None:
        await self._note(session.person.who, session.person.role, action)

    async def _note(self, who: str, role: str, action: Action, detail: str = "") -> None:
        def work() -> None:
            with self._database.writing() as execute:
                note(
                    execute, who=who, role=role, action=action, detail=detail,
                    now=self._clock.now(),
                )  # fmt: skip

        await run_in_threadpool(work)

    def _note_in(self, execute: Execute, session: Session, action: Action, detail: str) -> None:
        person = session.person
        note(
            execute, who=person.who, role=person.role, action=action, detail=detail,
            now=self._clock.now(),
        )  # fmt: skip

    async def _note_refused(self, name: str) -> None:
        """Of known names only: others are what anybody likes, as often as they like, and at times
        a password."""
        try:
            account = await run_in_threadpool(self._accounts.find, name)
            if account is not None:
                await self._note(account.name, account.role, Action.SIGN_IN_REFUSED)
        except StorageError as error:
            _log.error("backend: %s", error)

    def _let_in(self, request: Request, person: SignedIn, answer: Response) -> Response:
        self._sessions.end(self._name(request))
        answer.set_cookie(
            self._cookie, self._sessions.begin(person), path="/", secure=self._setting.tls,
            httponly=True, samesite="strict",
        )  # fmt: skip
        return answer

    def _refuse(self, error: SignInError, language: str) -> Response:
        _log.warning("backend: sign-in: %s", error)
        return self._page("sign_in", language, status=403, fault=error.fault.value, wait_s=0)

    def _inside(
        self, page: str, language: str, session: Session, *, status: int = 200, **shown: object
    ) -> Response:
        rights = RIGHTS[session.person.role]
        return self._page(page, language, status=status, session=session, rights=rights, **shown)

    def _page(self, page: str, language: str, *, status: int = 200, **shown: object) -> Response:
        return HTMLResponse(self._pages.render(page, language, **shown), status)


SILENT_S: Final = 60.0
"""After this long without an instance that has the broker, encounters are said not to come."""


def _first_place(session: Session) -> str:
    return _first_right(RIGHTS[session.person.role])


def _first_right(rights: Collection[Right]) -> str:
    return next(place for place, right in _PLACES.items() if right in rights)


def _neighbourhood(request: Request) -> str:
    """Where it comes from: an address, or of IPv6 the 64 bits that one asker has to themselves."""
    if request.client is None:
        return ""
    address = ipaddress.ip_address(request.client.host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _go(language: str, page: str) -> RedirectResponse:
    return RedirectResponse(f"/{language}/{page}", 303)


def _number(asked: Mapping[str, str], name: str = "page") -> int:
    text = asked.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
