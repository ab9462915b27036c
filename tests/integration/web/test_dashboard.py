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

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar
from structlog.testing import capture_logs

from worker.errors import SupabaseUnavailable
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory
from worker.web.dashboard.login_throttle import BURST
from worker.web.server import served
from worker.wording import FAILURES

CHECKOUT = Path(__file__).parents[3]
TOKEN = "the-operators-token"
LESSON = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "aaaaaaaa-0000-4000-8000-000000000002"
ROW = {
    "id": "r", "upload_id": "up1", "temp_asset_id": None, "asset_id": None, "playback_id": None,
    "status": "processing", "error_type": None, "error_message": None,
    "tracked_at": "2026-01-01T00:00:00+00:00", "next_check_at": "2026-01-01T00:01:00+00:00",
    "last_checked_at": None, "check_count": 0, "age_seconds": 30.0,
}  # fmt: skip
KNOWN: dict[str, Any] = {
    "lesson_id": LESSON, "creator_id": "c", "created_at": None, "status": "draft",
    "asset_id": None, "playback_id": None, "title": "Sourdough", "row": ROW,
    "targets": [{"id": "up1", "kind": "either", "found_in": "tracking row"}],
    "now": "2026-01-01T00:00:30+00:00", "finding": None, "events": [],
}  # fmt: skip
OVERVIEW = {
    "now": "2026-01-01T00:00:30+00:00", "processing": 7, "due": 0, "stuck": 0, "error": 0,
    "oldest_due_seconds": None, "oldest_processing_seconds": None, "events_seconds": None,
    "waiting": [], "stuck_rows": [], "failed_rows": [], "published": [], "hours": [],
    "counted_seconds": None,
}  # fmt: skip


@dataclass
class FakeStore:
    """Answers the page's questions, and keeps which were put."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fault: SupabaseUnavailable | None = None
    found: list[dict[str, Any]] = field(default_factory=list)
    lesson: dict[str, Any] = field(default_factory=lambda: KNOWN)

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Answer."""
        self.calls.append((function, params))
        if self.fault is not None:
            raise self.fault
        return {
            "worker_overview": OVERVIEW,
            "worker_lesson": self.lesson if params.get("lesson_id") == LESSON else None,
            "worker_lesson_events": [],
            "worker_make_due": {"outcome": "made_due", "status": "processing"},
            "worker_retry": [],
            "worker_find_lessons": self.found,
        }[function]

    async def summary(self) -> dict[str, Any]:
        """Count nothing, for the numbers."""
        return {}

    @property
    def written(self) -> list[str]:
        """Name the functions called that change something."""
        changing = ("worker_make_due", "worker_retry", "worker_publish")
        return [function for function, _ in self.calls if function in changing]


