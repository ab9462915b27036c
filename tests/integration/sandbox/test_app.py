import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.app.server import School
from sandbox.app.static import PAGE, SUPABASE_JS, SchoolFiles
from sandbox.fault_injection import Fault
from sandbox.mux.auth import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.integration.supabase_js import MISSING, MODULES, SETTINGS, SNIPPET, TSC
from tests.integration.supabase_js import PAGE as APP_PAGE

pytestmark = pytest.mark.stack

NO_LESSON = (404, {"message": "there is no such lesson of yours"})


@pytest.fixture
def school(supabase: LocalSupabase, mux: MuxSimulator) -> Iterator[School]:
    """Run the app's server, with a stand-in for supabase-js."""
    files = SchoolFiles(PAGE / "school.js")
    with School(supabase, mux, {"Anna": ANNA, "Bert": BERT}, files) as school:
        yield school


@pytest.fixture
def page(school: School) -> Iterator[httpx.Client]:
    """Ask as the page's own script does."""
    headers = {"Origin": school.url.rstrip("/"), "Content-Type": "application/json"}
    with httpx.Client(base_url=school.url, headers=headers, timeout=15) as client:
        yield client


def answered(answer: httpx.Response) -> tuple[int, Any]:
    """Give status and JSON."""
    return answer.status_code, answer.json() if answer.content else None


def as_user(page: httpx.Client, name: str) -> dict[str, str]:
    """Log in, and give what makes further requests that instructor's."""
    token = page.post("session", json={"instructor": name}).raise_for_status().json()["token"]
    return {"Authorization": f"Bearer {token}"}


def test_the_page_is_told_what_a_browser_may_know(
    page: httpx.Client, supabase: LocalSupabase
) -> None:
    """The config holds the key for everybody, the names, and what Mux can be told to do."""
    config = page.get("config").json()
    assert config == {
        "supabaseUrl": supabase.url,
        "publishableKey": supabase.publishable_key,
        "instructors": [{"id": str(ANNA), "name": "Anna"}, {"id": str(BERT), "name": "Bert"}],
        "fates": [
            {"name": "plays", "says": "Encode it in 8 seconds"},
            {"name": "broken", "says": "Find the file broken"},
            {"name": "stuck", "says": "Encode it for ever"},
            {"name": "abandoned", "says": "Wait in vain: the page sends nothing"},
        ],
    }


def test_an_upload_is_made_for_the_lessons_owner(
    page: httpx.Client, course: Course, mux: MuxSimulator
) -> None:
    """It is open to the page's origin, ends after a minute, and names its lesson."""
    lesson = course.lesson(ANNA)
    asked = {"lessonId": str(lesson), "fate": "plays"}
    status, made = answered(page.post("uploads", json=asked, headers=as_user(page, "Anna")))
    assert status == 201
    (upload,) = mux.state.uploads()
    assert made == {"id": upload.id, "url": f"{mux.url}/direct-uploads/{upload.url_token}"}
    assert upload.cors_origin == page.headers["Origin"]
    assert (upload.timeout, upload.settings.passthrough) == (60, str(lesson))
    assert upload.settings.policies == ("public",)


def test_mux_is_asked_again_when_it_has_too_much_to_do(
    page: httpx.Client, course: Course, mux: MuxSimulator
) -> None:
    """Two uploads within a second both succeed at the rate that Mux allows."""
    mux.limits = RateLimits.per_second(get=5, post=1)
    asked = {"lessonId": str(course.lesson(ANNA)), "fate": "plays"}
    headers = as_user(page, "Anna")
    made = [page.post("uploads", json=asked, headers=headers).status_code for _ in range(2)]
    assert made == [201, 201]
    assert [seen.status for seen in mux.requests.all()] == [201, 429, 201]


