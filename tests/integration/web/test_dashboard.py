import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse, ClientSession, encode_basic_auth
from structlog.testing import capture_logs
from yarl import URL

from worker.errors import SupabaseNeedsOperator, SupabaseUnavailable
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory
from worker.web.app import http_server
from worker.wording import FAILURES

FORM = "application/x-www-form-urlencoded"
CHECKOUT = Path(__file__).parents[3]
TOKEN = "the-operators-token"
LESSON = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "aaaaaaaa-0000-4000-8000-000000000002"
ROW = {
    "id": "r", "upload_id": "up1", "temp_asset_id": None, "asset_id": None, "playback_id": None,
    "status": "processing", "error_type": None, "error_message": None,
    "tracked_at": "2026-01-01T00:00:00+00:00", "next_check_at": "2026-01-01T00:01:00+00:00",
    "last_checked_at": None, "settled_at": None, "check_count": 0, "age_seconds": 30.0,
    "is_missing": False, "progress": None,
}  # fmt: skip
KNOWN: dict[str, Any] = {
    "lesson_id": LESSON, "owner": "c", "status": "draft", "is_published": False,
    "asset_id": None, "playback_id": None, "title": "Sourdough", "row": ROW,
    "state": "waiting", "since": "2026-01-01T00:00:00+00:00", "since_seconds": 30.0,
    "now": "2026-01-01T00:00:30+00:00", "environment_id": "env1", "events": [],
}  # fmt: skip
EVIL = "<b>'\"&amp;{{12345*3}}"
NOW = "2026-01-01T00:00:30+00:00"
PAGE: dict[str, Any] = {"lessons": [], "next": None, "now": NOW}
NO_DELAYS = {"count": 0, "p50": None, "p95": None, "p99": None}
OVERVIEW: dict[str, Any] = {
    "now": NOW, "events_seconds": None,
    "counts": {
        "processing": 7, "due": 0, "stuck": 0, "error": 0, "unplayable": 0,
        "oldest_due_seconds": None, "oldest_processing_seconds": None,
    },
    "day": {
        "published": 0, "failed": 0, "hours": [], "counted_seconds": None,
        "ready_to_published": {"hour": NO_DELAYS, "day": NO_DELAYS},
    },
    "lists": dict.fromkeys(("unplayable", "failed", "stuck", "waiting", "published"), PAGE),
}  # fmt: skip


@dataclass
class FakeStore:
    """Answers the page's calls, and records them."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fault: SupabaseUnavailable | None = None
    found: list[dict[str, Any]] = field(default_factory=list)
    lesson: dict[str, Any] = field(default_factory=lambda: KNOWN)
    overview: dict[str, Any] = field(default_factory=lambda: OVERVIEW)
    pages: list[dict[str, Any]] = field(default_factory=lambda: [PAGE])
    retried: list[str] = field(default_factory=list)

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Answer."""
        self.calls.append((function, params))
        if self.fault is not None:
            raise self.fault
        return {
            "worker_overview": self.overview,
            "worker_lesson": self.lesson
            if params.get("lesson_id") == self.lesson["lesson_id"]
            else None,
            "worker_lesson_events": [],
            "worker_make_due": {"outcome": "made_due", "status": "processing"},
            "worker_retry": self.retried,
            "worker_find_lessons": self.found,
            "worker_failures": {"gave_up": 2, EVIL: 1},
            "worker_list_lessons": self.pages[1 if params.get("after") else 0],
        }[function]

    async def summary(self) -> dict[str, Any]:
        """Return no counts."""
        return {}

    @property
    def written(self) -> list[str]:
        """Return the names of called functions that change something."""
        changing = ("worker_make_due", "worker_retry", "worker_publish")
        return [function for function, _ in self.calls if function in changing]


