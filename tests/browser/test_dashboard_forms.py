import re
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from sandbox.mux.timeline import Timeline
from tests.browser.dashboard_site import Console, StatusSite, another_site
from tests.course import Course

pytestmark = pytest.mark.stack

NEIGHBOUR, STRANGER = "127.0.0.1", "localhost"
"""Hosts of other sites; the first differs from ours by its port alone."""


ATTACK = """async (target) => {
  const how = { method: "POST", mode: "no-cors", credentials: "include" };
  await fetch(`${target}/check`, { ...how, body: new URLSearchParams() }).catch(() => 0);
  const read = (response) => response.text();
  return await fetch(target, { credentials: "include" }).then(read, () => "not readable");
}"""


def failed_lesson(course: Course, site: StatusSite) -> UUID:
    """Return a failed lesson whose video is ready by now."""
    upload = site.mux.state.create_upload()
    return course.tracked_lesson(upload, status="error", error_type="gave_up")


def waiting_lesson(course: Course, upload: str) -> UUID:
    """Return a lesson that is checked in an hour."""
    return course.tracked_lesson(upload, next_check_at=timedelta(hours=1))


def deeds(course: Course, lesson: UUID) -> list[tuple[str, str, str]]:
    """Return from the audit what operators did to a lesson, who and why."""
    return [
        (event["event"], event["actor"], event["message"])
        for event in course.events(lesson)
        if event["actor"].startswith("operator ")
    ]


def press(page: Page, button: str, reason: str) -> None:
    """Press a button, with a reason."""
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name=button, exact=True).click()