def test_nobody_elses_lesson_gets_an_upload(
    page: httpx.Client, course: Course, mux: MuxSimulator
) -> None:
    """Another's lesson, draft or published, and one that is not there, look the same."""
    headers = as_user(page, "Bert")
    for lesson in (course.lesson(ANNA), course.lesson(ANNA, status="published"), uuid4()):
        asked = {"lessonId": str(lesson), "fate": "plays"}
        assert answered(page.post("uploads", json=asked, headers=headers)) == NO_LESSON
        passed = page.post(f"lessons/{lesson}/half-an-hour", json={}, headers=headers)
        assert answered(passed) == NO_LESSON
    assert mux.state.uploads() == []


def test_half_an_hour_passes_for_one_upload_alone(page: httpx.Client, course: Course) -> None:
    """Only what is being processed is dated back, by 31 minutes, and by its owner."""
    lesson, other = (course.tracked_lesson(upload, ANNA) for upload in ("one", "other"))
    before = course.row(lesson)["tracked_at"], course.row(other)["tracked_at"]
    headers = as_user(page, "Anna")
    passed = page.post(f"lessons/{lesson}/half-an-hour", json={}, headers=headers)
    assert answered(passed) == (204, None)
    assert (before[0] - course.row(lesson)["tracked_at"]).total_seconds() == 31 * 60
    assert course.row(other)["tracked_at"] == before[1]
    settled = course.tracked_lesson("settled", ANNA, status="error")
    refused = page.post(f"lessons/{settled}/half-an-hour", json={}, headers=headers)
    assert answered(refused) == (409, {"message": "no upload of this lesson is being processed"})


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("session", '{"instructor": "Carl"}', (400, "instructor must be one of Anna, Bert")),
        ("session", '{"instructor": ["Anna"]}', (400, "instructor must be one of Anna, Bert")),
        ("session", "[]", (400, "the body is not a JSON object")),
        ("session", "{", (400, "the body is not JSON")),
        ("uploads", '{"lessonId": 7}', (400, "lessonId must be the id of a lesson")),
        ("uploads", '{"lessonId": "x"}', (400, "lessonId must be the id of a lesson")),
        (
            "uploads",
            json.dumps({"lessonId": str(ANNA), "fate": "luck"}),
            (400, "fate must be one of plays, broken, stuck, abandoned"),
        ),
        (
            "uploads",
            json.dumps({"lessonId": str(ANNA), "fate": "plays"}),
            (401, "nobody is signed in"),
        ),
        ("lessons/x/half-an-hour", "{}", (400, "lessonId must be the id of a lesson")),
    ],
)
def test_nonsense_is_told_what_it_lacks(
    page: httpx.Client, path: str, body: str, expected: tuple[int, str]
) -> None:
    """Each wrong request is refused with a sentence that says what would be right."""
    status, message = expected
    assert answered(page.post(path, content=body)) == (status, {"message": message})


def test_a_forged_or_expired_token_is_refused(
    page: httpx.Client, course: Course, supabase: LocalSupabase
) -> None:
    """Supabase itself looks at the token: the app's server believes nobody."""
    asked = {"lessonId": str(course.lesson(ANNA)), "fate": "plays"}
    for token in ("forged", supabase.user_token(ANNA, -60), supabase.anon_key):
        headers = {"Authorization": f"Bearer {token}"}
        assert page.post("uploads", json=asked, headers=headers).status_code == 401