class Client:
    """A browser, or a program, that follows no redirect by itself."""

    def __init__(self, http: ClientSession, url: str, store: FakeStore) -> None:
        self.http = http
        self.url = url
        self.store = store

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """Request a page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._whole("GET", path, headers=named)

    async def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> ClientResponse:
        """Send a form."""
        return await self._whole("POST", path, data=fields, headers=headers)

    async def _whole(self, method: str, path: str, **how: Any) -> ClientResponse:
        url = URL(self.url + path, encoded=True)
        response = await self.http.request(method, url, allow_redirects=False, **how)
        await response.read()
        return response


@asynccontextmanager
async def site(**more: str) -> AsyncIterator[tuple[str, FakeStore]]:
    """Serve on a free port; yield the address."""
    result: dict[str, Any] = {
        "supabase_url": "http://localhost",
        "supabase_service_role_key": "sb_secret_x",
        "mux_token_id": "id",
        "mux_token_secret": "secret",
        "host": "127.0.0.1",
        "port": 1,
        **more,
    }
    settings = Settings(_env_file=None, **result).model_copy(update={"port": 0})
    mux: Any = SimpleNamespace(rate_limit=("5", "4"), requests=1)
    store: Any = FakeStore()
    async with http_server(
        settings, Telemetry(), Liveness(5, 100), mux, store, ScanHistory(dict)
    ) as port:
        yield f"http://127.0.0.1:{port}", store


@asynccontextmanager
async def browser(url: str, store: FakeStore, authorization: str = "") -> AsyncIterator[Client]:
    """Open a client that sends this header with each request."""
    headers = {"Authorization": authorization} if authorization else {}
    async with ClientSession(headers=headers) as http:
        yield Client(http, url, store)


INES = encode_basic_auth("Ines", TOKEN)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Yield Ines, who knows the token."""
    async with site(ops_token=TOKEN) as there, browser(*there, INES) as client:
        yield client


PATHS = ["/", "/lessons", f"/lessons/{LESSON}", "/search?q=x"]


async def test_without_a_token_there_is_no_page() -> None:
    """No assets and no actions either; and the metrics are open to all."""
    async with site() as there, browser(*there, INES) as client:
        for path in (*PATHS, "/assets/page.css", "/assets/page.js"):
            assert (await client.get(path)).status == 404
        for path in (f"/lessons/{LESSON}/retry", "/lessons/retry"):
            assert (await client.post(path, {})).status == 404
        assert (await client.get("/metrics")).status == 200
        assert client.store.calls == []


@pytest.mark.parametrize("token", ["", TOKEN])
def test_the_template_engine_is_imported_only_with_a_token(token: str) -> None:
    """Only the dashboard needs it."""
    program = (
        "import asyncio, sys\n"
        "from tests.integration.web.test_dashboard import site\n"
        "async def serve():\n"
        f"    async with site(ops_token={token!r}): pass\n"
        "asyncio.run(serve())\n"
        "print('jinja2' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(bool(token)), done


WRONG = ["", "Bearer x", "Basic x", encode_basic_auth("Ines", "wrong")]


@pytest.mark.parametrize("authorization", WRONG, ids=ascii)
async def test_without_the_token_nothing_is_shown_and_nothing_done(authorization: str) -> None:
    """401 with a challenge; no call reaches the database, and each wrong token is counted."""
    async with site(ops_token=TOKEN) as there, browser(*there, authorization) as client:
        for path in (*PATHS, "/metrics"):
            refused = await client.get(path)
            assert (refused.status, TOKEN in await refused.text()) == (401, False)
            assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
        for path in (f"/lessons/{LESSON}/retry", "/lessons/retry"):
            assert (await client.post(path, {"which": "all"})).status == 401
        assert client.store.calls == []
        metrics = await client.http.get(f"{client.url}/metrics", headers={"Authorization": INES})
        count = 7 if authorization else 0
        assert f"mux_worker_refused_tokens_total {count}.0\n" in await metrics.text()


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}], ids=str)
async def test_forms_of_other_sites_do_nothing(client: Client, headers: dict[str, str]) -> None:
    """Though the browser sends the token with them."""
    lesson = f"/lessons/{LESSON}"
    for path in (f"{lesson}/check", f"{lesson}/retry", f"{lesson}/publish", "/lessons/retry"):
        refused = await client.post(path, {"which": "all"}, headers)
        assert (refused.status, "Another site" in await refused.text()) == (403, True)
    assert client.store.calls == []
    assert (await client.get("/", **{"Sec-Fetch-Site": "cross-site"})).status == 200


