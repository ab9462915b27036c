"""Drive the instructor's page in a real browser."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, FilePayload, Locator, Page, expect

from sandbox.app.server import SampleApp

MAX_BACKOFF_MS = 31_000
"""A little more than the page's longest interval between two requests."""

VIDEO: FilePayload = {
    "name": "scales.mp4",
    "mimeType": "video/mp4",
    "buffer": b"not really a video" * 1000,
}

REFUSAL = re.compile(r"^Failed to load resource: the server responded with a status of [45]\d\d ")
CUT_OFF = re.compile(r"^Failed to load resource: net::ERR_")


class Instructor:
    """One tab of one instructor; errors and warnings of its console are in `complaints`."""

    def __init__(self, window: BrowserContext, sample_app: SampleApp) -> None:
        self.page: Page = window.new_page()
        self.complaints: list[str] = []
        self._sample_app = sample_app
        self.page.on("console", self._record)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _record(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def unexpected(self, *expected: re.Pattern[str]) -> list[str]:
        """Return the complaints, without those that a test expects."""
        return [text for text in self.complaints if not any(e.match(text) for e in expected)]

    def open(self) -> "Instructor":
        """Load the page, with a clock that runs and can be moved forward."""
        self.page.clock.install()
        self.page.goto(self._sample_app.url)
        return self

    def log_in(self, name: str = "Anna") -> "Instructor":
        """Open the page and log in."""
        self.open()
        self.page.get_by_role("button", name=f"Log in as {name}").click()
        expect(self.page.get_by_role("heading", name="New lesson")).to_be_visible()
        return self

    def look(self) -> None:
        """Move the page's clock forward, so that it refreshes."""
        self.page.clock.fast_forward(MAX_BACKOFF_MS)

    def create(
        self,
        title: str,
        scenario: str | None = None,
        *,
        file: Any = VIDEO,
        description: str = "",
        price: str = "",
    ) -> Locator:
        """Fill in and submit the form, with a file if `scenario` is given; return the card."""
        form = self.page.locator("#new-lesson")
        form.get_by_label("Title").fill(title)
        form.get_by_label("Description").fill(description)
        form.get_by_label("Price").fill(price)
        if scenario is not None:
            form.get_by_label("Video").set_input_files(file)
            form.get_by_label("What the simulated Mux does").select_option(scenario)
        form.get_by_role("button", name="Create lesson").click()
        card = self.card(title)
        expect(card).to_be_visible()
        return card

    def upload(self, card: Locator, scenario: str, *, file: Any = VIDEO) -> None:
        """Upload a video for an existing lesson."""
        card.locator("[data-part=again] summary").click()
        card.get_by_label("Video").set_input_files(file)
        card.get_by_label("What the simulated Mux does").select_option(scenario)
        card.get_by_role("button", name="Upload", exact=True).click()

    def card(self, title: str) -> Locator:
        """Return the card of one of the user's own lessons."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.page.get_by_role("article").filter(has=heading)

    @property
    def own(self) -> Sequence[str]:
        """Return the titles of the user's own lessons."""
        return self.page.locator("#own h3").all_text_contents()

    @property
    def others(self) -> Sequence[str]:
        """Return the texts of the other instructors' lessons."""
        return self.page.locator("#others li").all_text_contents()


def status(card: Locator) -> Locator:
    """Return the status badge."""
    return card.get_by_test_id("lesson-status")


def video(card: Locator) -> Locator:
    """Return the text about the video."""
    return card.locator("[data-part=video]")


def playback_id(card: Locator) -> Locator:
    """Return the playback id."""
    return card.get_by_test_id("mux-playback-id")


def big_file(directory: Path) -> Path:
    """Create a file that is larger than all socket buffers."""
    path = directory / "long.mp4"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    return path