def test_retry_has_a_failed_lesson_published(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """In the operator's name, with their reason."""
    lesson = failed_lesson(course, site)
    site.log_in(page, f"/lessons/{lesson}", name="Inés O'Hara")
    press(page, "Retry", "Mux mended it")
    expect(page.get_by_role("alert")).to_have_text(
        "The lesson is due again, as if its upload had just begun."
    )
    site.worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert course.state(lesson)["status"] == "published"
    assert deeds(course, lesson) == [("tracked", "operator Inés O'Hara", "Mux mended it")]
    expect(page.get_by_role("region", name="History")).to_contain_text(
        "by an operator: Inés O'Hara"
    )


def test_many_lessons_are_retried_at_once(
    browser: Browser, site: StatusSite, course: Course
) -> None:
    """The selected ones, then all that match, with one reason; without JavaScript too."""
    first, second, third = (failed_lesson(course, site) for _ in range(3))
    for has_script in (True, False):
        window = browser.new_context(java_script_enabled=has_script)
        page = window.new_page()
        site.log_in(page, "/lessons?state=failed")
        reason = page.get_by_label("Reason")
        reason.fill(f"Script: {has_script}")
        if has_script:
            page.get_by_role("checkbox", name=re.compile("Select all")).check()
            expect(page.locator("[name=lesson]:checked")).to_have_count(3)
            for lesson in (second, third):
                page.locator(f"[value='{lesson}']").uncheck()
            answer = "1 lesson is due again, as if the upload had just begun."
        else:
            page.get_by_role("radio", name="All 2").check()
            answer = "2 lessons are due again, as if the upload had just begun."
        page.get_by_role("button", name="Retry", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text(answer)
        expect(page).to_have_url(f"{site.url}/lessons?state=failed")
        window.close()
    for lesson, why in ((first, "True"), (second, "False"), (third, "False")):
        site.worker.wait_for("lesson.published", lesson_id=str(lesson))
        assert deeds(course, lesson) == [("tracked", "operator Ines", f"Script: {why}")]


def test_publish_checks_the_video_in_mux_first(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """It writes the real ids, with operator and reason; or the page says why not."""
    upload = site.mux.state.create_upload()
    lesson = waiting_lesson(course, upload)
    site.log_in(page, f"/lessons/{lesson}")
    press(page, "Publish", "From before")
    expect(page.get_by_role("alert")).to_have_text(f'"A lesson" ({lesson}) is published.')
    site.worker.wait_for("lesson.published", lesson_id=str(lesson), actor="operator Ines")
    state = course.state(lesson)
    video = site.mux.state.asset(site.mux.state.upload(upload).asset_id or "")
    assert [state[x] for x in ("status", "mux_asset_id", "mux_playback_id")] == [
        "published",
        video.id,
        video.playback_ids[0].id,
    ]
    assert ("published", "operator Ines", "From before") in deeds(course, lesson)

    slow = waiting_lesson(course, site.mux.state.create_upload(Timeline(0, 1000)))
    page.goto(f"{site.url}/lessons/{slow}")
    press(page, "Publish", "")
    expect(page.get_by_role("alert")).to_contain_text("is not published: its asset is preparing")
    assert course.state(slow)["status"] == "draft"
    assert deeds(course, slow) == []
    page.reload()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_without_the_token_the_browser_shows_nothing(site: StatusSite, page: Page) -> None:
    """Nor with a wrong one: it prompts for another, which no test can answer, or says so."""
    for credentials in ("", "Ines:not-the-token@"):
        with suppress(Error):  # where there is no window there is no prompt, but an answer
            page.goto(site.url.replace("://", f"://{credentials}"))
        expect(page.get_by_role("main")).to_have_count(0)
    site.log_in(page)
    expect(page.get_by_role("main")).to_have_count(1)


def test_another_site_can_do_nothing_in_an_operators_name(
    site: StatusSite, page: Page, course: Course
) -> None:
    """Neither by a form nor by a script, though the browser sends the token with the form."""
    lesson = failed_lesson(course, site)
    site.log_in(page)
    target = f"{site.url}/lessons/{lesson}"
    form = f'<form action="{target}/retry" method="post"><button>Win</button></form>'
    evil = page.context.new_page()
    with another_site(form) as port:
        for attacker in (NEIGHBOUR, STRANGER):
            evil.goto(f"http://{attacker}:{port}/")
            assert evil.evaluate(ATTACK, target) == "not readable"
            evil.get_by_role("button", name="Win").click()
            expect(evil.get_by_text("so nothing was changed")).to_be_visible()
            assert course.row(lesson)["status"] == "error"
            assert deeds(course, lesson) == []


def test_no_other_site_can_show_the_page_inside_its_own(site: StatusSite, page: Page) -> None:
    """Clickjacking."""
    site.log_in(page)
    evil = page.context.new_page()
    with another_site(f'<iframe src="{site.url}/"></iframe>') as port:
        for attacker in (NEIGHBOUR, STRANGER):
            evil.goto(f"http://{attacker}:{port}/")
            evil.wait_for_function("frames.length === 1")
            frame = evil.frames[1]
            frame.wait_for_load_state()
            refused = frame.get_by_text("needs a token").count()
            assert refused or frame.url.startswith("chrome-error:")
            assert frame.get_by_role("heading", name="Lessons and their videos").count() == 0


def test_a_link_in_a_chat_leads_to_the_lesson(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """The browser sends the token that it remembers."""
    lesson = course.lesson(title="The linked one")
    site.log_in(page)
    link = f'<a href="{site.url}/lessons/{lesson}">look</a>'
    with another_site(link) as port:
        page.goto(f"http://{STRANGER}:{port}/")
        page.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The linked one")


def test_everything_works_with_the_keyboard(
    site: StatusSite, page: Page, console: Console, course: Course
) -> None:
    """From the list to the button; the focus is visible."""
    lesson = failed_lesson(course, site)
    site.log_in(page, lesson=lesson)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    walk_to(page, f"/lessons/{lesson}")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/lessons/{lesson}")
    walk_to(page, "reason")
    page.keyboard.type("By keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The lesson is due again")
    assert deeds(course, lesson) == [("tracked", "operator Ines", "By keyboard")]


def walk_to(page: Page, name: str) -> None:
    """Press Tab until the element with this id or address has a visible focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("(it) => getComputedStyle(it).outlineStyle") != "none"
        if name in (focused.get_attribute("id"), focused.get_attribute("href")):
            return
    raise AssertionError(f"no way to {name}")


def test_it_works_without_javascript(browser: Browser, site: StatusSite, course: Course) -> None:
    """Lists, search, buttons; a link refreshes the page, and nothing else does."""
    window = browser.new_context(java_script_enabled=False)
    page = window.new_page()
    console = Console(page)
    lesson = waiting_lesson(course, site.mux.state.create_upload())
    site.log_in(page, lesson=lesson)
    page.locator(f'a[href="/lessons/{lesson}"]').click()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    press(page, "Check now", "No script")
    expect(page.get_by_role("alert")).to_have_text("The next scan checks the lesson.")
    site.worker.wait_for("lesson.published", lesson_id=str(lesson))
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_text("The lesson has its video.", exact=True)).to_be_visible()
    page.get_by_text("Details").last.click()
    expect(page.get_by_text('"status": "ready"')).to_be_visible()
    page.get_by_role("searchbox").fill(str(lesson))
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(f"{site.url}/lessons/{lesson}")
    assert page.locator("meta[http-equiv]").count() == 0
    assert deeds(course, lesson) == [("made_due", "operator Ines", "No script")]
    assert console.complaints == []
    window.close()