class Client:
    """A browser that follows no redirect by itself."""

    def __init__(self, http: ClientSession, url: str, store: FakeStore) -> None:
        self.http = http
        self.url = url
        self.store = store

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """Ask for a page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._whole("GET", path, headers=named)

    async def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> ClientResponse:
        """Send a form."""
        return await self._whole("POST", path, data=fields, headers=headers)

    async def _whole(self, method: str, path: str, **how: Any) -> ClientResponse:
        response = await self.http.request(method, self.url + path, allow_redirects=False, **how)
        await response.read()
        return response

    async def form_token(self, path: str) -> str:
        """Give what the forms of a page hold."""
        text = await (await self.get(path)).text()
        found = re.search(r'name="form" value="([0-9a-f]+)"', text)
        assert found is not None, text
        return found[1]

    async def log_in(self, token: str = TOKEN, **changes: str) -> ClientResponse:
        """Log in as Ines."""
        form = await self.form_token("/login")
        fields = {"form": form, "name": "Ines", "token": token, "next": "/", **changes}
        return await self.post("/login", fields)


@asynccontextmanager
async def site(**more: str) -> AsyncIterator[tuple[str, FakeStore]]:
    """Serve on a free port; gives the address."""
    told: dict[str, Any] = {
        "supabase_url": "http://localhost",
        "supabase_service_role_key": "sb_secret_x",
        "mux_token_id": "id",
        "mux_token_secret": "secret",
        "host": "127.0.0.1",
        "port": 1,
        **more,
    }
    settings = Settings(_env_file=None, **told).model_copy(update={"port": 0})
    mux: Any = SimpleNamespace(is_refused=False, rate_limit=("5", "4"), requests=1)
    store: Any = FakeStore()
    async with served(
        settings, Telemetry(), Liveness(5, 100), mux, store, ScanHistory(dict)
    ) as port:
        yield f"http://127.0.0.1:{port}", store


@asynccontextmanager
async def browser(url: str, store: FakeStore) -> AsyncIterator[Client]:
    """Open a browser with cookies of its own."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
        yield Client(http, url, store)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give a browser at a server with a token."""
    async with site(ops_token=TOKEN) as there, browser(*there) as client:
        yield client


PATHS = ["/", f"/lessons/{LESSON}", "/search?q=x"]


async def test_without_a_token_there_is_no_page() -> None:
    """No login, no assets, no buttons either; and the numbers are open as before."""
    async with site() as there, browser(*there) as client:
        for path in (*PATHS, "/login", "/assets/page.css", "/assets/page.js"):
            assert (await client.get(path)).status == 404
        for path in ("/login", "/logout", f"/lessons/{LESSON}/retry"):
            assert (await client.post(path, {})).status == 404
        assert (await client.get("/metrics")).status == 200
        assert client.store.calls == []


@pytest.mark.parametrize("token", ["", TOKEN])
def test_what_the_page_is_made_of_is_imported_only_for_it(token: str) -> None:
    """Without a token neither the templates' nor the signatures' library is loaded."""
    program = (
        "import asyncio, sys\n"
        "from tests.integration.web.test_dashboard import site\n"
        "async def serve():\n"
        f"    async with site(ops_token={token!r}): pass\n"
        "asyncio.run(serve())\n"
        "print(sorted({'jinja2', 'itsdangerous'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(["itsdangerous", "jinja2"] if token else []), done


@pytest.mark.parametrize("path", PATHS)
async def test_whoever_is_not_logged_in_is_led_to_the_login(client: Client, path: str) -> None:
    """And from there to where she wanted; nothing is asked of the database before."""
    led = await client.get(path)
    assert (led.status, led.headers["Location"].split("?")[0]) == (303, "/login")
    assert client.store.calls == []
    login = await client.get(led.headers["Location"])
    found = re.search(r'name="next" value="([^"]*)"', await login.text())
    assert found is not None
    done = await client.log_in(next=found[1])
    assert (done.status, done.headers["Location"]) == (303, path)
    assert (await client.get(path)).status in (200, 404)


async def test_the_session_is_a_cookie_that_nobody_else_reads(client: Client) -> None:
    """HttpOnly, Strict, for twelve hours, and not the token; a new one at each login."""
    done = await client.log_in()
    cookie = done.cookies["mux-worker-session"]
    told = [cookie[name] for name in ("httponly", "samesite", "path", "max-age", "secure")]
    assert told == [True, "Strict", "/", "43200", ""]
    assert TOKEN not in cookie.value
    assert (await client.log_in()).cookies["mux-worker-session"].value != cookie.value


async def test_over_https_the_cookie_never_goes_another_way(client: Client) -> None:
    """Behind a proxy that says so, it is Secure and of this host alone."""
    https = {"X-Forwarded-Proto": "https"}
    async with client.http.get(client.url + "/login", headers=https) as login:
        token = re.search(r'name="form" value="(\w+)"', await login.text())
        visitor = login.cookies["__Host-mux-worker-browser"]
    assert visitor["secure"] is True
    assert token is not None
    fields = {"form": token[1], "name": "Ines", "token": TOKEN}
    headers = {**https, "Cookie": f"__Host-mux-worker-browser={visitor.value}"}
    done = await client.post("/login", fields, headers)
    cookie = done.cookies["__Host-mux-worker-session"]
    assert (done.status, cookie["secure"], cookie["path"]) == (303, True, "/")
    assert cookie["domain"] == ""


@pytest.mark.parametrize("shown", ["", "wrong", TOKEN[:-1], TOKEN + "x", f"Bearer {TOKEN}"])
async def test_a_wrong_token_is_refused(client: Client, shown: str) -> None:
    """With one sentence, the name kept, and no cookie that opens anything."""
    done = await client.log_in(shown)
    text = await done.text()
    assert done.status == 403
    assert "That is not the token." in text
    assert 'value="Ines"' in text
    assert "mux-worker-session" not in done.cookies
    assert (await client.get("/")).status == 303


async def test_without_a_name_nobody_is_let_in(client: Client) -> None:
    """The audit needs one; characters that do not print are none."""
    for name in ("", "  ", "\u202e\u200b"):
        done = await client.log_in(name=name)
        assert (done.status, "Say your name" in await done.text()) == (400, True)


async def test_a_login_of_another_browser_is_refused(client: Client) -> None:
    """So nobody can be logged in under a name that somebody else chose."""
    async with browser(client.url, client.store) as attacker:
        form = await attacker.form_token("/login")
    fields = {"form": form, "name": "Mallory", "token": TOKEN}
    assert (await client.post("/login", fields)).status == 403
    await client.get("/login")
    assert (await client.post("/login", fields)).status == 403
    assert (await client.post("/login", {**fields, "form": ""})).status == 403
    assert (await client.get("/")).status == 303


ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://[broken"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
async def test_forms_from_elsewhere_do_nothing(client: Client, headers: dict[str, str]) -> None:
    """Even with the right token in them: neither a login, nor a logout, nor a button."""
    form = await client.form_token("/login")
    fields = {"form": form, "name": "Ines", "token": TOKEN}
    assert (await client.post("/login", fields, headers)).status == 403
    await client.log_in()
    form = await client.form_token(f"/lessons/{LESSON}")
    for path in ("/logout", *(f"/lessons/{LESSON}/{x}" for x in ("look", "retry", "publish"))):
        refused = await client.post(path, {"form": form}, headers)
        assert (refused.status, "another site" in await refused.text()) == (403, True)
    assert client.store.written == []
    assert (await client.get("/")).status == 200


async def test_a_form_that_is_not_of_this_session_does_nothing(client: Client) -> None:
    """None, a made-up one, and that of another operator."""
    await client.log_in()
    async with browser(client.url, client.store) as other:
        await other.log_in()
        theirs = await other.form_token("/")
    for token in ("", "0" * 64, theirs):
        refused = await client.post(f"/lessons/{LESSON}/look", {"form": token})
        assert (refused.status, "old one" in await refused.text()) == (403, True)
    assert (await client.post(f"/lessons/{LESSON}/look", {})).status == 403
    assert client.store.written == []


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "null"}])
async def test_a_form_of_ours_is_done_in_the_operators_name(
    client: Client, headers: dict[str, str]
) -> None:
    """With the reason; what came of it is told on the page after it, once."""
    await client.log_in()
    form = await client.form_token(f"/lessons/{LESSON}")
    with capture_logs() as lines:
        done = await client.post(
            f"/lessons/{LESSON}/look", {"form": form, "reason": " She\u202e asked. "}, headers
        )
    assert (done.status, done.headers["Location"]) == (303, f"/lessons/{LESSON}")
    told = {"lesson_id": LESSON, "operator": "Ines", "why": "She asked."}
    assert client.store.calls[-1] == ("worker_make_due", told)
    assert [(x["event"], x["operator"], x["action"], x["is_done"]) for x in lines] == [
        ("lesson.by_hand", "Ines", "look", True)
    ]
    refreshed = await client.get(f"/lessons/{LESSON}", X_Refresh="1")
    assert "It is looked at next." not in await refreshed.text()
    page = await client.get(f"/lessons/{LESSON}")
    assert "It is looked at next." in await page.text()
    assert "It is looked at next." not in await (await client.get(f"/lessons/{LESSON}")).text()


async def test_what_cannot_be_done_is_said(client: Client) -> None:
    """There is nothing to retry, and while Supabase is out nothing at all is done."""
    await client.log_in()
    form = await client.form_token(f"/lessons/{LESSON}")
    await client.post(f"/lessons/{LESSON}/retry", {"form": form})
    assert "nothing to retry" in await (await client.get(f"/lessons/{LESSON}")).text()
    client.store.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    await client.post(f"/lessons/{LESSON}/publish", {"form": form})
    out = await client.get(f"/lessons/{LESSON}")
    assert (out.status, "Supabase did not answer in time." in await out.text()) == (503, True)
    assert out.headers["Content-Type"].startswith("text/html")


async def test_a_failed_lesson_that_somebody_holds_is_not_said_to_be_well(client: Client) -> None:
    """The button says that it is worth another try."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    client.store.lesson = {**KNOWN, "row": {**ROW, "status": "error"}}
    done = await client.post(f"/lessons/{LESSON}/retry", {}, bearer)
    said = "Somebody is at work on it just now: try again in a moment.\n"
    assert (done.status, await done.text()) == (409, said)


