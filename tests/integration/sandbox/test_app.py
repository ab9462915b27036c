import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.app.server import SampleApp
from sandbox.app.static import PACKAGES, PAGE, PageFiles
from sandbox.fault_injection import Fault
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.integration.supabase_js import MISSING, MODULES, SETTINGS, SNIPPET, TSC
from tests.integration.supabase_js import PAGE as APP_PAGE

pytestmark = pytest.mark.stack

NO_LESSON = (404, {"message": "there is no such lesson of yours"})


@pytest.fixture
def sample_app(supabase: LocalSupabase, mux: MuxSimulator) -> Iterator[SampleApp]:
    """Run the app's server, with other files in place of npm's packages."""
    files = PageFiles(dict.fromkeys(PACKAGES, PAGE / "app.js"))
    with SampleApp(supabase, mux, {"Anna": ANNA, "Bert": BERT}, files) as sample_app:
        yield sample_app


@pytest.fixture
def page(sample_app: SampleApp) -> Iterator[httpx.Client]:
    """Return a client that sends the headers of the page's own script."""
    headers = {"Origin": sample_app.url.rstrip("/"), "Content-Type": "application/json"}
    with httpx.Client(base_url=sample_app.url, headers=headers, timeout=60) as client:
        yield client


def status_and_json(response: httpx.Response) -> tuple[int, Any]:
    """Return status and JSON."""
    return response.status_code, response.json() if response.content else None


def as_user(page: httpx.Client, name: str) -> dict[str, str]:
    """Log in; return the headers for requests as that instructor."""
    token = page.post("session", json={"instructor": name}).raise_for_status().json()["token"]
    return {"Authorization": f"Bearer {token}"}


def test_the_config_holds_what_is_public(page: httpx.Client, supabase: LocalSupabase) -> None:
    """The config holds the publishable key, the names, and the scenarios of the simulated Mux."""
    config = page.get("config").json()
    assert config == {
        "supabaseUrl": supabase.url,
        "publishableKey": supabase.publishable_key,
        "instructors": [{"id": str(ANNA), "name": "Anna"}, {"id": str(BERT), "name": "Bert"}],
        "scenarios": [
            {"name": "plays", "label": "Encode the file in 8 seconds"},
            {"name": "broken", "label": "Report a broken file"},
            {"name": "stuck", "label": "Never finish encoding"},
            {"name": "abandoned", "label": "Wait for a file that the page does not send"},
        ],
    }


def test_an_upload_is_made_for_the_lessons_owner(
    page: httpx.Client, course: Course, mux: MuxSimulator
) -> None:
    """The upload allows the page's origin, times out after a minute, and names its lesson."""
    lesson = course.lesson(ANNA)
    asked = {"lessonId": str(lesson), "scenario": "plays"}
    status, made = status_and_json(page.post("uploads", json=asked, headers=as_user(page, "Anna")))
    assert status == 201
    (upload,) = mux.state.uploads()
    assert made == {"id": upload.id, "url": f"{mux.url}/direct-uploads/{upload.url_token}"}
    assert upload.cors_origin == page.headers["Origin"]
    assert (upload.timeout, upload.settings.passthrough) == (60, str(lesson))
    assert upload.settings.policies == ("public",)


def test_a_429_of_mux_is_retried(page: httpx.Client, course: Course, mux: MuxSimulator) -> None:
    """Two uploads within a second both succeed at the rate that Mux allows."""
    mux.limits = RateLimits.per_second(get=5, post=1)
    asked = {"lessonId": str(course.lesson(ANNA)), "scenario": "plays"}
    headers = as_user(page, "Anna")
    made = [page.post("uploads", json=asked, headers=headers).status_code for _ in range(2)]
    assert made == [201, 201]
    assert [request.status for request in mux.requests.all()] == [201, 429, 201]


def test_only_the_owner_of_a_lesson_gets_an_upload(
    page: httpx.Client, course: Course, mux: MuxSimulator
) -> None:
    """The response is the same for another instructor's lesson and for one that does not exist."""
    headers = as_user(page, "Bert")
    for lesson in (course.lesson(ANNA), course.lesson(ANNA, status="published"), uuid4()):
        asked = {"lessonId": str(lesson), "scenario": "plays"}
        assert status_and_json(page.post("uploads", json=asked, headers=headers)) == NO_LESSON
        passed = page.post(f"lessons/{lesson}/backdate", json={}, headers=headers)
        assert status_and_json(passed) == NO_LESSON
    assert mux.state.uploads() == []


