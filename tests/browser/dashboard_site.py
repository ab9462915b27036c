"""The status page of a running worker, as operators use it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.worker_process import WorkerProcess, worker_environment

TOKEN = "the-operators-token"
EVERY_MS = 5_000
"""How often the page's script looks for news."""


class StatusSite:
    """A worker with a status page, and the Mux that it asks."""

    def __init__(self, url: str, worker: WorkerProcess, mux: MuxSimulator) -> None:
        self.url = url
        self.worker = worker
        self.mux = mux

    def log_in(
        self, page: Page, path: str = "/", name: str = "Ines", lesson: UUID | None = None
    ) -> None:
        """Open a page, by way of the login; again until it lists a lesson, if one is named.

        The worker keeps what it was told of all lessons for two seconds.
        """
        page.goto(self.url + path)
        page.get_by_label("Your name").fill(name)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(self.url + path)
        if lesson is not None:
            self.wait_for_lesson(page, lesson)

    def wait_for_lesson(self, page: Page, lesson: UUID) -> None:
        """Load the page again until it lists a lesson."""
        deadline = time.monotonic() + 20
        while not page.locator(f'a[href="/lessons/{lesson}"]').count():
            assert time.monotonic() < deadline, page.locator("main").inner_text()
            page.wait_for_timeout(100)
            page.reload()


@contextmanager
def status_site(supabase: LocalSupabase) -> Iterator[StatusSite]:
    """Run a worker with a status page, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with MuxSimulator(limits=RateLimits.per_second(None, None)) as mux:
        worker = WorkerProcess(worker_environment(supabase, mux))
        worker.start("run", PORT=str(port), HOST="127.0.0.1", OPS_TOKEN=TOKEN)
        try:
            worker.wait_for("web.listening")
            yield StatusSite(f"http://127.0.0.1:{port}", worker, mux)
        finally:
            worker.kill()


def news(page: Page) -> None:
    """Let the page's own time go on until it looks for news, and wait for what it brings."""
    with page.expect_response(lambda response: "x-refresh" in response.request.headers):
        page.clock.run_for(EVERY_MS)


def news_until(page: Page, locator: Locator) -> None:
    """Let the page look for news until it shows something: an answer is kept for two seconds."""
    deadline = time.monotonic() + 20
    while not locator.is_visible():
        assert time.monotonic() < deadline, page.locator("main").inner_text()
        news(page)
        page.wait_for_timeout(100)


@contextmanager
def another_site(body: str) -> Iterator[int]:
    """Serve one page of somebody else's, at this port of 127.0.0.1, which is localhost, too."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Give the page."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Console:
    """What a browser complained about on a page."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type == "error" else None,
        )