async def test_a_video_that_can_no_longer_be_played_is_said(client: Client) -> None:
    """Though the lesson has its video."""
    row = {**ROW, "status": "ready", "error_type": "playback_ids_withdrawn"}
    client.store.lesson = {**KNOWN, "row": row}
    await client.log_in()
    text = await (await client.get(f"/lessons/{LESSON}")).text()
    assert FAILURES["playback_ids_withdrawn"] in unescape(text)
    assert "It has its video." not in text


async def test_logging_out_ends_the_session_itself(client: Client) -> None:
    """A copy of its cookie opens nothing any more."""
    copy = (await client.log_in()).cookies["mux-worker-session"].value
    done = await client.post("/logout", {"form": await client.form_token("/")})
    assert (done.status, done.headers["Location"]) == (303, "/login")
    headers = {"Cookie": f"mux-worker-session={copy}"}
    async with (
        ClientSession() as other,
        other.get(f"{client.url}/", headers=headers, allow_redirects=False) as again,
    ):
        assert again.status == 303


async def test_a_session_of_another_token_opens_nothing(client: Client) -> None:
    """A new OPS_TOKEN logs everybody out."""
    cookie = (await client.log_in()).cookies["mux-worker-session"].value
    async with site(ops_token="a-new-token-for-all") as (url, _), ClientSession() as http:
        headers = {"Cookie": f"mux-worker-session={cookie}"}
        async with http.get(url + "/", headers=headers, allow_redirects=False) as led:
            assert led.status == 303


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/logout", "javascript:0"],
)
async def test_the_login_leads_nowhere_else(client: Client, wanted: str) -> None:
    """Whether the address or the form says so."""
    async with client.http.get(client.url + "/login", params={"next": wanted}) as page:
        assert 'name="next" value="/"' in await page.text()
    assert (await client.log_in(next=wanted)).headers["Location"] == "/"