async def test_a_form_of_the_page_acts_in_the_operators_name(client: Client) -> None:
    """With the reason; the page shows the result once, and a refresh of it does not take it."""
    path, message = f"/lessons/{LESSON}", "The next scan checks the lesson."
    with capture_logs() as lines:
        done = await client.post(
            f"{path}/check", {"reason": " Anna\u202e called. "}, {"Sec-Fetch-Site": "same-origin"}
        )
    assert (done.status, done.headers["Location"]) == (303, path)
    given = {"lesson_id": LESSON, "operator": "Ines", "why": "Anna called."}
    assert client.store.calls[-1] == ("worker_make_due", given)
    assert lines == []
    alert = f'role="alert"><bdi dir="auto">{message}'
    assert alert not in await (await client.get(path, X_Refresh="1")).text()
    async with browser(client.url, client.store, encode_basic_auth("Olaf", TOKEN)) as other:
        assert alert not in await (await other.get(path)).text()
    assert alert in await (await client.get(path)).text()
    assert alert not in await (await client.get(path)).text()


async def test_an_action_that_fails_says_why(client: Client) -> None:
    """There is nothing to retry, or Supabase is unavailable."""
    own = {"Sec-Fetch-Site": "same-origin"}
    await client.post(f"/lessons/{LESSON}/retry", {}, own)
    assert "nothing to retry" in await (await client.get(f"/lessons/{LESSON}")).text()
    client.store.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    await client.post(f"/lessons/{LESSON}/publish", {}, own)
    out = await client.get(f"/lessons/{LESSON}")
    assert (out.status, "Supabase did not answer in time." in await out.text()) == (503, True)
    assert out.headers["Content-Type"].startswith("text/html")


async def test_a_failed_lesson_that_is_locked_is_worth_another_try(client: Client) -> None:
    """The message says so."""
    client.store.lesson = {**KNOWN, "row": {**ROW, "status": "error"}}
    done = await client.post(f"/lessons/{LESSON}/retry", {})
    message = "Another process is working on the lesson. Try again in a moment.\n"
    assert (done.status, await done.text()) == (409, message)


async def test_an_unplayable_video_is_shown(client: Client) -> None:
    """Though the lesson has its video."""
    row = {**ROW, "status": "ready", "error_type": "playback_ids_withdrawn"}
    client.store.lesson = {**KNOWN, "state": "unplayable", "row": row}
    text = await (await client.get(f"/lessons/{LESSON}")).text()
    assert FAILURES["playback_ids_withdrawn"] in unescape(text)
    assert "published, plays nothing</span>" in text
    assert "The lesson has its video." not in text


@pytest.mark.parametrize(
    ("authorization", "name"), [(INES, "Ines"), (f"Bearer {TOKEN}", "operator")]
)
async def test_a_program_is_answered_in_one_line(authorization: str, name: str) -> None:
    """By Basic or Bearer, with 200 or 409, and without a cookie."""
    path = f"/lessons/{LESSON}"
    async with site(ops_token=TOKEN) as there, browser(*there, authorization) as client:
        done = await client.post(f"{path}/check", {"reason": "r"})
        assert (done.status, await done.text()) == (200, "The next scan checks the lesson.\n")
        assert client.store.calls[-1][1] == {"lesson_id": LESSON, "operator": name, "why": "r"}
        done = await client.post(f"{path}/retry", {})
        assert (done.status, done.cookies) == (409, {})


