"""The instructor's page is safe, readable and accessible."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Error, Page, Response, Route, expect

from sandbox.app.server import SampleApp
from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.browser.instructor import (
    CUT_OFF,
    MAX_BACKOFF_MS,
    REFUSAL,
    VIDEO,
    Instructor,
    playback_id,
    status,
    video,
)
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.worker_process import WorkerProcess
from worker.wording import failure

pytestmark = pytest.mark.stack

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
MARKUP = (
    "<img src=x onerror=\"document.body.id='taken'\">"
    "<script>document.body.id='taken'</script>'\"&amp;{{7*7}}"
)
FAINT = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const colour = rgb(getComputedStyle(element).backgroundColor);
    return colour[3] === 255 ? colour : ground(element.parentElement);
  };
  const says = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (!says(element) || !element.checkVisibility()) continue;
    const [one, other] = [rgb(getComputedStyle(element).color), ground(element)].map(light);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(1)}: ${element.textContent.trim()}`);
  }
  return faint;
}
"""
"""Return the texts whose contrast to their background is below 4.5, as WCAG defines it."""


@pytest.fixture
def mux(driven_mux: MuxSimulator) -> MuxSimulator:
    """Return a Mux whose clock the test moves."""
    return driven_mux


@pytest.fixture
def all_sorts(course: Course) -> list[str]:
    """Create a lesson of Anna's in every state and a published one of Bert's; return her titles."""
    ids = {"mux_asset_id": "A" * 44, "mux_playback_id": "P" * 44}
    ready = course.lesson(ANNA, title="Ready", status="published", price="9.99", **ids)
    course.track(ready, "upready", status="ready", **ids)
    course.track(course.lesson(title="W" * 200), "upwaiting")
    stuck = course.lesson(title="Stuck")
    course.track(stuck, "upstuck")
    course.backdate(stuck, 2000)
    failed = course.lesson(title="Failed")
    course.track(failed, "upfailed", status="error", error_message="E" * 300)
    course.lesson(title="No video", description="Word " * 60)
    course.lesson(BERT, title="Bert's own", status="published", mux_playback_id="Q" * 44)
    return ["No video", "Failed", "Stuck", "W" * 200, "Ready"]


def test_markup_is_shown_as_it_is(
    anna: Instructor,
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    mux_clock: ManualClock,
    sample_app: SampleApp,
    new_window: Callable[..., BrowserContext],
) -> None:
    """Title, description and Mux's message are shown as text, to the owner and to others."""
    worker.start()
    card = anna.create(MARKUP, "broken", description=MARKUP)
    expect(video(card)).to_contain_text("The video is being processed")
    (asset,) = mux.state.all_assets()
    asset.timeline = replace(asset.timeline, error_messages=(MARKUP,))
    mux_clock.advance(10)
    course.make_due()
    worker.wait_for("lesson.failed")
    anna.look()
    expect(video(card)).to_have_text(failure("asset_errored", f"Mux says: invalid_input: {MARKUP}"))
    expect(card.locator("[data-part=description]")).to_have_text(MARKUP)
    course.lesson(title=MARKUP, status="published", mux_playback_id=MARKUP)
    bert = Instructor(new_window(), sample_app).log_in("Bert")
    expect(bert.page.locator("#others li")).to_have_text([f"{MARKUP} by Anna Playback id {MARKUP}"])
    for page in (anna.page, bert.page):
        assert page.locator("#own img, #others img, main script").count() == 0
        assert page.locator("#taken").count() == 0
    assert anna.unexpected() + bert.unexpected() == []


def body_of(answer: Response) -> str | None:
    """Return the body of a response; none where it is empty or the page was left."""
    if answer.request.method not in {"GET", "POST"} or answer.status >= 300:
        return None
    try:
        return answer.text()
    except Error:
        return None