async def test_guessing_is_slow_and_keeps_nobody_out_who_was_here_before(client: Client) -> None:
    """Whatever address it says it comes from; strangers may try again in two seconds."""
    async with browser(client.url, client.store) as known:
        assert (await known.log_in()).status == 303
        for n in range(BURST):
            form = await client.form_token("/login")
            fields = {"form": form, "name": "x", "token": f"guess {n}"}
            headers = {"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}"}
            assert (await client.post("/login", fields, headers)).status == 403
        slowed = await client.log_in()
        assert (slowed.status, slowed.headers["Retry-After"]) == (429, "2")
        assert "Try again in 2 s." in await slowed.text()
        assert (await known.log_in()).status == 303
        assert (await known.get("/")).status == 200


async def test_a_program_shows_the_token_itself(client: Client) -> None:
    """It needs no cookie and no form's token, gives its name, and is answered in one line."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.get("/", **bearer)).status == 200
    path = f"/lessons/{LESSON}"
    done = await client.post(f"{path}/look", {"operator": "cron", "reason": "r"}, bearer)
    assert (done.status, await done.text()) == (200, "It is looked at next.\n")
    assert client.store.calls[-1][1] == {"lesson_id": LESSON, "operator": "cron", "why": "r"}
    done = await client.post(f"{path}/retry", {}, bearer)
    retried = [given for name, given in client.store.calls if name == "worker_retry"]
    assert (done.status, [given["operator"] for given in retried]) == (409, ["by token"])
    assert done.cookies == {}
    for wrong in ("Bearer x", f"Bearer {TOKEN}x", "Bearer"):
        refused = await client.get("/", Authorization=wrong)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await client.post(f"{path}/look", {}, {"Authorization": "Bearer x"})).status == 401
    for other in (TOKEN, f"Basic {TOKEN}"):  # which a proxy may ask for, and send on
        assert (await client.get("/", Authorization=other)).status == 303


async def test_a_program_that_guesses_is_slowed_down_as_well(client: Client) -> None:
    """It is told when to come again, and holds up neither one with the token nor an operator."""
    for n in range(BURST):
        assert (await client.get("/", Authorization=f"Bearer {n}")).status == 401
    slowed = await client.get("/", Authorization="Bearer x")
    assert (slowed.status, slowed.headers["Retry-After"]) == (429, "2")
    assert (await client.get("/", Authorization=f"Bearer {TOKEN}")).status == 200
    assert (await client.log_in()).status == 303


async def test_every_page_is_held_to_itself(client: Client) -> None:
    """By its headers: nothing inline, nothing from elsewhere, in no frame, kept by nobody."""
    await client.log_in()
    missing = f"/lessons/{OTHER}"
    for path in ("/login", "/", f"/lessons/{LESSON}", missing, "/lessons/x", "/search?q=nothing"):
        page = await client.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert "unsafe" not in policy
        for rule in ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy
        told = ("X-Frame-Options", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
        assert [page.headers[name] for name in told] == [
            "DENY",
            "no-referrer",
            "nosniff",
            "no-store",
        ]
        assert "Server" not in page.headers
        text = await page.text()
        assert TOKEN not in text
        assert not re.search(r"<script(?! src=\"/assets/)| on[a-z]+=| style=|https?://", text)


async def test_what_pages_are_made_of_is_served_to_all(client: Client) -> None:
    """Under an address that changes with it; nothing else is."""
    page = await (await client.get("/login")).text()
    (style,) = re.findall(r'href="(/assets/page\.css\?v=\w+)"', page)
    served_style = await client.get(style)
    assert (served_style.status, served_style.content_type) == (200, "text/css")
    assert "max-age" in served_style.headers["Cache-Control"]
    for path in ("/assets/", "/assets/..%2fpages.py", "/assets/login.html", "/assets/x"):
        assert (await client.get(path)).status == 404


async def test_a_lesson_that_is_not_there_is_said_so(client: Client) -> None:
    """With 404 and a way on; so is what can be no lesson, and what is searched in vain."""
    await client.log_in()
    for path in (f"/lessons/{OTHER}", "/lessons/%3Cb%3E", "/search?q=%3Cb%3E%00%ff"):
        page = await client.get(path)
        text = await page.text()
        assert (page.status, "<b>" in text, "All lessons" in text) == (404, False, True)


async def test_a_search_leads_to_the_one_lesson(client: Client) -> None:
    """Several are listed; an empty one leads back."""
    await client.log_in()
    client.store.found = [KNOWN]
    led = await client.get("/search?q=up1")
    assert (led.status, led.headers["Location"]) == (303, f"/lessons/{LESSON}")
    client.store.found = [KNOWN, {**KNOWN, "lesson_id": OTHER, "row": None}]
    text = await (await client.get("/search?q=up1")).text()
    assert all(f'href="/lessons/{lesson}"' in text for lesson in (LESSON, OTHER))
    assert (await client.get("/search?q=+")).headers["Location"] == "/"


async def test_many_who_look_ask_once(client: Client) -> None:
    """The overview is kept for all for two seconds, and asked anew after a button."""
    await client.log_in()
    for _ in range(5):
        assert (await client.get("/")).status == 200
    asked = [name for name, _ in client.store.calls]
    assert asked == ["worker_overview"]
    form = await client.form_token("/")
    await client.post(f"/lessons/{LESSON}/look", {"form": form})
    await client.get("/")
    assert [name for name, _ in client.store.calls][1:] == ["worker_make_due", "worker_overview"]


async def test_while_supabase_is_out_the_page_shows_what_the_worker_knows(client: Client) -> None:
    """And says so: 200, the services, the scans; lessons as they were, if they ever were."""
    await client.log_in()
    client.store.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    text = await (await client.get("/")).text()
    for said in ("does not answer this page", "cannot be shown now", "Last scans", "Mux"):
        assert said in text
    assert "Published last" not in text


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 20_000, FORM, 413),
        (b"&".join(b"a%d=1" % n for n in range(50)), FORM, 400),
        (b'{"form": 1}', "application/json", 415),
        (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b", 415),
        (b"\xff\xfe%ff&form=%00", FORM, 403),
    ],
)
async def test_what_is_no_form_is_refused(
    client: Client, body: bytes, kind: str, status: int
) -> None:
    """Too large, too many fields, another kind, or not text; the server stays well."""
    headers = {"Content-Type": kind}
    async with client.http.post(client.url + "/login", data=body, headers=headers) as refused:
        assert refused.status == status
    assert (await client.log_in()).status == 303


async def test_a_link_from_elsewhere_keeps_the_session(client: Client) -> None:
    """The browser brings a strict cookie only from our own page, so that one leads on at once."""
    path = f"/lessons/{LESSON}"
    page = await client.get(path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert page.status == 200
    assert f'http-equiv="refresh" content="0; url={path}"' in await page.text()
    led = await client.get(path, Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="navigate")
    assert led.status == 303