def test_one_upload_alone_is_backdated(page: httpx.Client, course: Course) -> None:
    """The owner can backdate an upload in processing, by 31 minutes."""
    lesson, other = (course.tracked_lesson(upload, ANNA) for upload in ("one", "other"))
    before = course.row(lesson)["tracked_at"], course.row(other)["tracked_at"]
    headers = as_user(page, "Anna")
    passed = page.post(f"lessons/{lesson}/backdate", json={}, headers=headers)
    assert status_and_json(passed) == (204, None)
    assert (before[0] - course.row(lesson)["tracked_at"]).total_seconds() == 31 * 60
    assert course.row(other)["tracked_at"] == before[1]
    settled = course.tracked_lesson("settled", ANNA, status="error")
    refused = page.post(f"lessons/{settled}/backdate", json={}, headers=headers)
    assert status_and_json(refused) == (
        409,
        {"message": "The lesson has no upload in processing"},
    )


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("session", '{"instructor": "Carl"}', (400, "The instructor must be one of Anna, Bert")),
        ("session", '{"instructor": ["Anna"]}', (400, "The instructor must be one of Anna, Bert")),
        ("session", "[]", (400, "The body is not a JSON object")),
        ("session", "{", (400, "The body is not JSON")),
        ("uploads", '{"lessonId": 7}', (400, "The lessonId must be the id of a lesson")),
        ("uploads", '{"lessonId": "x"}', (400, "The lessonId must be the id of a lesson")),
        (
            "uploads",
            json.dumps({"lessonId": str(ANNA), "scenario": "luck"}),
            (400, "The scenario must be one of plays, broken, stuck, abandoned"),
        ),
        (
            "uploads",
            json.dumps({"lessonId": str(ANNA), "scenario": "plays"}),
            (401, "No user is signed in"),
        ),
        ("lessons/x/backdate", "{}", (400, "The lessonId must be the id of a lesson")),
    ],
)
def test_an_invalid_request_is_refused(
    page: httpx.Client, path: str, body: str, expected: tuple[int, str]
) -> None:
    """The message says what a valid request needs."""
    status, message = expected
    assert status_and_json(page.post(path, content=body)) == (status, {"message": message})


def test_a_forged_or_expired_token_is_refused(
    page: httpx.Client, course: Course, supabase: LocalSupabase
) -> None:
    """Supabase checks the token; the app's server trusts no token by itself."""
    asked = {"lessonId": str(course.lesson(ANNA)), "scenario": "plays"}
    for token in ("forged", supabase.user_token(ANNA, -60), supabase.anon_key):
        headers = {"Authorization": f"Bearer {token}"}
        assert page.post("uploads", json=asked, headers=headers).status_code == 401