def test_an_outage_behind_it_is_told(
    page: httpx.Client, course: Course, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """Where Supabase or Mux does not answer as it should, the page learns which one."""
    asked = {"lessonId": str(course.lesson(ANNA)), "fate": "plays"}
    headers = as_user(page, "Anna")
    hint = "Try again in a moment."
    mux.faults.add(Fault("reset"), times=1)
    cut = answered(page.post("uploads", json=asked, headers=headers))
    assert cut == (503, {"message": "Mux does not answer", "hint": hint})
    mux.faults.add(Fault("answer", status=500, body="<html>"), times=1)
    failed = answered(page.post("uploads", json=asked, headers=headers))
    assert failed == (502, {"message": "Mux answers with 500", "hint": hint})
    supabase.faults.add(Fault("answer", status=503, body="<html>"), times=1)
    down = answered(page.post("uploads", json=asked, headers=headers))
    assert down == (503, {"message": "Supabase answers with 503"})
    supabase.faults.add(Fault("reset"), times=1)
    cut = answered(page.post("uploads", json=asked, headers=headers))
    assert cut == (503, {"message": "Supabase does not answer", "hint": hint})


def test_only_the_page_itself_may_ask(school: School, page: httpx.Client) -> None:
    """Other origins, other names for this machine, and forms are turned away."""
    asked = {"instructor": "Anna"}
    foreign = page.post("session", json=asked, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert httpx.post(f"{school.url}session", json=asked).status_code == 403
    rebound = page.get("config", headers={"Host": "evil.example:80"})
    assert rebound.status_code == 421
    form = page.post("session", content="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    assert not [n for n in foreign.headers if n.startswith("access-control")]


def test_every_answer_binds_the_browser(
    page: httpx.Client, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """Page, files and refusals carry a policy by which only our own files run and are shown."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {supabase.url} {mux.url}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    for path in ("", "config", "school.css", "school.js", "icon.svg", "nowhere"):
        headers = page.get(path).headers
        assert headers["content-security-policy"] == policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_only_the_pages_files_are_served(page: httpx.Client) -> None:
    """What lies elsewhere, and the ways there, are not found."""
    for path in ("server.py", "..%2fserver.py", "%2e%2e/static.py", "etc/passwd", "lessons.sql"):
        assert page.get(path).status_code == 404


def test_the_page_has_nothing_inline() -> None:
    """No script, style or handler stands in the markup, and nothing sets markup from a text."""
    in_markup = re.compile(r"<style|<script(?! src)|\son\w+=|style=|javascript:")
    in_scripts = re.compile(r"innerHTML|outerHTML|AdjacentHTML|document\.write|eval\(|\.style\b")
    for pattern, kind, least in ((in_markup, "*.html", 2), (in_scripts, "*.js", 6)):
        files = sorted(PAGE.glob(kind))
        assert len(files) >= least
        assert not [path.name for path in files if pattern.search(path.read_text())]


def test_without_supabase_js_the_page_says_what_to_do(
    supabase: LocalSupabase, mux: MuxSimulator, tmp_path: Path
) -> None:
    """Where npm's packages are not there, both the page and the terminal name the command."""
    files = SchoolFiles(tmp_path / "supabase.js")
    assert files.missing == (
        "The instructor's page needs supabase-js from npm: run `npm ci` in the checkout."
    )
    with School(supabase, mux, {"Anna": ANNA}, files) as school:
        answer = httpx.get(school.url)
        assert answer.status_code == 503
        assert "<code>npm ci</code>" in answer.text
        assert httpx.get(f"{school.url}supabase.js").status_code == 404


@pytest.mark.skipif(not SUPABASE_JS.is_file(), reason="no node_modules (npm ci)")
def test_supabase_js_is_served_as_npm_brings_it(supabase: LocalSupabase, mux: MuxSimulator) -> None:
    """The browser build comes from our own origin, byte by byte."""
    with School(supabase, mux, {"Anna": ANNA}) as school:
        assert httpx.get(f"{school.url}supabase.js").content == SUPABASE_JS.read_bytes()


@pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")
def test_the_page_makes_the_calls_of_the_docs(tmp_path: Path) -> None:
    """The page's lesson-video.js is docs/app.md's lesson-video.ts, as TypeScript translates it."""
    (code,) = [code for name, code in SNIPPET.findall(APP_PAGE) if name.endswith("lesson-video.ts")]
    (tmp_path / "lesson-video.ts").write_text(code)
    (tmp_path / "node_modules").symlink_to(MODULES)
    options = {**SETTINGS, "module": "es2022", "moduleResolution": "bundler"}
    settings = {"compilerOptions": options, "files": ["lesson-video.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    subprocess.run(["node", str(TSC), "--project", str(tmp_path)], check=True)
    comment, page = (PAGE / "lesson-video.js").read_text().split("\n", 1)
    assert comment.startswith("// app/services/lesson-video.ts of docs/app.md")
    assert page == (tmp_path / "built" / "lesson-video.js").read_text()
