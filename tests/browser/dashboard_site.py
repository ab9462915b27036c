"""The dashboard of a running worker, as operators use it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote
from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from sandbox.http_server import free_port
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.worker_process import WorkerProcess, worker_environment

TOKEN = "the-operators-token"
EVERY_MS = 5_000
"""How often the page's script refreshes it."""


class StatusSite:
    """A worker with a dashboard, and its Mux."""

    def __init__(self, url: str, worker: WorkerProcess, mux: MuxSimulator) -> None:
        self.url = url
        self.worker = worker
        self.mux = mux

    def log_in(
        self, page: Page, path: str = "/", name: str = "Ines", lesson: UUID | None = None
    ) -> None:
        """Open a page with the token; load it again until it lists a lesson, if one is named.

        The browser remembers the token. The worker caches its overview for two seconds.
        """
        credentials = f"{quote(name, safe='')}:{TOKEN}@"
        page.goto(self.url.replace("://", f"://{credentials}"))
        page.goto(self.url + path)
        expect(page).to_have_url(self.url + path)
        if lesson is not None:
            self.wait_for_lesson(page, lesson)

    def wait_for_lesson(self, page: Page, lesson: UUID) -> None:
        """Load the page again until it lists a lesson."""
        deadline = time.monotonic() + 60
        while not page.locator(f'a[href="/lessons/{lesson}"]').count():
            assert time.monotonic() < deadline, page.locator("main").inner_text()
            page.wait_for_timeout(100)
            page.reload()


@contextmanager
def status_site(supabase: LocalSupabase, **settings: str) -> Iterator[StatusSite]:
    """Run a worker with a dashboard, on a free port, with these settings."""
    port = free_port()
    with MuxSimulator(limits=RateLimits.per_second(None, None)) as mux:
        worker = WorkerProcess(worker_environment(supabase, mux))
        worker.start("run", PORT=str(port), HOST="127.0.0.1", OPS_TOKEN=TOKEN, **settings)
        try:
            worker.wait_for("web.listening")
            yield StatusSite(f"http://127.0.0.1:{port}", worker, mux)
        finally:
            worker.kill()


def news(page: Page) -> None:
    """Advance the page's clock until it refreshes, and wait for the response."""
    with page.expect_response(lambda response: "x-refresh" in response.request.headers):
        page.clock.run_for(EVERY_MS)


def news_until(page: Page, locator: Locator) -> None:
    """Have the page refresh until it shows something: the overview is cached for two seconds."""
    deadline = time.monotonic() + 60
    while not locator.is_visible():
        assert time.monotonic() < deadline, page.locator("main").inner_text()
        news(page)
        page.wait_for_timeout(100)


@contextmanager
def another_site(body: str) -> Iterator[int]:
    """Serve a page of another site, at this port of 127.0.0.1, which is localhost, too."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send the page."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Console:
    """The errors in a page's console."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type == "error" else None,
        )