async def test_every_page_is_isolated_from_other_sites(client: Client) -> None:
    """By its headers: nothing inline, nothing from elsewhere, in no frame, in no cache."""
    missing = f"/lessons/{OTHER}"
    client.store.found = [KNOWN, KNOWN]
    paths = ("/lessons?state=failed", "/lessons?state=x", "/lessons/x", "/search?q=nothing")
    for path in ("/", f"/lessons/{LESSON}", missing, *paths):
        page = await client.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src"
        )
        assert "unsafe" not in policy
        for rule in ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy
        result = ("X-Frame-Options", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
        assert [page.headers[name] for name in result] == [
            "DENY",
            "same-origin",
            "nosniff",
            "no-store",
        ]
        assert "Server" not in page.headers
        text = await page.text()
        assert TOKEN not in text
        assert not re.search(r"<script(?! src=\"/assets/)| on[a-z]+=| style=|<img", text)
        assert re.findall(r"https?://[^/\"]*", text) in ([], ["https://dashboard.mux.com"])


async def test_assets_are_public(client: Client) -> None:
    """Under an address that changes with their content; no other file is served."""
    page = await (await client.get("/")).text()
    (style,) = re.findall(r'href="(/assets/page\.css\?v=\w+)"', page)
    served_style = await client.get(style)
    assert (served_style.status, served_style.content_type) == (200, "text/css")
    assert "max-age" in served_style.headers["Cache-Control"]
    for path in ("/assets/", "/assets/..%2fpages.py", "/assets/base.html", "/assets/x"):
        assert (await client.get(path)).status == 404


async def test_an_unknown_lesson_is_404(client: Client) -> None:
    """With a link to go on; so is an invalid id."""
    for path in (f"/lessons/{OTHER}", "/lessons/%3Cb%3E"):
        page = await client.get(path)
        text = await page.text()
        assert (page.status, "<b>" in text, "All lessons" in text) == (404, False, True)


async def test_a_search_leads_to_the_one_lesson(client: Client) -> None:
    """Several are listed; an empty one leads back."""
    client.store.found = [KNOWN]
    led = await client.get("/search?q=up1")
    assert (led.status, led.headers["Location"]) == (303, f"/lessons/{LESSON}")
    client.store.found = [KNOWN, {**KNOWN, "lesson_id": OTHER, "row": None}]
    text = await (await client.get("/search?q=up1")).text()
    assert all(f'href="/lessons/{lesson}"' in text for lesson in (LESSON, OTHER))
    assert (await client.get("/search?q=+")).headers["Location"] == "/"
    client.store.found = []
    led = await client.get("/search?q=sour%20dough%3Cb%3E%00")
    assert (led.status, led.headers["Location"]) == (303, "/lessons?search=sour+dough%3Cb%3E")


IDS = [
    "42",
    "-7",
    "clh3x2v9k0000",
    "A",
    "a/b",
    "..%2F",
    "100 %",
    "?#&+;",
    "{id}",
    "é\u202e中",
    "<b>'\"",
]


@pytest.mark.parametrize("lesson_id", IDS)
async def test_a_lesson_may_have_any_id(client: Client, lesson_id: str) -> None:
    """Found, shown and acted on by exactly that text, percent-encoded in every address."""
    path = f"/lessons/{quote(lesson_id, safe='')}"
    client.store.lesson = {**KNOWN, "lesson_id": lesson_id}
    client.store.found = [client.store.lesson]
    led = await client.get(f"/search?q={quote(lesson_id)}")
    assert client.store.calls[-1] == ("worker_find_lessons", {"id": lesson_id, "at_most": 21})
    assert (led.status, led.headers["Location"]) == (303, path)
    page = await client.get(path)
    assert client.store.calls[-1] == ("worker_lesson", {"lesson_id": lesson_id})
    text = await page.text()
    assert (page.status, "<b>" in text, "\u202e" in text) == (200, False, False)
    assert f'href="{path}" id="refresh"' in text
    assert f'formaction="{path}/check"' in text
    done = await client.post(f"{path}/check", {}, {"Sec-Fetch-Site": "same-origin"})
    given = {"lesson_id": lesson_id, "operator": "Ines", "why": None}
    assert client.store.calls[-1] == ("worker_make_due", given)
    assert (done.status, done.headers["Location"]) == (303, path)


async def test_the_id_of_a_lesson_that_is_gone_may_be_anything(client: Client) -> None:
    """The audit is searched for it; a path with a slash is no id."""
    gone = await client.get("/lessons/a%2Fb%00")
    assert client.store.calls[-1] == ("worker_lesson_events", {"lesson_id": "a/b\0"})
    assert (gone.status, "a/b\\u{0000}" in await gone.text()) == (404, True)
    client.store.calls.clear()
    assert (await client.get("/lessons/a/b")).status == 404
    assert client.store.calls == []


async def test_only_the_lesson_itself_is_published(client: Client) -> None:
    """The id of its upload in a lesson's address names no lesson."""
    client.store.found = [KNOWN]
    done = await client.post("/lessons/up1/publish", {})
    assert (done.status, await done.text()) == (
        409,
        "There is no such lesson. There is nothing to publish.\n",
    )


async def test_a_lesson_without_a_status_is_shown(client: Client) -> None:
    """The app's table may have no such column, and null may be a word of it."""
    event = dict.fromkeys(
        ("reason", "message", "upload_id", "asset_id", "playback_id", "observation")
    )
    event |= {"id": 1, "event": "published", "actor": "service_role", "happened_at": KNOWN["now"]}
    event |= {"from_status": None, "to_status": None, "lesson_from_status": None}
    client.store.lesson = {
        **KNOWN,
        "status": None,
        "events": [{**event, "lesson_to_status": None}, {**event, "lesson_to_status": "live"}],
    }
    text = await (await client.get(f"/lessons/{LESSON}")).text()
    assert "The lesson waits for its video.</p>" in text
    assert "<dt>Status</dt><dd><bdi>none</bdi></dd>" in text
    assert text.count("lesson <bdi>none</bdi> → <bdi>live</bdi>") == text.count("→ <bdi>") == 1
    client.store.lesson = {**KNOWN, "status": "in work"}
    text = await (await client.get(f"/lessons/{LESSON}")).text()
    assert "The lesson waits for its video. Its status is in work.</p>" in text


async def test_a_lesson_without_a_title_is_listed_as_untitled(client: Client) -> None:
    """With a link to its page."""
    event = {"event": "published", "happened_at": NOW, "ago_seconds": 0.0, "actor": "service_role"}
    event |= dict.fromkeys(("reason", "playback_id", "waited_seconds", "ready_seconds"))
    lesson = {**KNOWN, "title": None, "lesson_id": "known", "event": event}
    lists = {**OVERVIEW["lists"], "published": {**PAGE, "lessons": [lesson]}}
    client.store.overview = {**OVERVIEW, "lists": lists}
    text = await (await client.get("/")).text()
    assert 'href="/lessons/known"><bdi class="title">Untitled lesson<' in text


async def test_many_pages_cost_one_query(client: Client) -> None:
    """The overview is cached for two seconds, and queried again after an action."""
    for _ in range(5):
        assert (await client.get("/")).status == 200
    called = [name for name, _ in client.store.calls]
    assert called == ["worker_overview"]
    await client.post(f"/lessons/{LESSON}/check", {})
    await client.get("/")
    assert [name for name, _ in client.store.calls][1:] == ["worker_make_due", "worker_overview"]


async def test_without_supabase_the_page_shows_what_the_worker_knows(client: Client) -> None:
    """200 with the services and the scans, and a sentence about the lessons."""
    client.store.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    text = await (await client.get("/")).text()
    for said in ("Supabase has not answered this page since 2", "none are shown", "Recent scans"):
        assert said in text
    for unsaid in ("Recently published", '<b class="good">', "No lesson needs you"):
        assert unsaid not in text


async def test_during_an_outage_the_last_state_is_shown(client: Client) -> None:
    """Since when it is; a list and a lesson cannot be shown."""
    with_failure = {**OVERVIEW["counts"], "error": 3}
    client.store.overview = {**OVERVIEW, "counts": with_failure}
    await client.get("/")
    await client.post(f"/lessons/{LESSON}/check", {})  # has it query again
    client.store.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    text = await (await client.get("/")).text()
    assert "The lessons are shown as they were at 2026-01-01 00:00:30 UTC" in text
    assert "<strong>3</strong> <span>failed</span>" in text
    assert '<b class="good">' not in text
    for path in ("/lessons?state=failed", f"/lessons/{LESSON}"):
        page = await client.get(path)
        assert (page.status, "Supabase did not answer in time." in await page.text()) == (503, True)


FAILED_ROW = {**ROW, "status": "error", "error_type": EVIL, "error_message": EVIL}
FAILED = {**KNOWN, "state": "failed", "title": EVIL, "row": FAILED_ROW, "event": None}


async def test_a_list_is_filtered_and_paged(client: Client) -> None:
    """By its address; the form keeps the filter, the links keep it too."""
    client.store.pages = [{**PAGE, "lessons": [FAILED], "next": "1/<b>"}, PAGE]
    page = await client.get("/lessons?state=failed&search=sour&error_type=gave_up")
    asked = {"state": "failed", "search": "sour", "error_type": "gave_up", "after": None}
    assert client.store.calls[0] == ("worker_list_lessons", {**asked, "at_most": 50})
    text = await page.text()
    base = "/lessons?state=failed&amp;search=sour&amp;error_type=gave_up"
    assert f'<a href="{base}&amp;after=1%2F%3Cb%3E" rel="next">Continue</a>' in text
    assert '<option value="gave_up" selected>gave_up (2)</option>' in text
    assert '<a href="/lessons?state=stuck&amp;search=sour">Stuck' in text
    last = await (await client.get("/lessons?state=failed&after=1%2Fx")).text()
    assert '<a href="/lessons?state=failed">Newest</a>' in last
    assert "There are no more." in last
    assert ">Older<" not in last


@pytest.mark.parametrize("state", ["all", "unplayable", "failed", "stuck", "waiting", "published"])
async def test_foreign_text_in_a_list_is_text(client: Client, state: str) -> None:
    """Titles, error types, ids and what is searched for."""
    evil_id = {**FAILED, "lesson_id": "a/b<b>'\""}
    client.store.pages = [{**PAGE, "lessons": [FAILED, evil_id]}]
    for query in ("", f"&search={quote(EVIL)}"):
        page = await client.get(f"/lessons?state={state}{query}")
        text = await page.text()
        assert (page.status, "<b>'" in text, "37035" in text) == (200, False, False)
        assert "/lessons/a%2Fb%3Cb%3E%27%22" in text
        assert EVIL in unescape(text)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=x", "There is no state x."),
        ("state=stuck&error_type=gave_up", "Only failed lessons have an error type."),
        (f"search={'x' * 301}", "search is longer than 300 characters."),
    ],
)
async def test_a_list_that_does_not_exist_is_400(client: Client, query: str, said: str) -> None:
    """With a sentence, and without a query of the database."""
    page = await client.get(f"/lessons?{query}")
    assert (page.status, said in await page.text()) == (400, True)
    assert client.store.calls == []


