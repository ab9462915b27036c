"""The demo's worker: the real command in a process of its own, with its log on the screen."""

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

STOP_SECONDS = 30.0
LOOK_EVERY_SECONDS = 1.0


def worker_environment(supabase: LocalSupabase, mux: MuxSimulator, speed: float) -> dict[str, str]:
    """Give the worker's settings: the required ones, this Mux, and a quicker pace."""
    return {
        "SUPABASE_URL": supabase.url,
        "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
        "MUX_TOKEN_ID": mux.token_id,
        "MUX_TOKEN_SECRET": mux.token_secret,
        "MUX_BASE_URL": mux.url,
        "SCAN_INTERVAL_SECONDS": f"{1 / speed:g}",
    }


class DemoWorker:
    """Run the worker for as long as the `with` block lasts, with a port for webhooks and people.

    Its log goes to `screen`, which may be replaced at any time.
    """

    def __init__(self, settings: dict[str, str], screen: Screen) -> None:
        self.screen = screen
        self.ops_token = token_hex(16)
        self.webhook_secret = token_hex(16)
        self._port = free_port()
        self._settings = settings
        self._reader = threading.Thread(target=self._show_log, name="worker-log")

    @property
    def status_url(self) -> str:
        """Give the address of the status page."""
        return f"http://{HOST}:{self._port}/"

    @property
    def webhook_url(self) -> str:
        """Give the address that takes Mux's webhooks."""
        return f"{self.status_url}webhooks/mux"

    def __enter__(self) -> Self:
        names = ("PATH", "PYTHONPATH")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        web = {
            "HOST": HOST,
            "PORT": str(self._port),
            "MUX_WEBHOOK_SECRET": self.webhook_secret,
            "OPS_TOKEN": self.ops_token,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env={**inherited, **self._settings, **web, "LOG_FORMAT": "json"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which stops the worker in order
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
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._reader.join()

    def wait(self) -> None:
        """Wait for as long as the worker runs, until a signal.

        Raises:
            LocalStackError: the worker ended, which it does not do by itself.
        """
        while True:
            try:
                status = self._process.wait(LOOK_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise LocalStackError(f"The worker ended with status {status}; its log is above.")

    def _show_log(self) -> None:
        if self._process.stdout is None:
            return
        with self._process.stdout as lines:
            for line in lines:
                self.screen.log(line)
