import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Page, Route, expect

from sandbox.fault_injection import Fault
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.browser.dashboard_site import EVERY_MS, Console, StatusSite, news, news_until
from tests.course import Course
from worker.wording import FAILURES, REASONS

pytestmark = pytest.mark.stack

EVIL = (
    '"\'><img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>'
    "<a href='javascript:hacked=1'>{{12345*3}}</a>&lt;"
)
LONG = "x" * 255
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def later(db: psycopg.Connection) -> None:
    """Keep the worker from checking anything for an hour: in the transaction that tracks it."""
    db.execute("update mux_private.schedule set next_check_at = now() + interval '1 hour'")


def fail(db: psycopg.Connection, lesson: UUID) -> None:
    """Let a lesson fail."""
    db.execute(
        "update mux_asset_tracking set status = 'error', error_type = 'gave_up' "
        "where lesson_id = %s",
        [lesson],
    )


def story(course: Course, db: psycopg.Connection) -> dict[str, UUID]:
    """Return a lesson of each kind; none of them changes by itself."""
    lessons = {
        name: course.lesson(title=f"A {name} lesson")
        for name in ("waiting", "stuck", "failed", "published")
    }
    with db.transaction():
        course.track(lessons["waiting"], "up-waiting")
        course.track(lessons["stuck"], "up-stuck")
        later(db)
    course.backdate(lessons["stuck"], 7500)
    course.track(lessons["published"], "up-done", mux_asset_id="as-done", status="ready")
    course.backdate(lessons["published"], 90)
    course.track(
        lessons["failed"],
        "up-failed",
        status="error",
        error_type="upload_timed_out",
        error_message="No file for an hour.",
    )
    db.execute("update mux_asset_tracking set settled_at = now() where status <> 'processing'")
    looked_before = datetime.now(UTC) - timedelta(seconds=90)
    seen = json.dumps({"looked_before": looked_before.isoformat()})
    note(db, lessons["published"], "published", observation=seen)
    note(db, lessons["failed"], "failed")
    return lessons


def note(db: psycopg.Connection, lesson: UUID, event: str, **more: Any) -> None:
    """Write an audit event as the worker does."""
    values = {"actor": "service_role", "event": event, "lesson_id": lesson, **more}
    names = ", ".join(values)
    marks = ", ".join(f"%({name})s" for name in values)
    db.execute(
        f"insert into mux_asset_events ({names}, tracking_id) select {marks}, id "
        "from mux_asset_tracking where lesson_id = %(lesson_id)s",
        values,
    )


def row_of(page: Page, section: str, lesson: UUID) -> Any:
    """Return a lesson's row in a list."""
    region = page.get_by_role("region", name=re.compile(f"^{section}"))
    return region.locator("li", has=page.locator(f'a[href="/lessons/{lesson}"]'))


