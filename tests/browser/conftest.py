"""A real browser for the tests: the system's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium once; no browser is downloaded."""
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
