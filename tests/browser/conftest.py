"""A real browser for the tests: the system's Chromium, driven by Playwright."""

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sandbox.app.server import SampleApp
from sandbox.mux.clock import ManualClock
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.supabase.stack import LocalSupabase
from tests.browser.dashboard_site import Console, StatusSite, status_site
from tests.browser.instructor import Instructor
from tests.conftest import ANNA, BERT

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Keeps the browser from asking its maker's hosts for anything, and from needing a screen."""

PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium; no browser is downloaded.

    For the tests of one file: as long as Playwright runs, no test beside it may run an event loop.
    """
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip("no Chromium on PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium refuses its own sandbox; it visits only our pages.
        browser = playwright.chromium.launch(
            executable_path=found, args=list(QUIET), chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """Open a window with cookies of its own, as wide as a laptop's."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext) -> Page:
    """Open an empty page."""
    return window.new_page()


@pytest.fixture(scope="module")
def site(shared_supabase: LocalSupabase) -> Iterator[StatusSite]:
    """Run one worker with a dashboard for the tests of this file."""
    with status_site(shared_supabase) as running:
        yield running


@pytest.fixture
def console(page: Page) -> Iterator[Console]:
    """Watch what the browser complains about: nothing, by the end of a test."""
    console = Console(page)
    yield console
    assert console.complaints == []


@pytest.fixture
def mux_clock() -> ManualClock:
    """Give the simulated Mux's clock, which stands still until a test advances it."""
    return ManualClock(time.time())


@pytest.fixture
def driven_mux(mux_clock: ManualClock) -> Iterator[MuxSimulator]:
    """Run a Mux whose clock the test drives."""
    limits = RateLimits.per_second(None, None)
    with MuxSimulator(MuxState(mux_clock), limits=limits) as simulator:
        yield simulator


@pytest.fixture
def sample_app(supabase: LocalSupabase, mux: MuxSimulator) -> Iterator[SampleApp]:
    """Serve the instructor's page."""
    sample_app = SampleApp(supabase, mux, {"Anna": ANNA, "Bert": BERT})
    if sample_app.files.missing:
        pytest.skip(sample_app.files.missing)
    with sample_app:
        yield sample_app


@pytest.fixture
def anna(window: BrowserContext, sample_app: SampleApp) -> Instructor:
    """Give Anna, logged in."""
    return Instructor(window, sample_app).log_in("Anna")


@pytest.fixture
def new_window(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Give what opens further windows, each with a memory of its own."""
    opened: list[BrowserContext] = []

    def open_window(**options: Any) -> BrowserContext:
        opened.append(browser.new_context(**options))
        opened[-1].set_default_timeout(PATIENCE_MS)
        return opened[-1]

    yield open_window
    for context in opened:
        context.close()