async def test_a_page_that_does_not_exist_is_400(client: Client) -> None:
    """The database says so; it is no outage."""
    client.store.fault = SupabaseNeedsOperator("PT400", "worker_list_lessons needs as after …")
    page = await client.get("/lessons?after=x")
    said = "This page of the list does not exist."
    assert (page.status, said in await page.text()) == (400, True)


async def test_selected_lessons_are_retried(client: Client) -> None:
    """In the operator's name, with one reason; the list says the result once."""
    client.store.retried = ["a/b"]
    fields = "lesson=a%2Fb&lesson=c&which=selected&error_type=gave_up&reason=Mux+mended+it"
    headers = {"Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
    url = f"{client.url}/lessons/retry"
    done = await client.http.post(url, data=fields, headers=headers, allow_redirects=False)
    there = "/lessons?state=failed&error_type=gave_up"
    assert (done.status, done.headers["Location"]) == (303, there)
    assert client.store.calls == [
        (
            "worker_retry",
            {
                "lesson_ids": ["a/b", "c"],
                "error_type": None,
                "after": None,
                "at_most": 500,
                "operator": "Ines",
                "why": "Mux mended it",
            },
        )
    ]
    said = (
        "1 lesson is due again, as if the upload had just begun. "
        "1 other was left alone: not failed any more, or busy."
    )
    assert said in await (await client.get(there)).text()
    assert said not in await (await client.get(there)).text()


async def test_all_of_a_list_are_retried(client: Client) -> None:
    """Page by page, only those that match."""
    client.store.pages = [
        {**PAGE, "lessons": [{**FAILED, "lesson_id": "1"}], "next": "1/x"},
        {**PAGE, "lessons": [{**FAILED, "lesson_id": "2"}, {**FAILED, "lesson_id": "3"}]},
    ]
    client.store.retried = ["1"]
    done = await client.post("/lessons/retry", {"which": "all", "search": "dough"})
    said = "2 lessons are due again, as if the upload had just begun.\n"
    assert (done.status, await done.text()) == (200, said)
    asked = {"state": "failed", "search": "dough", "error_type": None, "at_most": 500}
    assert [params for name, params in client.store.calls if name == "worker_list_lessons"] == [
        {**asked, "after": None},
        {**asked, "after": "1/x"},
    ]
    named = [params["lesson_ids"] for name, params in client.store.calls if name == "worker_retry"]
    assert named == [["1"], ["2", "3"]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "No lesson is selected. Select lessons, or choose all."),
        ({"which": "some"}, "Choose the selected lessons, or all."),
        ({"which": "all"}, "No lesson of this list has failed. There is nothing to retry."),
        (
            {"lesson": "x"},
            (
                "Nothing was retried: 1 lesson has not failed any more, or another process is "
                "working on it."
            ),
        ),
        (
            {"which": "all", "search": "x" * 301},
            "search is longer than 300 characters. Shorten it.",
        ),
    ],
    ids=str,
)
async def test_a_retry_of_nothing_says_why(
    client: Client, fields: dict[str, str], said: str
) -> None:
    """In one line."""
    done = await client.post("/lessons/retry", fields)
    assert (done.status, await done.text()) == (409, f"{said}\n")


