"""Who may see the status page: the login, and what asks for it before every page and form."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from aiohttp import web

from worker.telemetry.logs import LogThrottle, get_logger
from worker.text import clean_input
from worker.web.dashboard.login_throttle import Lane, Slowing
from worker.web.dashboard.render import Pages, see_other
from worker.web.dashboard.sessions import (
    SESSION_SECONDS,
    VISITOR_SECONDS,
    Session,
    Sessions,
    Visitor,
)

LONGEST_NAME = 60
MOST_FIELDS = 10
REFUSED_EVERY_SECONDS = 60.0

_OWN_PATH = re.compile(r"/(lessons/[0-9A-Fa-f-]{36}|search\?q=[A-Za-z0-9_.~%+-]{0,900})?")

Form = Mapping[str, str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PageHandler = Callable[[web.Request, "Operator"], Awaitable[web.StreamResponse]]
FormHandler = Callable[[web.Request, "Operator", Form], Awaitable[web.StreamResponse]]

log = get_logger()


@dataclass(frozen=True, slots=True)
class Operator:
    """Who is asking: somebody who has logged in, or a program that shows the token itself."""

    name: str
    session: Session | None
    form_token: str = ""


class Entrance:
    """Lets operators in, and nobody else."""

    def __init__(self, sessions: Sessions, slowing: Slowing, pages: Pages) -> None:
        self._sessions = sessions
        self._slowing = slowing
        self._pages = pages
        self._refusals = LogThrottle(REFUSED_EVERY_SECONDS)

    def page(self, handler: PageHandler) -> Handler:
        """Ask for a login before a page."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            who = self._who(request)
            return await handler(request, who) if isinstance(who, Operator) else who

        return guarded

    def form(self, handler: FormHandler) -> Handler:
        """Ask, before what a form does, for a login and that the form is one of ours."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            who = self._who(request)
            if not isinstance(who, Operator):
                return who
            form = await read_form(request)
            if who.session is None:
                name = clean_input(form.get("operator", ""), LONGEST_NAME)
                return await handler(request, Operator(name or who.name, None), form)
            if not is_from_here(request):
                return self._refuse(request, "It was sent by another site, so nothing was done.")
            if not self._sessions.is_form_token(who.session, form.get("form", "")):
                return self._refuse(request, "The form is an old one, so nothing was done.")
            return await handler(request, who, form)

        return guarded

    def _who(self, request: web.Request) -> Operator | web.Response:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":  # of other schemes a proxy before us may be the one to ask
            return self._by_token(shown.strip())
        session = self._sessions.session(request.cookies.get(_cookie(request, "session")))
        if session is not None:
            return Operator(session.name, session, self._sessions.form_token(session))
        if request.method in ("GET", "HEAD") and _comes_from_elsewhere(request):
            # The browser keeps its cookie to itself when another site leads here. Come again from
            # our own page, it brings it.
            return self._pages.page("again.html", path=own_path(request.path_qs))
        return see_other(f"/login?next={quote(_back_to(request), safe='')}")

    def _by_token(self, shown: str) -> Operator | web.Response:
        if self._sessions.is_token(shown):
            return Operator("by token", None)
        if wait := self._slowing.seconds_to_wait("headers"):
            return _too_many(web.Response(status=429, text="too many wrong tokens\n"), wait)
        self._slowing.failed("headers")
        self._note_refusal("wrong token")
        return web.Response(
            status=401, text="unauthorized\n", headers={"WWW-Authenticate": "Bearer"}
        )

    def _refuse(self, request: web.Request, why: str) -> web.Response:
        self._note_refusal(why)
        return self._pages.page(
            "fault.html", status=403, title="Nothing was done", message=why,
            back=own_path(_back_to(request)), operator=None,
        )  # fmt: skip

    async def show_login(self, request: web.Request) -> web.Response:
        """Answer with the login form."""
        return self._login(request, own_path(request.query.get("next")))

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """Take the login form."""
        form = await read_form(request)
        path, name = own_path(form.get("next")), clean_input(form.get("name", ""), LONGEST_NAME)
        visitor = self._visitor(request)
        if not is_from_here(request):
            return self._login(request, path, 403, "That was sent by another site.", name)
        if visitor is None or not self._sessions.is_form_token(visitor, form.get("form", "")):
            return self._login(request, path, 403, "The form was an old one. Try again.", name)
        if not name:
            return self._login(request, path, 400, "Say your name: the audit keeps it.", name)
        lane: Lane = "known" if visitor.is_known else "strangers"
        if wait := self._slowing.seconds_to_wait(lane):
            said = f"There were too many wrong tokens. Try again in {math.ceil(wait)} s."
            return _too_many(self._login(request, path, 429, said, name), wait)
        if not self._sessions.is_token(form.get("token", "").strip()):
            self._slowing.failed(lane)
            self._note_refusal("wrong token")
            return self._login(request, path, 403, "That is not the token.", name)
        return self._welcome(request, name, path)

    def _welcome(self, request: web.Request, name: str, path: str) -> web.Response:
        """Begin a session, under a new id."""
        log.info("web.logged_in", operator=name)
        response = see_other(path)
        session, visitor = self._sessions.begin(name), self._sessions.visitor(is_known=True)
        self._give(request, response, "session", session, SESSION_SECONDS)
        self._give(request, response, "browser", visitor, VISITOR_SECONDS)
        return response

    async def log_out(
        self, request: web.Request, operator: Operator, _form: Form
    ) -> web.StreamResponse:
        """End the session."""
        if operator.session is not None:
            self._sessions.end(operator.session)
        response = see_other("/login")
        response.del_cookie(
            _cookie(request, "session"), secure=is_https(request), httponly=True, samesite="Strict"
        )
        return response

    def _login(
        self, request: web.Request, path: str, status: int = 200, said: str = "", name: str = ""
    ) -> web.Response:
        visitor = self._visitor(request) or self._sessions.visitor()
        token = self._sessions.form_token(visitor)
        response = self._pages.page(
            "login.html", status=status, next=path, said=said, form_token=token, name=name
        )
        self._give(request, response, "browser", visitor, VISITOR_SECONDS)
        return response

    def _visitor(self, request: web.Request) -> Visitor | None:
        return self._sessions.known(request.cookies.get(_cookie(request, "browser")))

    def _give(
        self, request: web.Request, response: web.Response, what: str,
        value: Session | Visitor, seconds: float,
    ) -> None:  # fmt: skip
        response.set_cookie(
            _cookie(request, what),
            self._sessions.seal(value),
            max_age=int(seconds),
            path="/",
            secure=is_https(request),
            httponly=True,
            samesite="Strict",
        )

    def _note_refusal(self, reason: str) -> None:
        if self._refusals.allow(reason):
            log.warning("web.refused", message=reason)


async def read_form(request: web.Request) -> Form:
    """Read the fields of a form; raises what aiohttp answers to what is no form of ours."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="not a form\n")
    body = (await request.read()).decode(errors="replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise web.HTTPBadRequest(text="not a form of this page\n") from error


def is_from_here(request: web.Request) -> bool:
    """Tell whether a page of ours sent this, as the browser says.

    Pages that send no referrer send `Origin: null`, and over plain http there is no
    `Sec-Fetch-Site`: then the form's own token has to do.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin", "null")
    try:
        return origin == "null" or urlsplit(origin).netloc == request.host
    except ValueError:
        return False


def own_path(path: str | None) -> str:
    """Give a path of ours to go to; the first page where it is none."""
    return path if path and _OWN_PATH.fullmatch(path) else "/"


def is_https(request: web.Request) -> bool:
    """Tell whether the browser came over https, perhaps to a proxy before us."""
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.secure or forwarded == "https"


def _back_to(request: web.Request) -> str:
    """Give the page that a form stands on, or the page that is asked for."""
    if request.method in ("GET", "HEAD"):
        return request.path_qs
    return request.path.rpartition("/")[0]


def _cookie(request: web.Request, what: str) -> str:
    """Name a cookie; over https so that no other host of the domain can set it."""
    return f"{'__Host-' if is_https(request) else ''}mux-worker-{what}"


def _comes_from_elsewhere(request: web.Request) -> bool:
    headers = request.headers
    return (
        headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        and headers.get("Sec-Fetch-Mode") == "navigate"
    )


def _too_many(response: web.Response, wait: float) -> web.Response:
    response.headers["Retry-After"] = str(math.ceil(wait))
    return response