def test_the_overview_shows_lessons_and_services(
    site: StatusSite, page: Page, console: Console, course: Course, db: psycopg.Connection
) -> None:
    """Waiting, stuck, failed and why, published and how fast, and the services."""
    lessons = story(course, db)
    page.set_viewport_size({"width": 390, "height": 844})
    site.log_in(page, lesson=lessons["failed"])
    sections = page.locator("main section").evaluate_all(
        "(all) => all.map((s) => [s.getBoundingClientRect().top, s.querySelector('h2').id])"
    )
    assert [name for _, name in sorted(sections)] == [
        "failed", "stuck", "day", "services", "waiting", "published",
    ]  # fmt: skip
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page).to_have_title("1 failed, 1 stuck, 1 waiting. · mux-worker")
    expect(row_of(page, "Waiting", lessons["waiting"])).to_contain_text("next check in")
    expect(row_of(page, "Stuck", lessons["stuck"])).to_contain_text("for 2 h, next check in")
    failed = row_of(page, "Failed", lessons["failed"])
    expect(failed).to_contain_text(FAILURES["upload_timed_out"])
    expect(failed).to_contain_text("upload_timed_out No file for an hour.")
    expect(row_of(page, "Recently published", lessons["published"])).to_contain_text("took 90")
    expect(page.get_by_role("img", name="Published and failed in each hour")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^last hour"))).to_contain_text("90 s")
    expect(page.locator("#scans table")).to_be_hidden()
    page.get_by_text("Show the chart as a table").click()
    hour = page.get_by_role("row", name="the last hour")
    expect(hour.get_by_role("cell")).to_have_text(["1", "1"])
    expect(page.get_by_role("region", name="Services")).to_contain_text("answered this page in")
    page.get_by_text("Recent scans of this worker").click()
    expect(page.get_by_role("group", name="Table of scans")).to_contain_text("nothing to do")
    assert_has_landmarks_and_headings(page)
    page.get_by_role("link", name="1 failed").click()
    expect(page).to_have_url(f"{site.url}/lessons?state=failed")
    expect(page.get_by_role("link", name="A failed lesson")).to_be_visible()


def test_a_lesson_page_shows_its_whole_history(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """Its row, and each event with the observation."""
    lesson = course.tracked_lesson(site.mux.state.create_upload())
    site.worker.wait_for("lesson.published", lesson_id=str(lesson))
    site.log_in(page, f"/lessons/{lesson}")
    expect(page.get_by_text("The lesson has its video.", exact=True)).to_be_visible()
    history = page.get_by_role("region", name="History").get_by_role("listitem")
    expect(history).to_have_count(2)
    expect(history.first).to_contain_text("Tracked by postgres")
    expect(history.last).to_contain_text("Published by the worker")
    expect(history.last).to_contain_text(REASONS["asset_ready"])
    history.last.get_by_text("Details").click()
    expect(history.last).to_contain_text('"status": "ready"')
    expect(history.last).to_contain_text(course.row(lesson)["mux_playback_id"])
    expect(page.get_by_role("button", name=re.compile("Retry|Publish|Check"))).to_have_count(0)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    page.get_by_role("button", name=f"Copy {lesson}").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(lesson)


def test_a_deleted_lesson_leaves_its_history(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection
) -> None:
    """The page says that it was deleted."""
    lesson = story(course, db)["failed"]
    course.delete(lesson)
    site.log_in(page, f"/lessons/{lesson}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such lesson")
    expect(page.get_by_text("The lesson was deleted.")).to_be_visible()
    expect(page.get_by_role("listitem").last).to_contain_text("Failed")


def test_the_search_finds_lessons_by_any_of_their_ids(
    site: StatusSite, page: Page, console: Console, course: Course, db: psycopg.Connection
) -> None:
    """A single lesson opens, several are listed; what is no id is searched for in titles."""
    lessons = story(course, db)
    with db.transaction():
        two = [course.tracked_lesson("shared") for _ in range(2)]
        later(db)
    site.log_in(page)
    for wanted in (str(lessons["published"]), "up-done", "as-done", " up-done "):
        page.get_by_role("searchbox").fill(wanted)
        page.get_by_role("button", name="Search").click()
        expect(page).to_have_url(f"{site.url}/lessons/{lessons['published']}")
    page.get_by_role("searchbox").fill("shared")
    page.keyboard.press("Enter")
    for lesson in two:
        expect(page.locator(f'main a[href="/lessons/{lesson}"]')).to_be_visible()
    page.get_by_role("searchbox").fill("PUBLISHED less")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/lessons?search=PUBLISHED+less")
    expect(page.locator("main .lesson")).to_have_text(["A published lesson"])


def test_foreign_text_is_never_run(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection
) -> None:
    """It is shown as it was written, on each page and after a refresh."""
    lessons = story(course, db)
    for lesson in lessons.values():
        db.execute("update lessons set title = %s where id = %s", [f"{lesson} {EVIL}", lesson])
    with db.transaction():
        db.execute(
            "update mux_asset_tracking set upload_id = 'u' || lesson_id || %(evil)s, "
            "mux_asset_id = 'a' || %(evil)s, mux_playback_id = 'p' || %(evil)s, "
            "temp_asset_id = 't' || %(evil)s, error_type = 'e' || %(evil)s, "
            "error_message = 'm' || %(evil)s",
            {"evil": EVIL},
        )
        later(db)
    db.execute("update mux_asset_tracking set status = 'error' where lesson_id = %s",
               [lessons["failed"]])  # fmt: skip
    seen = json.dumps({"source": EVIL, EVIL: [EVIL]})
    for lesson in lessons.values():
        for event in ("published", "failed", EVIL):
            note(db, lesson, event, actor=EVIL, reason=EVIL, message=EVIL, upload_id=EVIL,
                 asset_id=EVIL, playback_id=EVIL, observation=seen)  # fmt: skip
    page.clock.install()
    site.log_in(page, name=EVIL[:60], lesson=lessons["failed"])
    lists = ("/lessons", "/lessons?state=failed")
    for path in ("/", *lists, *(f"/lessons/{lesson}" for lesson in lessons.values())):
        page.goto(site.url + path)
        page.clock.install()
        for _ in range(2):
            assert_harmless(page)
            news(page)
        assert page.get_by_text(EVIL, exact=False).count() > 3
    page.goto(f"{site.url}/lessons/{lessons['failed']}")
    page.get_by_label("Reason").fill(EVIL)
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("region", name="History")).to_contain_text(EVIL[:60])
    assert_harmless(page)
    page.get_by_role("searchbox").fill(EVIL)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lessons")
    expect(page.get_by_label("Title or instructor")).to_have_value(EVIL)
    assert_harmless(page)


def assert_harmless(page: Page) -> None:
    """Assert that a page holds no element but those of its templates."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, a[href^='javascript'], [onerror]").count() == 0
    assert page.locator("script").count() <= 1
    assert "37035" not in page.locator("main").inner_text()


def test_an_id_cannot_look_like_another(
    site: StatusSite, page: Page, console: Console, course: Course, db: psycopg.Connection
) -> None:
    """Characters that are invisible or turn the text are shown by their number."""
    with db.transaction():
        lesson = course.tracked_lesson("up\u202e1\u200b2")
        later(db)
    site.log_in(page, f"/lessons/{lesson}")
    expect(page.get_by_role("region", name="Upload")).to_contain_text("up\\u{202e}1\\u{200b}2")


def test_the_pages_fit_and_are_readable(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection
) -> None:
    """On a phone and a desktop, light and dark: no overflow and enough contrast."""
    lessons = story(course, db)
    db.execute("update lessons set title = %s", [LONG])
    db.execute("update mux_asset_tracking set error_message = %s", [LONG])
    db.execute("update mux_asset_events set message = %s", [LONG])
    site.log_in(page, name="W" * 60, lesson=lessons["failed"])
    lists = (f"/lessons?state=failed&search={LONG}", "/lessons", "/lessons?state=x")
    for path in ("/", *lists, f"/lessons/{lessons['failed']}", "/lessons/none"):
        page.goto(site.url + path)
        for width, scheme in product((320, 1280), SCHEMES):
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            assert_fits(page)


def assert_fits(page: Page) -> None:
    """Assert that a page does not overflow, has contrast, and names its controls."""
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    assert page.evaluate(CUT) == []
    assert page.evaluate(PALE) == []
    assert page.evaluate(NAMELESS) == []


CUT = """() => [...document.querySelectorAll(".times, .times .for, .times .dim")]
  .filter((one) => one.scrollWidth > one.clientWidth || one.getClientRects().length > 1)
  .map((one) => one.outerHTML)"""
"""Lists times that leave their column or break inside."""

PALE = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3)
      .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return "rgb(255, 255, 255)";
  };
  const pale = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3 && n.data.trim());
    const isUnseen = element.closest(".unseen, svg title, svg desc");
    if (!text.length || !element.checkVisibility() || isUnseen) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) pale.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return pale;
}"""
"""Lists texts with less contrast than WCAG AA requires."""

NAMELESS = """() => [...document.querySelectorAll("input:not([type=hidden]), button, a, summary")]
  .filter((one) => !(one.labels?.length || one.innerText.trim() || one.textContent.trim()))
  .map((one) => one.outerHTML)"""
"""Lists controls without an accessible name."""


def assert_has_landmarks_and_headings(page: Page) -> None:
    """Assert one main element, one h1, no skipped level, a search, and machine-readable times."""
    for landmark in ("main", "banner", "search"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    times = page.locator("time").evaluate_all("(all) => all.map((t) => t.dateTime)")
    assert times
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", at) for at in times)
    assert page.locator("[aria-live=polite]").count() == 1


def test_a_refresh_keeps_focus_scroll_and_open_details(
    site: StatusSite, page: Page, console: Console, course: Course, db: psycopg.Connection
) -> None:
    """And typed text; where the focused link disappears, its heading gets the focus."""
    lessons = story(course, db)
    page.clock.install()
    site.log_in(page, lesson=lessons["failed"])
    page.get_by_text("Show the chart as a table").click()
    page.get_by_role("searchbox").fill("half an i")
    link = row_of(page, "Failed", lessons["failed"]).get_by_role("link")
    link.focus()
    page.evaluate("scrollTo(0, 300)")
    news(page)
    expect(page.locator("#chart-table")).to_have_attribute("open", "")

    newer = course.lesson(title="A newer failure")
    course.track(newer, "up-newer", status="error", error_type="gave_up")
    db.execute("update mux_asset_tracking set settled_at = now() where lesson_id = %s", [newer])
    top = link.bounding_box()
    news_until(page, row_of(page, "Failed", newer))
    headline = "2 failed, 1 stuck, 1 waiting."
    expect(page).to_have_title(f"{headline} · mux-worker")
    expect(page.locator("[aria-live=polite]")).to_have_text(headline)
    expect(link).to_be_focused()
    expect(page.get_by_role("searchbox")).to_have_value("half an i")
    expect(page.locator("#chart-table")).to_have_attribute("open", "")
    assert page.evaluate("scrollY") >= 300
    assert top is not None
    first = page.get_by_role("region", name=re.compile("^Failed")).locator(".lesson").first
    expect(first).to_have_text("A newer failure")

    db.execute("delete from lessons where id = %s", [lessons["failed"]])
    news_until(page, page.locator("h2:focus"))
    expect(page.get_by_role("heading", name="Failed")).to_be_focused()


def test_what_is_in_use_is_left_alone(
    site: StatusSite, page: Page, console: Console, course: Course, db: psycopg.Connection
) -> None:
    """The lesson fails while an operator selects or types: nothing of theirs is lost.

    A page is replaced once nothing is selected; typed text stays when the failure is shown.
    """
    with db.transaction():
        selected, lesson = course.tracked_lesson("up1"), course.tracked_lesson("up2")
        later(db)
    page.clock.install()
    site.log_in(page, f"/lessons/{selected}")
    page.get_by_text("up1").first.dblclick()
    fail(db, selected)
    news(page)
    assert page.evaluate("getSelection().toString().trim()") == "up1"
    page.evaluate("getSelection().removeAllRanges()")
    news(page)
    expect(page.get_by_text(FAILURES["gave_up"])).to_be_visible()

    page.goto(f"{site.url}/lessons/{lesson}")
    page.get_by_role("region", name="History").get_by_text("Details").click()
    reason = page.get_by_label("Reason")
    reason.fill("She asked ")
    fail(db, lesson)
    news(page)
    expect(page.get_by_text(FAILURES["gave_up"])).to_be_visible()
    expect(reason).to_have_value("She asked ")
    expect(reason).to_be_focused()
    page.keyboard.type("for it")
    expect(reason).to_have_value("She asked for it")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.get_by_role("button", name="Check now")).to_have_count(0)
    expect(page.get_by_role("region", name="History").locator("details")).to_have_attribute(
        "open", ""
    )


def test_a_worker_that_does_not_answer_is_named(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection
) -> None:
    """What is shown stays, with its time; the notice goes once the worker answers again."""
    lessons = story(course, db)
    page.clock.install()
    site.log_in(page, lesson=lessons["failed"])
    page.route("**/*", lambda route: route.abort())
    page.clock.run_for(5_000)
    notice = page.get_by_text("The worker does not answer. The page shows the state of")
    expect(notice).to_be_visible()
    expect(page.get_by_role("region", name="Failed")).to_contain_text("A failed lesson")
    page.unroute("**/*")
    news(page)
    expect(notice).to_be_hidden()


def test_a_page_whose_token_is_refused_stops_refreshing(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection
) -> None:
    """Else the browser would prompt for a password every five seconds."""
    lessons = story(course, db)
    page.clock.install()
    site.log_in(page, lesson=lessons["failed"])
    requests: list[str] = []

    def refuse(route: Route) -> None:
        requests.append(route.request.url)
        route.fulfill(status=401)

    page.route("**/*", refuse)
    page.clock.run_for(EVERY_MS)
    expect(page.get_by_text("The worker refuses the token.")).to_be_visible()
    page.clock.run_for(60_000)
    assert requests == [f"{site.url}/"]


def test_a_lessons_page_does_not_blame_the_worker_for_supabase(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """Else an operator would restart a healthy worker."""
    lessons = story(course, db)
    page.clock.install()
    site.log_in(page, lesson=lessons["failed"])
    page.goto(f"{site.url}/lessons/{lessons['failed']}")
    supabase.faults.add(Fault("answer", 503, "{}"), path="/rest/v1/rpc/*")
    try:
        news_until(page, page.get_by_text("Supabase is unavailable. The page shows the state of"))
    finally:
        supabase.faults.clear()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("The worker does not answer")).to_have_count(0)


def test_a_hidden_page_is_not_refreshed(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """It is refreshed at once when it becomes visible."""
    page.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => window.isHidden === true})"
    )
    page.clock.install()
    site.log_in(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("isHidden = true")
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response(site.url + "/"):
        page.evaluate("isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_an_outage_of_supabase_is_shown(
    site: StatusSite, page: Page, course: Course, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """With the last overview, its age, and what the worker knows."""
    lessons = story(course, db)
    page.clock.install()
    site.log_in(page, lesson=lessons["failed"])
    expect(page.get_by_role("region", name="Failed")).to_contain_text("A failed lesson")
    supabase.stop_postgrest()
    try:
        news_until(page, page.locator(".bad-box", has_text="has been unavailable since"))
        expect(page.get_by_text("The lessons are shown as they were at")).to_be_visible()
        expect(page.locator("b.good")).to_have_count(0)
        page.get_by_text("Recent scans of this worker").click()
        expect(page.locator("#scans")).to_contain_text("interrupted: supabase")
    finally:
        supabase.start_postgrest()
    site.worker.wait_for("supabase.recovered")


def test_an_upload_is_followed_to_its_publication(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """The page shows it waiting and then published, by its own refreshes."""
    upload = site.mux.state.create_upload(Timeline(file_after_seconds=1, prepare_seconds=1))
    page.clock.install()
    site.log_in(page)
    lesson = course.tracked_lesson(upload)
    news(page)
    site.worker.wait_for("lesson.published", lesson_id=str(lesson))
    news_until(page, row_of(page, "Recently published", lesson))