async def test_a_lesson_page_names_people_and_leads_to_mux(client: Client) -> None:
    """The instructor, the operator, the worker and the database's user; no id in their place."""
    owner = "bbbbbbbb-0000-4000-8000-000000000001"
    event = dict.fromkeys(
        ("reason", "message", "upload_id", "asset_id", "playback_id", "observation", "from_status")
    )
    event |= {"event": "tracked", "happened_at": NOW, "to_status": None}
    event |= dict.fromkeys(("lesson_from_status", "lesson_to_status"))
    actors = (owner, "operator Ines", "service_role", "postgres", OTHER)
    events = [{**event, "id": n, "actor": actor} for n, actor in enumerate(actors)]
    row = {**ROW, "asset_id": "as1"}
    client.store.lesson = {**KNOWN, "owner": owner, "row": row, "events": events}
    text = await (await client.get(f"/lessons/{LESSON}")).text()
    assert re.findall(r"by <bdi>(.*?)</bdi>", text) == [
        "the instructor",
        "an operator: Ines",
        "the worker",
        "postgres",
        "another user",
    ]
    url = "https://dashboard.mux.com/environments/env1/video/assets/as1"
    assert f'<a href="{url}" rel="noreferrer">Open in Mux</a>' in text
    assert 'title="2026-01-01 00:00:00 UTC">30 s ago</time>' in text


