"""Run the worker's command for the demo, and show its log on the screen."""

import os
import subprocess
import sys
import threading
from secrets import token_hex
from types import TracebackType
from typing import Self

from sandbox.demo.screen import Screen
from sandbox.http_server import HOST, free_port
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.stack import LocalSupabase

STOP_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 1.0


def worker_environment(supabase: LocalSupabase, mux: MuxSimulator, speed: float) -> dict[str, str]:
    """Return the worker's settings: the required ones, the Mux URL, and a shorter interval."""
    return {
        "SUPABASE_URL": supabase.url,
        "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
        "MUX_TOKEN_ID": mux.token_id,
        "MUX_TOKEN_SECRET": mux.token_secret,
        "MUX_BASE_URL": mux.url,
        "SCAN_INTERVAL_SECONDS": f"{1 / speed:g}",
    }


class DemoWorker:
    """Run the worker, with webhooks and a dashboard, while the `with` block lasts.

    Its log goes to `screen`, which may be replaced at any time. `settings` are all that it has.
    """

    def __init__(self, settings: dict[str, str], screen: Screen) -> None:
        self.screen = screen
        self.ops_token = token_hex(16)
        self.webhook_secret = token_hex(16)
        self._port = free_port()
        self.settings = settings | {
            "HOST": HOST,
            "PORT": str(self._port),
            "MUX_WEBHOOK_SECRET": self.webhook_secret,
            "OPS_TOKEN": self.ops_token,
        }
        self._reader = threading.Thread(target=self._show_log, name="worker-log")

    @property
    def dashboard_url(self) -> str:
        """Return the URL of the dashboard."""
        return f"http://{HOST}:{self._port}/"

    @property
    def webhook_url(self) -> str:
        """Return the URL that receives Mux's webhooks."""
        return f"{self.dashboard_url}webhooks/mux"

    def __enter__(self) -> Self:
        names = ("PATH", "PYTHONPATH")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env={**inherited, **self.settings, "LOG_FORMAT": "json"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C must reach the demo alone, which stops the worker
        )
        self._reader.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        finally:
            self._process.kill()
            self._reader.join()

    def wait(self) -> None:
        """Wait until a signal interrupts.

        Raises:
            LocalStackError: the worker ended.
        """
        while True:
            try:
                status = self._process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise LocalStackError(f"The worker ended with exit status {status}. See its log above.")

    def _show_log(self) -> None:
        if self._process.stdout is None:
            return
        with self._process.stdout as lines:
            for line in lines:
                self.screen.log(line)
