"""Start the system's Chromium, driven by Playwright, for the tests of the pages."""

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from sandbox.app.server import SampleApp
from sandbox.mux.clock import ManualClock
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.supabase.stack import LocalSupabase
from tests.browser.dashboard_site import Console, StatusSite, status_site
from tests.browser.instructor import Instructor
from tests.conftest import ANNA, BERT

CHROMIUMS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
"""The first, which has no window, takes half the processor time of the others."""

QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without these, Chromium calls its vendor's hosts and needs a GPU."""

TIMEOUT_MS = 45_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield the system's Chromium; no browser is downloaded.

    One for each file: while Playwright runs, no other test of the process can run an event loop.
    """
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip("no Chromium on PATH (Debian: apt install chromium-headless-shell)")
    expect.set_options(timeout=TIMEOUT_MS)  # 5 s otherwise, which a busy machine may need
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium refuses its own sandbox; it visits only our pages.
        browser = playwright.chromium.launch(
            executable_path=found, args=list(QUIET), chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """Yield a window with its own cookies, as wide as a laptop's screen.

    Without a GPU, Chromium draws each frame of an animation on the processor.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext) -> Page:
    """Return an empty page."""
    return window.new_page()


@pytest.fixture(scope="module")
def site(shared_supabase: LocalSupabase) -> Iterator[StatusSite]:
    """Run one worker with a dashboard for the tests of this file."""
    with status_site(shared_supabase) as running:
        yield running


@pytest.fixture
def console(page: Page) -> Iterator[Console]:
    """Yield the browser's console; at the end of a test it must have no complaints."""
    console = Console(page)
    yield console
    assert console.complaints == []


@pytest.fixture
def mux_clock() -> ManualClock:
    """Return the simulated Mux's clock, which moves only when a test advances it."""
    return ManualClock(time.time())


@pytest.fixture
def driven_mux(mux_clock: ManualClock) -> Iterator[MuxSimulator]:
    """Yield a simulated Mux whose clock the test advances."""
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
    """Yield a function that opens more windows, each with its own cookies and storage."""
    opened: list[BrowserContext] = []

    def open_window(**options: Any) -> BrowserContext:
        opened.append(browser.new_context(reduced_motion="reduce", **options))
        opened[-1].set_default_timeout(TIMEOUT_MS)
        return opened[-1]

    yield open_window
    for context in opened:
        context.close()