@pytest.mark.parametrize(("setting", "is_shown"), [("true", True), ("false", False)])
async def test_a_picture_is_loaded_only_if_it_is_switched_on(setting: str, is_shown: bool) -> None:
    """And only then the page's policy allows it, on that page alone."""
    observation = {"playback_ids": [{"id": "pl1", "policy": "public"}]}
    event = dict.fromkeys(
        ("reason", "message", "upload_id", "asset_id", "playback_id", "from_status", "to_status")
    )
    event |= {"id": 1, "event": "published", "actor": "service_role", "happened_at": NOW}
    event |= {"observation": observation, "lesson_from_status": None, "lesson_to_status": None}
    async with (
        site(ops_token=TOKEN, dashboard_thumbnails=setting) as there,
        browser(*there, INES) as client,
    ):
        row = {**ROW, "status": "ready", "asset_id": "as1", "playback_id": "pl1"}
        published = {"state": "published", "playback_id": "pl1", "row": row, "events": [event]}
        client.store.lesson = {**KNOWN, **published}
        page = await client.get(f"/lessons/{LESSON}")
        picture = 'src="https://image.mux.com/pl1/thumbnail.webp?width=480"'
        allowed = "img-src 'self' https://image.mux.com;"
        assert (picture in await page.text()) == is_shown
        assert (allowed in page.headers["Content-Security-Policy"]) == is_shown
        for path in ("/", "/lessons", f"/lessons/{OTHER}"):
            other = await client.get(path)
            assert "image.mux.com" not in other.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"&".join(b"a%d=1" % n for n in range(50)), FORM, 400),
        (b'{"reason": 1}', "application/json", 415),
        (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b", 415),
        (b"\xff\xfe%ff&reason=%00", FORM, 200),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    client: Client, body: bytes, kind: str, status: int
) -> None:
    """Too large, too many fields, or another type; bytes that are no text do no harm."""
    headers = {"Content-Type": kind}
    path = f"{client.url}/lessons/{LESSON}/check"
    async with client.http.post(path, data=body, headers=headers) as answer:
        assert answer.status == status
    assert (await client.get("/")).status == 200