def test_an_outage_of_a_service_is_named(
    page: httpx.Client, course: Course, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """The message says whether Supabase or Mux failed."""
    asked = {"lessonId": str(course.lesson(ANNA)), "scenario": "plays"}
    headers = as_user(page, "Anna")
    hint = "Try again in a moment."
    mux.faults.add(Fault("reset"), times=1)
    cut = status_and_json(page.post("uploads", json=asked, headers=headers))
    assert cut == (503, {"message": "Mux does not answer", "hint": hint})
    mux.faults.add(Fault("answer", status=500, body="<html>"), times=1)
    failed = status_and_json(page.post("uploads", json=asked, headers=headers))
    assert failed == (502, {"message": "Mux answered with HTTP 500", "hint": hint})
    supabase.faults.add(Fault("answer", status=503, body="<html>"), times=1)
    down = status_and_json(page.post("uploads", json=asked, headers=headers))
    assert down == (503, {"message": "Supabase answered with HTTP 503"})
    supabase.faults.add(Fault("reset"), times=1)
    cut = status_and_json(page.post("uploads", json=asked, headers=headers))
    assert cut == (503, {"message": "Supabase does not answer", "hint": hint})


def test_only_the_page_itself_may_send_requests(sample_app: SampleApp, page: httpx.Client) -> None:
    """Other origins, other host names and forms are refused."""
    asked = {"instructor": "Anna"}
    foreign = page.post("session", json=asked, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert httpx.post(f"{sample_app.url}session", json=asked).status_code == 403
    rebound = page.get("config", headers={"Host": "evil.example:80"})
    assert rebound.status_code == 421
    form = page.post("session", content="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    assert not [n for n in foreign.headers if n.startswith("access-control")]


def test_every_response_has_the_security_headers(
    page: httpx.Client, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """Page, files and errors have a policy that allows only the app's own files."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {supabase.url} {mux.url}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    for path in ("", "config", "app.css", "app.js", "icon.svg", "nowhere"):
        headers = page.get(path).headers
        assert headers["content-security-policy"] == policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_only_the_pages_files_are_served(page: httpx.Client) -> None:
    """Files outside the page's directory are not found."""
    for path in ("server.py", "..%2fserver.py", "%2e%2e/static.py", "etc/passwd", "lessons.sql"):
        assert page.get(path).status_code == 404


def test_the_page_has_nothing_inline() -> None:
    """The HTML has no inline script, style or handler; no script sets HTML from a string."""
    in_markup = re.compile(r"<style|<script(?! src)|\son\w+=|style=|javascript:")
    in_scripts = re.compile(r"innerHTML|outerHTML|AdjacentHTML|document\.write|eval\(|\.style\b")
    for pattern, kind, least in ((in_markup, "*.html", 2), (in_scripts, "*.js", 6)):
        files = sorted(PAGE.glob(kind))
        assert len(files) >= least
        assert not [path.name for path in files if pattern.search(path.read_text())]


def test_without_npms_packages_the_page_says_what_to_do(
    supabase: LocalSupabase, mux: MuxSimulator, tmp_path: Path
) -> None:
    """Without one of npm's packages the page and the terminal name the command to run."""
    files = PageFiles({"supabase.js": PAGE / "app.js", "upchunk.js": tmp_path / "upchunk.mjs"})
    assert files.missing == (
        "The instructor's page needs supabase-js and UpChunk. Run `npm ci` in the checkout."
    )
    with SampleApp(supabase, mux, {"Anna": ANNA}, files) as sample_app:
        answer = httpx.get(sample_app.url)
        assert answer.status_code == 503
        assert "<code>npm ci</code>" in answer.text
        assert httpx.get(f"{sample_app.url}upchunk.js").status_code == 404


@pytest.mark.skipif(bool(PageFiles().missing), reason="no node_modules (npm ci)")
def test_packages_are_served_as_npm_brings_them(supabase: LocalSupabase, mux: MuxSimulator) -> None:
    """The browser builds are served unchanged, as scripts, from the app's own origin."""
    with SampleApp(supabase, mux, {"Anna": ANNA}) as sample_app:
        for name, path in PACKAGES.items():
            served = httpx.get(f"{sample_app.url}{name}")
            assert served.content == path.read_bytes()
            assert served.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.parametrize("module", ["lesson-video", "send-file"])
def test_the_page_runs_the_modules_of_the_docs(tmp_path: Path, module: str) -> None:
    """The page's script is the module of docs/app.md, as TypeScript translates it."""
    (code,) = [code for name, code in SNIPPET.findall(APP_PAGE) if name.endswith(f"/{module}.ts")]
    (tmp_path / f"{module}.ts").write_text(code)
    (tmp_path / "node_modules").symlink_to(MODULES)
    options = {**SETTINGS, "module": "es2022", "moduleResolution": "bundler"}
    settings = {"compilerOptions": options, "files": [f"{module}.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    subprocess.run(["node", str(TSC), "--project", str(tmp_path)], check=True)
    comment, page = (PAGE / f"{module}.js").read_text().split("\n", 1)
    assert comment.startswith(f"// app/services/{module}.ts of docs/app.md")
    translated = (tmp_path / "built" / f"{module}.js").read_text()
    assert page == translated.replace('"@mux/upchunk"', '"./upchunk.js"')