def test_the_browser_learns_no_secret(
    anna: Instructor, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """Neither the service-role key nor Mux's secret is in any request or response of the page."""
    answers: list[Response] = []
    asked: list[str] = []
    # Playwright marks the function that it is given, which a list's own does not allow.
    anna.page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108
    anna.page.on("request", lambda r: asked.append(f"{r.url} {r.headers} {r.post_data_buffer!r}"))
    anna.page.reload()
    expect(video(anna.create("Scales", "plays"))).to_contain_text("being processed")
    heard = [text for answer in answers if (text := body_of(answer)) is not None]
    assert len(heard) > 5
    assert any(supabase.publishable_key in text for text in heard)
    secrets = (supabase.service_role_key, supabase.secret_key, mux.token_secret, mux.token_id)
    for text in [*heard, *asked]:
        assert not [secret for secret in secrets if secret in text]


def test_all_sorts_of_lessons_fit_a_phone_and_can_be_read(
    sample_app: SampleApp, all_sorts: list[str], new_window: Callable[..., BrowserContext]
) -> None:
    """Very long words and ids fit the width; in light and dark every text has WCAG AA's contrast.

    Status texts are live regions, and every field and button has a label.
    """
    phone = Instructor(new_window(viewport={"width": 390, "height": 844}), sample_app).log_in()
    page = phone.page
    expect(page.locator("#own h3")).to_have_text(all_sorts)
    expect(video(phone.card("Failed"))).to_contain_text("EEE")
    expect(phone.card("Stuck").get_by_role("button", name="Publish manually")).to_be_visible()
    announced = phone.card("Ready").get_by_role("status").filter(has_text="The video is ready.")
    expect(announced).to_be_visible()
    fields = page.locator("input, select, textarea")
    assert fields.evaluate_all("all => all.filter((field) => !field.labels.length).length") == 0
    assert all(text.strip() for text in page.locator("button").all_text_contents())
    phone.card("Failed").locator("[data-part=again] summary").click()
    phone.card("Ready").locator("[data-part=ids] summary").click()
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert_readable(page)
    page.get_by_role("button", name="Log out").click()
    assert_readable(page)
    assert phone.unexpected() == []


def assert_readable(page: Page) -> None:
    """Assert that every text has enough contrast, in light and dark mode."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FAINT) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 300) == (scheme == "dark")


def press_until(page: Page, key: str, name: str) -> None:
    """Press a key until the element with this accessible name has the focus."""
    for _ in range(40):
        page.keyboard.press(key)
        label = page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).innerText"
        )
        if label.strip().startswith(name):  # a select's label holds its options too
            return
    raise AssertionError(f"the keyboard does not get to {name}")


def test_the_keyboard_is_enough(
    window: BrowserContext, sample_app: SampleApp, course: Course, worker: WorkerProcess
) -> None:
    """Everything from login to manual publishing works with the keyboard alone."""
    worker.start()
    someone = Instructor(window, sample_app)
    page = someone.page
    # A file chooser is reported only some time after a listener is added, so add it first.
    page.on("filechooser", lambda _: None)
    someone.open()
    expect(page.get_by_role("button", name="Log in as Anna")).to_be_visible()
    press_until(page, "Tab", "Log in as Anna")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your lessons")).to_be_focused()
    press_until(page, "Shift+Tab", "Title")
    page.keyboard.type("By hand alone")
    press_until(page, "Tab", "Video")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(VIDEO)
    press_until(page, "Tab", "What the simulated Mux does")
    page.keyboard.type("Never")
    press_until(page, "Tab", "Create lesson")
    page.keyboard.press("Enter")
    card = someone.card("By hand alone")
    expect(card.get_by_role("heading")).to_be_focused()
    expect(video(card)).to_contain_text("being processed")
    course.make_due()
    worker.wait_for("scan.finished", waiting=1)
    press_until(page, "Tab", "Let half an hour pass")
    page.keyboard.press("Enter")
    expect(card.get_by_role("button", name="Publish manually")).to_be_visible()
    press_until(page, "Shift+Tab", "Publish manually")
    page.keyboard.press("Enter")
    expect(status(card)).to_have_text("Published")
    assert someone.unexpected() == []


def test_an_outage_passes(all_sorts: list[str], anna: Instructor, supabase: LocalSupabase) -> None:
    """During an outage of Supabase the page keeps its content and shows the error."""
    expect(anna.page.locator("#own h3")).to_have_text(all_sorts)
    supabase.faults.add(Fault("answer", status=503, body='{"message": "down"}'))
    anna.look()
    notice = anna.page.locator("#problem")
    expect(notice).to_have_text("The lessons could not be read: down. The page tries again.")
    form = anna.page.locator("#new-lesson")
    form.get_by_label("Title").fill("Not yet")
    form.get_by_role("button", name="Create lesson").click()
    expect(notice).to_contain_text("The lesson was not created: down.")
    expect(form.get_by_label("Title")).to_have_value("Not yet")
    assert anna.own == all_sorts
    supabase.faults.clear()
    form.get_by_role("button", name="Create lesson").click()
    expect(anna.card("Not yet")).to_be_visible()
    anna.look()
    expect(notice).to_be_hidden()
    assert anna.unexpected(REFUSAL) == []


def test_a_token_is_renewed_before_it_expires(anna: Instructor) -> None:
    """After an hour the page requests one new token and keeps working."""
    with anna.page.expect_request("**/session") as renewal:
        anna.page.clock.fast_forward(3_600_000)
    assert renewal.value.post_data_json == {"instructor": "Anna"}
    anna.create("Much later")
    assert anna.unexpected() == []


def test_an_outdated_list_keeps_a_new_lesson(anna: Instructor) -> None:
    """A list that was read before a lesson was created does not remove its card."""
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if route.request.method == "GET" and not held:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    anna.page.route("**/rest/v1/lessons?*", hold)
    with anna.page.expect_request("**/rest/v1/lessons?*"):
        anna.look()
    card = anna.create("Meanwhile")
    card.evaluate("card => { card.dataset.first = 'yes'; }")
    [(outdated, response)] = held
    with anna.page.expect_event("requestfinished"):
        outdated.fulfill(response=response)
    with anna.page.expect_response("**/rest/v1/lessons?*"):
        anna.look()
    expect(card).to_have_attribute("data-first", "yes")
    assert anna.unexpected() == []


def test_logging_out_leaves_nothing(all_sorts: list[str], anna: Instructor) -> None:
    """After logout the page shows no lesson, also after a reload."""
    expect(anna.page.locator("#own h3")).to_have_text(all_sorts)
    anna.page.get_by_role("button", name="Log out").click()
    expect(anna.page.get_by_role("button", name="Log in as Anna")).to_be_focused()
    anna.page.clock.fast_forward(MAX_BACKOFF_MS)
    assert (anna.own, anna.others) == ([], [])
    anna.page.reload()
    expect(anna.page.get_by_role("button", name="Log in as Bert")).to_be_visible()
    assert (anna.own, anna.others) == ([], [])


def test_a_stopped_demo_is_told(window: BrowserContext, sample_app: SampleApp) -> None:
    """If the app's server is down, login shows an error."""
    someone = Instructor(window, sample_app).open()
    button = someone.page.get_by_role("button", name="Log in as Anna")
    expect(button).to_be_visible()
    someone.page.route("**/session", lambda route: route.abort())
    button.click()
    expect(someone.page.get_by_role("alert")).to_have_text(
        "The app's server does not answer. Check that the demo is running."
    )
    assert someone.unexpected(CUT_OFF) == []


def test_a_form_sent_twice_makes_one_lesson(anna: Instructor, course: Course) -> None:
    """A double click creates one lesson; the next instructor sees only their own."""
    course.lesson(BERT, title="Bert's own")
    form = anna.page.locator("#new-lesson")
    form.get_by_label("Title").fill("Once")
    form.get_by_role("button", name="Create lesson").dblclick()
    expect(anna.card("Once")).to_be_visible()
    anna.look()
    expect(anna.page.locator("#own h3")).to_have_text(["Once"])
    anna.page.get_by_role("button", name="Log out").click()
    anna.page.get_by_role("button", name="Log in as Bert").click()
    expect(anna.page.locator("#own h3")).to_have_text(["Bert's own"])
    assert anna.unexpected() == []


def test_it_plays_what_the_database_says(anna: Instructor, course: Course) -> None:
    """A placeholder is never shown as a playback id; a change made elsewhere is shown."""
    lesson = course.lesson(ANNA, title="Old", mux_playback_id="temp_playback_1")
    anna.look()
    card = anna.card("Old")
    expect(status(card)).to_have_text("Draft")
    expect(playback_id(card)).to_be_hidden()
    course.delete(lesson)
    anna.look()
    expect(card).to_have_count(0)
